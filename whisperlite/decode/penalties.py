"""Rules against repetition, by pattern, and by the user; tokens of hotwords.

In: logits (B, V) float32, changed in place; the tokens sampled so far (B, U), without their context.
Out: the same logits, lowered or masked; ids. Knows nothing of: models, search.

Where each stands among the other rules: user filters first, then ``SuppressRegex`` with the ids that are always
suppressed (whisper.cpp); ``RepetitionPenalty`` and ``NoRepeatNgram`` before anything is masked (CTranslate2).
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from whisperlite.decode.protocols import DecoderTokenizer
from whisperlite.decode.token_tree import TokenSource
from whisperlite.errors import OptionError

LogitFilter = Callable[[np.ndarray, np.ndarray], Any]


class RepetitionPenalty:
    """Make tokens that were sampled before less probable, timestamps included; context does not count.

    A positive logit is divided by the penalty, a negative one multiplied with it: once, however often the token
    came.

    Parameters
    ----------
    penalty : float
        Above 0; above 1 it penalises, 1 does nothing.

    Raises
    ------
    OptionError
        The penalty is not a number above 0.
    """

    # ref: OpenNMT/CTranslate2 src/decoding_utils.cc RepetitionPenalty

    def __init__(self, penalty: float) -> None:
        if not _is_number(penalty) or not 0 < penalty < np.inf:
            raise OptionError(f"repetition_penalty={penalty!r}: give a number above 0; 1 does nothing")
        self._penalty = np.float32(penalty)

    def __call__(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        values = np.take_along_axis(logits, sampled, axis=1)  # (B, U)
        lowered = np.where(values < 0, values * self._penalty, values / self._penalty)
        np.put_along_axis(logits, sampled, lowered, axis=1)


class NoRepeatNgram:
    """Mask tokens that would end an n-gram sampled before, timestamps included; context does not count.

    Parameters
    ----------
    size : int
        Tokens of an n-gram, at least 1.

    Raises
    ------
    OptionError
        The size is not an integer of at least 1.
    """

    # ref: OpenNMT/CTranslate2 src/decoding_utils.cc NoRepeatNgram

    def __init__(self, size: int) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise OptionError(f"no_repeat_ngram_size={size!r}: give an integer of at least 1, or 0 for no limit")
        self._size = size

    def __call__(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        n_before = self._size - 1
        if sampled.shape[1] < self._size:
            return
        ngrams = np.lib.stride_tricks.sliding_window_view(sampled, self._size, axis=1)  # (B, U - size + 1, size)
        current = sampled[:, None, sampled.shape[1] - n_before :]
        repeated = (ngrams[:, :, :n_before] == current).all(axis=2)
        rows, at = np.nonzero(repeated)
        logits[rows, ngrams[rows, at, n_before]] = -np.inf


class SuppressRegex:
    """Mask text tokens whose whole text matches a pattern.

    A token's text has its leading space, and U+FFFD for bytes that are not UTF-8 by themselves. Special
    tokens and timestamps are never masked (whisper.cpp matches their internal names too).

    Parameters
    ----------
    pattern : str
        In Python's syntax (whisper.cpp: ECMAScript).
    vocabulary : TokenSource

    Raises
    ------
    OptionError
        The pattern is no regular expression.
    """

    # ref: ggml-org/whisper.cpp src/whisper.cpp whisper_process_logits (suppress_regex)

    def __init__(self, pattern: str, vocabulary: TokenSource) -> None:
        try:
            compiled = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise OptionError(f"suppress_regex={pattern!r}: {error}; give a regular expression") from None
        texts = _texts(vocabulary)
        self.ids = np.array([i for i, text in enumerate(texts) if compiled.fullmatch(text)], dtype=np.intp)

    def __call__(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        logits[:, self.ids] = -np.inf


class UserFilter:
    """A user's function among the rules.

    Parameters
    ----------
    function : callable
        ``function(logits, tokens)`` with logits (B, V) float32, free to change, and a copy of the tokens sampled so
        far (B, U) int32. Returns None, or other logits of that shape. ``-inf`` masks a token.

    Raises
    ------
    OptionError
        It cannot be called; or, when called, what it leaves is of another shape or has NaN or ``inf`` in it.
    """

    def __init__(self, function: LogitFilter) -> None:
        if not callable(function):
            raise OptionError(f"logit_filters: {function!r} is not callable; give functions of (logits, tokens)")
        self._function = function
        self._name = getattr(function, "__qualname__", type(function).__qualname__)

    def __call__(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        returned = self._function(logits, sampled.copy())
        if returned is not None:
            try:
                given = np.asarray(returned, dtype=np.float32)
            except (TypeError, ValueError):
                raise OptionError(
                    f"logit filter {self._name} returned {type(returned).__name__}; return None or logits "
                    f"{logits.shape}"
                ) from None
            if given.shape != logits.shape:
                raise OptionError(
                    f"logit filter {self._name} returned shape {given.shape}; return None or logits {logits.shape}"
                )
            logits[...] = given
        # The largest value is NaN where any value is.
        if not logits.max(initial=-np.inf) < np.inf:
            row, token = np.argwhere(~(logits < np.inf))[0]
            raise OptionError(
                f"logit filter {self._name} gave {logits[row, token]} at row {row}, token {token}; "
                "give finite numbers, or -inf to mask a token"
            )


def hotword_tokens(
    tokenizer: DecoderTokenizer, hotwords: str | None, n_text_ctx: int, prefix: object = None
) -> list[int]:
    """Ids of words to expect: they go between ``sot_prev`` and the tokens of the previous text.

    Parameters
    ----------
    tokenizer : DecoderTokenizer
    hotwords : str or None
    n_text_ctx : int
        The first ``n_text_ctx // 2 - 1`` ids are kept.
    prefix : str, sequence of int, or None
        With a prefix hotwords are not used.
    """
    # ref: SYSTRAN/faster-whisper transcribe.py get_prompt
    if not hotwords or prefix:
        return []
    return list(tokenizer.encode(" " + hotwords.strip()))[: n_text_ctx // 2 - 1]


_known_texts: weakref.WeakKeyDictionary[TokenSource, list[str]] = weakref.WeakKeyDictionary()


def _texts(vocabulary: TokenSource) -> list[str]:
    if vocabulary not in _known_texts:
        data = (vocabulary.token_bytes(token) for token in range(vocabulary.eot))
        _known_texts[vocabulary] = [token.decode("utf-8", errors="replace") for token in data]
    return _known_texts[vocabulary]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
