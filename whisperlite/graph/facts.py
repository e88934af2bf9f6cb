"""What is known of a value before it exists.

In: a dtype name and sizes. Out: `Fact`.
Knows nothing of: ops, storage, how a quantised block is laid out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whisperlite.errors import GraphError
from whisperlite.graph.sizes import Expr, Size, evaluate

FLOAT32 = "float32"
INT32 = "int32"
INT8 = "int8"
INT8_LONG = "int8_long"  # with a scale for more values
QUANTISED_DTYPES = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k")
WEIGHT_DTYPES = (FLOAT32, "float16", "bfloat16", INT8, INT8_LONG, *QUANTISED_DTYPES)
DTYPES = (*WEIGHT_DTYPES, INT32)
_ITEM_BYTES = {
    FLOAT32: 4, INT32: 4, "float16": 2, "bfloat16": 2, INT8: 1, INT8_LONG: 1, **dict.fromkeys(QUANTISED_DTYPES),
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """Dtype and shape of a value.

    Parameters
    ----------
    dtype : str
        One of `DTYPES`.
    shape : tuple of Size
        An int of 1 or more, or an expression of symbols, for each axis.
    """

    dtype: str
    shape: tuple[Size, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise GraphError(f"fact: dtype '{self.dtype}' is unknown; use one of {', '.join(DTYPES)}")
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "_hash", hash((self.dtype, self.shape)))
        for size in self.shape:
            valid = size >= 1 if isinstance(size, int) else isinstance(size, Expr)
            if not valid:
                raise GraphError(f"fact: axis {size!r} in {self}; a size is an int of 1 or more, or a symbol")

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return f"{self.dtype} {shape_text(self.shape)}"

    def evaluate(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape in integers; raises GraphError for a symbol without value, or a size below 1."""
        shape = tuple(evaluate(size, sizes) for size in self.shape)
        if any(size < 1 for size in shape):
            raise GraphError(f"fact {self}: shape {shape} has an axis below 1 for sizes {dict(sizes)}")
        return shape


def shape_text(shape: tuple[Size, ...]) -> str:
    """``(B, 2*T, 384)``."""
    return f"({', '.join(map(str, shape))})"


def item_bytes(dtype: str) -> int | None:
    """Bytes of one element, or None for a block format, whose elements have no bytes of their own."""
    return _ITEM_BYTES[dtype]
