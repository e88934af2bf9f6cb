"""Times of words: cross-attention warped onto the text, and the rules that make its times usable.

In: text tokens with the cross-attention keys of their window. Out: ``WordTiming``, ``TimedPiece``.
Knows nothing of: encoding, search, windows other than the one at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from whisperlite.audio import FRAMES_PER_SECOND, TOKENS_PER_SECOND
from whisperlite.errors import OptionError
from whisperlite.results import Word
from whisperlite.transcribe.segments import WindowPlace

Heads = Sequence[tuple[int, int]]

PREPEND_PUNCTUATIONS = "\"'“¿([{-"
APPEND_PUNCTUATIONS = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001
SENTENCE_END_MARKS = ".。!！?？"  # noqa: RUF001
MAX_MEDIAN_SECONDS = 0.7  # longest median duration of a word that is believed
SEGMENT_SLACK_SECONDS = 0.5  # a word further outside its segment is cut back to it
ROWS_STEP = 16  # token rows are rounded up to this, so that windows share a program of the model
FRAMES_PER_TOKEN = FRAMES_PER_SECOND // TOKENS_PER_SECOND


class DecoderDims(Protocol):
    """Sizes of the text decoder."""

    @property
    def n_text_ctx(self) -> int: ...
    @property
    def n_text_head(self) -> int: ...
    @property
    def n_text_layer(self) -> int: ...


class AlignmentModel(Protocol):
    """A model as word timing sees it."""

    @property
    def dims(self) -> Any: ...
    @property
    def backend(self) -> str: ...

    def cross_attention(
        self, tokens: np.ndarray, cross: Any, audio: int = 0, heads: Heads | None = None
    ) -> tuple[np.ndarray, np.ndarray]: ...


class WordTokenizer(Protocol):
    """A tokenizer as word timing sees it."""

    @property
    def eot(self) -> int: ...
    @property
    def no_timestamps(self) -> int: ...
    @property
    def sot_sequence(self) -> Sequence[int]: ...

    def split_to_word_tokens(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]: ...


class SegmentLike(Protocol):
    """Times in seconds and tokens, timestamps among them: ``Piece``, ``Segment``."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def tokens(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class WordTiming:
    """A word as attention places it: seconds from the start of its window, before any rule."""

    word: str
    tokens: tuple[int, ...]
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class TimedPiece:
    """A segment with its words; its times (seconds in the audio) follow them."""

    start: float
    end: float
    tokens: tuple[int, ...]
    words: tuple[Word, ...]


def top_heads(dims: DecoderDims, n_layers: int) -> tuple[tuple[int, int], ...]:
    """Every head of the ``n_layers`` top-most decoder layers, for models without known alignment heads.

    Raises
    ------
    OptionError
        The decoder has not that many layers.
    """
    # ref: whisper.cpp WHISPER_AHEADS_N_TOP_MOST
    if not 1 <= n_layers <= dims.n_text_layer:
        raise OptionError(f"n_layers={n_layers}: the decoder has {dims.n_text_layer} layers; give 1 to that")
    layers = range(dims.n_text_layer - n_layers, dims.n_text_layer)
    return tuple((layer, head) for layer in layers for head in range(dims.n_text_head))


def find_alignment(
    model: AlignmentModel,
    tokenizer: WordTokenizer,
    text_tokens: Sequence[int],
    cross: Any,
    num_frames: int,
    *,
    audio: int = 0,
    medfilt_width: int = 7,
    qk_scale: float = 1.0,
    heads: Heads | None = None,
) -> list[WordTiming]:
    """Place every word of a text in its window by dynamic time warping over cross-attention.

    Parameters
    ----------
    model : AlignmentModel
    tokenizer : WordTokenizer
        Of the language and task the tokens were decoded with.
    text_tokens : sequence of int
        Below eot, without timestamps.
    cross : CrossKV
        Of the encoded window or windows; nothing is encoded again.
    num_frames : int
        Mel frames of audio in the window; attention beyond them is ignored.
    audio : int
        Which audio of ``cross``.
    medfilt_width : int
        Odd; frames of the median filter over attention.
    qk_scale : float
        Factor on the scores before softmax.
    heads : sequence of (layer, head), optional
        Default: the model's alignment heads. See ``top_heads``.

    Returns
    -------
    list of WordTiming
        Punctuation stands alone; empty for a text without tokens.

    Raises
    ------
    OptionError
        The text is longer than the model's context, a token is not text, or the filter width is even.
    """
    # ref: openai/whisper timing.py find_alignment
    if not text_tokens:
        return []
    if medfilt_width < 1 or medfilt_width % 2 == 0:
        raise OptionError(f"medfilt_width={medfilt_width}: give an odd number of frames")
    scores, logits = forced_scores(model, tokenizer, text_tokens, cross, audio, heads)
    n_sot = len(tokenizer.sot_sequence)
    weights = alignment_weights(scores, n_sot, num_frames, qk_scale)  # (H, len(text_tokens) + 1, T)
    starts = _row_starts(weights, medfilt_width, compiled=model.backend == "numba")

    rows = np.arange(len(text_tokens))
    log_probs = log_softmax(logits[n_sot : n_sot + len(rows), : tokenizer.eot])
    probabilities = np.exp(log_probs[rows, np.asarray(text_tokens)])

    timings = []
    begin = 0
    for word, tokens in zip(*tokenizer.split_to_word_tokens(list(text_tokens)), strict=True):
        end = begin + len(tokens)
        probability = float(probabilities[begin:end].mean())
        timings.append(WordTiming(word, tuple(tokens), float(starts[begin]), float(starts[end]), probability))
        begin = end
    return timings


