"""The vocabulary of a checkpoint.

In: ``n_vocab``, tokens of a model file, vocabulary files beside it. Out: ``Vocabulary``, ``Tokenizer``.
Knows nothing of: model file formats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from whisperlite.text.known_files import from_tokenizer_json
from whisperlite.text.tokenizer import Tokenizer, tokenizer_for
from whisperlite.text.vocabulary import MisfitError, Vocabulary, n_text_tokens
from whisperlite.trace import debug


class HasVocabulary(Protocol):
    """What is needed of a checkpoint."""

    @property
    def dims(self) -> Any: ...

    @property
    def tokenizer_files(self) -> Sequence[Path]: ...

    @property
    def tokens(self) -> Sequence[bytes] | None: ...


def load_vocabulary(
    n_vocab: int, files: Sequence[Path] = (), tokens: Sequence[bytes] | None = None, strict: bool = False
) -> Vocabulary:
    """The model file's own ``tokens``, else the first of ``files`` that fits, else OpenAI's of that size.

    Raises
    ------
    TokenizerError
        Whisper has no vocabulary of that size, or a file is damaged; with ``strict`` also where one does not fit.
    """
    n_text_tokens(n_vocab)  # a size that is not Whisper's is no misfit of a file
    if tokens is not None:
        try:
            return Vocabulary.from_tokens(tokens, n_vocab)
        except MisfitError as error:
            if strict:
                raise
            debug(1, f"vocabulary skipped: {error}")
    for path in files:
        try:
            return _reader(path)(path, n_vocab)
        except MisfitError as error:
            if strict:
                raise
            debug(1, f"vocabulary skipped: {error}")
    return Vocabulary.packaged(n_vocab)


def load_tokenizer(checkpoint: HasVocabulary, language: str | None = None, task: str | None = None) -> Tokenizer:
    """Tokenizer of an opened checkpoint. For other languages use :meth:`Tokenizer.with_options`: it loads nothing.

    Raises
    ------
    TokenizerError
        The vocabulary is damaged, or Whisper has none of that size.
    OptionError
        The model does not know the language or the task.
    """
    vocabulary = load_vocabulary(checkpoint.dims.n_vocab, checkpoint.tokenizer_files, checkpoint.tokens)
    return tokenizer_for(vocabulary, language, task)


def _reader(path: Path) -> Callable[[Path, int], Vocabulary]:
    if path.suffix == ".tiktoken":
        return Vocabulary.from_ranks
    return Vocabulary.from_list if path.stem == "vocabulary" else from_tokenizer_json
