"""Decoding the buffer of a live session: what follows the words that are committed in it.

In: mel of a buffer, the tokens committed in it, a prompt. Out: a ``Hypothesis``: the words that follow, with times.
Knows nothing of: when a buffer is decoded, which words are committed.

The committed tokens go through the decoder in one pass, as a prefix, and only what follows them is searched: they
cost no steps and cannot change. The encoder hears the buffer and some silence, not always 30 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from whisperlite.audio import FRAMES_PER_SECOND
from whisperlite.decode import DecodingOptions, DecodingResult, decode, detect_language
from whisperlite.errors import OptionError
from whisperlite.results import Word
from whisperlite.stream.options import StreamOptions
from whisperlite.transcribe.silence import silence
from whisperlite.transcribe.timing import chosen_heads
from whisperlite.transcribe.words import MAX_MEDIAN_SECONDS, Heads, find_alignment, forced_scores

MIN_POSITIONS = 500  # 10 s: shorter windows repeat words, docs/live.md
MARGIN_POSITIONS = 50  # of silence behind the buffer
POSITIONS_STEP = 50  # window lengths are rounded up to this, so that buffers share programs of the model
MAX_TOKENS_PER_SECOND = 12  # of speech; more is a loop
SPARE_TOKENS = 16
LONGEST_WORD_SECONDS = 2 * MAX_MEDIAN_SECONDS

Rule = Callable[[np.ndarray, np.ndarray], None]
StopMaker = Callable[["AttentionReader", int, int], Rule]


class StreamTokenizer(Protocol):
    """A tokenizer as a live session sees it, beyond what decoding needs."""

    @property
    def eot(self) -> int: ...

    def split_to_word_tokens(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]: ...


@dataclass(frozen=True)
class HeardWord:
    """A word of a hypothesis: its tokens, and its times in the stream."""

    tokens: tuple[int, ...]
    word: Word


@dataclass(frozen=True)
class Hypothesis:
    """What seems to follow the committed words of a buffer.

    Attributes
    ----------
    words : tuple of HeardWord
    committed_words : tuple of HeardWord
        Those before them, with their times as they are known now.
    attended : tuple of int, or None
        For each token of ``words`` the position (0.02 s) in the buffer that it looks at, where that was asked for.
    n_positions : int
        Positions of audio in the buffer.
    end_frame : int
        Mel frame of the stream up to which audio was heard.
    result : DecodingResult
    doubt : str
        Why the words are not to be believed; empty where they are.
    """

    words: tuple[HeardWord, ...]
    committed_words: tuple[HeardWord, ...]
    attended: tuple[int, ...] | None
    n_positions: int
    end_frame: int
    result: DecodingResult
    doubt: str = ""


@dataclass(frozen=True)
class Buffer:
    """What there is to decode.

    Attributes
    ----------
    mel : float32 (n_mels, F)
        As the encoder takes it.
    start_frame : int
        Of the stream.
    committed : tuple of tuple of int
        Text tokens of the words known to be said in it, from its beginning.
    prompt : tuple of int
        Text tokens before it.
    n_new_frames : int
        Mel frames since the end of the last committed word: they bound how much text there can be.
    earliest : float
        Seconds: no word starts before.
    """

    mel: np.ndarray
    start_frame: int
    committed: tuple[tuple[int, ...], ...]
    prompt: tuple[int, ...]
    n_new_frames: int
    earliest: float

    @property
    def committed_tokens(self) -> tuple[int, ...]:
        return tuple(token for word in self.committed for token in word)


class BufferDecoder:
    """Decodes buffers of one session.

    Parameters
    ----------
    model : DecoderModel with ``cross_attention``
    options : StreamOptions
    """

    def __init__(self, model: Any, options: StreamOptions) -> None:
        self._model = model
        self._options = options
        self._heads: Heads | None = chosen_heads(model, options.alignment_heads)
        self.n_decoded = 0  # buffers
        self.n_positions = 0  # that the encoder heard

    def decode(
        self,
        buffer: Buffer,
        tokenizer: Any,
        language: str | None,
        stop: StopMaker | None = None,
    ) -> Hypothesis:
        """Decode a buffer.

        Parameters
        ----------
        buffer : Buffer
        tokenizer
            Of the session's task; of ``language`` where that is known.
        language : str or None
            None detects it.
        stop : callable, optional
            Given an ``AttentionReader``, the positions of audio and the end token, makes a rule that may end the
            text early. The hypothesis then says where each token looks.
        """
        model = self._model
        n_frames = buffer.mel.shape[1]
        n_positions = max(1, n_frames // 2)
        features = self._encode(buffer.mel)
        cross = model.cross_kv(features)
        if language is None and model.is_multilingual:
            language = next(iter(detect_language(model, tokenizer, cross, 1)[0]))
            tokenizer = tokenizer.with_options(language, self._options.decoding.task)
        reader = AttentionReader(model, tokenizer, cross, n_positions, buffer.committed_tokens, self._heads)
        options = self._decoding(buffer, language)
        if stop is not None:
            rules = replace(
                options.rules,
                logit_filters=(*options.rules.logit_filters, stop(reader, n_positions, tokenizer.eot)),
            )
            options = replace(options, rules=rules)
        result = decode(model, tokenizer, features, options, cross=cross)[0]
        self.n_decoded += 1
        tokens = [token for token in result.tokens if token < tokenizer.eot]
        result = replace(result, tokens=tuple(tokens), language=language or result.language)
        committed_words, words = self._words(buffer, tokenizer, cross, tokens)
        attended = reader.attended(tokens) if stop is not None else None
        end_frame = buffer.start_frame + n_frames
        return Hypothesis(words, committed_words, attended, n_positions, end_frame, result, self._doubt(result))

    def _encode(self, mel: np.ndarray) -> np.ndarray:
        """Audio features (1, T, D) of a buffer."""
        n_frames, most = mel.shape[1], self._model.dims.n_audio_ctx
        wanted = self._options.buffer.audio_ctx
        if wanted is None:
            n_positions = most
        else:
            least = MIN_POSITIONS if wanted == "auto" else wanted
            needed = -(-n_frames // 2) + MARGIN_POSITIONS
            n_positions = min(most, max(least, -(-needed // POSITIONS_STEP) * POSITIONS_STEP))
        self.n_positions += n_positions
        window = np.zeros((1, mel.shape[0], 2 * n_positions), np.float32)
        window[0, :, :n_frames] = mel  # what is not audio is zeros, as in a whole file
        features: np.ndarray = self._model.encode(window)
        return features

    def _decoding(self, buffer: Buffer, language: str | None) -> DecodingOptions:
        room = self._model.dims.n_text_ctx // 2 - len(buffer.committed_tokens)
        if room < 1:
            raise OptionError(
                f"{len(buffer.committed_tokens)} tokens are committed in the buffer; give a smaller trim_seconds"
            )
        most = SPARE_TOKENS + round(MAX_TOKENS_PER_SECOND * buffer.n_new_frames / FRAMES_PER_SECOND)
        given = self._options.decoding
        return replace(
            given,
            language=language,
            prompt=buffer.prompt or None,
            prefix=buffer.committed_tokens or None,
            # After a prefix it is no error that nothing follows.
            suppress_blank=given.suppress_blank and not buffer.committed,
            sample_len=min(most, room),
        )

    def _words(
        self, buffer: Buffer, tokenizer: Any, cross: Any, tokens: Sequence[int]
    ) -> tuple[tuple[HeardWord, ...], tuple[HeardWord, ...]]:
        """The committed words with their times as they are known now, and those that follow."""
        text = [*buffer.committed_tokens, *tokens]
        if not text:
            return (), ()
        timings = find_alignment(self._model, tokenizer, text, cross, buffer.mel.shape[1], heads=self._heads)
        bounds: list[tuple[float, float, float]] = []  # start, end, probability of each token
        for timing in timings:
            step = (timing.end - timing.start) / max(1, len(timing.tokens))
            for i in range(len(timing.tokens)):
                bounds.append((timing.start + i * step, timing.start + (i + 1) * step, timing.probability))
        # Words are as they were committed, perhaps inside one of those placed; the rest is split anew.
        spelled, new = tokenizer.split_to_word_tokens(list(tokens)) if tokens else ([], [])
        n_committed = len(buffer.committed)
        offset = buffer.start_frame / FRAMES_PER_SECOND
        words: list[HeardWord] = []
        at, last = 0, buffer.earliest
        for i, ids in enumerate((*buffer.committed, *new)):
            of_word = bounds[at : at + len(ids)]
            at += len(ids)
            start, end = of_word[0][0] + offset, of_word[-1][1] + offset
            if end - start > LONGEST_WORD_SECONDS:  # it begins with the silence before it, or ends with that after
                start, end = (start, start + LONGEST_WORD_SECONDS) if words else (end - LONGEST_WORD_SECONDS, end)
            start = max(start, last)
            end = last = max(end, start)
            written = spelled[i - n_committed] if i >= n_committed else tokenizer.decode(ids)
            probability = float(np.mean([p for _, _, p in of_word]))
            words.append(HeardWord(tuple(ids), Word(written, round(start, 2), round(end, 2), probability)))
        return tuple(words[:n_committed]), tuple(words[n_committed:])

    def _doubt(self, result: DecodingResult) -> str:
        trust = self._options.trust
        limit = trust.compression_ratio_threshold
        if limit is not None and result.compression_ratio > limit:
            return f"compression_ratio {result.compression_ratio:.2f} > {limit:g}"
        return silence(result, trust) or ""


class AttentionReader:
    """Where the tokens of a text look in the audio of one buffer.

    Parameters
    ----------
    model, tokenizer, cross
    n_positions : int
        Positions of audio; attention beyond them is ignored.
    committed : tuple of int
        Text tokens before those asked for.
    heads : optional
        Default: the model's alignment heads.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        cross: Any,
        n_positions: int,
        committed: tuple[int, ...],
        heads: Heads | None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._cross = cross
        self._n_positions = n_positions
        self._committed = committed
        self._heads = heads

    def attended(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Position in the buffer that each of these tokens, which follow the committed ones, looks at."""
        # ref: ufal/SimulStreaming simul_whisper.py: mean of the heads, of scores standardised over tokens
        if not tokens:
            return ()
        text = [*self._committed, *tokens]
        scores, _ = forced_scores(self._model, self._tokenizer, text, self._cross, heads=self._heads)
        scores = scores[:, :, : self._n_positions]
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)  # (H, U, T)
        mean, std = weights.mean(axis=1, keepdims=True), weights.std(axis=1, keepdims=True)
        weights = ((weights - mean) / np.maximum(std, 1e-9)).mean(axis=0)  # (U, T)
        # A row is the attention while the next token is predicted.
        first = len(self._tokenizer.sot_sequence) + len(self._committed)
        rows = weights[first : first + len(tokens)]
        return tuple(int(position) for position in rows.argmax(axis=-1))
