"""Writing outputs to disk.

In: text and a path; the inputs of a run. Out: complete files; one output name per input.
Knows nothing of: transcripts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from whisperlite.replace import replacement
from whisperlite.writers.formats import SUFFIXES

# ``.labels`` and ``.full``: a stem that ends so could give a file of another input's stem.
_INNER = tuple(suffix.rpartition(".")[0] for suffix in SUFFIXES.values() if suffix.count(".") > 1)


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all: a temporary file beside it, then a rename.

    Raises
    ------
    OSError
        The folder cannot be made or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacement(path) as temporary, open(temporary, "x", encoding="utf-8", newline="\n") as file:
        file.write(text)


def output_path(folder: Path, stem: str, format: str) -> Path:
    """Where an output is written: ``stem.srt``, ``stem.full.json``, ``stem.labels.txt``, ..."""
    return folder / f"{stem}{SUFFIXES[format]}"


def output_stems(inputs: Sequence[str]) -> list[str]:
    """A name for each input's outputs, without extension: no two inputs share a file, whatever their case.

    The base name without its extension; where several inputs share it, with its extension; where they
    still do, numbered.

    Examples
    --------
    >>> output_stems(["a/one.wav", "b/two.wav", "b/two.flac", "c/two.flac"])
    ['one', 'two.wav', 'two.flac', 'two.flac-2']
    """
    names = [Path(text).name if text != "-" else "stdin" for text in inputs]
    stems = [Path(name).stem or name for name in names]
    shared = Counter(stem.casefold() for stem in stems)
    taken: set[str] = set()
    chosen = []
    for name, stem in zip(names, stems, strict=True):
        wanted = stem if shared[stem.casefold()] == 1 else name
        candidate, number = wanted, 1
        while _is_taken(candidate.casefold(), taken):
            number += 1
            candidate = f"{wanted}-{number}"
        taken.add(candidate.casefold())
        chosen.append(candidate)
    return chosen


def _is_taken(stem: str, taken: set[str]) -> bool:
    return any(
        {stem, stem + inner} & taken or (stem.endswith(inner) and stem.removesuffix(inner) in taken)
        for inner in _INNER
    )
