"""Plots of a history and of a peer table: PNG files and a page that shows them."""

from __future__ import annotations

import argparse
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.history import read_history
from benchmarks.machine import describe
from benchmarks.peers import OURS, STAGES
from benchmarks.samples import Row, read_rows
from benchmarks.tables import peer_table

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>whisperlite benchmarks</title>
<style>body {{ font: 16px sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }}
img {{ max-width: 100%; display: block; margin: 1em 0 }}
pre {{ overflow-x: auto; background: #f4f4f4; padding: 1em }}
</style>
<h1>whisperlite benchmarks</h1>
{body}
</html>
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="rows of a peer table")
    parser.add_argument("--history", type=Path, metavar="FILE", help="a history of runs")
    parser.add_argument("--out", type=Path, default=Path(".cache") / "benchmarks" / "plots", help="folder")


def run(options: argparse.Namespace) -> int:
    if options.json is None and options.history is None:
        raise ValueError("give --json FILE, --history FILE, or both")
    options.out.mkdir(parents=True, exist_ok=True)
    parts: list[str] = []
    if options.json is not None:
        rows = read_rows(options.json)
        parts.append("<h2>Side by side</h2>")
        parts += [_image(path, alt) for path, alt in plot_peers(rows, options.out)]
        parts.append(f"<pre>{html.escape(peer_table(rows))}</pre>")
    if options.history is not None:
        entries = read_history(options.history)
        parts.append("<h2>History</h2>")
        parts += [_image(path, alt) for path, alt in plot_history(entries, options.out)]
        machines = dict.fromkeys(describe(entry["machine"]) for entry in entries)
        parts.append("<p>Machines: " + "; ".join(map(html.escape, machines)) + "</p>")
    page = options.out / "index.html"
    page.write_text(PAGE.format(body="\n".join(parts)))
    print(page)
    return 0


def plot_peers(rows: Sequence[Row], out: Path) -> list[tuple[Path, str]]:
    """A figure for each model: bars of every stage by configuration, ours in another colour."""
    plt = _pyplot()
    made = []
    for model in dict.fromkeys(row.model for row in rows):
        mine = [row for row in rows if row.model == model]
        stages = [stage for stage in STAGES if any(row.stage == stage for row in mine)]
        n_columns = min(3, len(stages))
        n_lines = -(-len(stages) // n_columns)
        longest = max(sum(row.stage == stage for row in mine) for stage in stages)
        size = (6 * n_columns, (0.3 * longest + 1.2) * n_lines)
        figure, axes = plt.subplots(n_lines, n_columns, figsize=size, squeeze=False, layout="constrained")
        for axis, stage in zip(axes.flat, stages, strict=False):
            shown = sorted((row for row in mine if row.stage == stage), key=lambda row: -row.median_ms)
            medians = [row.median_ms for row in shown]
            errors = [[row.median_ms - row.min_ms for row in shown], [row.max_ms - row.median_ms for row in shown]]
            colours = ["tab:orange" if row.engine == OURS else "tab:blue" for row in shown]
            axis.barh([" ".join(row.configuration) for row in shown], medians, xerr=errors, color=colours)
            axis.set_title(f"{stage}, {'MB' if stage == 'rss_mb' else 'ms'}")
        for axis in list(axes.flat)[len(stages) :]:
            axis.remove()
        figure.suptitle(f"{model}, {mine[0].threads} threads: median, least and greatest")
        made.append((_save(figure, out / f"peers-{model}.png"), f"stages of {model} by engine"))
    return made


def plot_history(entries: Sequence[dict[str, Any]], out: Path) -> list[tuple[Path, str]]:
    """A figure for each model: our stages over the runs, a line for each compute type and machine."""
    plt = _pyplot()
    made = []
    models = dict.fromkeys(row.model for entry in entries for row in entry["rows"] if row.engine == OURS)
    for model in models:
        lines: dict[str, dict[str, list[tuple[int, Row]]]] = {}
        for i, entry in enumerate(entries):
            for row in entry["rows"]:
                if row.model == model and row.engine == OURS:
                    name = f"{row.compute_type}, {row.threads} threads, {entry['machine']['cpu']}"
                    lines.setdefault(row.stage, {}).setdefault(name, []).append((i, row))
        stages = [stage for stage in STAGES if stage in lines]
        n_lines = -(-len(stages) // 2)
        figure, axes = plt.subplots(
            n_lines, 2, figsize=(12, 2 * n_lines + 1), squeeze=False, sharex=True, layout="constrained"
        )
        for axis in axes.flat[len(stages) :]:
            axis.set_visible(False)
        for axis, stage in zip(axes.flat, stages, strict=False):
            for name, points in lines[stage].items():
                at = [i for i, _ in points]
                axis.plot(at, [row.median_ms for _, row in points], marker="o", label=name)
                axis.fill_between(
                    at, [row.min_ms for _, row in points], [row.max_ms for _, row in points], alpha=0.2
                )
            axis.set_ylabel(f"{stage}, {'MB' if stage == 'rss_mb' else 'ms'}")
            axis.set_ylim(bottom=0)
        axes.flat[0].legend(fontsize="small")
        for axis in axes[-1]:
            axis.set_xticks(range(len(entries)), [entry["commit"] for entry in entries], rotation=60)
        figure.suptitle(f"{model}: median, least and greatest of each run, oldest first")
        made.append((_save(figure, out / f"history-{model}.png"), f"history of {model}"))
    return made


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ValueError("plots need matplotlib: pip install 'whisperlite[bench]'") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=100)
    _pyplot().close(figure)
    return path


def _image(path: Path, alt: str) -> str:
    return f'<img src="{html.escape(path.name)}" alt="{html.escape(alt)}">'
