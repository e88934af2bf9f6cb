"""Tokens to words.

In: token ids and the function that decodes them. Out: words and the ids of each.
Knows nothing of: vocabularies, times.

ref: openai/whisper tokenizer.py split_tokens_on_unicode, split_tokens_on_spaces
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

Words = tuple[list[str], list[list[int]]]
_REPLACEMENT = "\ufffd"


def split_on_characters(tokens: Sequence[int], decode: Callable[[Sequence[int]], str]) -> Words:
    """Smallest runs of tokens that are whole characters: a token that ends inside one joins its successors.

    A U+FFFD that is in the full text too is a character like any other. Unlike upstream, which drops or trips over
    them, tokens left at the end that never became whole are a last word: every token is in exactly one word.
    """
    full = decode(tokens)
    words: list[str] = []
    word_tokens: list[list[int]] = []
    pending: list[int] = []
    at = 0  # characters of `full` before the pending tokens
    for token in tokens:
        pending.append(token)
        text = decode(pending)
        broken = text.find(_REPLACEMENT)
        if broken < 0 or full[at + broken : at + broken + 1] == _REPLACEMENT:
            words.append(text)
            word_tokens.append(pending)
            pending = []
            at += len(text)
    if pending:
        words.append(decode(pending))
        word_tokens.append(pending)
    return words, word_tokens


def split_on_spaces(tokens: Sequence[int], decode: Callable[[Sequence[int]], str], eot: int) -> Words:
    """Words begin at a space; punctuation and special tokens stand alone."""
    words: list[str] = []
    word_tokens: list[list[int]] = []
    for text, ids in zip(*split_on_characters(tokens, decode), strict=True):
        alone = ids[0] >= eot or text.startswith(" ") or text.strip() in string.punctuation
        if alone or not words:
            words.append(text)
            word_tokens.append(ids)
        else:
            words[-1] += text
            word_tokens[-1].extend(ids)
    return words, word_tokens
