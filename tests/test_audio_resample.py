"""Resampling: quality, length, pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.audio.resample import Resampler, resample
from whisperlite.errors import AudioError

RATES = [8000, 11025, 12000, 16000, 22050, 32000, 37800, 44100, 48000, 96000, 44101]


def sine(hz: float, rate: int, n: int) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(n) / rate)


def ratio_db(signal: np.ndarray, error: np.ndarray) -> float:
    return 10 * math.log10(np.mean(signal**2) / max(np.mean(error**2), 1e-30))


@pytest.mark.parametrize("rate", RATES)
def test_sines_survive(rate):
    """Up to 90 % of the lower Nyquist frequency a sine comes out as the sine sampled at the new rate."""
    edge = 400  # outputs within reach of the ends
    for part in (0.01, 0.1, 0.3, 0.6, 0.9):
        hz = part * min(rate, 16000) / 2
        out = resample(sine(hz, rate, rate // 4).astype(np.float32), rate)
        expected = sine(hz, 16000, len(out))
        assert ratio_db(expected[edge:-edge], (out - expected)[edge:-edge]) > 80, (rate, hz)


@pytest.mark.parametrize("rate", [22050, 37800, 44100, 48000, 96000])
def test_what_cannot_be_kept_is_removed(rate):
    for hz in (8000, 8100, 9000, 0.49 * rate):
        x = sine(hz, rate, rate // 4)
        out = resample(x.astype(np.float32), rate)
        assert ratio_db(x, out[400:-400]) > 80, (rate, hz)


@pytest.mark.parametrize("rate", [8000, 11025])
def test_no_images_above_the_source_s_nyquist(rate):
    out = resample(sine(0.45 * rate, rate, rate).astype(np.float32), rate)[400:-400]
    spectrum = np.abs(np.fft.rfft(out * np.blackman(len(out)))) ** 2
    image = spectrum[int((0.5 * rate + 200) / 16000 * len(out)) :]
    assert 10 * math.log10(spectrum.max() / image.max()) > 80


@pytest.mark.parametrize("rate", RATES)
def test_constant_and_length(rate):
    for n in (1, 2, 999, 5000):
        out = resample(np.ones(n, np.float32), rate)
        assert out.dtype == np.float32 and len(out) == math.ceil(n * 16000 / rate)
    middle = len(out) // 2
    assert abs(out[middle - 20 : middle + 20] - 1).max() < 1e-4


def test_agrees_with_scipy_on_speech_like_noise():
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(3)
    x = signal.lfilter([1], [1, -0.9], rng.normal(0, 0.05, 20000))
    taps = signal.firwin(2 * 64 * 441 + 1, 0.9554 / 441, window=("kaiser", 8.96))
    expected = signal.resample_poly(x, 160, 441, window=taps)
    out = resample(x.astype(np.float32), 44100)
    assert len(out) == len(expected)
    assert ratio_db(expected, out - expected) > 80


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([8000, 11025, 16000, 44100, 48000, 44101]), st.lists(st.integers(0, 3000), max_size=8))
def test_pieces_equal_the_whole(rate, sizes):
    x = np.random.default_rng(0).normal(0, 0.1, sum(sizes)).astype(np.float32)
    resampler = Resampler(rate, 16000)
    pieces = [resampler.push(piece) for piece in np.split(x, np.cumsum(sizes)[:-1])] if sizes else []
    pieces.append(resampler.finish())
    joined = np.concatenate(pieces)
    whole = resample(x, rate)
    assert joined.shape == whole.shape
    np.testing.assert_allclose(joined, whole, rtol=0, atol=1e-6)


def test_other_target():
    out = resample(sine(1000, 16000, 16000).astype(np.float32), 16000, 44100)
    expected = sine(1000, 44100, 44100)
    assert ratio_db(expected[1000:-1000], (out - expected)[1000:-1000]) > 80


@pytest.mark.parametrize("rate", [0, -1, 999, 768_001, 16000.5, "16000", None, float("nan"), float("inf")])
def test_refuses_rates(rate):
    with pytest.raises(AudioError, match="give whole Hz from 1000 to 768000"):
        Resampler(rate, 16000)
    with pytest.raises(AudioError, match="sampling_rate="):
        Resampler(16000, rate)


def test_whole_float_rate_is_fine():
    assert len(resample(np.zeros(441, np.float32), 44100.0)) == 160
