"""How far word starts are from the truth: whisperlite's and openai-whisper's, as a table.

    python -m benchmarks.word_errors [--shared ../shared] [--model nano]

In: recordings with true times, openai-whisper's results on them (``shared/audio``, ``shared/goldens``).
Out: a Markdown table of median errors in milliseconds. Knows nothing of: how words get their times.

A word counts where the transcript has the word that was said: runs of equal words, found by ``difflib``.
"""

from __future__ import annotations

import argparse
import json
import string
from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import Path
from statistics import median

Start = tuple[str, float]  # a word without case and punctuation, and when it starts

PUNCTUATION = string.punctuation + "。，"  # noqa: RUF001


def plain(word: str) -> str:
    return word.strip().strip(PUNCTUATION).casefold()


def starts(words: Iterable[dict]) -> list[Start]:
    return [(plain(word["word"]), word["start"]) for word in words if plain(word["word"])]


def errors(said: list[Start], heard: list[Start]) -> list[float]:
    """Seconds between the true start and the one found, for each word that both have."""
    matcher = SequenceMatcher(a=[word for word, _ in said], b=[word for word, _ in heard], autojunk=False)
    return [
        abs(said[block.a + i][1] - heard[block.b + i][1])
        for block in matcher.get_matching_blocks()
        for i in range(block.size)
    ]


def rows(shared: Path, model_name: str) -> Iterable[tuple[str, list[float], list[float], list[float]]]:
    """Name of each recording, and the errors of openai-whisper, of ``transcribe`` and of ``align``."""
    from whisperlite import WhisperModel

    refs = json.loads((shared / "audio" / "refs.json").read_text())
    goldens = json.loads((shared / "goldens" / "openai_whisper.json").read_text())["transcribe"]
    model = WhisperModel(model_name)
    for name, ref in refs.items():
        path, golden = shared / "audio" / f"{name}.flac", goldens.get(f"{name}/words")
        said = starts(word for segment in ref.get("segments", ()) for word in segment.get("words", ()))
        if golden is None or not said or not path.is_file():
            continue
        theirs = starts(word for segment in golden["segments"] for word in segment["words"])
        options = golden["options"]
        ours = model.transcribe(path, **options).to_dict()
        known = model.align(path, " ".join(segment["text"] for segment in ref["segments"]), options["language"])
        yield (
            name,
            errors(said, theirs),
            errors(said, starts(word for segment in ours["segments"] for word in segment["words"])),
            errors(said, starts(word.to_dict() for word in known)),
        )


def table(found: Iterable[tuple[str, list[float], list[float], list[float]]]) -> list[str]:
    """Markdown lines."""
    lines = [
        "| recording | words | openai-whisper | whisperlite | words | align, text known |",
        "|---|---|---|---|---|---|",
    ]
    together: tuple[list[float], ...] = ([], [], [])
    for name, *columns in found:
        for whole, column in zip(together, columns, strict=True):
            whole += column
        lines.append(row(name, *columns))
    return [*lines, row("all", *together)]


def row(name: str, theirs: list[float], ours: list[float], known: list[float]) -> str:
    figures = [f"{1000 * median(column):.0f} ms" if column else "-" for column in (theirs, ours, known)]
    return f"| {name} | {len(ours)} | {figures[0]} | {figures[1]} | {len(known)} | {figures[2]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(__file__).parent.parent.parent / "shared")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    print("\n".join(table(rows(arguments.shared, arguments.model))))


if __name__ == "__main__":
    main()
