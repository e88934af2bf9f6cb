"""Text tokens and special tokens of one model: loaded once, shared by every language and task.

In: a ``tokenizer.json``, OpenAI's ranks, CTranslate2's list, or tokens by id. Out: ``Vocabulary``.
Knows nothing of: the language and task at hand, checkpoints.

Special ids are computed from ``n_vocab``, never read: files of different makers disagree about them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from whisperlite.errors import OptionError, TokenizerError
from whisperlite.text.bpe import Merges, bytes_of, is_piece, piece_of
from whisperlite.text.encoder import Encoder
from whisperlite.text.languages import LANGUAGES, language_code
from whisperlite.text.packaged import PackagedPieces, packaged_pieces

N_TIMESTAMPS = 1501
N_VOCABS = (51864, 51865, 51866)
_EOT = "<|endoftext|>"

_MARKS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    "<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))", "[[", "]]", "{{", "}}",
    "♪♪", "♪♪♪",
)  # fmt: skip
_MUSIC = tuple("♩♪♫♬♭♮♯")  # all begin with the same two bytes, so the first token is enough


class MisfitError(TokenizerError):
    """A sound vocabulary of another model."""


class Vocabulary:
    """Token ids and their bytes.

    Attributes
    ----------
    n_vocab : int
        51864 (English only), 51865 (99 languages) or 51866 (100 languages).
    is_multilingual : bool
    num_languages : int
    special_tokens : dict of str to int
        ``"<|endoftext|>"`` .. ``"<|30.00|>"``, in the order of the ids.
    """

    def __init__(self, pieces: Sequence[str], n_vocab: int, merges: Merges | None = None) -> None:
        n_text = n_text_tokens(n_vocab)
        self.n_vocab = n_vocab
        self.is_multilingual = n_vocab >= 51865
        self.num_languages = n_vocab - 51765 - int(self.is_multilingual)
        names = _special_names(self.num_languages)
        self.eot = n_text
        if len(pieces) != n_text:
            raise MisfitError(f"the vocabulary has {len(pieces)} text tokens; n_vocab {n_vocab} needs {n_text}.")
        self.special_tokens = {name: self.eot + i for i, name in enumerate(names)}
        self._pieces = pieces
        self._special_names = names
        self._encoder = Encoder(pieces, merges)

    @classmethod
    def from_tokenizer_json(cls, path: str | Path, n_vocab: int, content: bytes | None = None) -> Vocabulary:
        """From the ``tokenizer.json`` of a Hugging Face model; ``content``: its bytes, where they have been read.

        Raises
        ------
        TokenizerError
            The file is unreadable, no byte-level BPE, or of a model with another vocabulary.
        """
        n_text = n_text_tokens(n_vocab)
        try:
            decoded = json.loads(read_file(path) if content is None else content)
            model = decoded["model"]
            ids: dict[str, int] = model["vocab"]
            if model.get("type", "BPE") != "BPE":
                kind = str(model["type"])[:40]
                raise MisfitError(f"{path} is a {kind} tokenizer; Whisper's is byte-level BPE.")
            added = {entry["content"]: entry["id"] for entry in decoded.get("added_tokens", ())}
            eot = added.get(_EOT, ids.get(_EOT))
            if eot != n_text:  # read to recognise the file, not for its value
                raise MisfitError(f"{path} has {_EOT} at {eot}; n_vocab {n_vocab} needs it at {n_text}.")
            by_id = {index: piece for piece, index in ids.items()}
            merges = [_merge(entry) for entry in model["merges"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise TokenizerError(f"{path} is not a tokenizer.json; fetch it again.") from None
        # The multilingual vocabulary ends in an empty token, which some files leave out.
        by_id.setdefault(50256, "")
        missing = [index for index in range(n_text) if index not in by_id]
        if missing:
            raise MisfitError(f"{path} lacks {len(missing)} of {n_text} text tokens, {missing[0]} the first.")
        pieces = [by_id[index] for index in range(n_text)]
        if not is_piece("".join(pieces)):
            raise MisfitError(f"{path} has tokens that are no bytes; Whisper's tokenizer is byte-level BPE.")
        return cls(pieces, n_vocab, merges)

    @classmethod
    def from_ranks(cls, path: str | Path, n_vocab: int) -> Vocabulary:
        """From OpenAI's ``gpt2.tiktoken`` or ``multilingual.tiktoken``: lines of base64 and rank.

        Raises
        ------
        TokenizerError
            The file is unreadable, damaged, or of a model with another vocabulary.
        """
        by_rank = {}
        try:
            for line in read_file(path).splitlines():
                if line:
                    token, rank = line.split()
                    by_rank[int(rank)] = base64.b64decode(token)
            tokens = [by_rank[rank] for rank in range(len(by_rank))]
        except (ValueError, KeyError, binascii.Error):
            raise TokenizerError(f"{path} is not a file of ranks; fetch it again.") from None
        return cls([piece_of(token) for token in tokens], n_vocab)

    @classmethod
    def from_list(cls, path: str | Path, n_vocab: int) -> Vocabulary:
        """From CTranslate2's ``vocabulary.json`` (a list) or ``vocabulary.txt`` (a line each): pieces by id.

        Raises
        ------
        TokenizerError
            The file is unreadable, or of a model with another vocabulary.
        """
        n_text = n_text_tokens(n_vocab)
        content = read_file(path)
        try:
            pieces = json.loads(content) if content.lstrip()[:1] == b"[" else content.decode().split("\n")
            at = pieces.index(_EOT) if isinstance(pieces, list) else -1
            joined = "".join(pieces[:n_text])
        except (ValueError, TypeError, RecursionError):
            raise TokenizerError(f"{path} is not a list of Whisper's tokens; fetch it again.") from None
        if at != n_text:
            raise MisfitError(f"{path} has {_EOT} at {at}; n_vocab {n_vocab} needs it at {n_text}.")
        if not is_piece(joined):
            raise MisfitError(f"{path} has tokens that are no bytes; Whisper's tokenizer is byte-level BPE.")
        return cls(pieces[:n_text], n_vocab)

    @classmethod
    def from_tokens(cls, tokens: Sequence[bytes], n_vocab: int) -> Vocabulary:
        """From tokens by id, as a ggml file has them; tokens beyond the text tokens are ignored.

        Raises
        ------
        TokenizerError
            There are too few.
        """
        n_text = n_text_tokens(n_vocab)
        pieces = [piece_of(token) for token in tokens[:n_text]]
        if len(pieces) == n_text - 1 and n_vocab >= 51865:
            pieces.append("")  # the empty last token of the multilingual vocabulary
        return cls(pieces, n_vocab)

    @classmethod
    def packaged(cls, n_vocab: int) -> Vocabulary:
        """OpenAI's own of that size.

        Raises
        ------
        TokenizerError
            Whisper has no vocabulary of that size.
        """
        return cls(packaged_pieces(multilingual=n_text_tokens(n_vocab) > 50256), n_vocab)

    @property
    def timestamp_begin(self) -> int:
        return self.n_vocab - N_TIMESTAMPS

    def encode(self, text: str) -> list[int]:
        """Ids of a text. Special-looking text is text: ``"<|en|>"`` gives several ids.

        Raises
        ------
        TokenizerError
            The vocabulary is lossy and lacks what the text needs.
        """
        return self._encoder.encode(text)

    def same_tokens(self, other: Vocabulary) -> bool:
        """Whether both have the same tokens under the same ids."""
        own, its = (self.n_vocab, self._special_names), (other.n_vocab, other._special_names)
        return own == its and (self._pieces is other._pieces or list(self._pieces) == list(other._pieces))

    @property
    def is_packaged(self) -> bool:
        """Whether tokens and merges are those of ``packaged``."""
        return self.same_tokens(self.packaged(self.n_vocab)) and self._encoder.has_packaged_merges

    def token_bytes(self, token: int) -> bytes:
        """Bytes of a token; a special one has those of its name.

        Raises
        ------
        TokenizerError
            There is no such id.
        """
        if 0 <= token < self.eot:
            return bytes_of(self._pieces[token])
        if self.eot <= token < self.n_vocab:
            return self._special_names[token - self.eot].encode()
        raise TokenizerError(f"token {token} is not in the vocabulary of {self.n_vocab}.")

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of any ids, special tokens by name; bytes that are not UTF-8 become U+FFFD.

        Raises
        ------
        TokenizerError
            An id is not in the vocabulary.
        """
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")

    def language_token(self, language: str) -> int:
        """Id of a language's token, given by code or name.

        Raises
        ------
        OptionError
            Whisper, or this model, does not know the language.
        """
        code = language_code(language)
        token = self.special_tokens.get(f"<|{code}|>")
        if token is None:
            raise OptionError(
                f"language {code!r} is not among this model's {self.num_languages}; it came with large-v3."
            )
        return token

    @cached_property
    def language_codes(self) -> tuple[str, ...]:
        """Codes in the order of their tokens, which follow sot."""
        return tuple(LANGUAGES)[: self.num_languages]

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Ids that write what is not speech (notes, brackets, speaker marks), ascending; for suppress_tokens -1.

        ref: openai/whisper tokenizer.py non_speech_tokens
        """
        if isinstance(self._pieces, PackagedPieces):
            return self._pieces.non_speech_tokens
        # Allowed inside a word, not at the start of one.
        found = {self.encode(" -")[0], self.encode(" '")[0]}
        for mark in (*_MARKS, *_MUSIC):
            for tokens in (self.encode(mark), self.encode(" " + mark)):
                if len(tokens) == 1 or mark in _MUSIC:
                    found.add(tokens[0])
        return tuple(sorted(found))


def n_text_tokens(n_vocab: int) -> int:
    """How many ids of a vocabulary are text: all below eot.

    Raises
    ------
    TokenizerError
        Whisper has no vocabulary of that size.
    """
    if n_vocab not in N_VOCABS:
        raise TokenizerError(f"n_vocab is {n_vocab}; Whisper's vocabularies have {', '.join(map(str, N_VOCABS))}.")
    return 50256 if n_vocab == 51864 else 50257


def _merge(entry: str | list[str]) -> tuple[str, str]:
    left, right = entry.split(" ") if isinstance(entry, str) else entry
    return left, right


def _special_names(num_languages: int) -> list[str]:
    """In the order of the ids, from eot on. ref: openai/whisper tokenizer.py get_encoding"""
    return [
        _EOT,
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in tuple(LANGUAGES)[:num_languages]),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
        *(f"<|{i * 0.02:.2f}|>" for i in range(N_TIMESTAMPS)),
    ]


def read_file(path: Any) -> bytes:
    """Bytes of a vocabulary file; TokenizerError where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror or error}.") from None
