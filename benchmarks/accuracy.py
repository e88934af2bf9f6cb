"""Word error rate and word-timing error over a folder of audio with references, for engines side by side."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.models import model_folder
from benchmarks.processes import environment
from benchmarks.tables import format_table
from benchmarks.words import NO_ERRORS, Errors, Timed, timing_errors, word_errors

AUDIO = Path("..") / "shared" / "audio"
ENGINES = ("whisperlite", "openai-whisper", "faster-whisper")
ENDINGS = (".flac", ".wav", ".ogg", ".mp3")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=Path, nargs="?", default=AUDIO, help=f"audio files and refs.json; default {AUDIO}")
    add("--model", default="nano", help="nano, a size, or an HF folder; default %(default)s")
    add("--engines", default="whisperlite,openai-whisper", help=f"some of {', '.join(ENGINES)}")
    add("--compute-type", default="default", help="of whisperlite; default %(default)s")
    add("--threads", type=int, default=2)
    add("--beam-size", type=int, default=None)
    add("--no-times", action="store_true", help="without word times")
    add("--python", action="append", default=[], metavar="ENGINE=PATH", help="interpreter that has an engine")
    add("--json", type=Path, metavar="FILE", help="write transcripts and errors by engine and file")


def run(options: argparse.Namespace) -> int:
    references = read_references(options.folder)
    folder = model_folder(options.model)
    pythons = dict(pair.split("=", 1) for pair in options.python if "=" in pair)
    results: dict[str, Any] = {}
    for engine in options.engines.split(","):
        if engine not in ENGINES:
            raise ValueError(f"engine {engine!r}: give some of {', '.join(ENGINES)}")
        request = {
            "engine": engine, "model": str(folder), "threads": options.threads, "beam_size": options.beam_size,
            "compute_type": options.compute_type, "times": not options.no_times,
            "files": {name: [str(path), reference["language"]] for name, (path, reference) in references.items()},
        }  # fmt: skip
        results[engine] = _transcribe(pythons.get(engine, sys.executable), request)
    print(accuracy_table(references, results))
    for engine, found in results.items():
        if isinstance(found, str):
            print(f"left out: {engine}: {found}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return 0 if any(not isinstance(found, str) for found in results.values()) else 1


def read_references(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Audio files of a folder with their entry of ``refs.json``: text, words, language.

    Raises
    ------
    ValueError
        There is no audio with a reference.
    """
    path = folder / "refs.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing; it maps names of audio files to segments with text and words")
    found = {}
    for name, entry in json.loads(path.read_text()).items():
        audio = next((folder / (name + end) for end in ENDINGS if (folder / (name + end)).is_file()), None)
        if audio is not None and entry.get("segments") is not None:
            text = " ".join(segment["text"] for segment in entry["segments"])
            words = [
                (word["word"], word["start"], word["end"])
                for segment in entry["segments"]
                for word in segment.get("words", ())
            ]
            found[name] = (audio, {"text": text, "words": words, "language": entry.get("language", "en")})
    if not found:
        raise ValueError(f"{folder}: no audio file has an entry in refs.json")
    return found


def _transcribe(python: str, request: dict[str, Any]) -> Any:
    """Text and words by file from an engine's own process, or the reason why there are none."""
    try:
        done = subprocess.run(
            [python, "-m", "benchmarks.peers.transcripts"], input=json.dumps(request),
            env=environment(request["threads"]), capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    except OSError as error:
        return str(error)
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
    return json.loads(done.stdout)


def accuracy_table(references: dict[str, tuple[Path, dict[str, Any]]], results: dict[str, Any]) -> str:
    """A line for each file and one for all; two columns for each engine."""
    engines = [engine for engine, found in results.items() if not isinstance(found, str)]
    sums: dict[str, Errors] = dict.fromkeys(engines, NO_ERRORS)
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    lines = []
    for name, (_, reference) in references.items():
        line = [name]
        for engine in engines:
            heard = results[engine][name]
            errors = word_errors(reference["text"], heard["text"])
            words: list[Timed] = [(word, start, end) for word, start, end in heard["words"]]
            off = timing_errors(reference["words"], words)
            sums[engine] += errors
            times[engine] += off
            line += [_rate(errors), _times(off)]
        lines.append(line)
    lines.append(["all", *(cell for engine in engines for cell in (_rate(sums[engine]), _times(times[engine])))])
    head = ["file", *(text for engine in engines for text in (f"{engine} WER", "times off, s (median, mean)"))]
    return format_table(head, lines)


def _rate(errors: Errors) -> str:
    return f"{errors.rate:.1%} ({errors.total}/{errors.n_words})"


def _times(off: list[float]) -> str:
    return f"{statistics.median(off):.3f} {statistics.mean(off):.3f}" if off else ""
