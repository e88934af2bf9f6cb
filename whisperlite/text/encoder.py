"""Byte-level BPE on the ``tokenizers`` library.

In: pieces by id and their merges. Out: token ids of a text.
Knows nothing of: special tokens, languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from whisperlite.errors import TokenizerError
from whisperlite.text.bpe import ALPHABET, Merges, merges_of
from whisperlite.text.packaged import PackagedPieces, known_merges

if TYPE_CHECKING:
    import tokenizers


_CHARACTERS = {chr(byte): piece for byte, piece in ALPHABET if byte < 128}


class Encoder:
    """Token ids of a text. The merge table is built when the first text comes that is more than one character."""

    def __init__(self, pieces: Sequence[str], merges: Merges | None) -> None:
        self._pieces = pieces
        self._given_merges = merges

    def encode(self, text: str) -> list[int]:
        """Ids of the text; anything in it is text, also what looks like a special token.

        Lone surrogates become U+FFFD, as in tiktoken.

        Raises
        ------
        TokenizerError
            The vocabulary lacks single bytes that the text needs.
        """
        if text in _CHARACTERS and isinstance(self._pieces, PackagedPieces):
            return [self._pieces.first_ids[_CHARACTERS[text]]]
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if self._missing and self._missing.intersection(text.encode("utf-8")):
            raise TokenizerError(
                f"the vocabulary lacks {len(self._missing)} of the 256 single bytes, so this text has no tokens; "
                "put the model's tokenizer.json beside it."
            )
        return self._library.encode(text, add_special_tokens=False).ids

    @property
    def has_packaged_merges(self) -> bool:
        """Whether the merges are those of OpenAI's vocabulary with these pieces."""
        if isinstance(self._pieces, PackagedPieces):
            return True
        return self._given_merges is not None and self._given_merges == known_merges(self._pieces)

    @cached_property
    def _missing(self) -> frozenset[int]:
        if isinstance(self._pieces, PackagedPieces):
            return frozenset()
        known = {piece for piece in self._pieces if len(piece) == 1}
        return frozenset(byte for byte, character in ALPHABET if character not in known)

    @cached_property
    def _library(self) -> tokenizers.Tokenizer:
        from tokenizers import Tokenizer
        from tokenizers.models import BPE
        from tokenizers.pre_tokenizers import ByteLevel

        vocabulary: dict[str, int] = {}
        for index, piece in enumerate(self._pieces):
            vocabulary.setdefault(piece, index)
        merges = self._given_merges
        if merges is None:
            merges = known_merges(self._pieces) or merges_of(self._pieces)
        try:
            library = Tokenizer(BPE(vocab=vocabulary, merges=merges))
        except Exception as error:  # the library raises a bare Exception
            raise TokenizerError(f"the vocabulary's merges are damaged: {error}.") from None
        # Splits text by GPT-2's pattern, the one of OpenAI's own tokenizer.
        library.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
        return library
