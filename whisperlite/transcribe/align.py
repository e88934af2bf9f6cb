"""Timing a text that is known already.

In: a model, the mel of an audio of any length, its text. Out: ``Word`` records.
Knows nothing of: files, search, segments.

Up to 30 s the whole text is placed in the one window. In longer audio each window takes as much of the text as the
model hears in it, and the next begins where its last word ends; the last window takes the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from whisperlite.audio import FRAMES_PER_SECOND, N_FRAMES
from whisperlite.errors import OptionError
from whisperlite.results import Word
from whisperlite.transcribe.segments import Piece
from whisperlite.transcribe.windows import Content
from whisperlite.transcribe.words import (
    APPEND_PUNCTUATIONS,
    PREPEND_PUNCTUATIONS,
    AlignmentModel,
    Heads,
    WordTiming,
    WordTokenizer,
    add_word_timestamps,
    find_alignment,
    forced_scores,
    log_softmax,
    merge_punctuations,
)

WORD_SECONDS = 1.0  # a word is hardly longer: one that begins later in a window may be cut off by its end
HOP_SECONDS = 10  # to the next window where the text does not fit this one
FIT_LOGPROB = -4.0  # of a word: below it, it counts as not said


class EncodingModel(AlignmentModel, Protocol):
    """A model that also encodes."""

    def encode(self, mel: np.ndarray) -> np.ndarray: ...

    def cross_kv(self, features: np.ndarray) -> Any: ...


class EncodingTokenizer(WordTokenizer, Protocol):
    """A tokenizer that also takes text."""

    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class AlignOptions:
    """How a text is aligned.

    Attributes
    ----------
    heads : sequence of (layer, head), optional
        Default: the model's alignment heads. See ``top_heads``.
    medfilt_width : int
        Odd; frames of the median filter over attention.
    qk_scale : float
        Factor on the attention scores before softmax.
    prepend_punctuations, append_punctuations : str
        Marks joined to the word after or before them.
    """

    heads: Heads | None = None
    medfilt_width: int = 7
    qk_scale: float = 1.0
    prepend_punctuations: str = PREPEND_PUNCTUATIONS
    append_punctuations: str = APPEND_PUNCTUATIONS


def align(
    model: EncodingModel,
    tokenizer: EncodingTokenizer,
    content: Content,
    text: str | Sequence[int],
    options: AlignOptions | None = None,
) -> tuple[Word, ...]:
    """Times and probabilities of the words of a known text.

    Every word of the text is placed somewhere, said or not; its probability tells.

    Parameters
    ----------
    model : EncodingModel
    tokenizer : EncodingTokenizer
        Of the audio's language.
    content : Content
        Mel of the audio, from ``make_content``.
    text : str or sequence of int
        What is said in it, from beginning to end; or its tokens, each below eot.
    options : AlignOptions, optional

    Returns
    -------
    tuple of Word
        In order; seconds from the start of the audio.

    Raises
    ------
    OptionError
        The text left for the last window is longer than the model's context, or a token is not text.
    """
    options = options or AlignOptions()
    tokens = tokenizer.encode(" " + text.strip()) if isinstance(text, str) else [int(token) for token in text]
    if tokens and max(tokens) >= tokenizer.eot:
        raise OptionError(f"token {max(tokens)} is not text; give ids below {tokenizer.eot}")
    units = _units(tokenizer, tokens, options)
    words: list[Word] = []
    seek = 0
    while units:
        n_frames = min(N_FRAMES, content.n_frames - seek)
        is_last = seek + N_FRAMES >= content.n_frames
        cross = model.cross_kv(model.encode(content.window(seek, n_frames)[None]))  # (1, M, F) -> (1, T, D)
        n_units = len(units) if is_last else _n_said(model, tokenizer, units, cross, options.heads)
        if n_units == 0:
            seek += HOP_SECONDS * FRAMES_PER_SECOND
            continue
        start, end = seek / FRAMES_PER_SECOND, (seek + n_frames) / FRAMES_PER_SECOND
        said = [token for unit in units[:n_units] for token in unit]
        alignment = find_alignment(
            model, tokenizer, said, cross, n_frames, medfilt_width=options.medfilt_width,
            qk_scale=options.qk_scale, heads=options.heads,
        )  # fmt: skip
        [timed] = add_word_timestamps(
            [Piece(start, end, tuple(said))], alignment, eot=tokenizer.eot, time_offset=start,
            last_speech_timestamp=words[-1].end if words else 0.0,
            prepend_punctuations=options.prepend_punctuations, append_punctuations=options.append_punctuations,
        )  # fmt: skip
        new = list(timed.words)
        if is_last:
            return (*words, *new)
        while len(new) > 1 and new[-1].start > end - WORD_SECONDS:
            new.pop()
        words += new
        units = units[len(new) :]
        next_start = min(new[-1].end, new[-1].start + WORD_SECONDS)  # not after a pause that follows it
        seek = max(round(next_start * FRAMES_PER_SECOND), seek + 1)
    return tuple(words)


def _units(tokenizer: WordTokenizer, tokens: list[int], options: AlignOptions) -> list[tuple[int, ...]]:
    """Tokens of each word with its punctuation; tokens without text are left out."""
    split = zip(*tokenizer.split_to_word_tokens(tokens), strict=True) if tokens else ()
    words = [WordTiming(word, tuple(ids), 0.0, 0.0, 0.0) for word, ids in split]
    merged = merge_punctuations(words, options.prepend_punctuations, options.append_punctuations)
    return [word.tokens for word in merged if word.word]


def _n_said(
    model: AlignmentModel, tokenizer: WordTokenizer, units: list[tuple[int, ...]], cross: Any, heads: Heads | None
) -> int:
    """How many of the next words are said in a window; 0 where the text does not fit it.

    A word likelier than ``FIT_LOGPROB`` speaks for being said, a less likely one against it. What the model gives
    for the end of the text is no help: in running speech it hardly ever expects one.
    """
    most = model.dims.n_text_ctx // 2  # what decoding samples in one window
    ends = np.cumsum([len(unit) for unit in units])  # tokens before the end of each word
    ends = ends[: max(1, int(np.searchsorted(ends, most, side="right")))]
    tokens = [token for unit in units[: len(ends)] for token in unit]
    _, logits = forced_scores(model, tokenizer, tokens, cross, heads=heads)
    n_sot = len(tokenizer.sot_sequence)
    log_probs = log_softmax(logits[n_sot : n_sot + len(tokens), : tokenizer.eot + 1])
    likelihood = np.cumsum(log_probs[np.arange(len(tokens)), tokens], dtype=np.float64)
    fit = likelihood[ends - 1] - FIT_LOGPROB * np.arange(1, len(ends) + 1)
    best = int(np.argmax(fit))
    return best + 1 if fit[best] > 0 else 0
