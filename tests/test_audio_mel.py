"""Mel filters, padding, refusals and OpenAI's own spectrogram."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_log_mel import oracle_filters

from whisperlite import audio as room
from whisperlite.audio import load_audio, log_mel_spectrogram, mel_filters, pad_or_trim
from whisperlite.audio.mel import floor_and_scale
from whisperlite.errors import AudioError, OptionError

SHARED = Path(__file__).parent.parent.parent / "shared"
GOLDENS = SHARED / "goldens" / "tensors.npz"


def test_constants():
    assert (room.SAMPLE_RATE, room.N_FFT, room.HOP_LENGTH, room.CHUNK_LENGTH) == (16000, 400, 160, 30)
    assert (room.N_SAMPLES, room.N_FRAMES, room.N_SAMPLES_PER_TOKEN) == (480000, 3000, 320)
    assert (room.FRAMES_PER_SECOND, room.TOKENS_PER_SECOND) == (100, 50)


@pytest.mark.parametrize("n_mels", [1, 40, 80, 128])
def test_filters(n_mels):
    filters = mel_filters(n_mels)
    assert filters.dtype == np.float32 and not filters.flags.writeable
    np.testing.assert_allclose(filters, oracle_filters(n_mels), rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_are_openai_s(n_mels):
    whisper_audio = pytest.importorskip("whisper.audio")
    np.testing.assert_array_equal(mel_filters(n_mels), whisper_audio.mel_filters("cpu", n_mels).numpy())


@pytest.mark.parametrize("n_mels", [0, -1, 201])
def test_filters_refuse(n_mels):
    with pytest.raises(OptionError, match=f"n_mels={n_mels}: give 1 to 200"):
        mel_filters(n_mels)
    with pytest.raises(OptionError, match=f"n_mels={n_mels}: give 1 to 200"):
        log_mel_spectrogram(np.zeros(1000, np.float32), n_mels)


def test_pad_or_trim():
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(pad_or_trim(x, 2), x[:, :2])
    np.testing.assert_array_equal(pad_or_trim(x, 2, axis=0), x[:2])
    np.testing.assert_array_equal(pad_or_trim(x, 6), np.pad(x, ((0, 0), (0, 2))))
    np.testing.assert_array_equal(pad_or_trim(x, 5, axis=0), np.pad(x, ((0, 2), (0, 0))))
    assert pad_or_trim(x, 4) is not None and pad_or_trim(np.zeros(3, np.float32)).shape == (480000,)


def test_floor_and_scale_works_in_place():
    log_mel = np.array([[0.0, -3.0], [-8.5, 2.0]], np.float32)
    assert floor_and_scale(log_mel, 2.0) is log_mel
    np.testing.assert_array_equal(log_mel, np.array([[1.0, 0.25], [-0.5, 1.5]], np.float32))


def test_silence_is_flat():
    mel = log_mel_spectrogram(np.zeros(16000, np.float32), padding=16000)
    np.testing.assert_allclose(mel, -1.5, atol=1e-6)


@pytest.mark.parametrize(("n", "padding"), [(0, 0), (1, 0), (159, 0), (160, 0), (200, 0), (0, 200), (150, 50)])
def test_too_short(n, padding):
    with pytest.raises(AudioError, match=f"audio of {n} samples with {padding} of padding; log-mel needs 201"):
        log_mel_spectrogram(np.zeros(n, np.float32), padding=padding)


def test_one_sample_with_padding():
    assert log_mel_spectrogram(np.ones(1, np.float32), padding=480000).shape == (80, 3000)


@pytest.mark.parametrize("audio", [np.zeros((2, 1000), np.float32), np.zeros(1000, np.int16)])
def test_refuses_what_is_not_samples(audio):
    with pytest.raises(AudioError, match="pass it through load_audio"):
        log_mel_spectrogram(audio)


def test_refuses_negative_padding():
    with pytest.raises(OptionError, match="padding=-1: give 0 or more"):
        log_mel_spectrogram(np.zeros(1000, np.float32), padding=-1)


def test_takes_strided_and_float64():
    x = np.random.default_rng(0).normal(0, 0.1, 8000)
    expected = log_mel_spectrogram(x[::2].astype(np.float32))
    np.testing.assert_array_equal(log_mel_spectrogram(x[::2]), expected)
    np.testing.assert_array_equal(log_mel_spectrogram(x.astype(np.float32)[::2]), expected)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_golden_mel(backend, monkeypatch):
    if not GOLDENS.exists():
        pytest.skip(f"{GOLDENS} is not here")
    monkeypatch.setenv("WHISPERLITE_BACKEND", backend)
    golden = np.load(GOLDENS)
    audio = load_audio(SHARED / "audio" / f"{golden['audio']}.flac")
    np.testing.assert_allclose(log_mel_spectrogram(pad_or_trim(audio)), golden["mel"], rtol=0, atol=1e-4)


def test_import_is_light():
    heavy = ("scipy", "numba", "soundfile", "av")
    script = f"import sys, whisperlite.audio; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
