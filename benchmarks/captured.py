"""Timings that whisper.cpp printed (whisper-bench, whisper-cli), read from a text or had printed now.

In: text with ``whisper_print_timings`` lines, or a path to a program. Out: rows of stages.
Knows nothing of: other engines.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

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
    per_run = _per_run(timings)
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
    texts = [_run(program, ["-m", str(ggml), "-t", str(threads)]) for _ in range(repeats)]
    found = [stages_of(_timings(text)) for text in texts]
    return _series(found, model, f"{compute_type} (bench)", threads)


def cli_series(
    program: Path, ggml: Path, model: str, compute_type: str, threads: int, repeats: int, n_tokens: int
) -> list[Series]:
    """Run whisper-cli several times on 30 s of noise, greedily and with five beams.

    It has no limit of tokens, so that ``window`` and ``total`` are put together from the times it prints for single
    steps, for ``n_tokens`` tokens; what it does besides (writing, freeing) is left out.

    Raises
    ------
    ValueError
        It crashes or prints no timings; the message has its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder) / "noise.wav"
        _write_noise(audio)
        common = ["-m", str(ggml), "-t", str(threads), "-f", str(audio), "-l", "en", "-nt", "-nf", "-mc", "0"]
        found = []
        for _ in range(repeats):
            greedy = _timings(_run(program, [*common, "-bs", "1", "-bo", "1"]))
            beam = _timings(_run(program, [*common, "-bs", str(BEAM_SIZE), "-bo", "1"]))
            found.append(cli_stages(greedy, beam, n_tokens))
    return _series(found, model, f"{compute_type} (cli)", threads)


def cli_stages(
    greedy: dict[str, tuple[float, int]], beam: dict[str, tuple[float, int]], n_tokens: int
) -> dict[str, float]:
    """Milliseconds by this suite's stages, of a greedy run and one with five beams."""
    stages = stages_of(greedy)
    stages.pop("beam5", None)
    runs = (("window", greedy, "decode", 1), ("window_beam5", beam, "batchd", BEAM_SIZE))
    for name, timings, step, width in runs:
        per_run = _per_run(timings)
        if not {"mel", "encode", step} <= set(per_run):
            continue
        one_step = width * (per_run[step] + per_run.get("sample", 0.0))
        prompt = timings.get("prompt", (0.0, 0))[0]
        stages[name] = per_run["mel"] + per_run["encode"] + prompt + n_tokens * one_step
        if name == "window_beam5":
            stages["beam5"] = width * per_run[step]
        elif "load" in per_run:
            stages["total"] = per_run["load"] + stages[name]
    return stages


def _timings(text: str) -> dict[str, tuple[float, int]]:
    found = parse_timings(text)
    if not stages_of(found):
        raise ValueError(f"no timings were printed: {text.strip().rpartition(chr(10))[2][:200]}")
    return found


def _per_run(timings: dict[str, tuple[float, int]]) -> dict[str, float]:
    return {name: total / runs for name, (total, runs) in timings.items() if total > 0 and runs > 0}


def _run(program: Path, arguments: list[str]) -> str:
    """What a program prints."""
    try:
        done = subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, errors="replace", timeout=900
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(str(error)) from None
    text = done.stdout + done.stderr
    if done.returncode:
        raise ValueError(f"{program.name} ended with {done.returncode}: {text.strip().rpartition(chr(10))[2]}")
    return text


def _series(found: list[dict[str, float]], model: str, compute_type: str, threads: int) -> list[Series]:
    names = dict.fromkeys(name for stages in found for name in stages)
    return [
        Series(name, model, "whisper.cpp", compute_type, threads, [stages.get(name) for stages in found])
        for name in names
    ]


def _write_noise(path: Path) -> None:
    """The 30 s that engines are given, as a WAV file."""
    samples = 0.1 * np.random.default_rng(0).standard_normal(480000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
