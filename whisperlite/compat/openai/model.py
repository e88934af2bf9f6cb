"""``whisper.load_model`` and the model it gives.

In: a name or a path. Out: ``Whisper``. Knows nothing of: how anything is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whisperlite.api import WhisperModel
from whisperlite.compat.openai.decoding import decode, detect_language
from whisperlite.compat.openai.transcribe import transcribe
from whisperlite.errors import OptionError

_MODELS = (
    "tiny.en", "tiny", "base.en", "base", "small.en", "small", "medium.en", "medium",
    "large-v1", "large-v2", "large-v3", "large", "large-v3-turbo", "turbo",
)  # fmt: skip


def available_models() -> list[str]:
    """Names of OpenAI's models."""
    return list(_MODELS)


def load_model(
    name: str, device: object = None, download_root: str | None = None, in_memory: bool = False
) -> Whisper:
    """A model by name, or from a checkpoint. ``in_memory`` is taken and has no meaning.

    Raises
    ------
    OptionError
        A device other than the CPU, or a ``download_root``: models are kept where huggingface-hub keeps them.
    """
    _check_device(device)
    if download_root is not None:
        raise OptionError(f"download_root={download_root!r}: set HF_HOME, or give the path of a checkpoint")
    return Whisper(WhisperModel(name))


class Whisper:
    """openai-whisper's model over whisperlite's.

    Attributes
    ----------
    whisperlite : WhisperModel
        What does the work.
    """

    def __init__(self, model: WhisperModel) -> None:
        self.whisperlite = model
        self.device = "cpu"

    @property
    def dims(self) -> Any:
        return self.whisperlite.dims

    @property
    def is_multilingual(self) -> bool:
        return self.whisperlite.is_multilingual

    @property
    def num_languages(self) -> int:
        return self.whisperlite.num_languages

    def to(self, device: object) -> Whisper:
        """The model itself; there is one device."""
        _check_device(device)
        return self

    def eval(self) -> Whisper:
        """The model itself."""
        return self

    def embed_audio(self, mel: Any) -> np.ndarray:
        """Audio features of log-mel windows (B, n_mels, 3000)."""
        return self.whisperlite.encode(np.asarray(mel, np.float32))

    encoder = embed_audio

    def logits(self, tokens: Any, audio_features: Any) -> np.ndarray:
        """Logits (B, U, V) of tokens (B, U)."""
        ids = np.asarray(tokens)
        cross = self.whisperlite.cross_kv(np.asarray(audio_features, np.float32))
        cache = self.whisperlite.new_cache(len(ids))
        return self.whisperlite.prefill(ids, cache, cross, logits_at=range(ids.shape[1]))

    decode = decode
    detect_language = detect_language
    transcribe = transcribe


def _check_device(device: object) -> None:
    if device is not None and str(device) != "cpu":
        raise OptionError(f"device={device!r}: whisperlite runs on the CPU; give cpu")
