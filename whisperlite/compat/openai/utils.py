"""``whisper.utils``: ``get_writer`` and its writers, ``format_timestamp``, and readers of command-line values.

In: the dictionary of ``transcribe``. Out: files in its formats.
Knows nothing of: models; how a format is written.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from whisperlite.decode.result import compression_ratio
from whisperlite.errors import OptionError
from whisperlite.results import Segment, Word
from whisperlite.writers import WriterOptions, render, write_text
from whisperlite.writers import format_timestamp as _format_timestamp
from whisperlite.writers.cues import cues
from whisperlite.writers.subtitles import shown, without_arrows

__all__ = [
    "ResultWriter",
    "SubtitlesWriter",
    "WriteJSON",
    "WriteSRT",
    "WriteTSV",
    "WriteTXT",
    "WriteVTT",
    "compression_ratio",
    "exact_div",
    "format_timestamp",
    "get_end",
    "get_start",
    "get_writer",
    "make_safe",
    "optional_float",
    "optional_int",
    "str2bool",
]

_FLAGS = {"True": True, "False": False}


class ResultWriter:
    """Writes a result into a folder, named after its audio. The file is there whole or not at all.

    Parameters
    ----------
    output_dir : str
        Made where it is not there.
    """

    extension: str

    def __init__(self, output_dir: str) -> None:
        self.output_dir = output_dir

    def __call__(
        self, result: dict[str, Any], audio_path: str, options: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Write ``audio_path``'s result, with the layout of ``write_result``."""
        stem = os.path.splitext(os.path.basename(audio_path))[0]
        file = io.StringIO()
        self.write_result(result, file=file, options=options, **kwargs)
        write_text(Path(self.output_dir, f"{stem}.{self.extension}"), file.getvalue())

    def write_result(
        self, result: dict[str, Any], file: TextIO, options: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Write a result into an open file."""
        raise NotImplementedError


class WriteTXT(ResultWriter):
    """A line for each segment."""

    extension = "txt"

    def write_result(
        self, result: dict[str, Any], file: TextIO, options: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        file.write(_text(result, "txt"))


class SubtitlesWriter(ResultWriter):
    """Subtitles. The layout comes in ``options``, or by name: ``max_line_width``, ``max_line_count``,
    ``highlight_words``, ``max_words_per_line``."""

    always_include_hours: bool
    decimal_marker: str

    def iterate_result(
        self,
        result: dict[str, Any],
        options: dict[str, Any] | None = None,
        *,
        max_line_width: int | None = None,
        max_line_count: int | None = None,
        highlight_words: bool = False,
        max_words_per_line: int | None = None,
    ) -> Iterator[tuple[str, str, str]]:
        """Start, end and text of each cue.

        Raises
        ------
        OptionError
            An option needs the times of words, and the result has none; or it would have no effect.
        """
        layout = _layout(options, max_line_width, max_line_count, highlight_words, max_words_per_line)
        found = cues(_segments(result), layout)
        for start, end, text, _ in shown(found, layout, self.format_timestamp, without_arrows):
            yield start, end, text

    def format_timestamp(self, seconds: float) -> str:
        """A time as the format has it."""
        return format_timestamp(seconds, self.always_include_hours, self.decimal_marker)

    def write_result(
        self,
        result: dict[str, Any],
        file: TextIO,
        options: dict[str, Any] | None = None,
        *,
        max_line_width: int | None = None,
        max_line_count: int | None = None,
        highlight_words: bool = False,
        max_words_per_line: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a result into an open file.

        Raises
        ------
        OptionError
            As ``iterate_result``; or an option is unknown.
        """
        if kwargs:
            raise OptionError(f"{min(kwargs)} is not an option of the {self.extension} writer")
        layout = _layout(options, max_line_width, max_line_count, highlight_words, max_words_per_line)
        file.write(_text(result, self.extension, layout))


class WriteVTT(SubtitlesWriter):
    """WebVTT."""

    extension = "vtt"
    always_include_hours = False
    decimal_marker = "."


class WriteSRT(SubtitlesWriter):
    """SubRip."""

    extension = "srt"
    always_include_hours = True
    decimal_marker = ","


class WriteTSV(ResultWriter):
    """Tab-separated start and end in milliseconds, and text."""

    extension = "tsv"

    def write_result(
        self, result: dict[str, Any], file: TextIO, options: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        file.write(_text(result, "tsv"))


class WriteJSON(ResultWriter):
    """The dictionary as it is."""

    extension = "json"

    def write_result(
        self, result: dict[str, Any], file: TextIO, options: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        json.dump(result, file)


_WRITERS: dict[str, type[ResultWriter]] = {
    writer.extension: writer for writer in (WriteTXT, WriteVTT, WriteSRT, WriteTSV, WriteJSON)
}


def get_writer(output_format: str, output_dir: str) -> Callable[..., None]:
    """A writer of one format, or of ``all``; call it with the result, the path of the audio and its layout.

    Raises
    ------
    OptionError
        The format is none of openai-whisper's.
    """
    if output_format == "all":
        writers = [writer(output_dir) for writer in _WRITERS.values()]

        def write_all(
            result: dict[str, Any], audio_path: str, options: dict[str, Any] | None = None, **kwargs: Any
        ) -> None:
            for writer in writers:
                writer(result, audio_path, options, **kwargs)

        return write_all
    if output_format not in _WRITERS:
        raise OptionError(f"output_format={output_format!r}: give one of {', '.join(_WRITERS)} or all")
    return _WRITERS[output_format](output_dir)


def format_timestamp(seconds: float, always_include_hours: bool = False, decimal_marker: str = ".") -> str:
    """``MM:SS.mmm``, with ``HH:`` before it when asked for or from one hour on.

    Raises
    ------
    OptionError
        The time is negative.
    """
    if not seconds >= 0:
        raise OptionError(f"seconds={seconds!r}: give a time of at least 0")
    return _format_timestamp(seconds, always_include_hours, decimal_marker)


def get_start(segments: list[dict[str, Any]]) -> float | None:
    """Start of the first word; of the first segment where there is no word, None without any."""
    starts = (word["start"] for segment in segments for word in segment["words"])
    return next(starts, segments[0]["start"] if segments else None)


def get_end(segments: list[dict[str, Any]]) -> float | None:
    """End of the last word; of the last segment where there is no word, None without any."""
    ends = (word["end"] for segment in reversed(segments) for word in reversed(segment["words"]))
    return next(ends, segments[-1]["end"] if segments else None)


def make_safe(string: str) -> str:
    """Text that Python's default encoding can write: ``?`` for what it cannot."""
    encoding = sys.getdefaultencoding()
    return string if encoding == "utf-8" else string.encode(encoding, errors="replace").decode(encoding)


def exact_div(x: int, y: int) -> int:
    """``x / y``, which leaves no remainder.

    Raises
    ------
    OptionError
        It does.
    """
    if x % y:
        raise OptionError(f"{x} is not a multiple of {y}")
    return x // y


def str2bool(string: str) -> bool:
    """``True`` or ``False``; anything else is a ``ValueError``, as argparse expects of a type."""
    if string not in _FLAGS:
        raise ValueError(f"Expected one of {set(_FLAGS)}, got {string}")
    return _FLAGS[string]


def optional_int(string: str) -> int | None:
    """An integer, or None for ``None``."""
    return None if string == "None" else int(string)


def optional_float(string: str) -> float | None:
    """A number, or None for ``None``."""
    return None if string == "None" else float(string)


def _layout(
    options: dict[str, Any] | None,
    max_line_width: int | None,
    max_line_count: int | None,
    highlight_words: bool,
    max_words_per_line: int | None,
) -> WriterOptions:
    """What is given by name comes before what is in ``options``; 0 is nothing, as there."""
    given = options or {}
    return WriterOptions(
        highlight_words=bool(highlight_words or given.get("highlight_words")),
        max_line_width=max_line_width or given.get("max_line_width") or None,
        max_line_count=max_line_count or given.get("max_line_count") or None,
        max_words_per_line=max_words_per_line or given.get("max_words_per_line") or None,
    )


def _text(result: dict[str, Any], format: str, layout: WriterOptions | None = None) -> str:
    return render(_Segments(_segments(result)), [format], layout)[format]


class _Segments(list[Segment]):
    """Segments in the shape that ``render`` takes."""

    def to_dict(self) -> dict[str, Any]:
        return {"segments": [segment.to_dict() for segment in self]}


def _segments(result: dict[str, Any]) -> list[Segment]:
    """Records of the segments: times and text are needed, words and speaker taken where they are there."""
    return [_segment(i, item) for i, item in enumerate(result["segments"])]


def _segment(i: int, item: dict[str, Any]) -> Segment:
    words = None
    if "words" in item:
        words = tuple(
            Word(word["word"], word["start"], word["end"], word.get("probability", math.nan))
            for word in item["words"]
        )
    return Segment(
        id=i, seek=0, start=item["start"], end=item["end"], text=item["text"], tokens=(), temperature=math.nan,
        avg_logprob=math.nan, compression_ratio=math.nan, no_speech_prob=math.nan, words=words,
        speaker=item.get("speaker"),
    )  # fmt: skip
