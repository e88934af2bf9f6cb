"""The decision record as lines of text.

In: a ``Window``, an account. Out: lines: what was tried, what was rejected and why, what was left out.
Knows nothing of: files, models.
"""

from __future__ import annotations

from collections.abc import Iterable

from whisperlite.results import TRANSCRIBED, Span, Window
from whisperlite.writers.timestamps import format_timestamp


def record_lines(window: Window) -> list[str]:
    """What there is to say of a window; nothing where its first try was accepted and transcribed without a draft.

    One line for each of several attempts, one for what a draft did, and one for a window that was not transcribed,
    or not all of it.
    """
    place = f"[{format_timestamp(window.start)} --> {format_timestamp(window.end)}]"
    lines = []
    if len(window.attempts) > 1:
        lines = [
            f"{place} (temperature {attempt.temperature:g}: {attempt.verdict}; avg_logprob "
            f"{attempt.avg_logprob:.2f}, compression_ratio {attempt.compression_ratio:.2f})"
            for attempt in window.attempts
        ]
    for use in [attempt.draft for attempt in window.attempts if attempt.draft is not None]:
        counts = f"{use.accepted} of {use.drafted} tokens accepted" if use.drafted else "not used"
        lines.append(f"{place} (draft: {counts}" + (f"; {use.reason})" if use.reason else ")"))
    if window.verdict != TRANSCRIBED:
        lines.append(f"{place} ({window.verdict})")
    return lines


def account_lines(spans: Iterable[Span]) -> list[str]:
    """A line for each span of an account."""
    return [
        f"[{format_timestamp(span.start)} --> {format_timestamp(span.end)}] {span.kind}"
        + (f": {span.reason}" if span.reason else "")
        for span in spans
    ]
