"""Where speech begins and ends in audio that arrives in pieces.

In: a voice detector, samples. Out: ``Edge`` records, as soon as each is certain.
Knows nothing of: decoding, what is done at an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whisperlite.audio import SAMPLE_RATE
from whisperlite.audio.vad import WINDOW_SAMPLES, VadOptions, VoiceDetector


@dataclass(frozen=True)
class Edge:
    """Speech starts or ends at a sample, padding left out."""

    is_start: bool
    sample: int


class VoiceGate:
    """The edges of ``speech_spans``, found while the audio comes in.

    Parameters
    ----------
    detector : VoiceDetector
    options : VadOptions
        Padding is the caller's; ``max_speech_duration_s`` is not used.

    Attributes
    ----------
    silent_from : int or None
        While somebody speaks: the sample since which the speech may have ended.
    """

    def __init__(self, detector: VoiceDetector, options: VadOptions) -> None:
        self._stream = detector.stream()
        self._threshold = float(np.float32(options.threshold))
        self._end_threshold = float(np.float32(options.end_threshold))
        self._shortest = SAMPLE_RATE * options.min_speech_duration_ms / 1000
        self._min_silence = SAMPLE_RATE * options.min_silence_duration_ms / 1000
        self._start: int | None = None
        self._announced = False
        self._n_windows = 0
        self.silent_from: int | None = None

    @property
    def speaking(self) -> bool:
        """Between a start and its end."""
        return self._announced

    def push(self, samples: np.ndarray) -> list[Edge]:
        """Add samples (n,) float32; gives what became certain."""
        return self._judge(self._stream.push(samples))

    def finish(self, n_samples: int) -> list[Edge]:
        """End the audio, ``n_samples`` of it: speech that goes on ends there."""
        edges = self._judge(self._stream.finish())
        if self._start is not None:
            # Silence too short to end speech ends none at the end of the audio either.
            if not self._announced and n_samples - self._start > self._shortest:
                edges.append(Edge(True, self._start))
                self._announced = True
            if self._announced:
                edges.append(Edge(False, n_samples))
        self._start, self._announced, self.silent_from = None, False, None
        return edges

    def _judge(self, probabilities: np.ndarray) -> list[Edge]:
        # The same rules as audio.vad.spans, one window at a time.
        edges = []
        for probability in probabilities.tolist():
            at = self._n_windows * WINDOW_SAMPLES
            self._n_windows += 1
            if probability >= self._threshold:
                self.silent_from = None
                if self._start is None:
                    self._start = at
            if self._start is None:
                continue
            if probability < self._end_threshold:
                if self.silent_from is None:
                    self.silent_from = at
                if at - self.silent_from >= self._min_silence:
                    if self._announced:
                        edges.append(Edge(False, self.silent_from))
                    self._start, self._announced, self.silent_from = None, False, None
                    continue
            if (
                not self._announced
                and self.silent_from is None
                and at + WINDOW_SAMPLES - self._start > self._shortest
            ):
                self._announced = True
                edges.append(Edge(True, self._start))
        return edges
