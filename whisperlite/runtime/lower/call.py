"""What every op's lowering works with: calls, addresses, the plan and its weights.

In: a plan, weights. Out: ``Call``, ``Ref``, ``Lowering``: strides, addresses, panels of a node.
Knows nothing of: single ops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisperlite.errors import BackendError
from whisperlite.graph import Buffer, NodeId, Plan
from whisperlite.kernels.registry import Kernel
from whisperlite.runtime.weights import Weights

PANEL = 32


ARENA, SCRATCH = "arena", "scratch"


@dataclass(frozen=True)
class Ref:
    """An address known only when a program runs: a storage and bytes from its start."""

    storage: tuple[str, str]
    offset: int


@dataclass(frozen=True)
class Call:
    """One row of a program table."""

    node: NodeId
    kernel: Kernel
    arguments: dict[str, int | Ref]
    flops: int = 0
    n_bytes: int = 0
    scratch_bytes: int = 0
    rounds_to_bf16: bool = False  # what it multiplies by bf16 weights
    rivals: tuple[Kernel, ...] = ()  # kernels that it is still to be measured against


@dataclass
class Lowering:
    """What the functions below need to know of the plan, and constants they made."""

    plan: Plan
    weights: Weights
    measure: bool = True  # what is chosen by measurement; else the calls name the rivals of their kernels
    kept: list[NDArray[Any]] = field(default_factory=list)

    def buffer(self, node: NodeId) -> Buffer:
        return self.plan.buffers[node]

    def pointer(self, node: NodeId, offset: int = 0) -> Ref | int:
        buffer = self.buffer(node)
        if buffer.kind == "weight":
            raise BackendError(f"weight '{buffer.key}' has no plain address; ask for its panels or table")
        key = "" if buffer.kind == ARENA else buffer.key
        return Ref((buffer.kind, key), buffer.offset + offset)

    def panels(self, node: NodeId) -> int:
        buffer = self.buffer(node)
        return self.weights.panels(self._parts(node), buffer.shape, buffer.dtype).ctypes.data

    def table(self, node: NodeId) -> NDArray[Any]:
        return self.weights.table(self._parts(node), self.buffer(node).shape)

    def rows_of(self, node: NodeId) -> tuple[Ref | int, int]:
        """Address and row stride of a value, be it computed or a parameter."""
        if self.buffer(node).kind == "weight":
            table = self.table(node)
            return table.ctypes.data, table.strides[-2] if table.ndim > 1 else 0
        return self.pointer(node), self.stride(node)

    def stride(self, node: NodeId) -> int:
        buffer = self.buffer(node)
        return buffer.strides[-2] if len(buffer.strides) > 1 else buffer.n_bytes

    def constant(self, values: NDArray[Any]) -> int:
        """Address of a small array kept as long as the program."""
        self.kept.append(values)
        return values.ctypes.data

    def _parts(self, node: NodeId) -> tuple[str | int, ...]:
        return self.plan.graph[node].attrs["parts"]


Lower = Callable[[Lowering, NodeId, dict[str, Any]], list[Call]]


def float_bits(value: float) -> int:
    """A float32 as the low 32 bits of an argument word."""
    return int(np.float32(value).view(np.uint32))


def n_rows_of(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[:-1], dtype=np.int64))


def batch_stride(buffer: Buffer) -> int:
    """Bytes between batch entries of a (B, L, D) value; 0 for fewer axes."""
    return buffer.strides[-3] if len(buffer.strides) > 2 else 0


WEIGHT_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}


def kernel_for(kernels: dict[str, Kernel], low: Lowering, node: NodeId, stored: NodeId) -> Kernel:
    """The kernel for the dtype that a weight, or packed keys and values, are stored in.

    Raises
    ------
    BackendError
        There is none.
    """
    dtype = low.buffer(stored).dtype
    if dtype not in kernels:
        op = low.plan.graph[node].op
        raise BackendError(f"op '{op}' has no kernel for {dtype}; use one of {', '.join(kernels)}")
    return kernels[dtype]
