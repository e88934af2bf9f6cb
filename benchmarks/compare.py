"""Two runs against each other: what became slower than a threshold fails."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.samples import Row, read_rows
from benchmarks.tables import format_table, number

DEFAULT_THRESHOLD = 0.1


@dataclass(frozen=True)
class Change:
    """One row of both runs."""

    before: Row
    after: Row
    threshold: float

    @property
    def ratio(self) -> float:
        return self.after.median_ms / self.before.median_ms

    @property
    def verdict(self) -> str:
        """``slower`` and ``faster`` only where the medians differ by the threshold and the spreads do not touch.

        With one sample each there is no spread: the median alone decides.
        """
        if self.ratio > 1 + self.threshold and self.after.min_ms > self.before.max_ms:
            return "slower"
        if self.ratio < 1 / (1 + self.threshold) and self.after.max_ms < self.before.min_ms:
            return "faster"
        return "unsure" if abs(self.ratio - 1) > self.threshold else "same"


def changes_of(before: Iterable[Row], after: Iterable[Row], threshold: float) -> list[Change]:
    """Rows that both runs have, in the order of the second."""
    known = {row.key: row for row in before}
    return [
        Change(known[row.key], row, threshold) for row in after if row.key in known and known[row.key].median_ms > 0
    ]


def change_table(changes: Sequence[Change]) -> str:
    lines = [
        [
            f"{c.after.stage} {c.after.model} {c.after.engine} {c.after.compute_type}", str(c.after.threads),
            number(c.before.median_ms), number(c.after.median_ms), f"{c.ratio - 1:+.1%}", c.verdict,
        ]
        for c in changes
    ]  # fmt: skip
    return format_table(("row", "threads", "before", "after", "change", "verdict"), lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", type=Path, help="file of --json, or a history (its last run)")
    parser.add_argument("after", type=Path)
    parser.add_argument("--threshold", type=float, default=DEFAULT_THRESHOLD, help="share; default %(default)s")
    parser.add_argument("--all", action="store_true", help="show rows that did not change too")
    parser.add_argument("--engine", help="this engine's rows only")


def run(options: argparse.Namespace) -> int:
    """0: nothing slower; 1: something slower, or no row in common."""
    if options.threshold <= 0:
        raise ValueError(f"--threshold {options.threshold}: give a share above 0, such as 0.1")
    changes = changes_of(read_rows(options.before), read_rows(options.after), options.threshold)
    if options.engine:
        changes = [change for change in changes if change.after.engine == options.engine]
    if not changes:
        raise ValueError(f"{options.before} and {options.after} have no row in common")
    shown = changes if options.all else [change for change in changes if change.verdict != "same"]
    if shown:
        print(change_table(shown))
    slower = sum(change.verdict == "slower" for change in changes)
    unsure = sum(change.verdict == "unsure" for change in changes)
    print(f"{len(changes)} rows: {slower} slower, {unsure} differ within their spread")
    return 1 if slower else 0
