"""Tables on the terminal: peers side by side, and the table of targets.

In: rows, series; what the CPU has. Out: text. Knows nothing of: how anything was measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.machine import features
from benchmarks.peers import OURS, STAGES
from benchmarks.samples import Row, Series, pair_ratio, rows_of

CLASSIC = ("whisper.cpp", "faster-whisper", "openai-whisper", "transformers")
COMPILED = ("openvino", "openvino-genai", "onnxruntime")
ENCODER_ONLY = ("openvino", "onnxruntime")  # what they load is half a model


@dataclass(frozen=True)
class Target:
    """A row of the table of targets: how many times faster than the best of each group ours is to be."""

    title: str
    stage: str
    to_classic: float
    to_compiled: float


# With tiles (AMX) the peers leave more room than with vectors alone.
ENCODER_TO_COMPILED = 1.5 if "amx_int8" in str(features()["features"]) else 1.25
TARGETS = (
    Target("log-mel of 30 s", "mel", 8, 8),
    Target("encoder, 30 s window", "encode", 5, ENCODER_TO_COMPILED),
    Target("greedy decode, per token", "decode", 2, 2),
    Target("beam 5, per step", "beam5", 4, 6),
    Target("prompt of 224 tokens", "prompt", 4, 1.5),
    Target("window, greedy", "window", 4, 2),
    Target("window, beam 5", "window_beam5", 4, 2),
    Target("batch of 8 windows, per window", "batch8", 5, 2),
    Target("model load", "load", 1, 1),
)


def number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def spread(row: Row) -> str:
    return number(row.median_ms) if row.n == 1 else f"{number(row.min_ms)} - {number(row.max_ms)}"


def format_table(head: Sequence[str], lines: Iterable[Sequence[str]], markdown: bool = False) -> str:
    """A table with aligned columns, all but the first to the right; or one in Markdown."""
    lines = [list(map(str, line)) for line in lines]
    if markdown:
        rule = ["---"] + ["---:"] * (len(head) - 1)
        return "\n".join("| " + " | ".join(line) + " |" for line in [list(head), rule, *lines])
    widths = [max(len(line[i]) for line in [list(head), *lines]) for i in range(len(head))]

    def text(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([text(head), "  ".join("-" * width for width in widths), *map(text, lines)])


def peer_table(rows: Sequence[Row], markdown: bool = False) -> str:
    """For each model a table of stages by configuration: median, and the spread in a second line."""
    texts = []
    for model in dict.fromkeys(row.model for row in rows):
        mine = [row for row in rows if row.model == model]
        configurations = list(dict.fromkeys(row.configuration for row in mine))
        stages = [stage for stage in STAGES if any(row.stage == stage for row in mine)]
        by_key = {(row.configuration, row.stage): row for row in mine}
        lines = []
        for configuration in configurations:
            cells = [by_key.get((configuration, stage)) for stage in stages]
            lines.append([" ".join(configuration), *(number(row.median_ms) if row else "" for row in cells)])
            if any(row and row.n > 1 for row in cells):
                lines.append(["", *(spread(row) if row and row.n > 1 else "" for row in cells)])
        title = f"{model}, {mine[0].threads} threads; ms (rss_mb: MB), median and spread"
        texts.append(title + "\n\n" + format_table([model, *stages], lines, markdown))
    return "\n\n".join(texts)


def best(rows: Iterable[Row]) -> Row | None:
    return min(rows, key=lambda row: row.median_ms, default=None)


def ratio_lines(series: Sequence[Series], model: str, targets: Sequence[Target] = TARGETS) -> list[list[str]]:
    """Lines of the table of targets for one model: ours, the best peer of each group, ratio and its spread."""
    lines = []
    for target in targets:
        mine = [one for one in series if one.model == model and one.stage == target.stage]
        ours = best(row for row in rows_of(mine) if row.engine == OURS)
        if ours is None:
            continue
        line = [target.title, f"{number(ours.median_ms)} ({ours.compute_type})"]
        for engines, wanted in ((CLASSIC, target.to_classic), (COMPILED, target.to_compiled)):
            fair = [engine for engine in engines if target.stage != "load" or engine not in ENCODER_ONLY]
            peer = best(row for row in rows_of(mine) if row.engine in fair)
            line += _compared(mine, ours, peer, wanted)
        lines.append(line)
    return lines


def _compared(series: Sequence[Series], ours: Row, peer: Row | None, wanted: float) -> list[str]:
    if peer is None:
        return ["", ""]
    by_configuration = {(one.engine, one.compute_type): one.samples for one in series}
    ratio = pair_ratio(by_configuration[peer.configuration], by_configuration[ours.configuration])
    name = f"{number(peer.median_ms)} ({' '.join(peer.configuration)})"
    if ratio is None:
        return [name, "no clean pair"]
    met = "met" if ratio[0] >= wanted else "short"
    return [name, f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f}) of {wanted:g}: {met}"]


TARGET_HEAD = ("row", "ours, ms", "best classic peer", "ratio", "best compiled peer", "ratio")


def target_table(series: Sequence[Series], markdown: bool = False) -> str:
    """The table of targets, for each model that was measured."""
    texts = []
    for model in dict.fromkeys(one.model for one in series):
        lines = ratio_lines(series, model)
        if lines:
            head = (f"{model}: {TARGET_HEAD[0]}", *TARGET_HEAD[1:])
            texts.append(format_table(head, lines, markdown))
    return "\n\n".join(texts)


def left_out_text(left_out: Iterable[tuple[str, str, str]]) -> str:
    """What was left out and why, a line each; the same reason of several models once."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for configuration, where, reason in left_out:
        grouped.setdefault((configuration, reason), []).append(where)
    lines = [f"  {name} ({', '.join(where)}): {reason}" for (name, reason), where in grouped.items()]
    return "\n".join(["left out:", *lines]) if lines else ""


def progress(text: str) -> None:
    """What is going on, on one line of a terminal; silent elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def finished(text: str) -> None:
    """What is done, on a line that stays."""
    progress("")
    print(text, file=sys.stderr, flush=True)
