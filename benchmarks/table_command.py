"""The table of targets: each row of ours beside the best peer, from a new run or from the history."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import history, peers_command
from benchmarks.machine import describe
from benchmarks.peers import ROSTER
from benchmarks.tables import TARGET_HEAD, TARGETS, format_table

STAGES = ",".join([target.stage for target in TARGETS] + ["rss_mb"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As ``peers``, with other defaults: the rows of the table, tiny, base and small, and a line in the history."""
    parser.add_argument("--last", type=Path, nargs="?", const=history.DEFAULT, metavar="FILE",
                        help="measure nothing: show the last table of a history")  # fmt: skip
    peers_command.add_arguments(parser)
    parser.set_defaults(sizes="tiny,base,small", stages=STAGES, engines=",".join(ROSTER), history=history.DEFAULT)


def run(options: argparse.Namespace) -> int:
    if options.last is None:
        return peers_command.run(options)
    entries = [entry for entry in history.read_history(options.last) if entry.get("ratios")]
    if not entries:
        raise ValueError(f"{options.last}: no run in it compared engines")
    entry = entries[-1]
    print(entry["time"], entry["commit"], describe(entry["machine"]))
    lines = [[f"{line[0]}: {line[1]}", *line[2:]] for line in entry["ratios"]]
    print(format_table(TARGET_HEAD, lines))
    return 0
