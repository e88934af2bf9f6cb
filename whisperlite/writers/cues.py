"""Segments cut into what stands on the screen together.

In: segments, ``WriterOptions``. Out: ``Cue`` records in order of time.
Knows nothing of: the notation of any format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from whisperlite.errors import OptionError
from whisperlite.results import Segment, Word
from whisperlite.writers.options import WriterOptions

LONG_PAUSE_SECONDS = 3.0  # between the starts of two words: no cue runs across it


@dataclass(frozen=True)
class Cue:
    """Text that is shown together.

    Attributes
    ----------
    start, end : float
        Seconds. Starts never go back; a cue ends before the next one of its speaker begins.
    text : str
        Lines joined by newlines.
    words : tuple of Word
        Joined, they are the text; empty where word times are not known.
    speaker : str or None
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    speaker: str | None = None


def speaker_prefix(speaker: str | None) -> str:
    """What formats without a place of their own for the speaker put before the text."""
    return f"{speaker}: " if speaker else ""


def cues(segments: Sequence[Segment], options: WriterOptions, prefixed: bool = False) -> list[Cue]:
    """Cut segments into cues: from words where all that was said has them, else one cue for each segment.

    Parameters
    ----------
    segments : sequence of Segment
    options : WriterOptions
    prefixed : bool
        The format writes ``speaker_prefix`` before the text: it counts in the width of the first line.

    Raises
    ------
    OptionError
        An option needs the times of words, and they are not known.
    """
    # ref: openai/whisper utils.py SubtitlesWriter.iterate_result
    if all(segment.words is not None for segment in segments if segment.text):
        found = [_cue(words, speaker) for words, speaker in _grouped(_timed(segments), options, prefixed)]
    elif options.word_options:
        raise OptionError(f"{options.word_options[0]} needs the times of words; give word_timestamps=True")
    else:
        found = _whole(segments)
    return sorted(found, key=lambda cue: cue.start)


def one_line(text: str) -> str:
    """Text without line breaks."""
    return re.sub(r"\s*[\r\n]+\s*", " ", text)


def _whole(segments: Sequence[Segment]) -> list[Cue]:
    found: list[Cue | None] = [None] * len(segments)
    for speaker in dict.fromkeys(segment.speaker for segment in segments):
        own = [i for i, segment in enumerate(segments) if segment.speaker == speaker]
        times = _monotone([(segments[i].start, segments[i].end) for i in own])
        for i, (start, end) in zip(own, times, strict=True):
            found[i] = Cue(start, end, one_line(segments[i].text.strip()), (), speaker)
    return [cue for cue in found if cue is not None]


def _timed(segments: Sequence[Segment]) -> list[tuple[tuple[Word, ...], str | None]]:
    """Words of each segment, with its speaker; times of a speaker's words never cross."""
    found: list[tuple[Word, ...]] = [()] * len(segments)
    for speaker in dict.fromkeys(segment.speaker for segment in segments):
        own = [i for i, segment in enumerate(segments) if segment.speaker == speaker]
        times = iter(_monotone([(word.start, word.end) for i in own for word in segments[i].words or ()]))
        for i in own:
            placed = zip(segments[i].words or (), times, strict=False)
            found[i] = tuple(Word(one_line(w.word), start, end, w.probability) for w, (start, end) in placed)
    return [(words, segment.speaker) for words, segment in zip(found, segments, strict=True)]


def _monotone(times: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Starts that never go back; ends no later than the next start."""
    starts: list[float] = []
    for start, _ in times:
        starts.append(max(start, starts[-1]) if starts else start)
    limits = [*starts[1:], float("inf")][: len(starts)]
    return [
        (start, max(start, min(end, limit))) for start, (_, end), limit in zip(starts, times, limits, strict=True)
    ]


def _grouped(
    timed: list[tuple[tuple[Word, ...], str | None]], options: WriterOptions, prefixed: bool
) -> Iterator[tuple[list[Word], str | None]]:
    """Words of each cue, stripped and with a newline before them where a line begins, and their speaker."""
    width = options.max_line_width or 1000
    count = options.max_line_count
    group: list[Word] = []
    of: str | None = None
    n_lines, line_len = 1, 0
    before = next((words[0].start for words, _ in timed if words), 0.0)
    for words, speaker in timed:
        prefix = len(speaker_prefix(speaker)) if prefixed else 0
        for i, word in enumerate(words):
            begins_part = i % (options.max_words_per_line or 1000) == 0
            pause = not options.follows_segments and word.start - before > LONG_PAUSE_SECONDS
            ends_cue = bool(group) and (speaker != of or (begins_part and options.follows_segments))
            if line_len > 0 and line_len + len(word.word) <= width and not pause and not ends_cue:
                line_len += len(word.word)
                placed = word
            else:
                placed = replace(word, word=word.word.strip())
                full = count is not None and (pause or n_lines >= count)
                if group and (full or ends_cue):
                    yield group, of
                    group, n_lines = [], 1
                elif line_len > 0:
                    n_lines += 1
                    placed = replace(placed, word="\n" + placed.word)
                line_len = len(placed.word.strip()) + (0 if group else prefix)
            group.append(placed)
            of, before = speaker, word.start
    if group:
        yield group, of


def _cue(words: list[Word], speaker: str | None) -> Cue:
    return Cue(words[0].start, words[-1].end, "".join(word.word for word in words), tuple(words), speaker)
