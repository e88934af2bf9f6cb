"""whisperlite beside other engines, on the same weights and threads, in interleaved repeats."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import history
from benchmarks.captured import bench_series, captured_rows, cli_series
from benchmarks.machine import describe, features, load_average
from benchmarks.models import ggml_file, model_folder, model_name
from benchmarks.peers import ROSTER, STAGES
from benchmarks.samples import Series, rows_of, write_rows
from benchmarks.side_by_side import (
    RETRIES,
    STAGE_SECONDS,
    Configuration,
    Outcome,
    Plan,
    Watch,
    configurations_of,
    run_side_by_side,
)
from benchmarks.tables import finished, left_out_text, peer_table, progress, ratio_lines, target_table

HELP_ENGINES = "ENGINE or ENGINE:TYPE+TYPE, comma-separated; known: " + "; ".join(
    f"{engine}:{'+'.join(types)}" for engine, (_, types) in ROSTER.items()
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--sizes", default="tiny,base", help="published sizes, nano, or HF folders; default %(default)s")
    add("--threads", type=_positive, default=2)
    add("--repeats", type=_positive, default=3, help="interleaved rounds of each stage; default %(default)s")
    add(
        "--stage-seconds",
        type=float,
        default=STAGE_SECONDS,
        metavar="S",
        help="an engine that took this long with a stage gets no further round of it; default %(default)s",
    )
    add("--json", type=Path, metavar="FILE", help="write the rows as a JSON list, after every stage")
    add("--engines", default=",".join(ROSTER), help=HELP_ENGINES)
    add("--stages", default=",".join(STAGES), help="default all: %(default)s")
    add("--tokens", type=_positive, default=128, help="of window and batch8; default %(default)s")
    add("--steps", type=_positive, default=32, help="of decode and beam5; default %(default)s")
    add("--python", action="append", default=[], metavar="ENGINE=PATH", help="interpreter that has an engine")
    add("--whisper-bench", type=Path, metavar="PATH", help="whisper.cpp's whisper-bench, built on this machine")
    add("--whisper-cli", type=Path, metavar="PATH", help="whisper.cpp's whisper-cli, built on this machine")
    add("--captured", action="append", default=[], metavar="MODEL:TYPE=FILE", help="timings whisper.cpp printed")
    add("--keep-dirty", action="store_true", help="keep samples during which others used the CPUs")
    add("--markdown", action="store_true", help="print tables in Markdown")
    add("--history", type=Path, nargs="?", const=history.DEFAULT, metavar="FILE", help="append the run to FILE")


def run(options: argparse.Namespace) -> int:
    plan = plan_of(options)
    machine, load_before = features(), load_average()
    captured = [row for text in options.captured for row in _captured(text)]
    outcome = run_side_by_side(plan, watcher(options.json))
    if not outcome.interrupted:
        _add_programs(options, plan, outcome)
    rows = [*rows_of(outcome.series), *captured]
    print(describe(machine))
    print(f"load average {load_before} before, {load_average()} after\n")
    print(peer_table(rows, options.markdown))
    if targets := target_table(outcome.series, options.markdown):
        print("\n" + targets)
    if dirty := _dirty(outcome.series):
        print("\n" + dirty)
    if missing := left_out_text(outcome.left_out):
        print("\n" + missing)
    if options.json:
        write_rows(options.json, rows)
    if options.history:
        ratios = [[model_name(model), *line] for model in plan.models for line in
                  ratio_lines(outcome.series, model_name(model))]  # fmt: skip
        history.append_entry(options.history, history.entry_of(rows, options.command, ratios))
    return 0 if rows else 1


def plan_of(options: argparse.Namespace) -> Plan:
    """What the arguments ask for.

    Raises
    ------
    ValueError
        An engine or stage is unknown.
    """
    stages = _words(options.stages)
    if unknown := set(stages) - set(STAGES):
        raise ValueError(f"stage {min(unknown)!r}: give some of {', '.join(STAGES)}")
    pythons = dict(pair.split("=", 1) for pair in options.python if "=" in pair)
    if unknown := set(pythons) - set(ROSTER):
        raise ValueError(f"--python {min(unknown)}=...: give one of {', '.join(ROSTER)}")
    return Plan(
        configurations=chosen_configurations(options.engines, pythons),
        models=_words(options.sizes),
        stages=[stage for stage in STAGES if stage in stages],
        threads=options.threads,
        repeats=options.repeats,
        n_tokens=options.tokens,
        n_steps=options.steps,
        dirty_retries=0 if options.keep_dirty else RETRIES,
        stage_seconds=options.stage_seconds,
    )


def chosen_configurations(text: str, pythons: dict[str, str]) -> list[Configuration]:
    """Configurations of ``ENGINE`` or ``ENGINE:TYPE+TYPE``, comma-separated."""
    engines: dict[str, Sequence[str]] = {}
    for word in _words(text):
        engine, _, types = word.partition(":")
        if engine not in ROSTER:
            raise ValueError(f"engine {engine!r}: give some of {', '.join(ROSTER)}")
        engines[engine] = types.split("+") if types else ROSTER[engine][1]
    return configurations_of(engines, pythons, sys.executable)


def watcher(json_file: Path | None) -> Watch:
    """Tells the terminal how it goes, and keeps the rows of finished stages in a file."""

    def done(text: str, outcome: Outcome) -> None:
        finished(text)
        if json_file is not None:
            write_rows(json_file, rows_of(outcome.series))

    return Watch(progress, done)


def _add_programs(options: argparse.Namespace, plan: Plan, outcome: Outcome) -> None:
    """Series of whisper.cpp's own programs, where their paths are given."""
    common = {"threads": plan.threads, "repeats": plan.repeats}
    programs = [
        ("bench", options.whisper_bench, partial(bench_series, **common)),
        ("cli", options.whisper_cli, partial(cli_series, **common, n_tokens=plan.n_tokens)),
    ]
    watch = watcher(options.json)
    for model in plan.models:
        name = model_name(model)
        for kind in ROSTER["whisper.cpp"][1]:
            for label, program, measure in programs:
                if program is None:
                    continue
                watch.doing(f"{name}: whisper-{label} {kind}")
                try:
                    path = ggml_file(model_folder(model), kind)
                    found = measure(program, path, name, kind)
                except ValueError as error:
                    outcome.left_out.append((f"whisper.cpp {kind} ({label})", name, str(error)))
                    continue
                outcome.series += [one for one in found if one.stage in plan.stages]
                watch.done(f"{name}: whisper-{label} {kind}", outcome)


def _captured(text: str):
    name, separator, path = text.partition("=")
    model, _, compute_type = name.partition(":")
    if not separator:
        raise ValueError(f"--captured {text!r}: give MODEL:TYPE=FILE")
    return captured_rows(Path(path).read_text(errors="replace"), model, f"{compute_type or '?'} (captured)")


def _dirty(series: Sequence[Series]) -> str:
    n_dirty = sum(one.dirty for one in series)
    lost = sum(sample is None for one in series for sample in one.samples)
    if not n_dirty:
        return ""
    hint = "; --keep-dirty keeps such samples" if lost else ""
    return f"{n_dirty} samples were disturbed by other processes; {lost} found no quiet moment{hint}"


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: give 1 or more")
    return value
