"""The history of runs: one JSON line each, with commit, machine, threads, rows.

In: rows, or a history file. Out: a line more, or a table of runs.
Knows nothing of: how anything was measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, describe, features, load_average
from benchmarks.samples import FIELDS, Row
from benchmarks.tables import format_table, number

DEFAULT = Path("benchmarks") / "history.jsonl"


def entry_of(rows: Iterable[Row], command: str, ratios: Sequence[Sequence[str]] = ()) -> dict[str, Any]:
    """A run as it stands in the history: when, which commit, which machine, what was measured."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": command,
        "machine": features(),
        "load": load_average(),
        "rows": [row.as_dict() for row in rows],
        "ratios": [list(line) for line in ratios],
    }


def append_entry(path: Path, entry: dict[str, Any]) -> None:
    """Add a run to a history file, whole or not at all: one write of one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def read_history(path: Path) -> list[dict[str, Any]]:
    """Runs of a history file, oldest first.

    Raises
    ------
    ValueError
        A line is not a run.
    """
    entries = []
    for i, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            entry["rows"] = [Row(**{name: row[name] for name in FIELDS}) for row in entry["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{i}: not a run of this suite ({error})") from None
        entries.append(entry)
    return entries


def history_table(entries: Sequence[dict[str, Any]], stage: str, model: str, engine: str) -> str:
    """Runs of one stage and model, oldest first: median and change to the run before of the same machine."""
    lines, before = [], {}
    for entry in entries:
        machine = entry["machine"]
        for row in entry["rows"]:
            if (row.stage, row.model, row.engine) != (stage, model, engine):
                continue
            key = (describe(machine), row.compute_type, row.threads)
            change = f"{row.median_ms / before[key] - 1:+.0%}" if before.get(key) else ""
            before[key] = row.median_ms
            spread = f"{number(row.min_ms)} - {number(row.max_ms)}"
            lines.append([entry["time"], entry["commit"], machine["cpu"], row.compute_type, str(row.threads),
                          number(row.median_ms), spread, change])  # fmt: skip
    head = ("time", "commit", "cpu", "compute type", "threads", f"{stage}, ms", "spread", "change")
    return format_table(head, lines) if lines else f"no run has {stage} of {model} by {engine}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT, help=f"default {DEFAULT}")
    parser.add_argument("--stage", default="window")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--engine", default="whisperlite")
    parser.add_argument("--list", action="store_true", help="the runs, without their rows")


def run(options: argparse.Namespace) -> int:
    entries = read_history(options.file)
    if options.list:
        for entry in entries:
            models = ", ".join(dict.fromkeys(row.model for row in entry["rows"]))
            print(entry["time"], entry["commit"], entry["command"], f"[{models}]", describe(entry["machine"]))
    else:
        print(history_table(entries, options.stage, options.model, options.engine))
    return 0
