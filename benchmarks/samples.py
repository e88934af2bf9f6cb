"""Samples to rows: medians, spread, ratios pair by pair.

In: milliseconds of interleaved repeats. Out: rows as they are written to files.
Knows nothing of: processes, terminals.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FIELDS = ("stage", "model", "engine", "compute_type", "threads", "median_ms", "min_ms", "max_ms", "n")


@dataclass(frozen=True)
class Row:
    """One measured number: of ``n`` samples the median, least and greatest.

    Milliseconds; for stage ``rss_mb`` megabytes, in the same fields.
    """

    stage: str
    model: str
    engine: str
    compute_type: str
    threads: int
    median_ms: float
    min_ms: float
    max_ms: float
    n: int

    @property
    def configuration(self) -> tuple[str, str]:
        return self.engine, self.compute_type

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        return self.stage, self.model, self.engine, self.compute_type, self.threads

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Series:
    """Samples of one stage of one configuration; ``samples[i]`` was taken in round ``i``."""

    stage: str
    model: str
    engine: str
    compute_type: str
    threads: int
    samples: list[float | None]
    dirty: int = 0  # left out: others took CPU time meanwhile

    def row(self) -> Row | None:
        """None where no sample is left."""
        kept = [sample for sample in self.samples if sample is not None]
        if not kept:
            return None
        median = statistics.median(kept)
        numbers = (round(value, 4) for value in (median, min(kept), max(kept)))
        return Row(self.stage, self.model, self.engine, self.compute_type, self.threads, *numbers, len(kept))


def pair_ratio(theirs: Sequence[float | None], ours: Sequence[float | None]) -> tuple[float, float, float] | None:
    """Median, least and greatest of ``theirs[i] / ours[i]``: how many times faster ours is.

    Only rounds in which both have a sample count, so that a slow minute of the machine hits both. None where there
    is no such round.
    """
    ratios = [t / o for t, o in zip(theirs, ours, strict=False) if t is not None and o]
    if not ratios:
        return None
    return statistics.median(ratios), min(ratios), max(ratios)


def rows_of(series: Iterable[Series]) -> list[Row]:
    """Rows of the series that have samples."""
    return [row for one in series if (row := one.row()) is not None]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a JSON list, whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")
    beside.replace(path)


def read_rows(path: Path) -> list[Row]:
    """Rows of a file that ``write_rows`` or ``history`` wrote; of a history, its last run.

    Raises
    ------
    ValueError
        It is neither.
    """
    text = path.read_text()
    try:
        content = json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        content = _parsed(lines[-1], path) if lines else []
    if isinstance(content, Mapping):
        content = content.get("rows", [])
    try:
        return [Row(**{name: fields[name] for name in FIELDS}) for fields in content]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: a row lacks {error}; give a file written with --json, or a history") from None


def _parsed(line: str, path: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}: neither a JSON list nor JSON lines ({error})") from None
