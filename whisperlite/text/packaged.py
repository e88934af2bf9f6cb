"""OpenAI's two vocabularies, in the package.

In: arrays of merges. Out: pieces and merges.
Knows nothing of: special tokens, checkpoints.

A file holds (n, 2) ids, one row for each token after the 256 single bytes: the two earlier tokens that it joins.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from whisperlite.errors import TokenizerError
from whisperlite.text.bpe import ALPHABET, Merges

ASSETS = Path(__file__).parent.parent / "assets" / "vocabulary"


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


def packaged(multilingual: bool) -> list[str]:
    """Pieces of the multilingual or the English-only (GPT-2) vocabulary."""
    pieces = unpack_pieces(_pairs(multilingual))
    if multilingual:
        pieces.append("")  # an empty token ends it
    return pieces


def known_merges(pieces: Sequence[str]) -> Merges | None:
    """Merges of these pieces where they are one of OpenAI's vocabularies: five times faster than to derive them."""
    multilingual = len(pieces) > 50256
    known = packaged(multilingual)
    if known != list(pieces):
        return None
    return [(known[left], known[right]) for left, right in _pairs(multilingual).tolist()]


def _pairs(multilingual: bool) -> np.ndarray:
    pairs: np.ndarray = np.load(ASSETS / ("multilingual.npy" if multilingual else "gpt2.npy"))
    return pairs
