"""``whisper.decoding``: ``decode``, ``detect_language``, ``DecodingOptions``, ``DecodingResult``.

In: a model, log-mel windows. Out: its results. Knows nothing of: search.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from whisperlite.compat.openai.model import Whisper


@dataclass(frozen=True)
class DecodingOptions:
    """openai-whisper's options of one window. ``fp16`` is taken and has no meaning."""

    task: str = "transcribe"
    language: str | None = None
    temperature: float = 0.0
    sample_len: int | None = None
    best_of: int | None = None
    beam_size: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    prompt: str | list[int] | None = None
    prefix: str | list[int] | None = None
    suppress_tokens: str | Iterable[int] | None = "-1"
    suppress_blank: bool = True
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0
    fp16: bool = True


@dataclass(frozen=True)
class DecodingResult:
    """openai-whisper's result of one window."""

    audio_features: np.ndarray
    language: str
    language_probs: dict[str, float] | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    avg_logprob: float = np.nan
    no_speech_prob: float = np.nan
    temperature: float = np.nan
    compression_ratio: float = np.nan


def decode(model: Whisper, mel: Any, options: DecodingOptions | None = None, **kwargs: Any) -> Any:
    """Decode one window (n_mels, 3000) or several (B, n_mels, 3000), or their audio features.

    Returns
    -------
    DecodingResult, or a list of them for several windows
    """
    options = replace(options or DecodingOptions(), **kwargs)
    windows, single = _batch(mel)
    features = _features(model, windows)
    given = {item.name: getattr(options, item.name) for item in fields(options) if item.name != "fp16"}
    results = [
        DecodingResult(
            audio_features=features[i],
            language=found.language,
            language_probs=found.language_probs,
            tokens=list(found.tokens),
            text=found.text,
            avg_logprob=found.avg_logprob,
            no_speech_prob=found.no_speech_prob,
            temperature=found.temperature,
            compression_ratio=found.compression_ratio,
        )
        for i, found in enumerate(model.whisperlite.decode(features, **given))
    ]
    return results[0] if single else results


def detect_language(model: Whisper, mel: Any, tokenizer: object = None) -> tuple[Any, Any]:
    """Ids of the most probable language tokens, and the probabilities of all languages."""
    windows, single = _batch(mel)
    probabilities = model.whisperlite.language_probs(_features(model, windows))
    made = model.whisperlite.tokenizer()
    tokens = np.array([made.to_language_token(next(iter(found))) for found in probabilities])
    return (tokens[0], probabilities[0]) if single else (tokens, probabilities)


def _batch(mel: Any) -> tuple[np.ndarray, bool]:
    windows = np.asarray(mel, dtype=np.float32)
    return (windows[None], True) if windows.ndim == 2 else (windows, False)


def _features(model: Whisper, windows: np.ndarray) -> np.ndarray:
    dims = model.dims
    if windows.shape[1:] == (dims.n_audio_ctx, dims.n_audio_state):
        return windows
    return model.whisperlite.encode(windows)
