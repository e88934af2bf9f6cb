"""Read and write Whisper models: HF folders, ``.safetensors``, OpenAI ``.pt``, ggml, CTranslate2.

In: a path or a model name. Out: ``Checkpoint``: dims, and tensors in OpenAI's names.
Knows nothing of: kernels, graphs, tokens.
"""

from whisperlite.checkpoint.checkpoint import Checkpoint
from whisperlite.checkpoint.dims import Dims
from whisperlite.checkpoint.hub import HubOptions
from whisperlite.checkpoint.open import open_checkpoint
from whisperlite.checkpoint.published import (
    PUBLISHED,
    Published,
    alignment_heads_for,
    default_alignment_heads,
    published,
)
from whisperlite.checkpoint.resolve import resolve, resolve_vad

__all__ = [
    "PUBLISHED",
    "Checkpoint",
    "Dims",
    "HubOptions",
    "Published",
    "alignment_heads_for",
    "default_alignment_heads",
    "open_checkpoint",
    "published",
    "resolve",
    "resolve_vad",
]
