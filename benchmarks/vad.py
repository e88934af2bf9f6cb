"""What vad_filter changes on recordings with known text: word errors, seconds left out.

    python -m benchmarks.vad [--audio ../shared/audio] [--model nano] [--silero FILE]

In: a folder of recordings with ``refs.json``, a model. Out: a Markdown table, greedy without fallback and with the
language given. Knows nothing of: how speech is found.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.accuracy import AUDIO, read_references
from benchmarks.words import NO_ERRORS, Errors, word_errors


def rows(folder: Path, model_name: str, detectors: dict[str, Any]) -> list[list[str]]:
    """Rows of text: recording, seconds, then for each way word errors and seconds left out."""
    from whisperlite import WhisperModel, load_audio

    model = WhisperModel(model_name)
    totals, removed = dict.fromkeys(detectors, NO_ERRORS), dict.fromkeys(detectors, 0.0)
    table, length = [], 0.0
    for recording, (path, reference) in read_references(folder).items():
        audio, said = load_audio(path), reference["text"]
        row = [recording, f"{len(audio) / 16000:.0f}"]
        length += len(audio) / 16000
        for name, options in detectors.items():
            found = model.transcribe(audio, language=reference["language"], temperature=0.0, **options)
            errors = word_errors(said, found.text)
            totals[name] += errors
            removed[name] += found.duration - found.speech_duration
            row += [shown(errors)] + ([f"{found.duration - found.speech_duration:.1f}"] if options else [])
        table.append(row)
    last = ["all", f"{length:.0f}"]
    for name, options in detectors.items():
        last += [f"{shown(totals[name])} ({totals[name].rate:.1%})"] + ([f"{removed[name]:.1f}"] if options else [])
    return [*table, last]


def shown(errors: Errors) -> str:
    return f"{errors.total} of {errors.n_words}" if errors.n_words else f"{errors.insertions} said by nobody"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, default=AUDIO)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--silero", type=Path, help="Silero's ggml file; left out without it")
    given = parser.parse_args()
    ways: dict[str, Any] = {"none": {}, "energy": {"vad_filter": True, "vad_model": "energy"}}
    if given.silero:
        ways["silero"] = {"vad_filter": True, "vad_model": given.silero}
    heads = [head for name in ways for head in ([f"word errors, {name}"] + (["s left out"] if ways[name] else []))]
    print("| recording | s | " + " | ".join(heads) + " |")
    print("|" + "---|" * (len(heads) + 2))
    for row in rows(given.audio, given.model, ways):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
