"""The log-mel kernel, its NumPy reference and the whole spectrogram against float64."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from kernel_memory import Guarded

ROOT = Path(__file__).parent.parent
BACKENDS = ("numba", "numpy")


# --- the oracle: float64, written from the definitions, without whisperlite


def oracle_filters(n_mels: int) -> np.ndarray:
    """Triangles on Slaney's mel scale, each of area one."""

    def to_hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * np.log(8) / np.log(6.4)
    points = [to_hz(top * i / (n_mels + 1)) for i in range(n_mels + 2)]
    filters = np.zeros((n_mels, 201))
    for m, (left, middle, right) in enumerate(zip(points, points[1:], points[2:], strict=False)):
        for k in range(201):
            hz = 40.0 * k
            height = min((hz - left) / (middle - left), (right - hz) / (right - middle))
            filters[m, k] = max(0.0, height) * 2 / (right - left)
    return filters


def oracle_power(frames: np.ndarray, n_mels: int) -> np.ndarray:
    """Mel power (n_mels, F) of frames (F, 400)."""
    n = np.arange(400)
    window = np.sin(np.pi * n / 400) ** 2
    spectra = np.fft.fft(frames.astype(np.float64) * window, axis=1)[:, :201]
    return oracle_filters(n_mels) @ (np.abs(spectra) ** 2).T


def oracle_log_mel(audio: np.ndarray, n_mels: int, padding: int) -> np.ndarray:
    padded = np.pad(np.concatenate([audio, np.zeros(padding)]), 200, mode="reflect")
    n_frames = (len(audio) + padding) // 160
    frames = np.stack([padded[160 * f : 160 * f + 400] for f in range(n_frames)])
    return np.log10(np.maximum(oracle_power(frames, n_mels), 1e-10))


def oracle_spectrogram(audio: np.ndarray, n_mels: int = 80, padding: int = 0) -> np.ndarray:
    log_mel = oracle_log_mel(audio, n_mels, padding)
    return (np.maximum(log_mel, log_mel.max() - 8) + 4) / 4


