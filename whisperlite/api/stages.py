"""The stages of a model, one by one: mel, encoder, cross K/V, decoder, one window's search.

In: arrays and tokens; options of one window. Out: each stage's arrays; ``DecodingResult``.
Knows nothing of: where a model comes from, audio of more than a window, transcripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from whisperlite.audio import N_FRAMES, AudioSource, load_audio, log_mel_spectrogram, pad_or_trim
from whisperlite.checkpoint import Dims
from whisperlite.decode import (
    DecodingOptions,
    DecodingResult,
    Draft,
    DraftModel,
    decode,
    detect_language,
    make_decoding_options,
    not_used_because,
)
from whisperlite.model import CrossKV, KVCache, Whisper
from whisperlite.text import Tokenizer, Vocabulary, language_code, tokenizer_for


class ModelStages:
    """A loaded model, taken stage by stage; ``WhisperModel`` is one that can be told by name what to load.

    Parameters
    ----------
    model : Whisper
    vocabulary : Vocabulary
        Of its checkpoint.
    """

    def __init__(self, model: Whisper, vocabulary: Vocabulary) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._draft: DraftModel | None = None

    @property
    def dims(self) -> Dims:
        """Sizes of the model."""
        return self._model.dims

    @property
    def alignment_heads(self) -> tuple[tuple[int, int], ...]:
        """(decoder layer, head) of the heads that word times are read from."""
        return self._model.alignment_heads

    @property
    def backend(self) -> str:
        """``numba`` or ``numpy``."""
        return self._model.backend

    @property
    def threads(self) -> int:
        """Threads that a call may use."""
        return self._model.threads

    @property
    def is_multilingual(self) -> bool:
        return self._model.is_multilingual

    @property
    def num_languages(self) -> int:
        return self._model.num_languages

    def tokenizer(self, language: str | None = None, task: str | None = None) -> Tokenizer:
        """The model's tokenizer for a language (code or name) and a task.

        Raises
        ------
        OptionError
            The model does not know the language or the task.
        """
        return tokenizer_for(self._vocabulary, language, task)

    def log_mel(self, audio: AudioSource) -> np.ndarray:
        """Log-mel (n_mels, 3000) float32 of the first 30 s, filled up with silence."""
        return log_mel_spectrogram(pad_or_trim(load_audio(audio)), self.dims.n_mels, threads=self.threads)

    def encode(self, mel: np.ndarray) -> np.ndarray:
        """Audio features (B, T, D) float32 of log-mel (B, n_mels, 2T)."""
        return self._model.encode(mel)

    def cross_kv(self, features: np.ndarray) -> CrossKV:
        """Cross-attention keys and values of audio features (A, T, D), for every decoder layer."""
        return self._model.cross_kv(features)

    def new_cache(self, n_rows: int) -> KVCache:
        """An empty self-attention cache for ``n_rows`` token rows."""
        return self._model.new_cache(n_rows)

    def prefill(
        self,
        tokens: np.ndarray,
        cache: KVCache,
        cross: CrossKV,
        logits_at: Sequence[int] = (-1,),
        audio_rows: np.ndarray | None = None,
        cache_rows: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Feed tokens (B, U) and return logits (B, len(logits_at), V) at the given positions.

        With ``audio_rows`` (A+1,), rows ``audio_rows[a]:audio_rows[a+1]`` listen to audio ``a``; without it
        row b listens to audio b. ``cache_rows`` names the cache rows that take part; all without it.
        """
        return self._model.prefill(tokens, cache, cross, logits_at, audio_rows, cache_rows)

    def step(
        self,
        tokens: np.ndarray,
        cache: KVCache,
        cross: CrossKV,
        audio_rows: np.ndarray | None = None,
        copy: bool = True,
        cache_rows: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Feed one token per row (B,) and return logits (B, V); without ``copy`` the next step overwrites them.

        Rows as in ``prefill``. Other rows than in the step before cost a few milliseconds once.
        """
        return self._model.step(tokens, cache, cross, audio_rows, copy, cache_rows)

    def cross_attention(
        self,
        tokens: Sequence[int] | np.ndarray,
        cross: CrossKV,
        audio: int = 0,
        heads: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores before softmax (heads, U, T) of (layer, head) pairs, and logits (U, V), of tokens (U,).

        ``heads`` defaults to the model's alignment heads.
        """
        return self._model.cross_attention(np.asarray(tokens), cross, audio, heads)

    def language_probs(self, features: np.ndarray) -> list[dict[str, float]]:
        """Probability of each language, the most probable first, for audio features (A, T, D) of each window.

        Raises
        ------
        OptionError
            The model is English-only.
        """
        return detect_language(self._model, self.tokenizer(), self.cross_kv(features), len(features))

    def decode(self, mel: np.ndarray, **options: Any) -> list[DecodingResult]:
        """Decode log-mel windows (B, n_mels, 3000) at one temperature.

        Parameters
        ----------
        mel : ndarray
            Or audio features (B, T, D) from ``encode``.
        **options
            Fields of ``whisperlite.DecodingOptions`` and of its ``RuleOptions``.

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured.
        """
        chosen = make_decoding_options(**options)
        if chosen.language is not None:
            chosen = replace(chosen, language=language_code(chosen.language))
        is_mel = mel.ndim == 3 and mel.shape[1:] == (self.dims.n_mels, N_FRAMES)
        features = self.encode(mel) if is_mel else mel
        tokenizer = self.tokenizer(chosen.language, chosen.task)
        return decode(self._model, tokenizer, features, chosen, draft=self._draft_for(mel, features, chosen))

    def _draft_for(self, mel: np.ndarray, features: np.ndarray, options: DecodingOptions) -> Draft | None:
        """The draft and what it will hear: nothing where it cannot help, or where only features are known."""
        if self._draft is None:
            return None
        if self._draft.shares_encoder:
            return Draft(self._draft, features)
        if mel is features or not_used_because(options):
            return Draft(self._draft, None)
        return Draft(self._draft, partial(self._draft.model.encode, mel))
