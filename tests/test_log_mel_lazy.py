"""A spectrogram read in pieces is the spectrogram, and takes no memory for the rest."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from whisperlite.audio import N_SAMPLES, log_mel_spectrogram
from whisperlite.audio.log_mel import LogMel
from whisperlite.errors import AudioError
from whisperlite.transcribe.windows import make_content


@pytest.mark.parametrize("n", [0, 1, 159, 160, 480, 16_000, 16_079, 33_333, 700_001])
@pytest.mark.parametrize("padding", [0, 333, N_SAMPLES])
def test_pieces_equal_the_whole(n, padding):
    audio = np.random.default_rng(n).normal(scale=0.1, size=n).astype(np.float32)
    audio[: n // 2] *= 1e-3  # the maximum lies in the second half
    if n + padding <= 200:
        with pytest.raises(AudioError):
            LogMel(audio, 80, padding)
        return
    whole = log_mel_spectrogram(audio, 80, padding)
    mel = LogMel(audio, 80, padding)
    assert mel.n_frames == whole.shape[1]
    tolerance = {"rtol": 0, "atol": 1e-5}
    for start in range(0, mel.n_frames, 701):
        np.testing.assert_allclose(mel.frames(start, start + 701), whole[:, start : start + 701], **tolerance)
    for start, end in ((0, 1), (1, 4), (max(mel.n_frames - 2, 0), mel.n_frames + 9)):
        np.testing.assert_allclose(mel.frames(start, end), whole[:, start:end], **tolerance)
    assert mel.frames(mel.n_frames, mel.n_frames + 5).shape == (80, 0)


def test_compiled_pieces_are_the_same_bits():
    audio = np.random.default_rng(0).normal(scale=0.1, size=200_000).astype(np.float32)
    whole, mel = log_mel_spectrogram(audio, 80, N_SAMPLES), LogMel(audio, 80, N_SAMPLES)
    for start, end in ((0, 3000), (17, 1234), (1200, 1260), (777, 778)):
        np.testing.assert_array_equal(mel.frames(start, end), whole[:, start:end])


def test_two_axes_are_refused():
    with pytest.raises(AudioError, match="shape"):
        LogMel(np.zeros((2, 16_000), np.float32))


def test_memory_does_not_grow_with_the_audio():
    """Beyond the samples: two minutes and two hours take the same."""
    peaks = []
    for minutes in (2, 120):
        audio = np.zeros(minutes * 60 * 16_000, np.float32)
        audio[::1000] = 0.5
        make_content(audio[:N_SAMPLES], 80).window(0, 3000)
        tracemalloc.start()
        content = make_content(audio, 80)
        for seek in range(0, content.n_frames, content.n_frames // 7):
            content.window(seek, min(3000, content.n_frames - seek))
        content.part(0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000
