"""Results to write, and the layouts that openai-whisper's writers are compared in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from whisperlite.results import Segment, Word
from whisperlite.writers import OPENAI_FORMATS

LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "highlight": {"highlight_words": True},
    "width": {"max_line_width": 18},
    "lines": {"max_line_width": 14, "max_line_count": 2},
    "one_line_highlight": {"max_line_width": 20, "max_line_count": 1, "highlight_words": True},
    "words": {"max_words_per_line": 3},
    "words_and_width": {"max_words_per_line": 4, "max_line_width": 12},
}


class Result(list):
    """Segments with the rest of OpenAI's result."""

    language = "en"

    def to_dict(self) -> dict[str, Any]:
        segments = [segment.to_dict() for segment in self]
        return {"text": "".join(s["text"] for s in segments), "segments": segments, "language": self.language}


def result_of(golden: dict[str, Any]) -> Result:
    """The segments of a golden transcription as records."""
    result = Result(_segment(item) for item in golden["segments"])
    result.language = golden["language"]
    return result


def _segment(item: dict[str, Any]) -> Segment:
    words = tuple(Word(**word) for word in item["words"]) if "words" in item else None
    return Segment(**{**item, "tokens": tuple(item["tokens"]), "words": words})


def cases(golden: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, format and layout of everything a golden's segments are written as."""
    has_words = any(segment.get("words") for segment in golden["segments"])
    for name, layout in LAYOUTS.items():
        for format in OPENAI_FORMATS if name == "plain" else ("srt", "vtt"):
            if has_words or name == "plain":
                yield f"{format}/{name}", format, layout
