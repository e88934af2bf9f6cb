"""Parameters in the form that kernels read.

In: a source of named tensors. Out: packed panels, padded tables, matrices; each made once and shared by programs.
Knows nothing of: checkpoint formats, ops.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

PANEL = 32
ALIGNMENT = 64

Parts = tuple[str | int, ...]


class TensorSource(Protocol):
    """Where parameters come from."""

    def read(self, name: str) -> NDArray[Any]:
        """The named tensor as float32 or float16; may be a view of a mapped file."""
        ...


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """Uninitialised array whose first byte lies on a cache line."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(n_bytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


class Weights:
    """All parameters of one model. Reads a tensor when a program first needs it, and keeps only the packed form."""

    def __init__(self, source: TensorSource):
        self._source = source
        self._panels: dict[Parts, NDArray[Any]] = {}
        self._tables: dict[Parts, NDArray[Any]] = {}
        self._arrays: dict[Parts, NDArray[Any]] = {}

    def panels(self, parts: Parts, shape: tuple[int, ...]) -> NDArray[Any]:
        """Matmul weight (D, N) or (D, N, taps) as panels (ceil(D/32), taps*N, 32), zero padded."""
        if parts not in self._panels:
            from whisperlite.kernels.packing import pack_weight_f32

            rows = np.ascontiguousarray(self._stacked(parts, shape), np.float32)
            packed = aligned((-(-rows.shape[0] // PANEL), rows.shape[1], PANEL))
            pack_weight_f32(
                source=rows.ctypes.data,
                lds=rows.strides[0],
                n_rows=rows.shape[0],
                n_in=rows.shape[1],
                panels=packed.ctypes.data,
            )
            self._panels[parts] = packed
        return self._panels[parts]

    def table(self, parts: Parts, shape: tuple[int, ...]) -> NDArray[Any]:
        """Vector or table of rows, its last axis zero padded to a multiple of 32."""
        if parts not in self._tables:
            rows = self._read(parts, shape)  # may have more rows than the fact asks for: positions of a full window
            padded = aligned((*rows.shape[:-1], -(-shape[-1] // PANEL) * PANEL))
            padded[...] = 0
            padded[..., : shape[-1]] = rows
            self._tables[parts] = padded
        return self._tables[parts]

    def array(self, parts: Parts, shape: tuple[int, ...]) -> NDArray[Any]:
        """The parameter in its own shape, float32; for the NumPy backend and for shadow execution."""
        if parts in self._tables:
            return self._tables[parts][..., : shape[-1]][: shape[0]]
        if parts in self._panels:
            packed = self._panels[parts]
            rows = packed.swapaxes(1, 2).reshape(-1, packed.shape[1])[: shape[0]]
            return rows if len(shape) == 2 else rows.reshape(shape[0], shape[2], shape[1]).swapaxes(1, 2)
        if parts not in self._arrays:
            self._arrays[parts] = np.array(self._read(parts, shape), np.float32)
        return self._arrays[parts][: shape[0]]

    @property
    def n_bytes(self) -> int:
        """Memory held by packed parameters."""
        return sum(array.nbytes for group in (self._panels, self._tables, self._arrays) for array in group.values())

    def _read(self, parts: Parts, shape: tuple[int, ...]) -> NDArray[Any]:
        if len(parts) == 1 and isinstance(parts[0], str):
            return self._source.read(parts[0])
        pieces = [
            np.zeros((part, *shape[1:]), np.float32) if isinstance(part, int) else self._source.read(part)
            for part in parts
        ]
        return np.concatenate(pieces)

    def _stacked(self, parts: Parts, shape: tuple[int, ...]) -> NDArray[Any]:
        """Rows; a convolution's taps come before its channels, as the matmul walks them."""
        array = self._read(parts, shape)
        return array.transpose(0, 2, 1).reshape(shape[0], -1) if len(shape) == 3 else array
