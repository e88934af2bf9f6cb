"""``whisper.tokenizer``: ``get_tokenizer``, ``LANGUAGES``, ``TO_LANGUAGE_CODE``.

In: language, task. Out: ``Tokenizer``. Knows nothing of: models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from whisperlite.text import LANGUAGES, TO_LANGUAGE_CODE, Vocabulary, tokenizer_for
from whisperlite.text import Tokenizer as _Tokenizer
from whisperlite.text.words import Words, split_on_characters, split_on_spaces

__all__ = ["LANGUAGES", "TO_LANGUAGE_CODE", "Tokenizer", "get_tokenizer"]

_N_VOCAB_ENGLISH, _N_VOCAB_99 = 51864, 51865


@dataclass(frozen=True)
class Tokenizer(_Tokenizer):
    """whisperlite's tokenizer with the two word splitters that openai-whisper has on its own."""

    def split_tokens_on_unicode(self, tokens: Sequence[int]) -> Words:
        return split_on_characters(list(tokens), self.decode_with_timestamps)

    def split_tokens_on_spaces(self, tokens: Sequence[int]) -> Words:
        return split_on_spaces(list(tokens), self.decode_with_timestamps, self.eot)


@cache
def get_tokenizer(
    multilingual: bool, *, num_languages: int = 99, language: str | None = None, task: str | None = None
) -> Tokenizer:
    """Tokenizer of OpenAI's own vocabularies. A language or task is ignored where ``multilingual`` is False."""
    n_vocab = _N_VOCAB_99 + num_languages - 99 if multilingual else _N_VOCAB_ENGLISH
    vocabulary = _vocabulary(n_vocab)
    made = tokenizer_for(vocabulary, language if multilingual else None, task if multilingual else None)
    return Tokenizer(made.vocabulary, made.language, made.task)


@cache
def _vocabulary(n_vocab: int) -> Vocabulary:
    return Vocabulary.packaged(n_vocab)
