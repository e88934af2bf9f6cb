"""Rules that mask logits before a token is chosen.

In: logits (B, V) float32, changed in place; the tokens sampled so far (B, U), without their context.
Out: masked entries are ``-inf``. Knows nothing of: models, how a token is chosen.

A rule is any callable ``rule(logits, sampled)``; the order of ``make_rules`` is part of the meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from whisperlite.decode.choose import RowPeaks
from whisperlite.decode.grammar import GrammarRule
from whisperlite.decode.options import DecodingOptions
from whisperlite.decode.penalties import NoRepeatNgram, RepetitionPenalty, SuppressRegex, UserFilter
from whisperlite.decode.prompt import suppressed_tokens
from whisperlite.decode.protocols import DecoderTokenizer, ModelDims
from whisperlite.decode.token_tree import token_matcher
from whisperlite.errors import OptionError
from whisperlite.kernels.reference.logits import row_peaks

CHUNK_SECONDS = 30.0

Rule = Callable[[np.ndarray, np.ndarray], None]


class SuppressBlank:
    """Mask a lone space and the end token at the first sampled position."""

    # ref: openai/whisper decoding.py SuppressBlank

    def __init__(self, tokenizer: DecoderTokenizer) -> None:
        self._ids = np.array([*tokenizer.encode(" "), tokenizer.eot], dtype=np.intp)

    def __call__(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        if sampled.shape[1] == 0:
            logits[:, self._ids] = -np.inf


class SuppressTokens:
    """Mask a fixed set of ids at every position."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = np.array(ids, dtype=np.intp)

    def __call__(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        logits[:, self._ids] = -np.inf


class TimestampRules:
    """Timestamps come in pairs, never decrease, and win when they are together more probable than any text.

    Parameters
    ----------
    tokenizer : DecoderTokenizer
    max_initial_index : int or None
        Largest index (steps of 0.02 s) the first timestamp may have.
    peaks : RowPeaks
        How a row is read.
    """

    # ref: openai/whisper decoding.py ApplyTimestampRules

    def __init__(
        self, tokenizer: DecoderTokenizer, max_initial_index: int | None, peaks: RowPeaks = row_peaks
    ) -> None:
        self._eot = tokenizer.eot
        self._begin = tokenizer.timestamp_begin
        self._no_timestamps = tokenizer.no_timestamps
        self._max_initial_index = max_initial_index
        self._peaks = peaks

    def __call__(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        begin = self._begin
        logits[:, self._no_timestamps] = -np.inf
        if sampled.shape[1] == 0:
            logits[:, :begin] = -np.inf
            if self._max_initial_index is not None:
                logits[:, begin + self._max_initial_index + 1 :] = -np.inf
            return
        for row, tokens in zip(logits, sampled, strict=True):
            self._mask_pairs(row, tokens)
            # The normaliser of the log-softmax is the same on both sides and cancels.
            peaks = self._peaks(row, begin)
            if peaks.log_sum > peaks.before:
                row[:begin] = -np.inf

    def _mask_pairs(self, row: np.ndarray, tokens: np.ndarray) -> None:
        begin = self._begin
        timestamps = tokens[tokens >= begin]
        if not len(timestamps):
            return
        last_is_timestamp = tokens[-1] >= begin
        opens = last_is_timestamp and (len(tokens) < 2 or tokens[-2] >= begin)
        closes = last_is_timestamp and not opens
        if opens:
            row[begin:] = -np.inf
        elif closes:
            row[: self._eot] = -np.inf
        # A timestamp that closes a segment may be repeated to open the next one; otherwise the
        # next must be later, so that a segment has length.
        row[begin : timestamps[-1] + (0 if closes else 1)] = -np.inf


def make_rules(
    tokenizer: DecoderTokenizer, options: DecodingOptions, dims: ModelDims, peaks: RowPeaks = row_peaks
) -> list[Rule]:
    """The rules that ``options`` ask for, in the order they apply.

    ``peaks`` is how rows are read, where a rule has to.

    Raises
    ------
    OptionError
        An id to suppress is not in the vocabulary.
    """
    more = options.rules
    rules: list[Rule] = [UserFilter(function) for function in more.logit_filters]
    if more.repetition_penalty != 1:
        rules.append(RepetitionPenalty(more.repetition_penalty))
    if more.no_repeat_ngram_size:
        rules.append(NoRepeatNgram(more.no_repeat_ngram_size))
    if options.suppress_blank:
        rules.append(SuppressBlank(tokenizer))
    if more.suppress_regex is not None:
        rules.append(SuppressRegex(more.suppress_regex, tokenizer.vocabulary))
    if ids := suppressed_tokens(tokenizer, options):
        if ids[-1] >= dims.n_vocab:
            raise OptionError(f"suppress_tokens: id {ids[-1]} is not in the vocabulary of {dims.n_vocab}")
        rules.append(SuppressTokens(ids))
    if not options.without_timestamps:
        max_initial_index = None
        if options.max_initial_timestamp:
            seconds_per_index = CHUNK_SECONDS / dims.n_audio_ctx
            max_initial_index = round(options.max_initial_timestamp / seconds_per_index)
        rules.append(TimestampRules(tokenizer, max_initial_index, peaks))
    if (grammar := more.parsed_grammar()) is not None:
        timestamp_begin = None if options.without_timestamps else tokenizer.timestamp_begin
        rules.append(
            GrammarRule(token_matcher(grammar, tokenizer.vocabulary), timestamp_begin, more.grammar_penalty)
        )
    return rules
