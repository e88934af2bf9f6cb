"""Tokens as text, and the merges behind them.

In: bytes or pieces by id. Out: pieces, bytes, merges.
Knows nothing of: special tokens, languages, files, the ``tokenizers`` library.

A *piece* is a token's bytes written one character per byte, in GPT-2's alphabet: a token may end inside a
character, so it need not be valid UTF-8. Ids are in order of merge rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Merges = list[tuple[str, str]]


def _alphabet() -> list[tuple[int, str]]:
    """(byte, character) in GPT-2's order: printable bytes stand for themselves, the others follow from U+0100.

    ref: openai/gpt-2 encoder.py bytes_to_unicode
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [(byte, chr(byte)) for byte in printable] + [(byte, chr(256 + i)) for i, byte in enumerate(others)]


ALPHABET = _alphabet()
_TO_LATIN1 = {ord(character): byte for byte, character in ALPHABET}
_FROM_LATIN1 = dict(ALPHABET)


def piece_of(token: bytes) -> str:
    """The piece that stands for these bytes."""
    return token.decode("latin-1").translate(_FROM_LATIN1)


def is_piece(text: str) -> bool:
    """Whether every character stands for a byte."""
    return set(map(ord, set(text))) <= _TO_LATIN1.keys()


def bytes_of(piece: str) -> bytes:
    """The bytes a piece stands for.

    Raises
    ------
    UnicodeEncodeError
        A character is not in the alphabet.
    """
    return piece.translate(_TO_LATIN1).encode("latin-1")


def merges_of(pieces: Sequence[str]) -> Merges:
    """The merge that makes each piece, in order of rank, for a source that gives ranks alone.

    It is the last of those that build the piece from single bytes when lower ranks go first.
    """
    ranks: dict[str, int] = {}
    for rank, piece in enumerate(pieces):
        ranks.setdefault(piece, rank)
    parts = [_parts_before(piece, rank, ranks) for rank, piece in enumerate(pieces) if ranks[piece] == rank]
    # A lossy vocabulary has pieces that nothing in it can make.
    return [(pair[0], pair[1]) for pair in parts if len(pair) == 2 and pair[0] in ranks and pair[1] in ranks]


def _parts_before(piece: str, rank: int, ranks: dict[str, int]) -> list[str]:
    """What is left of a piece after all merges of lower rank than its own."""
    parts = list(piece)
    joined = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
    while len(parts) > 2 and (lowest := min(joined)) < rank:
        at = joined.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del joined[at]
        if at > 0:
            joined[at - 1] = ranks.get(parts[at - 1] + parts[at], rank)
        if at < len(joined):
            joined[at] = ranks.get(parts[at] + parts[at + 1], rank)
    return parts