def forced_scores(
    model: AlignmentModel,
    tokenizer: WordTokenizer,
    text_tokens: Sequence[int],
    cross: Any,
    audio: int = 0,
    heads: Heads | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cross-attention scores (H, U, T) and logits (U, V) over sot sequence, no_timestamps, text, eot.

    Raises
    ------
    OptionError
        As in ``find_alignment``.
    """
    if (last := max(text_tokens)) >= tokenizer.eot:
        raise OptionError(f"token {last} is not text; give ids below {tokenizer.eot}")
    tokens = [*tokenizer.sot_sequence, tokenizer.no_timestamps, *text_tokens, tokenizer.eot]
    n_tokens, n_text_ctx = len(tokens), model.dims.n_text_ctx
    if n_tokens > n_text_ctx:
        most = n_text_ctx - n_tokens + len(text_tokens)
        raise OptionError(f"{len(text_tokens)} text tokens to align: the model takes {most}; give less text")
    # Rows see only rows before them, so more of them change nothing.
    tokens += [tokenizer.eot] * (min(-n_tokens % ROWS_STEP, n_text_ctx - n_tokens))
    scores, logits = model.cross_attention(np.array(tokens, np.int32), cross, audio, heads)
    return scores[:, :n_tokens], logits[:n_tokens]


def alignment_weights(scores: np.ndarray, n_sot: int, num_frames: int, qk_scale: float = 1.0) -> np.ndarray:
    """Attention that the path is laid through: (H, n_text + 1, T), for each text token and the end of the text.

    Parameters
    ----------
    scores : ndarray (H, U, T)
        Of ``forced_scores``.
    n_sot : int
        Tokens of the sot sequence.
    num_frames : int
        Mel frames of audio in the window; attention beyond them is ignored.
    qk_scale : float
    """
    n_steps = max(1, num_frames // FRAMES_PER_TOKEN)
    weights = _standardised(scores[:, :, :n_steps], qk_scale)  # (H, U, T)
    # Row i is the attention while token i is predicted, hence from the last sot token on and without eot.
    return weights[:, n_sot:-1]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _standardised(scores: np.ndarray, qk_scale: float) -> np.ndarray:
    """Softmax over frames, then zero mean and unit (biased) variance over tokens."""
    scaled = scores * np.float32(qk_scale)
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mean = weights.mean(axis=1, keepdims=True, dtype=np.float64)
    std = weights.std(axis=1, keepdims=True, dtype=np.float64)
    # Where all tokens attend alike, none stands out; upstream divides by zero.
    return ((weights - mean) / np.where(std == 0, 1, std)).astype(np.float32)


def _row_starts(weights: np.ndarray, medfilt_width: int, compiled: bool) -> np.ndarray:
    """Seconds at which the path through weights (H, rows, T) enters each row."""
    from whisperlite.kernels.reference import dtw as reference

    smooth, warp = None, reference.dtw
    if compiled:
        from whisperlite.kernels import dtw as kernels

        warp = kernels.dtw
        if medfilt_width == kernels.MEDIAN_WIDTH:
            smooth = kernels.median7(weights)
    if smooth is None:
        smooth = reference.median_filter(weights, medfilt_width)
    rows, steps = warp(-smooth.mean(axis=0))
    return steps[np.diff(rows, prepend=-1) > 0] / TOKENS_PER_SECOND


def merge_punctuations(
    alignment: Sequence[WordTiming],
    prepended: str = PREPEND_PUNCTUATIONS,
    appended: str = APPEND_PUNCTUATIONS,
) -> list[WordTiming]:
    """Join opening punctuation to the word after it and closing punctuation to the word before it.

    A joined word keeps its own times and probability.
    """
    # ref: openai/whisper timing.py merge_punctuations
    joined: list[WordTiming] = []  # backwards
    for timing in reversed(alignment):
        if joined and timing.word.startswith(" ") and timing.word.strip() in prepended:
            after = joined[-1]
            joined[-1] = replace(after, word=timing.word + after.word, tokens=timing.tokens + after.tokens)
        else:
            joined.append(timing)
    merged: list[WordTiming] = []
    for timing in reversed(joined):
        if merged and not merged[-1].word.endswith(" ") and timing.word in appended:
            before = merged[-1]
            merged[-1] = replace(before, word=before.word + timing.word, tokens=before.tokens + timing.tokens)
        else:
            merged.append(timing)
    return merged


def add_word_timestamps(
    segments: Sequence[SegmentLike],
    alignment: Sequence[WordTiming],
    *,
    eot: int,
    time_offset: float,
    last_speech_timestamp: float = 0.0,
    prepend_punctuations: str = PREPEND_PUNCTUATIONS,
    append_punctuations: str = APPEND_PUNCTUATIONS,
) -> list[TimedPiece]:
    """Deal the words of a window out to its segments, with OpenAI's rules against overlong words.

    A word at the end of a sentence, and the first two of a segment after a pause, are cut to twice the median
    duration. Where the first or last word reaches more than 0.5 s out of its segment, the segment's time holds;
    otherwise the segment takes the time of the word.

    Parameters
    ----------
    segments : sequence
        Of one window, in order.
    alignment : sequence of WordTiming
        Of all their text tokens together, from ``find_alignment``.
    eot : int
        Tokens below it are text.
    time_offset : float
        Seconds in the audio at which the window starts.
    last_speech_timestamp : float
        Seconds; end of the last word before this window.

    Returns
    -------
    list of TimedPiece
        One for each segment; one without words keeps its times.
    """
    # ref: openai/whisper timing.py add_word_timestamps
    durations = [timing.end - timing.start for timing in alignment if timing.end != timing.start]
    median = min(MAX_MEDIAN_SECONDS, float(np.median(durations))) if durations else 0.0
    if durations:
        alignment = _cut_at_sentence_ends(alignment, 2 * median)
    waiting = iter(merge_punctuations(alignment, prepend_punctuations, append_punctuations))
    timed = []
    for segment in segments:
        n_tokens = sum(token < eot for token in segment.tokens)
        words = [
            _Draft(t.word, round(time_offset + t.start, 2), round(time_offset + t.end, 2), t.probability)
            for t in _take(waiting, n_tokens)
            if t.word
        ]
        start, end = segment.start, segment.end
        if words:
            _cut_after_pause(words, median, last_speech_timestamp)
            start, end = _fit(words, start, end, median)
            last_speech_timestamp = end
        final = tuple(Word(w.word, w.start, w.end, w.probability) for w in words)
        timed.append(TimedPiece(start, end, tuple(segment.tokens), final))
    return timed


@dataclass
class _Draft:
    word: str
    start: float
    end: float
    probability: float


def _take(waiting: Iterator[WordTiming], n_tokens: int) -> Iterator[WordTiming]:
    """Words until ``n_tokens`` are used up."""
    while n_tokens > 0 and (timing := next(waiting, None)) is not None:
        yield timing
        n_tokens -= len(timing.tokens)


def _cut_at_sentence_ends(alignment: Sequence[WordTiming], limit: float) -> list[WordTiming]:
    cut = list(alignment)
    for i, timing in enumerate(cut[1:], start=1):
        if timing.end - timing.start > limit:
            if timing.word in SENTENCE_END_MARKS:
                cut[i] = replace(timing, end=timing.start + limit)
            elif cut[i - 1].word in SENTENCE_END_MARKS:
                cut[i] = replace(timing, start=timing.end - limit)
    return cut


def _cut_after_pause(words: list[_Draft], median: float, last_speech_timestamp: float) -> None:
    """The first word after a pause, and the second with it, take at most twice the median duration."""
    limit = 2 * median
    first, second = words[0], words[1] if len(words) > 1 else None
    if not first.end - last_speech_timestamp > 4 * median:
        return
    if first.end - first.start > limit or (second is not None and second.end - first.start > 2 * limit):
        if second is not None and second.end - second.start > limit:
            first.end = second.start = max(second.end / 2, second.end - limit)
        first.start = max(0.0, first.end - limit)


def _fit(words: list[_Draft], start: float, end: float, median: float) -> tuple[float, float]:
    """Make the outer words and the segment's times agree; gives the segment's."""
    first, last = words[0], words[-1]
    if start < first.end and start - SEGMENT_SLACK_SECONDS > first.start:
        first.start = max(0.0, min(first.end - median, start))
    else:
        start = first.start
    if end > last.start and end + SEGMENT_SLACK_SECONDS < last.end:
        last.end = max(last.start + median, end)
    else:
        end = last.end
    return start, end


def last_word_end(pieces: Sequence[TimedPiece]) -> float | None:
    """End of the last word in seconds; of the last piece where no piece has words; None without pieces."""
    # ref: openai/whisper utils.py get_end
    for piece in reversed(pieces):
        if piece.words:
            return piece.words[-1].end
    return pieces[-1].end if pieces else None


def seek_after_words(
    pieces: Sequence[TimedPiece], place: WindowPlace, next_seek: int, single_timestamp_ending: bool
) -> int:
    """Frame of the next window: the end of the last word, unless the tokens say that nothing follows.

    Always later than the window's own first frame, if ``next_seek`` is.
    """
    # ref: openai/whisper transcribe.py
    end = last_word_end(pieces)
    if single_timestamp_ending or end is None:
        return next_seek
    seek = round(end * FRAMES_PER_SECOND)
    return seek if seek > place.seek else next_seek