def noise(n: int, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(n).normal(0, level, n).astype(np.float32)


def check_frames(found: np.ndarray, samples: np.ndarray) -> None:
    """Within 1e-5 down to 1/1000 of a frame's loudest band; below it, float32's rounding of the loudest shows."""
    n_mels, n_frames = found.shape
    frames = np.stack([samples[160 * f : 160 * f + 400] for f in range(n_frames)])
    power = oracle_power(frames, n_mels)
    tolerance = 1.5e-6 + 2.6e-7 * np.sqrt(power.max(axis=0) / power)
    assert (abs(found - np.log10(np.maximum(power, 1e-10))) <= tolerance).all()


# --- frames


@pytest.mark.parametrize("n_mels", [1, 80, 128])
@pytest.mark.parametrize("n_frames", [1, 2, 3, 7, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("level", [1.0, 1e-3])
def test_kernel_frames(n_frames, n_mels, level):
    pytest.importorskip("numba")
    from whisperlite.audio.mel import _window, mel_filters
    from whisperlite.kernels.log_mel import log_mel_frames

    samples = noise(160 * (n_frames - 1) + 400, level)
    out = Guarded((n_mels, n_frames))
    log_mel_frames(samples, _window(), mel_filters(n_mels), out.array)
    out.check()
    check_frames(out.array, samples)


@pytest.mark.parametrize("n_frames", [1, 5, 1030])
def test_reference_frames(n_frames):
    from whisperlite.audio.mel import _window, mel_filters
    from whisperlite.kernels.reference.log_mel import log_mel_frames

    samples = noise(160 * (n_frames - 1) + 400)
    out = np.empty((80, n_frames), np.float32)
    log_mel_frames(samples, _window(), mel_filters(80), out)
    check_frames(out, samples)


def test_pure_tones_reach_every_bin():
    pytest.importorskip("numba")
    from whisperlite.audio.mel import _window
    from whisperlite.kernels.log_mel import log_mel_frames

    one_bin_each = np.eye(201, dtype=np.float32)
    for k in range(0, 201, 9):
        samples = np.cos(2 * np.pi * k * np.arange(400) / 400).astype(np.float32)
        out = np.empty((201, 1), np.float32)
        log_mel_frames(samples, _window(), one_bin_each, out)
        assert np.argmax(out[:, 0]) == k


def test_bands_of_any_width_and_number():
    pytest.importorskip("numba")
    from whisperlite.audio.mel import _window
    from whisperlite.kernels.log_mel import log_mel_frames

    filters = np.zeros((7, 201), np.float32)  # two groups of four; the fourth band is empty
    for row, (first, n) in zip(
        filters, [(0, 201), (200, 1), (7, 2), (0, 0), (190, 11), (0, 3), (60, 90)], strict=True
    ):
        row[first : first + n] = np.random.default_rng(n).uniform(0.5, 1, n)
    samples = noise(160 * 4 + 400)
    out = Guarded((7, 5))
    log_mel_frames(samples, _window(), filters, out.array)
    out.check()
    frames = np.stack([samples[160 * f : 160 * f + 400] for f in range(5)]).astype(np.float64)
    spectra = np.fft.rfft(frames * np.sin(np.pi * np.arange(400) / 400) ** 2, axis=1)
    expected = np.log10(np.maximum(filters.astype(np.float64) @ (np.abs(spectra) ** 2).T, 1e-10))
    np.testing.assert_allclose(out.array, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_frames", [1, 16, 21])
def test_the_largest_value_is_of_a_frame_that_is_there(n_frames):
    pytest.importorskip("numba")
    from whisperlite.audio.mel import _window, mel_filters
    from whisperlite.kernels.log_mel import log_mel_frames

    samples = noise(160 * (n_frames - 1) + 400)
    samples[-5:] *= 1000  # the last frame's window hides them; those of frames past it would not
    out = np.empty((80, n_frames), np.float32)
    assert log_mel_frames(samples, _window(), mel_filters(80), out) == out.max()
    assert log_mel_frames(np.zeros_like(samples), _window(), mel_filters(80), out) == -10
    assert (out == -10).all()


def test_team_of_threads_gives_the_same_bits():
    pytest.importorskip("numba")
    from whisperlite.audio.mel import _window, mel_filters
    from whisperlite.kernels import log_mel
    from whisperlite.kernels.registry import SYNC_WORDS

    n_threads, n_frames = 3, 1001
    samples = noise(160 * (n_frames - 1) + 400)
    alone = np.empty((80, n_frames), np.float32)
    largest = log_mel.log_mel_frames(samples, _window(), mel_filters(80), alone)

    together = Guarded((80, n_frames))
    scratch = Guarded((n_threads * log_mel.SCRATCH_BYTES,), np.uint8)
    maxima = Guarded((n_threads, log_mel.LANES), fill=-10)
    workspace, constants = log_mel.Workspace(n_threads), log_mel.Constants(_window(), mel_filters(80))
    words = log_mel.log_mel_arguments(samples, constants, together.array, workspace)
    words |= {"scratch": scratch.address, "maxima": maxima.address}
    args = log_mel.log_mel_f32.words(words)
    sync = np.zeros(SYNC_WORDS, np.int64)
    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(log_mel.log_mel_f32.address())
    team = [
        threading.Thread(target=entry, args=(args.ctypes.data, sync.ctypes.data, i, n_threads))
        for i in range(n_threads)
    ]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    together.check()
    scratch.check()
    maxima.check()
    np.testing.assert_array_equal(together.array, alone)
    assert maxima.array.max() == largest == alone.max()


NARROW = {
    4: {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    8: {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+f16c"},
}
NARROW_SCRIPT = """
import sys
import numpy as np
from whisperlite.audio import log_mel_spectrogram
from whisperlite.kernels.log_mel import LANES
np.save(sys.argv[2], log_mel_spectrogram(np.load(sys.argv[1])))
print(LANES)
"""


@pytest.mark.parametrize("lanes", sorted(NARROW))
def test_narrower_vectors(lanes, tmp_path):
    pytest.importorskip("numba")
    from whisperlite.kernels.log_mel import LANES as host_lanes

    if lanes >= host_lanes:
        pytest.skip(f"this CPU has {host_lanes} lanes itself")
    audio = noise(160 * 21 + 77)
    np.save(tmp_path / "audio.npy", audio)
    command = [sys.executable, "-c", NARROW_SCRIPT, str(tmp_path / "audio.npy"), str(tmp_path / "mel.npy")]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | NARROW[lanes], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == lanes
    np.testing.assert_allclose(np.load(tmp_path / "mel.npy"), oracle_spectrogram(audio), rtol=0, atol=1e-5)


# --- spectrogram


SIZES = [
    (201, 0), (320, 0), (399, 0), (400, 0), (401, 0), (560, 0), (561, 0), (1000, 0), (16001, 0), (47999, 0),
    (1, 200), (1, 4000), (159, 42), (200, 1), (12345, 1), (12345, 150), (12345, 199), (12345, 200),
    (12345, 201), (12345, 359), (12345, 360), (12345, 361), (12345, 5000), (0, 400),
]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("n", "padding"), SIZES)
def test_spectrogram(n, padding, backend, monkeypatch):
    from whisperlite.audio import log_mel_spectrogram

    if backend == "numba":
        pytest.importorskip("numba")
    monkeypatch.setenv("WHISPERLITE_BACKEND", backend)
    audio = noise(n)
    for n_mels in (80, 128):
        found = log_mel_spectrogram(audio, n_mels, padding)
        assert found.dtype == np.float32
        expected = oracle_spectrogram(audio, n_mels, padding)
        assert found.shape == expected.shape == (n_mels, (n + padding) // 160)
        # Bins far below the loudest one carry float32's rounding of the loudest.
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)


def test_span_of_frames_equals_a_part_of_the_whole():
    from whisperlite.audio.mel import log_mel_power, log_mel_span

    audio = noise(20000)
    whole = log_mel_power(audio)
    part = np.empty((80, 31), np.float32)
    log_mel_span(audio[40 * 160 - 200 :], part)
    np.testing.assert_array_equal(part, whole[:, 40:71])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", [160 * 511, 160 * 512 + 7, 160 * 1003])
def test_any_team_gives_the_same_bits(n, threads):
    pytest.importorskip("numba")
    from whisperlite.audio import log_mel_spectrogram

    audio = noise(n)
    np.testing.assert_array_equal(
        log_mel_spectrogram(audio, threads=threads), log_mel_spectrogram(audio, threads=1)
    )


def test_a_team_out_of_range_is_refused():
    pytest.importorskip("numba")
    from whisperlite.audio import log_mel_spectrogram
    from whisperlite.errors import OptionError

    with pytest.raises(OptionError, match="threads=0: give a whole number from 1 to 256"):
        log_mel_spectrogram(noise(3000), threads=0)


@pytest.mark.parametrize(("n_mels", "n_frames"), [(1, 1), (3, 15), (80, 16), (80, 33), (128, 3000)])
def test_floor_and_scale_is_bit_for_bit_numpy_s(n_mels, n_frames, monkeypatch):
    pytest.importorskip("numba")
    from whisperlite.audio.mel import floor_and_scale

    wide = noise(n_mels * (n_frames + 5)).reshape(n_mels, -1) * 40 - 20  # rows further apart than they are long
    compiled, plain = wide.copy(), wide.copy()
    floor_and_scale(compiled[:, :n_frames], 1.25, threads=2)
    monkeypatch.setenv("WHISPERLITE_BACKEND", "numpy")
    floor_and_scale(plain[:, :n_frames], 1.25)
    np.testing.assert_array_equal(compiled, plain)
    assert (plain[:, :n_frames] != wide[:, :n_frames]).all()


def test_numba_missing_falls_back(monkeypatch):
    from whisperlite.audio import log_mel_spectrogram, mel

    monkeypatch.setattr(mel, "_numba_works", lambda: False)
    audio = noise(3000)
    np.testing.assert_allclose(log_mel_spectrogram(audio), oracle_spectrogram(audio), rtol=0, atol=2e-4)
