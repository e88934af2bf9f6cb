"""OpenAI's two vocabularies, in the package.

In: arrays of merges. Out: pieces, merges, and the ids of what is not speech.
Knows nothing of: special tokens, checkpoints.

A file holds (n, 2) ids, one row for each token after the 256 single bytes: the two earlier tokens that it joins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, overload

import numpy as np

from whisperlite.errors import TokenizerError
from whisperlite.text.bpe import ALPHABET, Merges

ASSETS = Path(__file__).parent.parent / "assets" / "vocabulary"

# What ``Vocabulary.non_speech_tokens`` finds in them by encoding every mark: a default transcript needs no encoder.
_NON_SPEECH = {
    False: (
        1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 357, 366, 438, 532,
        685, 705, 796, 930, 1058, 1220, 1267, 1279, 1303, 1343, 1377, 1391, 1635, 1782, 1875, 2162, 2361, 2488,
        3467, 4008, 4211, 4600, 4808, 5299, 5855, 6329, 7203, 9609, 9959, 10563, 10786, 11420, 11709, 11907, 13163,
        13697, 13700, 14808, 15306, 16410, 16791, 17992, 19203, 19510, 20724, 22305, 22935, 27007, 30109, 30420,
        33409, 34949, 40283, 40493, 40549, 47282, 49146,
    ),
    True: (
        1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 359, 503, 522, 542,
        873, 893, 902, 918, 922, 931, 1350, 1853, 1982, 2460, 2627, 3246, 3253, 3268, 3536, 3846, 3961, 4183, 4667,
        6585, 6647, 7273, 9061, 9383, 10428, 10929, 11938, 12033, 12331, 12562, 13793, 14157, 14635, 15265, 15618,
        16553, 16604, 18362, 18956, 20075, 21675, 22520, 26130, 26161, 26435, 28279, 29464, 31650, 32302, 32470,
        36865, 42863, 47425, 49870, 50254,
    ),
}  # fmt: skip


class PackagedPieces(Sequence[str]):
    """Pieces of one of OpenAI's vocabularies by id, each made when it is asked for; ``packaged_pieces`` gives it.

    Attributes
    ----------
    first_ids : dict of str to int
        Ids of the single bytes' pieces.
    non_speech_tokens : tuple of int
        As ``Vocabulary.non_speech_tokens``.
    """

    first_ids: ClassVar[dict[str, int]] = {piece: index for index, (_, piece) in enumerate(ALPHABET)}

    def __init__(self, multilingual: bool) -> None:
        self._pairs = _pairs(multilingual)
        self._multilingual = multilingual
        self._made = {index: piece for piece, index in self.first_ids.items()}
        if multilingual:
            self._made[len(self) - 1] = ""  # an empty token ends it
        self.non_speech_tokens = _NON_SPEECH[multilingual]

    def __len__(self) -> int:
        return len(ALPHABET) + len(self._pairs) + int(self._multilingual)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self.all[index]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"piece {index} of {len(self)}")
        piece = self._made.get(index)
        if piece is None:
            left, right = self._pairs[index - len(ALPHABET)].tolist()
            piece = self._made[index] = self[left] + self[right]
        return piece

    def __iter__(self) -> Iterator[str]:
        return iter(self.all)

    def __eq__(self, other: Any) -> bool:
        if self is other:
            return True
        return self.all == list(other) if isinstance(other, Sequence) and len(other) == len(self) else False

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def all(self) -> list[str]:
        """All pieces at once."""
        return unpack_pieces(self._pairs) + [""] * self._multilingual

    @property
    def merges(self) -> Merges:
        pieces = self.all
        return [(pieces[left], pieces[right]) for left, right in self._pairs.tolist()]


def unpack_pieces(pairs: np.ndarray) -> list[str]:
    """Pieces from (n, 2) ids: the 256 bytes, then one for each pair.

    Raises
    ------
    TokenizerError
        A pair names a piece that does not exist yet.
    """
    pieces = [character for _, character in ALPHABET]
    early = np.flatnonzero(pairs.max(axis=1, initial=0) >= len(pieces) + np.arange(len(pairs)))
    if len(early):
        at = int(early[0])
        raise TokenizerError(f"merge {at} names the piece {pairs[at].max()} before it is made.")
    for left, right in pairs.tolist():
        pieces.append(pieces[left] + pieces[right])
    return pieces


@cache
def packaged_pieces(multilingual: bool) -> PackagedPieces:
    """The multilingual or the English-only (GPT-2) vocabulary."""
    return PackagedPieces(multilingual)


def known_merges(pieces: Sequence[str]) -> Merges | None:
    """Merges of these pieces where they are one of OpenAI's vocabularies: five times faster than to derive them."""
    known = packaged_pieces(multilingual=len(pieces) > 50256)
    return known.merges if known == pieces else None


def _pairs(multilingual: bool) -> np.ndarray:
    pairs: np.ndarray = np.load(ASSETS / ("multilingual.npy" if multilingual else "gpt2.npy"))
    return pairs
