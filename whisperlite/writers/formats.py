"""The output formats: their names, and what a file of each is called.

In: a transcript, names of formats, ``WriterOptions``. Out: texts by name.
Knows nothing of: files, the notation of any format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from whisperlite.errors import OptionError
from whisperlite.results import Segment
from whisperlite.writers.full import full_dict
from whisperlite.writers.non_speech import without_non_speech
from whisperlite.writers.options import WriterOptions
from whisperlite.writers.subtitles import render_ass, render_lrc, render_srt, render_vtt
from whisperlite.writers.tables import render_audacity, render_csv, render_tsv, render_txt


class Result(Protocol):
    """What a writer needs of a transcript; json-full writes what more there is of a ``Transcript``."""

    def __iter__(self) -> Iterator[Segment]: ...

    def to_dict(self) -> dict[str, Any]: ...


_SUBTITLES: dict[str, Callable[[Sequence[Segment], WriterOptions], str]] = {
    "srt": render_srt,
    "vtt": render_vtt,
    "ass": render_ass,
    "lrc": render_lrc,
}
_TABLES: dict[str, Callable[[Sequence[Segment]], str]] = {
    "txt": render_txt,
    "tsv": render_tsv,
    "csv": render_csv,
    "audacity": render_audacity,
}

# What a file's name ends in, by format. Where it has an inner suffix, ``output_stems`` keeps stems clear of it.
SUFFIXES = {
    "txt": ".txt",
    "srt": ".srt",
    "vtt": ".vtt",
    "tsv": ".tsv",
    "json": ".json",
    "json-full": ".full.json",
    "lrc": ".lrc",
    "csv": ".csv",
    "ass": ".ass",
    "audacity": ".labels.txt",
}
FORMATS = tuple(SUFFIXES)
OPENAI_FORMATS = ("txt", "srt", "vtt", "tsv", "json")


def render(result: Result, formats: Iterable[str], options: WriterOptions | None = None) -> dict[str, str]:
    """Text of a result in each of the formats, by name.

    Parameters
    ----------
    result : Transcript, SpeakerTranscript or the like
    formats : iterable of str
        Of ``FORMATS``.
    options : WriterOptions, optional

    Raises
    ------
    OptionError
        A format is unknown, or an option needs the times of words and they are not known.
    """
    options = options or WriterOptions()
    segments = list(without_non_speech(result) if options.hide_non_speech else result)
    texts = {}
    for name in formats:
        if name in _SUBTITLES:
            texts[name] = _SUBTITLES[name](segments, options)
        elif name in _TABLES:
            texts[name] = _TABLES[name](segments)
        elif name in ("json", "json-full"):
            texts[name] = json.dumps(result.to_dict() if name == "json" else full_dict(result))
        else:
            raise OptionError(f"output_format={name!r}: give one of {', '.join(FORMATS)}, all")
    return texts
