"""What decoding needs of a model and a tokenizer.

In: nothing. Out: ``DecoderModel``, ``DecoderTokenizer``, ``Cache``: types only.
Knows nothing of: how they are implemented. Tests script a fake behind the same types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np


class ModelDims(Protocol):
    """The sizes decoding asks for."""

    @property
    def n_mels(self) -> int: ...
    @property
    def n_vocab(self) -> int: ...
    @property
    def n_text_ctx(self) -> int: ...
    @property
    def n_audio_ctx(self) -> int: ...
    @property
    def n_text_state(self) -> int: ...
    @property
    def n_text_layer(self) -> int: ...


class Cache(Protocol):
    """Self-attention keys and values of a batch of rows."""

    def reorder(self, source_rows: np.ndarray) -> None: ...

    def forget(self, rows: np.ndarray) -> None: ...


class DecoderModel(Protocol):
    """A Whisper model as decoding sees it. Shapes: B rows, A audios, U tokens, V vocabulary."""

    @property
    def dims(self) -> ModelDims: ...
    @property
    def is_multilingual(self) -> bool: ...
    @property
    def backend(self) -> str: ...

    def encode(self, mel: np.ndarray) -> np.ndarray: ...

    def cross_kv(self, features: np.ndarray) -> Any: ...

    def new_cache(self, n_rows: int) -> Any: ...

    def prefill(
        self,
        tokens: np.ndarray,
        cache: Any,
        cross: Any,
        logits_at: Sequence[int] = (-1,),
        audio_rows: np.ndarray | None = None,
        cache_rows: Sequence[int] | None = None,
    ) -> np.ndarray: ...

    def step(
        self,
        tokens: np.ndarray,
        cache: Any,
        cross: Any,
        audio_rows: np.ndarray | None = None,
        copy: bool = True,
        cache_rows: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray: ...


class DecoderTokenizer(Protocol):
    """A tokenizer bound to a language and a task, in OpenAI's terms."""

    @property
    def vocabulary(self) -> Any: ...
    @property
    def eot(self) -> int: ...
    @property
    def sot(self) -> int: ...
    @property
    def sot_prev(self) -> int: ...
    @property
    def sot_lm(self) -> int: ...
    @property
    def transcribe(self) -> int: ...
    @property
    def translate(self) -> int: ...
    @property
    def no_speech(self) -> int: ...
    @property
    def no_timestamps(self) -> int: ...
    @property
    def timestamp_begin(self) -> int: ...
    @property
    def sot_sequence(self) -> Sequence[int]: ...
    @property
    def non_speech_tokens(self) -> Sequence[int]: ...
    @property
    def all_language_tokens(self) -> Sequence[int]: ...
    @property
    def all_language_codes(self) -> Sequence[str]: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, tokens: Iterable[int]) -> str: ...
