"""The incremental frontend: any chunking gives the one-shot frames, each determined as early as it can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.audio import MelFrontend, log_mel_spectrogram
from whisperlite.audio.mel import log_mel_power
from whisperlite.errors import AudioError, OptionError

BACKENDS = ("numba", "numpy")


def sound(n: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness changes by 80 dB, so that floors fire."""
    rng = np.random.default_rng(seed)
    loudness = 10.0 ** rng.uniform(-4, 0, n // 700 + 1).repeat(700)[:n]
    return (rng.standard_normal(n) * loudness).astype(np.float32)


def cut(audio: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    pieces, at = [], 0
    while at < len(audio):
        for size in sizes:
            pieces.append(audio[at : at + size])
            at += size
    return pieces


def assert_same(found: np.ndarray, expected: np.ndarray, backend: str) -> None:
    if backend == "numba":
        np.testing.assert_array_equal(found, expected)
    else:  # NumPy's matrix product rounds by the shape it is given
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 4000),
    sizes=st.lists(st.integers(0, 900), min_size=1, max_size=6).filter(any),
    padding=st.sampled_from([0, 1, 100, 200, 201, 359, 360, 400, 1000, 48000]),
    n_mels=st.sampled_from([80, 128]),
)
def test_any_chunking_gives_the_one_shot_frames(backend, n, sizes, padding, n_mels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERLITE_BACKEND", backend)
        audio = sound(n)
        frontend = MelFrontend(n_mels)
        pieces = []
        for piece in cut(audio, sizes):
            pieces.append(frontend.push(piece).copy())
            n_seen = frontend.n_samples
            assert frontend.n_frames == ((n_seen - 200) // 160 + 1 if n_seen > 200 else 0)
        if n + padding <= 200:
            with pytest.raises(AudioError, match="log-mel needs 201"):
                frontend.finish(padding)
            return
        pieces.append(frontend.finish(padding).copy())
        expected = log_mel_power(audio, n_mels, padding)
        assert_same(np.concatenate(pieces, axis=1), expected, backend)
        assert_same(frontend.frames(0, frontend.n_frames), expected, backend)
        spectrogram = log_mel_spectrogram(audio, n_mels, padding)
        for policy in ("window", "running"):
            assert_same(frontend.window(0, frontend.n_frames, policy), spectrogram, backend)


@pytest.mark.parametrize("chunk", [1, 160, 1600, 7777, 200_000])
def test_long_audio_through_growing_buffers(chunk):
    audio = sound(200_000)
    frontend = MelFrontend()
    if chunk == 1:
        audio = audio[:5000]
    for piece in cut(audio, [chunk]):
        frontend.push(piece)
    frontend.finish(480_000)
    np.testing.assert_array_equal(
        frontend.window(0, frontend.n_frames), log_mel_spectrogram(audio, padding=480_000)
    )


def test_a_frame_is_there_with_its_last_sample():
    frontend = MelFrontend()
    audio = sound(1000)
    assert frontend.push(audio[:200]).shape == (80, 0)
    assert frontend.push(audio[200:201]).shape == (80, 1)  # frame 0 mirrors samples 1 .. 200
    assert frontend.push(audio[201:359]).shape == (80, 0)
    assert frontend.push(audio[359:360]).shape == (80, 1)  # frame 1 ends before sample 360


def test_policies_for_the_maximum():
    audio = np.concatenate([sound(16000) * 1e-5, sound(16000)])
    frontend = MelFrontend()
    frontend.push(audio)
    quiet = frontend.frames(0, 50).copy()
    alone = frontend.window(0, 50)
    np.testing.assert_array_equal(alone, (np.maximum(quiet, quiet.max() - np.float32(8)) + 4) / 4)
    running = frontend.window(0, 50, "running")
    level = np.float32(frontend.maximum) - np.float32(8)
    np.testing.assert_array_equal(running, (np.maximum(quiet, level) + 4) / 4)
    assert running.min() > alone.min()
    np.testing.assert_array_equal(frontend.window(0, 50, frontend.maximum), running)
    np.testing.assert_array_equal(frontend.frames(0, 50), quiet)  # windows are copies


def test_the_running_maximum_remembers_forgotten_frames():
    audio = sound(32000)
    audio[16000:] *= np.float32(1e-6)
    frontend = MelFrontend()
    frontend.push(audio)
    loudest = float(log_mel_power(audio)[:, : frontend.n_frames].max())
    frontend.forget(150)
    assert frontend.first_frame == 150 and frontend.maximum == loudest
    with pytest.raises(OptionError, match="frames 149 to 160: the frontend holds 150 to 199"):
        frontend.frames(149, 160)
    frontend.forget(100)
    assert frontend.first_frame == 150


def test_memory_is_bounded_when_frames_are_forgotten():
    audio = sound(1600)
    frontend = MelFrontend()
    sizes = set()
    for i in range(3000):  # five minutes
        frontend.push(audio)
        frontend.forget(frontend.n_frames - 3000)
        if i > 1000:
            sizes.add((frontend._frames.nbytes, frontend._samples.nbytes))
    assert len(sizes) == 1
    assert sizes.pop()[0] <= 4 * 3100 * 80 * 4
    assert frontend.n_frames - frontend.first_frame == 3000
    last = frontend.frames(frontend.n_frames - 10, frontend.n_frames)
    periodic = log_mel_power(np.tile(audio, 4))  # a chunk is ten frames
    np.testing.assert_array_equal(last, periodic[:, 19:29])
    assert frontend.n_frames % 10 == 9


def test_forget_everything_and_go_on():
    audio = sound(20000)
    frontend = MelFrontend()
    frontend.push(audio[:9000])
    frontend.forget(10**9)
    assert frontend.first_frame == frontend.n_frames
    first = frontend.n_frames
    frontend.push(audio[9000:])
    frontend.finish()
    np.testing.assert_array_equal(frontend.frames(first, frontend.n_frames), log_mel_power(audio)[:, first:])


def test_refusals_take_nothing():
    frontend = MelFrontend()
    frontend.push(sound(1000))
    bad = sound(1000)
    bad[3] = np.nan
    for chunk, message in (
        (bad, "NaN or infinite"),
        (np.zeros(10, np.int16), "int16 of shape"),
        (np.zeros((2, 10), np.float32), r"shape \(2, 10\)"),
    ):
        with pytest.raises(AudioError, match=message):
            frontend.push(chunk)
    assert frontend.n_samples == 1000
    with pytest.raises(OptionError, match="padding=-1"):
        frontend.finish(-1)
    for wrong in ("global", float("nan")):
        with pytest.raises(OptionError, match="give 'window', 'running'"):
            frontend.window(0, 1, wrong)
    frontend.finish()
    with pytest.raises(AudioError, match="finished"):
        frontend.finish()
    with pytest.raises(AudioError, match="finished"):
        frontend.push(sound(10))
    with pytest.raises(OptionError, match="n_mels=0"):
        MelFrontend(0)


def test_loud_but_finite_samples_are_taken():
    assert MelFrontend().push(np.full(1000, 1e30, np.float32)).shape == (80, 6)
