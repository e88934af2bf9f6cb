"""Cutting the mel of a whole audio into windows.

In: samples; clips in seconds. Out: the mel of one window at a time, clips in frames.
Knows nothing of: tokens, models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from whisperlite.audio import (
    FRAMES_PER_SECOND,
    HOP_LENGTH,
    N_FRAMES,
    N_SAMPLES,
    SAMPLE_RATE,
    pad_or_trim,
)
from whisperlite.audio.log_mel import LogMel

SECONDS_PER_FRAME = HOP_LENGTH / SAMPLE_RATE


@dataclass(frozen=True)
class Content:
    """The mel of an audio followed by 30 s of silence, read piece by piece: ``read(start, end)`` gives (M, frames).

    ``n_frames`` of it are the audio.
    """

    read: Callable[[int, int], np.ndarray]
    n_frames: int

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return frames_duration(self.n_frames)

    def window(self, seek: int, n_frames: int, window_frames: int = N_FRAMES) -> np.ndarray:
        """Mel (M, window_frames) from frame ``seek``: ``n_frames`` of audio, then zeros."""
        return pad_or_trim(self.read(seek, seek + n_frames), window_frames)

    def part(self, i: int) -> np.ndarray | None:
        """The i-th 30 s (M, N_FRAMES), filled up with the mel of silence: what language detection hears.

        None past the end of the audio; part 0 is always there.
        """
        if i and i * N_FRAMES >= self.n_frames:
            return None
        return pad_or_trim(self.read(i * N_FRAMES, (i + 1) * N_FRAMES), N_FRAMES)


def frames_duration(n_frames: int) -> float:
    """Seconds of so many mel frames."""
    return float(n_frames * HOP_LENGTH / SAMPLE_RATE)


def make_content(samples: np.ndarray, n_mels: int, threads: int | None = None) -> Content:
    """Log-mel of samples (n,) float32 at 16 kHz, with the silence that transcription expects after it."""
    mel = LogMel(samples, n_mels, padding=N_SAMPLES, threads=threads)
    return Content(mel.frames, mel.n_frames - N_FRAMES)


def clip_frames(seconds: Sequence[float], content_frames: int) -> list[tuple[int, int]]:
    """Clips as (start, end) mel frames. An odd last start runs to the end; no clip reaches beyond it."""
    # ref: openai/whisper transcribe.py; there a clip past the end of the audio never returns.
    points = [round(value * FRAMES_PER_SECOND) for value in seconds] or [0]
    if len(points) % 2:
        points.append(content_frames)
    return [(start, min(end, content_frames)) for start, end in zip(points[::2], points[1::2], strict=True)]
