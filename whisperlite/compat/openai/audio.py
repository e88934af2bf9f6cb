"""``whisper.audio``: constants, ``load_audio``, ``log_mel_spectrogram``, ``pad_or_trim``.

In: files, arrays. Out: arrays. Knows nothing of: models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whisperlite.audio import (
    CHUNK_LENGTH,
    FRAMES_PER_SECOND,
    HOP_LENGTH,
    N_FFT,
    N_FRAMES,
    N_SAMPLES,
    N_SAMPLES_PER_TOKEN,
    SAMPLE_RATE,
    TOKENS_PER_SECOND,
    pad_or_trim,
)
from whisperlite.audio import load_audio as _load_audio
from whisperlite.audio import log_mel_spectrogram as _log_mel_spectrogram
from whisperlite.audio import mel_filters as _mel_filters
from whisperlite.errors import OptionError

__all__ = [
    "CHUNK_LENGTH",
    "FRAMES_PER_SECOND",
    "HOP_LENGTH",
    "N_FFT",
    "N_FRAMES",
    "N_SAMPLES",
    "N_SAMPLES_PER_TOKEN",
    "SAMPLE_RATE",
    "TOKENS_PER_SECOND",
    "load_audio",
    "log_mel_spectrogram",
    "mel_filters",
    "pad_or_trim",
]


def load_audio(file: str, sr: int = SAMPLE_RATE) -> np.ndarray:
    """Mono float32 samples of a file at 16 kHz; no other rate."""
    if sr != SAMPLE_RATE:
        raise OptionError(f"sr={sr}: whisperlite loads audio at {SAMPLE_RATE} Hz only")
    return _load_audio(file)


def log_mel_spectrogram(audio: Any, n_mels: int = 80, padding: int = 0, device: object = None) -> np.ndarray:
    """Log-mel (n_mels, frames) of a file or of samples; ``device`` is taken and has no meaning."""
    samples = np.asarray(audio) if hasattr(audio, "__array__") else _load_audio(audio)
    return _log_mel_spectrogram(samples, n_mels, padding)


def mel_filters(device: object, n_mels: int) -> np.ndarray:
    """Mel filter bank (n_mels, 201); ``device`` is taken and has no meaning."""
    return _mel_filters(n_mels)
