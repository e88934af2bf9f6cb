"""What the commands say: errors and segments.

In: errors, segments. Out: one line each.
Knows nothing of: commands.
"""

from __future__ import annotations

import sys

from whisperlite.results import Segment
from whisperlite.writers import format_timestamp


def report_error(error: object) -> None:
    """``error: ...`` on stderr, in one line; nothing where there is nothing to say."""
    if message := " ".join(str(error).split()):
        note(f"error: {message}")


def note(text: str) -> None:
    """A line on stderr that is not part of the transcript."""
    sys.stdout.flush()
    print(text, file=sys.stderr)


def show_segment(segment: Segment) -> None:
    """``[00:00.000 --> 00:02.340]  Three six nine two.`` on stdout; nothing for a segment without text."""
    if segment.text:
        start, end = format_timestamp(segment.start), format_timestamp(segment.end)
        speaker = f"{segment.speaker}:" if segment.speaker else ""
        print(f"[{start} --> {end}] {speaker}{segment.text}", flush=True)
