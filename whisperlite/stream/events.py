"""What a live session says: frozen records.

In: nothing. Out: ``Level``, ``SpeechStart``, ``SpeechEnd``, ``Tentative``, ``Committed``, ``SegmentClosed``,
``Dropped``. Knows nothing of: how they come about.
All times are seconds from the start of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from whisperlite.results import Segment, Word


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something happened.

    Attributes
    ----------
    at : float
        Seconds of audio heard when it was found out.
    channel : int or None
        Of channels transcribed apart.
    """

    at: float
    channel: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ``event`` is the kind in words, then the fields."""
        result: dict[str, Any] = {"event": _NAMES[type(self)]}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, tuple):
                value = [word.to_dict() for word in value]
            elif isinstance(value, Segment):
                value = value.to_dict()
            if not (item.name == "channel" and value is None):
                result[item.name] = value
        return result


@dataclass(frozen=True, kw_only=True)
class Level(Event):
    """How loud the newest samples were: decibels below full scale, at least -120."""

    rms_db: float
    peak_db: float


@dataclass(frozen=True, kw_only=True)
class SpeechStart(Event):
    """Somebody began to speak, at ``time``."""

    time: float


@dataclass(frozen=True, kw_only=True)
class SpeechEnd(Event):
    """Speech ended, at ``time``. What was said until then is committed."""

    time: float


@dataclass(frozen=True, kw_only=True)
class Tentative(Event):
    """What seems to follow the committed words. Takes the place of the tentative words before it."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return "".join(word.word for word in self.words)


@dataclass(frozen=True, kw_only=True)
class Committed(Event):
    """Words that stay. All of them joined are the transcript; a mark may come as a word of its own."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return "".join(word.word for word in self.words)


@dataclass(frozen=True, kw_only=True)
class SegmentClosed(Event):
    """A sentence, or what was said up to a pause: committed words as a segment."""

    segment: Segment


@dataclass(frozen=True, kw_only=True)
class Dropped(Event):
    """Input that came faster than it was taken, from ``start`` on; silence stands in its place."""

    start: float
    seconds: float


_NAMES = {
    Level: "level",
    SpeechStart: "speech start",
    SpeechEnd: "speech end",
    Tentative: "tentative",
    Committed: "committed",
    SegmentClosed: "segment closed",
    Dropped: "dropped",
}
