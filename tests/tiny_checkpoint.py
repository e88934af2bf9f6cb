"""A checkpoint of random weights in memory: any sizes, no file."""

from __future__ import annotations

import numpy as np

from whisperlite.checkpoint import Dims
from whisperlite.checkpoint.names import expected_shapes


class RandomCheckpoint:
    """Answers what ``Whisper`` asks of a checkpoint; float16 and float32 tensors by turns."""

    def __init__(self, dims: Dims, seed: int = 0):
        self.dims = dims
        self.alignment_heads = ((dims.n_text_layer - 1, 0),)
        rng = np.random.default_rng(seed)
        self.tensors = {}
        for i, (name, shape) in enumerate(expected_shapes(dims).items()):
            values = rng.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]) or 1)
            if "ln" in name and name.endswith("weight"):
                values = values + 1
            self.tensors[name] = values.astype(np.float16 if i % 2 else np.float32)
        self.closed = False

    def names(self) -> tuple[str, ...]:
        return tuple(self.tensors)

    def dtype(self, name: str) -> str:
        return str(self.tensors[name].dtype)

    def read(self, name: str) -> np.ndarray:
        assert not self.closed, "a tensor was read after the model closed its checkpoint"
        return self.tensors[name]

    def release(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


# Nothing is a multiple of 32, heads of 10 columns, a vocabulary that ends inside a panel.
ODD = Dims(
    n_mels=13, n_audio_ctx=41, n_audio_state=20, n_audio_head=2, n_audio_layer=2,
    n_vocab=51865, n_text_ctx=37, n_text_state=20, n_text_head=2, n_text_layer=3,
)  # fmt: skip

# The smallest that quantised weights take: rows of whole blocks.
EVEN = Dims(
    n_mels=13, n_audio_ctx=41, n_audio_state=64, n_audio_head=2, n_audio_layer=1,
    n_vocab=51865, n_text_ctx=37, n_text_state=64, n_text_head=2, n_text_layer=1,
)  # fmt: skip
