"""The ten numbers that fix a Whisper model's shapes.

In: OpenAI's ``dims`` dictionary or Hugging Face's ``config.json``. Out: ``Dims``, checked.
Knows nothing of: files, tensors, tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from whisperlite.errors import CheckpointError

# Above any model that exists; below what would let a damaged file ask for absurd memory.
_LIMITS = {
    "n_mels": 1024,
    "n_audio_ctx": 1 << 16,
    "n_audio_state": 1 << 14,
    "n_audio_head": 1 << 10,
    "n_audio_layer": 256,
    "n_vocab": 1 << 20,
    "n_text_ctx": 1 << 16,
    "n_text_state": 1 << 14,
    "n_text_head": 1 << 10,
    "n_text_layer": 256,
}

_HF_NAMES = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}

# What the model definition assumes; a config may leave the key out.
_HF_FIXED = {
    "model_type": "whisper",
    "activation_function": "gelu",
    "scale_embedding": False,
}


@dataclass(frozen=True)
class Dims:
    """Sizes of a Whisper model, named as in openai/whisper's ``ModelDimensions``.

    Raises
    ------
    CheckpointError
        A size is not a positive integer, is beyond any Whisper model, or the sizes contradict each other.
    """

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or not 1 <= value <= _LIMITS[field.name]:
                raise CheckpointError(
                    f"{field.name} is {_short(value)}; a Whisper model has 1 to {_LIMITS[field.name]}."
                )
        for side in ("audio", "text"):
            state, head = getattr(self, f"n_{side}_state"), getattr(self, f"n_{side}_head")
            if state % head:
                raise CheckpointError(f"n_{side}_state {state} is not a multiple of n_{side}_head {head}.")
        if self.n_audio_state % 2:
            raise CheckpointError(f"n_audio_state is {self.n_audio_state}; sinusoids need an even number.")
        if self.n_audio_state != self.n_text_state:
            raise CheckpointError(
                f"n_audio_state is {self.n_audio_state} and n_text_state {self.n_text_state}; "
                "cross attention needs them equal."
            )

    @classmethod
    def from_openai(cls, values: Mapping[str, Any]) -> Dims:
        """From the ``dims`` dictionary of an OpenAI checkpoint.

        Raises
        ------
        CheckpointError
            A name is missing, or a value is out of range.
        """
        missing = [field.name for field in fields(cls) if field.name not in values]
        if missing:
            raise CheckpointError(f"dims lack {', '.join(missing)}; this is not a Whisper checkpoint.")
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Dims:
        """From Hugging Face's ``config.json``.

        Raises
        ------
        CheckpointError
            The config is not a Whisper config, or asks for what Whisper's definition does not have.
        """
        for key, fixed in _HF_FIXED.items():
            if config.get(key, fixed) != fixed:
                raise CheckpointError(
                    f"config.json has {key} {_short(config[key])}; whisperlite runs {_short(fixed)}."
                )
        missing = sorted({name for name in _HF_NAMES.values() if name not in config})
        if missing:
            raise CheckpointError(f"config.json lacks {', '.join(missing)}; this is not a Whisper config.")
        dims = cls(**{ours: config[theirs] for ours, theirs in _HF_NAMES.items()})
        for key in ("encoder_ffn_dim", "decoder_ffn_dim"):
            if config.get(key, 4 * dims.n_text_state) != 4 * dims.n_text_state:
                raise CheckpointError(
                    f"config.json has {key} {_short(config[key])}; d_model says {4 * dims.n_text_state}."
                )
        return dims

    @property
    def is_multilingual(self) -> bool:
        """Whether the vocabulary has languages. ref: openai/whisper model.py is_multilingual"""
        return self.n_vocab >= 51865

    @property
    def num_languages(self) -> int:
        """How many language tokens the vocabulary has. ref: openai/whisper model.py num_languages"""
        return self.n_vocab - 51765 - int(self.is_multilingual)


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, int | float | str | bool | None) else type(value).__name__
    return text if len(text) <= 40 else text[:37] + "..."
