"""A model whose logits are written down, and a tokenizer of twenty words: search without a network.

A script gives the logits after a sequence: ``script(audio, tokens) -> {token: logit}``; everything it
leaves out has logit -20. Audio features carry the number of the window in their first entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

WORDS = (
    "",
    *[
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
    ],
)
FLOOR = -20.0

Script = Callable[[int, list[int]], dict[int, float]]


class FakeTokenizer:
    """Token i < 20 is `` `` + a word (token 0 a lone space); specials and 1501 timestamps follow."""

    eot = 20
    sot = 21
    all_language_tokens = (22, 23, 24)
    all_language_codes = ("en", "es", "de")
    translate = 25
    transcribe = 26
    sot_lm = 27
    sot_prev = 28
    no_speech = 29
    no_timestamps = 30
    timestamp_begin = 31
    non_speech_tokens = (18, 19)
    n_vocab = 31 + 1501

    def __init__(self, language: str = "en", task: str = "transcribe") -> None:
        language_token = self.all_language_tokens[self.all_language_codes.index(language)]
        self.sot_sequence = (self.sot, language_token, getattr(self, task))

    def with_options(self, language: str, task: str | None = None) -> FakeTokenizer:
        return FakeTokenizer(language, task or "transcribe")

    @property
    def vocabulary(self) -> FakeTokenizer:
        return _VOCABULARY

    def token_bytes(self, token: int) -> bytes:
        return f" {WORDS[token]}".encode()

    def encode(self, text: str) -> list[int]:
        if text == " ":
            return [0]
        return [WORDS.index(word) for word in text.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(f" {WORDS[token]}" for token in tokens if token < self.eot)

    def ts(self, seconds: float) -> int:
        return self.timestamp_begin + round(seconds / 0.02)


_VOCABULARY = FakeTokenizer()


@dataclass(frozen=True)
class FakeDims:
    n_mels: int = 80
    n_vocab: int = FakeTokenizer.n_vocab
    n_text_ctx: int = 448
    n_audio_ctx: int = 1500
    n_text_state: int = 8
    n_text_layer: int = 1


class FakeCache:
    def __init__(self, n_rows: int) -> None:
        self.history: list[list[int]] = [[] for _ in range(n_rows)]

    def reorder(self, source_rows: np.ndarray) -> None:
        self.history = [list(self.history[source]) for source in source_rows]

    def forget(self, rows: np.ndarray) -> None:
        for row in rows:
            self.history[row].pop()


class FakeModel:
    """Counts what it is asked; ``prompts`` are the contexts it was prefilled with."""

    is_multilingual = True
    backend = "numpy"

    def __init__(self, script: Script, dims: FakeDims | None = None) -> None:
        self.script = script
        self.dims = dims or FakeDims()
        self.n_encoded = 0
        self.n_steps = 0
        self.n_rows_of_steps: list[int] = []
        self.mels: list[np.ndarray] = []
        self.prompts: list[list[int]] = []

    def encode(self, mel: np.ndarray) -> np.ndarray:
        self.mels.extend(mel)
        features = np.zeros((len(mel), 4, 2), dtype=np.float32)
        features[:, 0, 0] = self.n_encoded + np.arange(len(mel))
        self.n_encoded += len(mel)
        return features

    def cross_kv(self, features: np.ndarray) -> np.ndarray:
        return features

    def new_cache(self, n_rows: int) -> FakeCache:
        return FakeCache(n_rows)

    def prefill(self, tokens, cache, cross, logits_at=(-1,), audio_rows=None, cache_rows=None):
        context = [[int(token) for token in row] for row in tokens]
        self.prompts.extend(context)
        rows = range(len(tokens)) if cache_rows is None else cache_rows
        audios = self._audios(len(tokens), cross, audio_rows)
        n = tokens.shape[1]
        logits = []
        for row, audio, new in zip(rows, audios, context, strict=True):
            past = list(cache.history[row])
            cache.history[row] += new
            assert len(cache.history[row]) <= self.dims.n_text_ctx
            logits.append(np.stack([self._logits(audio, past + new[: (at % n) + 1]) for at in logits_at]))
        return np.stack(logits)

    def step(self, tokens, cache, cross, audio_rows=None, copy=True, cache_rows=None):
        self.n_steps += 1
        self.n_rows_of_steps.append(len(tokens))
        rows = [cache.history[row] for row in (range(len(cache.history)) if cache_rows is None else cache_rows)]
        for row, token in zip(rows, tokens, strict=True):
            row.append(int(token))
        audios = self._audios(len(tokens), cross, audio_rows)
        return np.stack([self._logits(audio, row) for audio, row in zip(audios, rows, strict=True)])

    def _audios(self, n_rows, cross, audio_rows) -> list[int]:
        offsets = np.arange(n_rows + 1) if audio_rows is None else audio_rows
        return [int(cross[a, 0, 0]) for a in range(len(cross)) for _ in range(offsets[a], offsets[a + 1])]

    def _logits(self, audio: int, tokens: list[int]) -> np.ndarray:
        logits = np.full(self.dims.n_vocab, FLOOR, dtype=np.float32)
        for token, logit in self.script(audio, list(tokens)).items():
            logits[token] = logit
        return logits


def sampled_part(tokens: list[int]) -> list[int]:
    """What follows the start of the transcript, its language and task."""
    begin = tokens.index(FakeTokenizer.sot) + 3
    if tokens[begin : begin + 1] == [FakeTokenizer.no_timestamps]:
        begin += 1
    return tokens[begin:]


def follow(*windows: Sequence[int], no_speech: float = FLOOR, logit: float = 10.0) -> Script:
    """A script that samples the given tokens, window by window, then ends."""

    def script(audio: int, tokens: list[int]) -> dict[int, float]:
        if tokens[-1] == FakeTokenizer.sot:
            return {FakeTokenizer.no_speech: no_speech, FakeTokenizer.all_language_tokens[0]: 5.0}
        wanted = [*windows[min(audio, len(windows) - 1)], FakeTokenizer.eot]
        return {wanted[min(len(sampled_part(tokens)), len(wanted) - 1)]: logit}

    return script


def one_window(model: FakeModel, audio: int = 0, n: int = 1) -> np.ndarray:
    """Audio features of windows ``audio``, ``audio + 1``, ..."""
    features = np.zeros((n, 4, 2), dtype=np.float32)
    features[:, 0, 0] = audio + np.arange(n)
    return features
