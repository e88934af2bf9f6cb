"""The text of each output format.

In: segments, or a transcript. Out: one string.
Knows nothing of: files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from whisperlite.errors import OptionError
from whisperlite.results import Segment


class Result(Protocol):
    """What a writer needs of a transcript."""

    def __iter__(self) -> Iterator[Segment]: ...

    def to_dict(self) -> dict[str, Any]: ...


def format_timestamp(seconds: float, always_hours: bool = False, decimal_mark: str = ".") -> str:
    """``MM:SS.mmm``, with ``HH:`` before it when asked for or from one hour on.

    Examples
    --------
    >>> format_timestamp(62.34), format_timestamp(3600.0)
    ('01:02.340', '01:00:00.000')
    """
    # ref: openai/whisper utils.py format_timestamp
    milliseconds = round(seconds * 1000.0)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, milliseconds = divmod(milliseconds, 1000)
    prefix = f"{hours:02d}:" if always_hours or hours else ""
    return f"{prefix}{minutes:02d}:{whole:02d}{decimal_mark}{milliseconds:03d}"


def render_txt(result: Result) -> str:
    """One line per segment."""
    return "".join(f"{segment.text.strip()}\n" for segment in result)


def render_srt(result: Result) -> str:
    """SubRip."""
    cues = []
    for number, segment in enumerate(result, start=1):
        start = format_timestamp(segment.start, always_hours=True, decimal_mark=",")
        end = format_timestamp(segment.end, always_hours=True, decimal_mark=",")
        cues.append(f"{number}\n{start} --> {end}\n{_cue_text(segment)}\n\n")
    return "".join(cues)


def render_vtt(result: Result) -> str:
    """WebVTT."""
    cues = [
        f"{format_timestamp(segment.start)} --> {format_timestamp(segment.end)}\n{_cue_text(segment)}\n\n"
        for segment in result
    ]
    return "WEBVTT\n\n" + "".join(cues)


def render_tsv(result: Result) -> str:
    """Tab-separated start and end in milliseconds, and text."""
    rows = [
        f"{round(1000 * segment.start)}\t{round(1000 * segment.end)}\t{_line(segment.text)}\n" for segment in result
    ]
    return "start\tend\ttext\n" + "".join(rows)


def render_json(result: Result) -> str:
    """OpenAI's result as JSON."""
    return json.dumps(result.to_dict())


def _cue_text(segment: Segment) -> str:
    return segment.text.strip().replace("-->", "->")


def _line(text: str) -> str:
    return text.strip().replace("\t", " ")


FORMATS: dict[str, Callable[[Result], str]] = {
    "txt": render_txt,
    "srt": render_srt,
    "vtt": render_vtt,
    "tsv": render_tsv,
    "json": render_json,
}


def render(result: Result, formats: Iterable[str]) -> dict[str, str]:
    """Text of a result in each of the formats, by name.

    Raises
    ------
    OptionError
        A format is unknown.
    """
    texts = {}
    for name in formats:
        if name not in FORMATS:
            raise OptionError(f"output_format={name!r}: give one of {', '.join(FORMATS)}, all")
        texts[name] = FORMATS[name](result)
    return texts
