"""Whisper speech recognition in Python, NumPy and Numba.

``nano`` is a small model inside the package; it knows digits and a few words:

>>> from whisperlite import WhisperModel, demo_audio
>>> model = WhisperModel("nano")
>>> transcript = model.transcribe(demo_audio(), language="en")
>>> for segment in transcript:
...     print(f"{segment.start:.2f} {segment.end:.2f}{segment.text}")
0.28 2.84 Hotel one left three kilo.
5.12 5.58 Tango.

``WhisperModel("base")`` fetches a model that knows speech.

In: nothing. Out: the public names. Knows nothing of: how they work; a name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whisperlite.api import WhisperModel as WhisperModel
    from whisperlite.audio import load_audio as load_audio
    from whisperlite.audio import log_mel_spectrogram as log_mel_spectrogram
    from whisperlite.audio import pad_or_trim as pad_or_trim
    from whisperlite.decode import DecodingOptions as DecodingOptions
    from whisperlite.decode import DecodingResult as DecodingResult
    from whisperlite.errors import AudioError as AudioError
    from whisperlite.errors import BackendError as BackendError
    from whisperlite.errors import CheckpointError as CheckpointError
    from whisperlite.errors import OptionError as OptionError
    from whisperlite.errors import TokenizerError as TokenizerError
    from whisperlite.errors import WhisperliteError as WhisperliteError
    from whisperlite.results import Alternatives as Alternatives
    from whisperlite.results import Attempt as Attempt
    from whisperlite.results import Segment as Segment
    from whisperlite.results import Span as Span
    from whisperlite.results import Window as Window
    from whisperlite.results import Word as Word
    from whisperlite.transcribe import Transcript as Transcript

_HOME = {
    "WhisperModel": "whisperlite.api",
    "load_audio": "whisperlite.audio",
    "log_mel_spectrogram": "whisperlite.audio",
    "pad_or_trim": "whisperlite.audio",
    "DecodingOptions": "whisperlite.decode",
    "DecodingResult": "whisperlite.decode",
    "AudioError": "whisperlite.errors",
    "BackendError": "whisperlite.errors",
    "CheckpointError": "whisperlite.errors",
    "OptionError": "whisperlite.errors",
    "TokenizerError": "whisperlite.errors",
    "WhisperliteError": "whisperlite.errors",
    "Attempt": "whisperlite.results",
    "Alternatives": "whisperlite.results",
    "Segment": "whisperlite.results",
    "Span": "whisperlite.results",
    "Window": "whisperlite.results",
    "Word": "whisperlite.results",
    "Transcript": "whisperlite.transcribe",
}

__all__ = [*_HOME, "__version__", "demo_audio"]


def demo_audio() -> str:
    """Path of a short synthesised recording that ships with the package."""
    from pathlib import Path

    return str(Path(__file__).parent / "assets" / "demo.flac")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("whisperlite")
    if name not in _HOME:
        raise AttributeError(f"module 'whisperlite' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
