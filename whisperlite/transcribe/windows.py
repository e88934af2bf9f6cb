"""Cutting the mel of a whole audio into windows.

In: samples; clips in seconds. Out: the padded mel, clips in frames, the mel of one window.
Knows nothing of: tokens, models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whisperlite.audio import (
    FRAMES_PER_SECOND,
    HOP_LENGTH,
    N_FRAMES,
    N_SAMPLES,
    SAMPLE_RATE,
    log_mel_spectrogram,
    pad_or_trim,
)

SECONDS_PER_FRAME = HOP_LENGTH / SAMPLE_RATE


@dataclass(frozen=True)
class Content:
    """The mel (M, F) of an audio followed by 30 s of silence; ``n_frames`` of it are the audio."""

    mel: np.ndarray
    n_frames: int

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return float(self.n_frames * HOP_LENGTH / SAMPLE_RATE)

    def window(self, seek: int, n_frames: int) -> np.ndarray:
        """Mel (M, N_FRAMES) from frame ``seek``: ``n_frames`` of audio, then zeros."""
        return pad_or_trim(self.mel[:, seek : seek + n_frames], N_FRAMES)

    def head(self) -> np.ndarray:
        """The first 30 s (M, N_FRAMES), filled up with the mel of silence: what language detection hears."""
        return pad_or_trim(self.mel, N_FRAMES)


def make_content(samples: np.ndarray, n_mels: int) -> Content:
    """Log-mel of samples (n,) float32 at 16 kHz, with the silence that transcription expects after it."""
    mel = log_mel_spectrogram(samples, n_mels, padding=N_SAMPLES)
    return Content(mel, mel.shape[-1] - N_FRAMES)


def clip_frames(seconds: Sequence[float], content_frames: int) -> list[tuple[int, int]]:
    """Clips as (start, end) mel frames. An odd last start runs to the end; no clip reaches beyond it."""
    # ref: openai/whisper transcribe.py; there a clip past the end of the audio never returns.
    points = [round(value * FRAMES_PER_SECOND) for value in seconds] or [0]
    if len(points) % 2:
        points.append(content_frames)
    return [(start, min(end, content_frames)) for start, end in zip(points[::2], points[1::2], strict=True)]
