"""Audio without its silence, and the way back.

In: spans of speech. Out: the cut audio, times of the cut audio in the original, the spans that were removed.
Knows nothing of: detectors, transcription.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

import numpy as np

from whisperlite.audio.vad.options import SAMPLE_RATE
from whisperlite.audio.vad.spans import Span
from whisperlite.errors import OptionError


class SpeechMap:
    """Which samples of a recording are kept, and where each of them was.

    Parameters
    ----------
    spans : iterable of (int, int)
        Samples ``start .. end - 1`` to keep, in order and disjoint, as ``speech_spans`` gives them.
    n_samples : int
        Length of the recording.

    Attributes
    ----------
    kept, removed : tuple of (int, int)
        Together they cover every sample once.
    n_kept : int
        Length of the cut audio.

    Raises
    ------
    OptionError
        A span is empty, out of order or outside the recording.
    """

    def __init__(self, spans: Iterable[Span], n_samples: int):
        self.n_samples = n_samples
        kept: list[Span] = []
        removed: list[Span] = []
        before = 0
        for start, end in spans:
            if not before <= start < end <= n_samples:
                raise OptionError(
                    f"span {start} to {end}: give spans in order, after {before} and within {n_samples} samples"
                )
            if start > before:
                removed.append((before, start))
            kept.append((start, end))
            before = end
        if before < n_samples:
            removed.append((before, n_samples))
        self.kept, self.removed = tuple(kept), tuple(removed)
        self._ends = list(accumulate(end - start for start, end in kept))  # in the cut audio
        self._starts = [start for start, _ in kept]  # in the recording
        self.n_kept = self._ends[-1] if kept else 0

    @property
    def kept_seconds(self) -> tuple[tuple[float, float], ...]:
        """``kept`` in seconds."""
        return tuple((start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in self.kept)

    @property
    def removed_seconds(self) -> tuple[tuple[float, float], ...]:
        """``removed`` in seconds."""
        return tuple((start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in self.removed)

    def cut(self, audio: np.ndarray) -> np.ndarray:
        """The kept samples one after another, in a new array.

        Parameters
        ----------
        audio : ndarray (n_samples,)

        Returns
        -------
        ndarray (n_kept,)

        Raises
        ------
        OptionError
            The audio has another length.
        """
        if audio.shape != (self.n_samples,):
            raise OptionError(f"audio of shape {audio.shape}: this map is of {self.n_samples} samples")
        return np.concatenate([audio[:0], *(audio[start:end] for start, end in self.kept)])

    def cut_sample(self, sample: int) -> int:
        """Where a position in the recording is in the cut audio: how many samples before it are kept."""
        index = bisect_right(self._starts, sample) - 1
        if index < 0:
            return 0
        end = self.kept[index][1]
        return self._ends[index] - max(end - sample, 0)

    def original_sample(self, sample: int, is_end: bool = False) -> int:
        """Where a position in the cut audio was in the recording.

        Parameters
        ----------
        sample : int
            0 to ``n_kept``. What lies beyond goes on after the last kept sample, up to the end of the recording.
        is_end : bool
            At a seam: the end of what came before it (True), or the start of what follows (False).

        Returns
        -------
        int
            ``cut(audio)[i]`` is ``audio[original_sample(i)]``. Never decreases as ``sample`` grows.
        """
        if not self.kept:
            return min(max(sample, 0), self.n_samples)
        index = bisect_left(self._ends, sample) if is_end else bisect_right(self._ends, sample)
        return self._placed(sample, min(index, len(self.kept) - 1))

    def original_time(self, seconds: float, is_end: bool = False) -> float:
        """``original_sample`` in seconds; the time is taken to the nearest sample."""
        return self.original_sample(round(seconds * SAMPLE_RATE), is_end) / SAMPLE_RATE

    def original_times(self, start: float, end: float) -> tuple[float, float]:
        """Start and end in the recording of a segment of the cut audio, in seconds; start <= end."""
        first = self.original_time(start)
        return first, max(first, self.original_time(end, is_end=True))

    def original_word_times(self, start: float, end: float) -> tuple[float, float]:
        """Start and end in the recording of a word of the cut audio, in seconds.

        A word is never torn: it belongs to the span of speech that holds its middle, and ends where that does.
        """
        # ref: faster-whisper transcribe.py restore_speech_timestamps
        if not self.kept:
            return self.original_times(start, end)
        index = self._span_of(start, end)
        return self._within(start, index), self._within(end, index)

    def original_times_with_words(
        self, start: float, end: float, first: tuple[float, float], last: tuple[float, float]
    ) -> tuple[float, float]:
        """Start and end in the recording of a segment of the cut audio, in seconds; start <= end.

        It starts in the span of its first word and ends in that of its last; both words are (start, end).
        """
        if not self.kept:
            return self.original_times(start, end)
        begin = self._within(start, self._span_of(*first))
        return begin, max(begin, self._within(end, self._span_of(*last)))

    def original_spans(self, start: float, end: float) -> tuple[tuple[float, float], ...]:
        """The parts of the recording that a stretch of the cut audio is made of, in seconds; none for nothing.

        Parameters
        ----------
        start, end : float
            Seconds of the cut audio; what lies beyond it is left out.
        """
        first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        found = []
        for (lower, upper), cut_end in zip(self.kept, self._ends, strict=True):
            offset = upper - cut_end
            lower, upper = max(lower, first + offset), min(upper, last + offset)
            if lower < upper:
                found.append((lower / SAMPLE_RATE, upper / SAMPLE_RATE))
        return tuple(found)

    def _span_of(self, start: float, end: float) -> int:
        """The span that holds the middle of a stretch of the cut audio."""
        middle = (round(start * SAMPLE_RATE) + round(end * SAMPLE_RATE)) // 2
        return min(bisect_right(self._ends, middle), len(self.kept) - 1)

    def _within(self, seconds: float, index: int) -> float:
        """A time in the recording, in seconds, held inside span ``index``; the last one goes on to the end."""
        lower, upper = self.kept[index]
        if index == len(self.kept) - 1:
            upper = self.n_samples
        return min(max(self._placed(round(seconds * SAMPLE_RATE), index), lower), upper) / SAMPLE_RATE

    def _placed(self, sample: int, index: int) -> int:
        """Where a position was, counted from span ``index``."""
        end = self.kept[index][1]
        return min(max(end + sample - self._ends[index], 0), self.n_samples)
