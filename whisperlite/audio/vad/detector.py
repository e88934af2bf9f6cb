"""What a voice detector is, and its stream of windows.

In: samples in chunks of any size. Out: a probability of speech for each window of 512 samples.
Knows nothing of: how a window is judged, what becomes of the probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from whisperlite.audio.samples import checked_samples
from whisperlite.audio.vad.options import WINDOW_SAMPLES
from whisperlite.errors import AudioError

# Windows judged at once: (n_context + 512 * n_windows,) samples to (n_windows,) probabilities.
Judge = Callable[[np.ndarray], np.ndarray]

WINDOWS_AT_ONCE = 512


class VoiceDetector(Protocol):
    """Judges how likely a window of audio holds speech. Holds no state of any audio."""

    def probabilities(self, audio: np.ndarray) -> np.ndarray:
        """Probabilities (ceil(n / 512),) float32 of the windows of (n,) float samples at 16 kHz.

        Zeros fill the last window. The same as pushing the audio through a stream in any chunks.
        """
        ...

    def stream(self) -> VoiceStream:
        """A new stream of windows."""
        ...


class VoiceStream:
    """Windows of audio that arrives in pieces.

    Parameters
    ----------
    n_context : int
        Samples before a window that its judge sees too; zeros before the first.
    judge : callable
        Called with consecutive windows, each once and in order; keeps what it must remember.
    """

    def __init__(self, n_context: int, judge: Judge):
        self._n_context = n_context
        self._judge = judge
        self._held = np.zeros(n_context, np.float32)  # context, then samples of a window not yet full
        self._finished = False

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add samples.

        Parameters
        ----------
        samples : ndarray (n,) float
            Mono at 16 kHz, finite; may be empty.

        Returns
        -------
        ndarray (n_windows,) float32
            Probabilities of the windows that these samples filled.

        Raises
        ------
        AudioError
            Samples of another kind, NaN or infinite ones, or ``finish`` was called. Nothing is taken then.
        """
        self._check_open()
        held = np.concatenate((self._held, checked_samples(samples)))
        n_windows = (len(held) - self._n_context) // WINDOW_SAMPLES
        found = []
        for first in range(0, n_windows, WINDOWS_AT_ONCE):
            last = min(first + WINDOWS_AT_ONCE, n_windows)
            found.append(self._judge(held[first * WINDOW_SAMPLES : last * WINDOW_SAMPLES + self._n_context]))
        self._held = held[n_windows * WINDOW_SAMPLES :].copy()
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def finish(self) -> np.ndarray:
        """End the audio: the probability of a last window filled up with zeros, or none where none was begun.

        Raises
        ------
        AudioError
            ``finish`` was called before.
        """
        self._check_open()
        n_begun = len(self._held) - self._n_context
        last = self.push(np.zeros(-n_begun % WINDOW_SAMPLES, np.float32))
        self._finished = True
        return last

    def _check_open(self) -> None:
        if self._finished:
            raise AudioError("the stream is finished; make a new one for the next audio")


def probabilities_of(stream: VoiceStream, audio: np.ndarray) -> np.ndarray:
    """All probabilities of one recording, from a fresh stream."""
    return np.concatenate((stream.push(audio), stream.finish()))
