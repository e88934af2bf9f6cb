"""Timings that whisper.cpp printed (whisper-bench, whisper-cli), read from a text or had printed now.

In: text with ``whisper_print_timings`` lines, or a path to a program. Out: rows of stages.
Knows nothing of: other engines.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from benchmarks.peers.engine import BEAM_SIZE, PROMPT_TOKENS
from benchmarks.samples import Row, Series

_LINE = re.compile(r"(\w+) time =\s*([\d.]+) ms(?: /\s*(\d+) runs)?")
_THREADS = re.compile(r"n_threads = (\d+)")


def parse_timings(text: str) -> dict[str, tuple[float, int]]:
    """Milliseconds in total and number of runs, by whisper.cpp's names (load, mel, sample, encode, decode, ...).

    Of several prints the last one counts. ``total`` and others without a number of runs have one.
    """
    found = {}
    for line in text.splitlines():
        if match := _LINE.search(line):
            name, total_ms, runs = match.groups()
            found[name] = (float(total_ms), int(runs or 1))
    return found


def stages_of(timings: dict[str, tuple[float, int]]) -> dict[str, float]:
    """Milliseconds by this suite's stages.

    ``prompt`` is for 224 tokens at the printed time per token, ``beam5`` a bare batch of five without a search, and
    ``encode`` includes the cross keys and values. What took no time was not run and is left out.
    """
    per_run = {name: total / runs for name, (total, runs) in timings.items() if total > 0 and runs > 0}
    scales = {
        "load": 1,
        "mel": 1,
        "encode": 1,
        "decode": 1,
        "sample": 1,
        "prompt": PROMPT_TOKENS,
        "batchd": BEAM_SIZE,
    }
    names = {"batchd": "beam5"}
    return {names.get(name, name): per_run[name] * scale for name, scale in scales.items() if name in per_run}


def captured_rows(text: str, model: str, compute_type: str, threads: int | None = None) -> list[Row]:
    """Rows of a captured print.

    Raises
    ------
    ValueError
        The text has no timings.
    """
    stages = stages_of(parse_timings(text))
    if not stages:
        raise ValueError("no 'whisper_print_timings: encode time = ...' line; give what whisper-bench printed")
    printed = _THREADS.search(text)
    count = threads or (int(printed.group(1)) if printed else 1)
    return [Row(stage, model, "whisper.cpp", compute_type, count, ms, ms, ms, 1) for stage, ms in stages.items()]


def bench_series(
    program: Path, ggml: Path, model: str, compute_type: str, threads: int, repeats: int
) -> list[Series]:
    """Run whisper-bench several times.

    Raises
    ------
    ValueError
        It crashes or prints no timings; the message has its last line.
    """
    by_stage: dict[str, list[float | None]] = {}
    for _ in range(repeats):
        try:
            done = subprocess.run(
                [str(program), "-m", str(ggml), "-t", str(threads)],
                capture_output=True, text=True, errors="replace", timeout=900,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ValueError(str(error)) from None
        text = done.stdout + done.stderr
        if done.returncode:
            raise ValueError(f"{program.name} ended with {done.returncode}: {text.strip().rpartition(chr(10))[2]}")
        for row in captured_rows(text, model, compute_type, threads):
            by_stage.setdefault(row.stage, []).append(row.median_ms)
    engine = "whisper.cpp"
    return [Series(stage, model, engine, f"{compute_type} (bench)", threads, ms) for stage, ms in by_stage.items()]
