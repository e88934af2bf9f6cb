"""The result of a transcription: it yields segments while they are decoded.

In: a generator of ``Window`` records. Out: ``Transcript``.
Knows nothing of: models, how windows are made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from whisperlite.audio import SAMPLE_RATE
from whisperlite.results import Segment, Span, Window
from whisperlite.transcribe.account import account


class Transcript:
    """Segments of one audio, decoded as they are asked for.

    Iterating decodes window by window and may be repeated: what was decoded is kept. ``segments``,
    ``text``, ``account`` and ``to_dict`` decode to the end first.

    Attributes
    ----------
    language : str
        Given, or detected.
    language_probs : dict or None
        Probability of every language, where it was detected.
    duration : float
        Seconds of audio.
    speech : tuple of (float, float), or None
        What was heard with ``vad_filter``, as (start, end) in seconds; None without it.
    """

    def __init__(
        self,
        windows: Iterator[Window],
        decode_text: Callable[[Sequence[int]], str],
        language: str,
        duration: float,
        language_probs: dict[str, float] | None = None,
        speech: tuple[tuple[float, float], ...] | None = None,
        silent: Sequence[Span] = (),
    ) -> None:
        self._source = windows
        self._decode_text = decode_text
        self._windows: list[Window] = []
        self._lock = threading.Lock()
        self._ended = False
        self._error: BaseException | None = None
        self.language = language
        self.language_probs = language_probs
        self.duration = duration
        self.speech = speech
        self._silent = tuple(silent)

    @property
    def speech_duration(self) -> float:
        """Seconds that were heard: all, or with ``vad_filter`` those of speech."""
        if self.speech is None:
            return self.duration
        n_samples = sum(round((end - start) * SAMPLE_RATE) for start, end in self.speech)
        return min(n_samples / SAMPLE_RATE, self.duration)

    def iter_windows(self) -> Iterator[Window]:
        """Yield each window as it is decoded, skipped ones too."""
        i = 0
        while self._have(i):
            yield self._windows[i]
            i += 1

    def __iter__(self) -> Iterator[Segment]:
        for window in self.iter_windows():
            yield from window.segments

    def _have(self, i: int) -> bool:
        """Decode up to window ``i``; False where there is none."""
        with self._lock:
            while len(self._windows) <= i and not self._ended:
                if self._error is not None:  # what failed stays failed: never a transcript cut short
                    raise self._error
                try:
                    self._windows.append(next(self._source))
                except StopIteration:
                    self._ended = True
                except BaseException as error:
                    self._error = error
                    raise
            return i < len(self._windows)

    @property
    def windows(self) -> tuple[Window, ...]:
        """All windows; decodes to the end."""
        return tuple(self.iter_windows())

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All segments; decodes to the end."""
        return tuple(self)

    @property
    def account(self) -> tuple[Span, ...]:
        """What became of every second, and by which rule: spans from 0 to ``duration``; decodes to the end."""
        decided = (span for window in self.iter_windows() for span in window.spans)
        return account(self._silent, decided, self.duration)

    @property
    def text(self) -> str:
        """The whole text, with its leading space; decodes to the end."""
        # From all tokens at once: a character's bytes may end in the next segment.
        return self._decode_text([token for segment in self for token in segment.tokens])

    def decode_tokens(self, tokens: Sequence[int]) -> str:
        """Text of some tokens; timestamps give none, part of a character gives U+FFFD."""
        return self._decode_text(tokens)

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's result: ``text``, ``segments``, ``language``; decodes to the end."""
        return {
            "text": self.text,
            "segments": [segment.to_dict() for segment in self],
            "language": self.language,
        }

    def __repr__(self) -> str:
        state = "done" if self._ended else "decoding"
        return f"<Transcript {self.language} {self.duration:.2f} s, {len(self._windows)} windows, {state}>"
