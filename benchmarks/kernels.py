"""Kernels by themselves beside NumPy and torch, with percent of peaks measured in the same run."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.kernel_cases import CASES, Call
from benchmarks.peaks import measure_peaks
from benchmarks.tables import format_table, number

BY = ("whisperlite", "numpy", "torch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--filter", default="", help="only cases whose name has this text")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--by", default=",".join(BY), help="default %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run(options: argparse.Namespace) -> int:
    peaks = measure_peaks(options.threads)
    print(peaks.describe())
    chosen = [case for case in CASES if options.filter in case.name]
    if not chosen:
        raise ValueError(f"--filter {options.filter!r}: no case; there are {', '.join(c.name for c in CASES)}")
    lines, found = [], []
    for case in chosen:
        calls = {
            by: call for by in options.by.split(",") if (call := case.prepare(by, options.threads)) is not None
        }
        seconds = time_interleaved(calls, options.repeats)
        for by, taken in seconds.items():
            rates = case.rates(taken, peaks)
            beside = f"{taken / seconds['whisperlite']:.2f}" if "whisperlite" in seconds else ""
            lines.append([
                f"{case.name} {by}", number(taken * 1e3), f"{rates['gflops']:.0f}" if case.flops else "",
                f"{rates['of_peak_gflops']:.0%}" if case.flops else "", f"{rates['gbytes']:.1f}",
                f"{rates['of_peak_gbytes']:.0%}", beside,
            ])  # fmt: skip
            found.append({"case": case.name, "by": by, "median_ms": taken * 1e3, **rates})
    print(format_table(("kernel", "ms", "GFLOP/s", "of peak", "GB/s", "of peak", "to ours"), lines))
    if options.json:
        content: dict[str, Any] = {"peaks": [peaks.gflops, peaks.gbytes], "kernels": found}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def time_interleaved(calls: dict[str, Call], repeats: int) -> dict[str, float]:
    """Median seconds of a call of each, taking turns; short calls many times in a turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    counts = {}
    for name, call in calls.items():
        call()
        started = time.perf_counter()
        call()
        counts[name] = max(1, int(0.02 / max(time.perf_counter() - started, 1e-7)))
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(counts[name]):
                call()
            times[name].append((time.perf_counter() - started) / counts[name])
    return {name: statistics.median(taken) for name, taken in times.items()}
