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


def unpack_merges(pairs: np.ndarray) -> tuple[list[str], Merges]:
    """Pieces and merges from (n, 2) ids: the pieces are the 256 bytes, then one for each merge.

    Raises
    ------
    TokenizerError
        A pair names a piece that does not exist yet.
    """
    pieces = [character for _, character in ALPHABET]
    merges: Merges = []
    for left, right in pairs.tolist():
        if max(left, right) >= len(pieces):
            raise TokenizerError(f"merge {len(merges)} names the piece {max(left, right)} before it is made.")
        merges.append((pieces[left], pieces[right]))
        pieces.append(pieces[left] + pieces[right])
    return pieces, merges


def packaged(multilingual: bool) -> tuple[list[str], Merges]:
    """Pieces and merges of the multilingual or the English-only (GPT-2) vocabulary."""
    pieces, merges = unpack_merges(np.load(ASSETS / ("multilingual.npy" if multilingual else "gpt2.npy")))
    if multilingual:
        pieces.append("")  # an empty token ends it
    return pieces, merges


def known_merges(pieces: Sequence[str]) -> Merges | None:
    """Merges of these pieces where they are one of OpenAI's vocabularies: five times faster than to derive them."""
    known, merges = packaged(multilingual=len(pieces) > 50256)
    return merges if known == list(pieces) else None
