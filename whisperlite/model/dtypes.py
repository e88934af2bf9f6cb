"""What each weight is kept in, by compute type.

In: a compute type, dtypes as stored. Out: dtypes of matmul weights and of cross keys and values.
Knows nothing of: how weights are packed, graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whisperlite.errors import OptionError
from whisperlite.quant import QUANTIZED
from whisperlite.runtime.panels import int8_chunk

COMPUTE_TYPES = ("default", "float32", "bfloat16", "int8")  # what a model can be kept in; ``auto`` chooses


def resolve_compute_type(compute_type: str, stored: Mapping[str, str], backend: str) -> str:
    """What ``auto`` means for a checkpoint on this CPU; other compute types are themselves.

    ``auto`` is ``int8`` where the CPU sums byte products in one instruction, else ``default``; and ``default`` for
    files that are quantised already, and on the NumPy backend, which has no fast bytes.
    """
    if compute_type != "auto":
        return compute_type
    if backend == "numpy" or any(dtype in QUANTIZED for dtype in stored.values()):
        return "default"
    from whisperlite.kernels.int8 import has_vnni

    return "int8" if has_vnni() else "default"


@dataclass(frozen=True)
class KeptDtypes:
    """Choice of dtypes of one model.

    Attributes
    ----------
    compute_type : str
        One of ``COMPUTE_TYPES``; ``auto`` is resolved before.
    stored : mapping of str to str
        Dtype of each tensor in the checkpoint.
    backend : str
        ``numba`` or ``numpy``.

    Raises
    ------
    OptionError
        The compute type is not one of the above.
    """

    compute_type: str
    stored: Mapping[str, str]
    backend: str

    def __post_init__(self) -> None:
        if self.compute_type not in COMPUTE_TYPES:
            raise OptionError(f"compute_type={self.compute_type!r}: give one of {', '.join(COMPUTE_TYPES)}, auto")

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        """Dtype that a matmul weight is kept in."""
        stored = self.stored[name]
        as_bytes = self.compute_type == "int8" or (self.compute_type == "default" and stored == "int8")
        if as_bytes and len(shape) > 1 and int8_chunk(shape[1]):
            # Long chunks save time over many rows, at a little accuracy; a decode step would gain nothing.
            return "int8_long" if name.startswith("encoder.") else "int8"
        if self.compute_type == "bfloat16" and shape[1] % 2 == 0:
            return "bfloat16"
        if self.compute_type == "default" and stored in QUANTIZED:
            return stored
        # The decoder reads each weight once a step: bytes are its cost. The encoder reads a weight for 1500 rows.
        if name.startswith("decoder.") and ".cross_attn.key" not in name and ".cross_attn.value" not in name:
            if stored == "float16" and self._has_float16():
                return "float16"
            if stored == "bfloat16" and shape[1] % 2 == 0:
                return "bfloat16"
        return "float32"

    @property
    def may_round(self) -> str | None:
        """Dtype of weights whose matmuls may round the other operand as well: bf16, where it was asked for.

        With ``default`` a decoder that is stored in bf16 stays so, and its results those of float32.
        """
        return "bfloat16" if self.compute_type == "bfloat16" else None

    def attention(self, head_size: int) -> str:
        """Dtype of the keys and values of the encoder's self-attention."""
        return "int8" if self.compute_type == "int8" and head_size % 32 == 0 else "float32"

    def cross(self, head_size: int) -> str:
        """Dtype of cross keys and values, which each step reads whole: 16 bits where weights are rounded too."""
        if self.attention(head_size) == "int8":
            return "int8"
        rounded = self.compute_type in ("bfloat16", "int8") or (
            self.compute_type == "default"
            and any(dtype in QUANTIZED or dtype == "int8" for dtype in self.stored.values())
        )
        return "float16" if rounded and self._has_float16() else "float32"

    def _has_float16(self) -> bool:
        if self.backend == "numpy":
            return True
        from whisperlite.kernels import cpu

        return cpu.has_float16()
