"""openai-whisper's interface: ``import whisperlite.compat.openai as whisper``.

In: its names and options. Out: its dictionaries and results, with NumPy arrays where it has tensors.
Knows nothing of: how anything is computed.
"""

from whisperlite.compat.openai import tokenizer, utils
from whisperlite.compat.openai.audio import load_audio, log_mel_spectrogram, pad_or_trim
from whisperlite.compat.openai.decoding import DecodingOptions, DecodingResult, decode, detect_language
from whisperlite.compat.openai.model import Whisper, available_models, load_model
from whisperlite.compat.openai.transcribe import transcribe

__all__ = [
    "DecodingOptions",
    "DecodingResult",
    "Whisper",
    "available_models",
    "decode",
    "detect_language",
    "load_audio",
    "load_model",
    "log_mel_spectrogram",
    "pad_or_trim",
    "tokenizer",
    "transcribe",
    "utils",
]
