"""Plain text and tables: txt, tsv, csv, Audacity's labels.

In: segments. Out: one string.
Knows nothing of: files, cues.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from whisperlite.results import Segment
from whisperlite.writers.cues import one_line, speaker_prefix

Segments = Sequence[Segment]


def render_txt(segments: Segments) -> str:
    """One line per segment."""
    return "".join(f"{speaker_prefix(segment.speaker)}{segment.text.strip()}\n" for segment in segments)


def render_tsv(segments: Segments) -> str:
    """Tab-separated start and end in milliseconds, and text."""
    rows = [
        f"{_milliseconds(s.start)}\t{_milliseconds(s.end)}\t{speaker_prefix(s.speaker)}{_cell(s.text)}\n"
        for s in segments
    ]
    return "start\tend\ttext\n" + "".join(rows)


def render_csv(segments: Segments) -> str:
    """Start and end in milliseconds, speaker where there are any, and text; quoted where it must be."""
    # ref: whisper.cpp examples/cli/cli.cpp output_csv
    with_speakers = any(segment.speaker for segment in segments)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["start", "end", *(["speaker"] if with_speakers else []), "text"])
    for segment in segments:
        if segment.text:
            speaker = [segment.speaker or ""] if with_speakers else []
            times = [_milliseconds(segment.start), _milliseconds(segment.end)]
            writer.writerow([*times, *speaker, one_line(segment.text.strip())])
    return file.getvalue()


def render_audacity(segments: Segments) -> str:
    """Label track of Audacity: start and end in seconds, label; a word each where their times are known."""
    rows = []
    for segment in segments:
        if not segment.text:
            continue
        for item in segment.words or (segment,):
            text = segment.text if item is segment else item.word  # type: ignore[union-attr]
            if text.strip():
                label = f"{speaker_prefix(segment.speaker)}{_cell(one_line(text))}"
                rows.append(f"{item.start:.6f}\t{item.end:.6f}\t{label}\n")
    return "".join(rows)


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _cell(text: str) -> str:
    return text.strip().replace("\t", " ")
