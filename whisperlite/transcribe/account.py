"""An account of every second of an audio.

In: spans in the order they were decided. Out: spans without gaps or overlaps, in the order of the audio.
Knows nothing of: models, how a span was decided.

What is decided later holds: clips may overlap or go back. ``first`` is what voice activity detection left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from whisperlite.results import OUTSIDE_CLIPS, Span


def account(first: Iterable[Span], decided: Iterable[Span], duration: float) -> tuple[Span, ...]:
    """Lay spans over each other, from 0 to ``duration`` seconds; neighbours that say the same become one."""
    laid = [Span(0.0, duration, OUTSIDE_CLIPS, "clip_timestamps")] if duration > 0 else []
    for span in (*first, *decided):
        laid = _lay(laid, replace(span, start=max(span.start, 0.0), end=min(span.end, duration)))
    joined: list[Span] = []
    for span in laid:
        if joined and (joined[-1].kind, joined[-1].reason) == (span.kind, span.reason):
            joined[-1] = replace(joined[-1], end=span.end)
        else:
            joined.append(span)
    return tuple(joined)


def _lay(laid: list[Span], new: Span) -> list[Span]:
    """Spans in order with ``new`` on top."""
    if new.end <= new.start:
        return laid
    at = len(laid)
    while at and laid[at - 1].end > new.start:  # most spans go to the end
        at -= 1
    result = laid[:at]
    if at < len(laid) and laid[at].start < new.start:
        result.append(replace(laid[at], end=new.start))
    result.append(new)
    for old in laid[at:]:
        if old.end > new.end:
            result.append(replace(old, start=max(old.start, new.end)))
    return result
