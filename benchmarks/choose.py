"""One file through models, quantisations and thread counts: time, memory and word error rate, to choose by."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.models import ggml_file, model_folder, model_name
from benchmarks.processes import environment
from benchmarks.tables import format_table
from benchmarks.words import word_errors

COMPUTE_TYPES = ("default", "float32", "bfloat16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, help="audio")
    add("--models", default="nano", help="nano, sizes (random weights: time and memory only), or HF folders")
    add("--types", default="f16,q8_0,q5_0", help=f"ggml types or {', '.join(COMPUTE_TYPES)}; default %(default)s")
    add("--threads", default=str(os.cpu_count() or 1), help="numbers, comma-separated; default all CPUs")
    add("--reference", help="what is said: text, or a file that holds it")
    add("--language", default="en", help="default %(default)s")
    add("--beam-size", type=int, default=None)
    add("--repeats", type=int, default=1)
    add("--json", type=Path, metavar="FILE", help="write the lines")


def run(options: argparse.Namespace) -> int:
    if not options.file.is_file():
        raise ValueError(f"{options.file}: no such file")
    reference = _reference(options.reference)
    found = []
    for model in options.models.split(","):
        folder = model_folder(model)
        for kind in options.types.split(","):
            for threads in (int(text) for text in options.threads.split(",")):
                found.append(_measure(options, folder, model_name(model), kind, threads, reference))
    print(choice_table(found))
    for line in found:
        if "error" in line:
            print(f"left out: {line['model']} {line['type']} {line['threads']}: {line['error']}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return 0 if any("error" not in line for line in found) else 1


def choice_table(found: list[dict[str, Any]]) -> str:
    """Lines that were measured, in the order they were asked for."""
    lines = [
        [
            f"{line['model']} {line['type']}", str(line["threads"]), f"{line['file_mb']:.0f}",
            f"{line['seconds']:.2f}", f"{line['rss_mb']:.0f}", "" if line["wer"] is None else f"{line['wer']:.1%}",
        ]
        for line in found if "error" not in line
    ]  # fmt: skip
    return format_table(("model", "threads", "file, MB", "time, s", "peak RSS, MB", "WER"), lines)


def _measure(
    options: argparse.Namespace, folder: Path, name: str, kind: str, threads: int, reference: str | None
) -> dict[str, Any]:
    line: dict[str, Any] = {"model": name, "type": kind, "threads": threads}
    path, compute_type = folder / "model.safetensors", kind
    try:
        if kind not in COMPUTE_TYPES:
            path, compute_type = ggml_file(folder, kind), "default"
    except Exception as error:
        return {**line, "error": str(error)}
    request = {
        "engine": "whisperlite", "model": str(folder if compute_type == kind else path), "threads": threads,
        "compute_type": compute_type, "times": False, "beam_size": options.beam_size, "warm": 1,
        "files": {f"{i}": [str(options.file), options.language] for i in range(options.repeats)},
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.transcripts"], input=json.dumps(request),
        env=environment(threads), capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        return {**line, "error": done.stderr.strip().rpartition("\n")[2]}
    runs = list(json.loads(done.stdout).values())
    return {
        **line,
        "file_mb": path.stat().st_size / 1e6,
        "seconds": statistics.median(run["seconds"] for run in runs),
        "rss_mb": max(run["rss_mb"] for run in runs),
        "wer": None if reference is None else word_errors(reference, runs[0]["text"]).rate,
        "text": runs[0]["text"],
    }


def _reference(text: str | None) -> str | None:
    if text is None:
        return None
    path = Path(text)
    try:
        return path.read_text() if path.is_file() else text
    except OSError:  # a text too long for a path
        return text
