"""Segments without what is not speech: ``[BLANK_AUDIO]``, ``(laughs)``, ``*music*``, notes.

In: a segment. Out: the same without such marks.
Knows nothing of: formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from whisperlite.results import Segment, Word

# ref: openai/whisper normalizers/english.py, which drops words between brackets and in parentheses.
# Sung text between notes is speech; the notes are not.
_MARKS = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|（[^（）]*）|【[^【】]*】|\*[^*\s](?:[^*]*[^*\s])?\*|[♩♪♫♬♭♮♯]+")  # noqa: RUF001
_SAYS_SOMETHING = re.compile(r"\w")


def without_non_speech(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments without marks; one that was nothing else is left out."""
    for segment in segments:
        text = _without_marks(segment.text)
        if text is None:
            yield segment
            continue
        words = segment.words and tuple(_spoken(segment.words))
        if text:
            yield replace(segment, text=text, words=words)


def _without_marks(text: str) -> str | None:
    """The text with its leading space; empty where nothing is left; None where nothing is to be done."""
    if not _MARKS.search(text):
        return None
    rest = _MARKS.sub("", text)
    return re.sub(r"(\s)\s+", r"\1", rest).rstrip() if _SAYS_SOMETHING.search(rest) else ""


def _spoken(words: tuple[Word, ...]) -> Iterator[Word]:
    """What is left of words when the marks in their joined text are taken out; a mark may span several."""
    text = "".join(word.word for word in words)
    dropped = bytearray(len(text))
    for mark in _MARKS.finditer(text):
        dropped[mark.start() : mark.end()] = b"\1" * (mark.end() - mark.start())
    at = 0
    for word in words:
        end = at + len(word.word)
        kept = "".join(text[i] for i in range(at, end) if not dropped[i])
        if not any(dropped[at:end]):
            yield word
        elif _SAYS_SOMETHING.search(kept):
            yield replace(word, word=kept)
        at = end
