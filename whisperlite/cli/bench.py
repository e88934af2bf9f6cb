"""``bench``: how fast whisperlite is on this machine, in about a minute.

In: a model. Out: a table on stdout. Knows nothing of: other engines (the repository's ``benchmarks`` does).
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from whisperlite.cli.options import INSIDE, ComputeType, Model

WINDOW_TOKENS, STEPS, BEAMS, PROMPT = 64, 32, 5, 224


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("bench", rich_help_panel=INSIDE)(bench)


def bench(
    model: Model = "nano",
    compute_type: ComputeType = "default",
    threads: Annotated[int | None, typer.Option(help="Default: all the process may use.", min=1)] = None,
    repeats: Annotated[int, typer.Option(help="Of each stage; the median is shown.", min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time each stage of one 30-second window on this machine."""
    from whisperlite.kernels import cpu

    load_ms, whisper = _load(model, compute_type, threads)
    calls = _stages(whisper)
    found = {"load": [load_ms]}
    for name, (call, units) in calls.items():
        call()  # compiles, and touches memory for the first time
        found[name] = [_milliseconds(call) / units for _ in range(repeats)]
    rows = [
        {
            "stage": name, "median_ms": round(statistics.median(times), 4), "min_ms": round(min(times), 4),
            "max_ms": round(max(times), 4), "n": len(times),
        }
        for name, times in found.items()
    ]  # fmt: skip
    peak = _peak_rss_mb()
    if as_json:
        content = {
            "model": model, "compute_type": compute_type, "threads": whisper.threads, "cpu": cpu.summary(),
            "rss_mb": peak, "rows": rows,
        }  # fmt: skip
        print(json.dumps(content, indent=1))
    else:
        print(f"{cpu.summary()}; {whisper.threads} threads; {model} {compute_type}")
        _show(rows)
        window_ms = statistics.median(found["window"])
        print(f"\n30 s of audio and {WINDOW_TOKENS} tokens take {window_ms / 1e3:.2f} s: "
              f"{30e3 / window_ms:.0f} times as fast as speech. Peak memory {peak:.0f} MB.")  # fmt: skip


def _load(model: str, compute_type: str, threads: int | None) -> tuple[float, Any]:
    from whisperlite.checkpoint import open_checkpoint, resolve
    from whisperlite.model import Whisper

    started = time.perf_counter()
    whisper = Whisper(open_checkpoint(resolve(model)), compute_type=compute_type, threads=threads)
    return (time.perf_counter() - started) * 1e3, whisper


def _stages(whisper: Any) -> dict[str, tuple[Callable[[], Any], int]]:
    """Calls to time, and how many units of the stage each one does."""
    import numpy as np

    from whisperlite.audio import N_SAMPLES, log_mel_spectrogram

    n_mels = whisper.dims.n_mels
    audio = (0.1 * np.random.default_rng(0).standard_normal(N_SAMPLES)).astype(np.float32)
    mel = log_mel_spectrogram(audio, n_mels, threads=whisper.threads)[None]
    features = whisper.encode(mel)
    cross = whisper.cross_kv(features)
    text = np.arange(1000, 1000 + PROMPT)[None]

    def steps(n_rows: int, n_steps: int, kept: Any) -> None:
        cache = whisper.new_cache(n_rows)
        logits = whisper.prefill(np.repeat(text[:, :4], n_rows, axis=0), cache, kept)[:, -1]
        for _ in range(n_steps):
            logits = whisper.step(logits.argmax(axis=1), cache, kept, copy=False)

    def window() -> None:
        heard = whisper.encode(log_mel_spectrogram(audio, n_mels, threads=whisper.threads)[None])
        steps(1, WINDOW_TOKENS, whisper.cross_kv(heard))

    return {
        "log-mel": (lambda: log_mel_spectrogram(audio, n_mels, threads=whisper.threads), 1),
        "encoder": (lambda: whisper.encode(mel), 1),
        "cross keys and values": (lambda: whisper.cross_kv(features), 1),
        f"prompt of {PROMPT} tokens": (lambda: whisper.prefill(text, whisper.new_cache(1), cross), 1),
        "token": (lambda: steps(1, STEPS, cross), STEPS),
        f"step of {BEAMS} beams": (lambda: steps(BEAMS, STEPS, cross), STEPS),
        "window": (window, 1),
    }


def _milliseconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def _peak_rss_mb() -> float:
    """0 where the system does not tell."""
    import sys

    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("stage", "ms", "least", "greatest"):
        table.add_column(column, justify="left" if column == "stage" else "right", no_wrap=True)
    for row in rows:
        numbers = (row["median_ms"], row["min_ms"], row["max_ms"])
        table.add_row(row["stage"], *(f"{value:.2f}" for value in numbers))
    Console().print(table)
