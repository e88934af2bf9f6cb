"""A known text with its times, in the shape that writers take.

In: the lines of a text, its timed words. Out: ``AlignedText``.
Knows nothing of: models, how words are placed, files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from whisperlite.results import Segment, Word

# After a full stop that a space follows, and after one of Chinese or Japanese.
_SENTENCE_ENDS = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*")  # noqa: RUF001
_KNOWN = ("id", "start", "end", "text", "words")  # of a segment; nothing was decoded, so the rest has no meaning


@dataclass(frozen=True)
class AlignedText:
    """A known text placed in its audio: ``whisperlite.writers.render`` writes it as it writes a transcript.

    Attributes
    ----------
    segments : tuple of Segment
        A line each, with its words. No token was chosen, so what a ``Segment`` says of decoding is empty or NaN.
    language : str
        Given, or detected.
    duration : float
        Seconds of audio.
    """

    segments: tuple[Segment, ...]
    language: str
    duration: float

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    @property
    def text(self) -> str:
        """The whole text, with its leading space."""
        return "".join(segment.text for segment in self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        """All words in order."""
        return tuple(word for segment in self.segments for word in segment.words or ())

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's result with what is known: of each segment its number, times, text and words."""
        segments = [segment.to_dict() for segment in self.segments]
        known = [{name: segment[name] for name in _KNOWN} for segment in segments]
        return {"text": self.text, "segments": known, "language": self.language}


def lines_of(text: str | Sequence[str]) -> list[str]:
    """What becomes a segment each: the lines of a text, or the sentences of one that has a single line.

    Parameters
    ----------
    text : str or sequence of str
        A sequence is taken as it is. Lines without text are left out, runs of white space made one space.
    """
    lines = text.splitlines() if isinstance(text, str) else text
    found = [" ".join(line.split()) for line in lines]
    found = [line for line in found if line]
    if isinstance(text, str) and len(found) == 1:
        found = [sentence for sentence in _SENTENCE_ENDS.split(found[0]) if sentence]
    return found


def segments_of(lines: Sequence[str], words: Sequence[Word]) -> tuple[Segment, ...]:
    """A segment for each line, from the first of its words to the last.

    A word belongs to the line that its first character is of. A line without a word of its own (punctuation that
    was joined to the word before it) takes no time.

    Parameters
    ----------
    lines : sequence of str
        Of what was aligned, white space aside.
    words : sequence of Word
        In order; together, the same text.
    """
    groups: list[list[Word]] = [[] for _ in lines]
    ends = [0] * len(lines)  # characters up to the end of each line, white space not counted
    for i, line in enumerate(lines):
        ends[i] = _n_characters(line) + (ends[i - 1] if i else 0)
    at, line_of = 0, 0
    for word in words:
        while line_of < len(lines) - 1 and at >= ends[line_of]:
            line_of += 1
        groups[line_of].append(word)
        at += _n_characters(word.word)
    segments = []
    end = 0.0
    for i, (line, group) in enumerate(zip(lines, groups, strict=True)):
        start, end = (group[0].start, group[-1].end) if group else (end, end)
        segments.append(
            Segment(i, 0, start, end, f" {line}", (), math.nan, math.nan, math.nan, math.nan, tuple(group))
        )
    return tuple(segments)


def _n_characters(text: str) -> int:
    return sum(not character.isspace() for character in text)
