"""Every stage of whisperlite alone, with where the encoder's and a decode step's time goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import history
from benchmarks.machine import describe, features
from benchmarks.models import model_folder, model_name
from benchmarks.peaks import Peaks, measure_peaks
from benchmarks.peers import OURS, ROSTER, STAGES
from benchmarks.peers_command import watcher
from benchmarks.samples import Row, rows_of, write_rows
from benchmarks.side_by_side import RETRIES, Plan, configurations_of, run_side_by_side
from benchmarks.tables import format_table, left_out_text, number, spread

MEANING = {
    "load": "open and pack a model, kernels cached",
    "mel": "30 s to log-mel",
    "encode": "encoder, one window",
    "cross": "cross keys and values",
    "first_token": "mel, encoder, cross K/V, first logits",
    "prompt": "224 tokens at once",
    "decode": "one token",
    "sample": "choose a token, without rules",
    "beam5": "one step of five beams",
    "window": "mel to tokens, greedy",
    "window_beam5": "mel to tokens, five beams",
    "batch8": "eight windows together, each",
    "total": "load the model, and one window",
    "rss_mb": "peak memory of a window, MB",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--sizes", default="tiny", help="published sizes, nano, or HF folders; default %(default)s")
    add("--types", default="default", help=f"some of {', '.join(ROSTER[OURS][1])}; default %(default)s")
    add("--threads", type=int, default=2)
    add("--repeats", type=int, default=3)
    add("--tokens", type=int, default=128)
    add("--steps", type=int, default=32)
    add("--keep-dirty", action="store_true", help="keep samples during which others used the CPUs")
    add("--no-profile", action="store_true", help="without the table of ops")
    add("--json", type=Path, metavar="FILE", help="write the rows as a JSON list, after every stage")
    add("--history", type=Path, nargs="?", const=history.DEFAULT, metavar="FILE", help="append the run to FILE")


def run(options: argparse.Namespace) -> int:
    types = [word.strip() for word in options.types.split(",")]
    plan = Plan(
        configurations=configurations_of({OURS: types}, {}, sys.executable),
        models=[word.strip() for word in options.sizes.split(",")],
        threads=options.threads,
        repeats=options.repeats,
        n_tokens=options.tokens,
        n_steps=options.steps,
        dirty_retries=0 if options.keep_dirty else RETRIES,
    )
    outcome = run_side_by_side(plan, watcher(options.json))
    rows = rows_of(outcome.series)
    print(describe(features()))
    print(stage_table(rows))
    if missing := left_out_text(outcome.left_out):
        print("\n" + missing)
    if not options.no_profile:
        peaks = measure_peaks(options.threads)
        print("\n" + peaks.describe())
        for model in plan.models:
            for compute_type in types:
                print("\n" + profile_table(model, compute_type, options.threads, peaks))
    if options.json:
        write_rows(options.json, rows)
    if options.history:
        history.append_entry(options.history, history.entry_of(rows, options.command))
    return 0 if rows else 1


def stage_table(rows: Sequence[Row]) -> str:
    """One line for each stage; a real-time factor beside what handles whole windows."""
    texts = []
    for model, compute_type in dict.fromkeys((row.model, row.compute_type) for row in rows):
        mine = {row.stage: row for row in rows if (row.model, row.compute_type) == (model, compute_type)}
        lines = [
            [name, number(mine[name].median_ms), spread(mine[name]), real_time_factor(mine[name]), MEANING[name]]
            for name in STAGES
            if name in mine
        ]
        head = (f"{model} {compute_type}", "ms", "spread", "of real time", "what")
        texts.append(format_table(head, lines))
    return "\n\n".join(texts)


def real_time_factor(row: Row) -> str:
    """Time taken over time heard; below 1 is faster than speech."""
    whole = ("window", "window_beam5", "batch8", "total")
    return f"{row.median_ms / 30000:.4f}" if row.stage in whole else ""


def profile_table(model: str, compute_type: str, threads: int, peaks: Peaks) -> str:
    """Ops of the encoder, the cross keys and values and one decode step, with percent of the measured peaks."""
    from whisperlite.checkpoint import open_checkpoint
    from whisperlite.model import Whisper

    whisper = Whisper(open_checkpoint(model_folder(model)), compute_type=compute_type, threads=threads)
    lines: list[list[str]] = []
    for part in ("encoder", "cross_kv", "decoder"):
        for record in _profile(whisper, part):
            seconds = max(record.seconds, 1e-9)
            gflops, gbytes = record.flops / seconds / 1e9, record.n_bytes / seconds / 1e9
            lines.append(
                [f"{part} {record.op}", number(seconds / REPEATS * 1e3)]
                + ([f"{gflops:.0f}", f"{gflops / peaks.gflops:.0%}"] if record.flops else ["", ""])
                + ([f"{gbytes:.1f}", f"{gbytes / peaks.gbytes:.0%}"] if record.n_bytes else ["", ""])
            )
    head = (f"{model_name(model)} {compute_type}", "ms", "GFLOP/s", "of peak", "GB/s", "of peak")
    return format_table(head, lines)


REPEATS = 3


def _profile(whisper: Any, part: str) -> Sequence[Any]:
    program = whisper.program_of(part)
    inputs = {
        name: np.zeros(program.plan.buffers[node].shape, program.plan.buffers[node].dtype)
        for name, node in program.plan.inputs.items()
    }
    if "audio_rows" in inputs:
        inputs["audio_rows"][-1] = 1
    program.profile(inputs)
    return program.profile(inputs, REPEATS)
