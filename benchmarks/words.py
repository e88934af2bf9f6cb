"""Words against a reference: word error rate, and how far the times of matched words are off.

In: texts, or words with times. Out: rates, seconds. Knows nothing of: engines, files.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

Timed = tuple[str, float, float]  # word, start, end in seconds


def normal_words(text: str) -> list[str]:
    """Words without case, punctuation and accents of width; scripts without spaces give a word per character."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"([\u3040-\u30ff\u3400-\u9fff])", r" \1 ", text)
    return re.sub(r"[^\w\s']|_", " ", text).replace("'", "").split()


@dataclass(frozen=True)
class Errors:
    """Substitutions, deletions and insertions against ``n_words`` of a reference."""

    substitutions: int
    deletions: int
    insertions: int
    n_words: int

    @property
    def total(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Word error rate; 0 where nothing was said and nothing heard."""
        return self.total / self.n_words if self.n_words else float(self.total > 0)

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.substitutions + other.substitutions, self.deletions + other.deletions,
            self.insertions + other.insertions, self.n_words + other.n_words,
        )  # fmt: skip


NO_ERRORS = Errors(0, 0, 0, 0)


def align(reference: Sequence[str], heard: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Pairs of positions by least edit distance; None on one side is a deletion or an insertion."""
    n, m = len(reference), len(heard)
    cost = [[i + j if i == 0 or j == 0 else 0 for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            same = cost[i - 1][j - 1] + (reference[i - 1] != heard[j - 1])
            cost[i][j] = min(same, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    pairs: list[tuple[int | None, int | None]] = []
    i, j = n, m
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return pairs[::-1]


def word_errors(reference: str, heard: str) -> Errors:
    """Errors of a text against a reference, after normalising both."""
    said, found = normal_words(reference), normal_words(heard)
    substitutions = deletions = insertions = 0
    for i, j in align(said, found):
        if i is None:
            insertions += 1
        elif j is None:
            deletions += 1
        else:
            substitutions += said[i] != found[j]
    return Errors(substitutions, deletions, insertions, len(said))


def timing_errors(reference: Sequence[Timed], heard: Sequence[Timed]) -> list[float]:
    """Seconds between the true and the found start and end of each word that was heard right."""
    said, found = _single_words(reference), _single_words(heard)
    errors = []
    for i, j in align([word for word, _, _ in said], [word for word, _, _ in found]):
        if i is not None and j is not None and said[i][0] == found[j][0]:
            errors += [abs(said[i][1] - found[j][1]), abs(said[i][2] - found[j][2])]
    return errors


def _single_words(words: Sequence[Timed]) -> list[Timed]:
    """Normalised words that are one word; the rest has no time of its own."""
    normal = ((normal_words(word), start, end) for word, start, end in words)
    return [(parts[0], start, end) for parts, start, end in normal if len(parts) == 1]
