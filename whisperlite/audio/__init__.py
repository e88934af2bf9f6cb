"""Audio to log-mel: load, resample, mel, frames as samples arrive; voice activity in `vad`.

In: files, bytes, arrays. Out: mono float32 samples at 16 kHz; log-mel spectrograms; spans of speech.
Knows nothing of: models, tokens, transcription.
"""

from whisperlite.audio.frontend import MelFrontend
from whisperlite.audio.load import AudioSource, load_audio, load_channels
from whisperlite.audio.mel import (
    CHUNK_LENGTH,
    FRAMES_PER_SECOND,
    HOP_LENGTH,
    N_FFT,
    N_FRAMES,
    N_SAMPLES,
    N_SAMPLES_PER_TOKEN,
    SAMPLE_RATE,
    TOKENS_PER_SECOND,
    log_mel_spectrogram,
    mel_filters,
    pad_or_trim,
)
from whisperlite.audio.resample import Resampler

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
    "AudioSource",
    "MelFrontend",
    "Resampler",
    "load_audio",
    "load_channels",
    "log_mel_spectrogram",
    "mel_filters",
    "pad_or_trim",
]
