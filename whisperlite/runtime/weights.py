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


def pack_f32(rows: NDArray[Any]) -> NDArray[Any]:
    """(D, K) to float32 panels (ceil(D/32), K, 32)."""
    return _transposed_by_panels(np.ascontiguousarray(rows, np.float32))


def pack_f16(rows: NDArray[Any]) -> NDArray[Any]:
    """(D, K) to float16 panels (ceil(D/32), K, 32)."""
    n_out, n_in = rows.shape
    packed = aligned((-(-n_out // PANEL), n_in, PANEL), np.float16)
    whole = n_out // PANEL
    packed[:whole] = rows[: whole * PANEL].reshape(whole, PANEL, n_in).swapaxes(1, 2)
    if whole * PANEL < n_out:
        packed[whole] = 0
        packed[whole, :, : n_out - whole * PANEL] = rows[whole * PANEL :].T
    return packed


def pack_bf16(rows: NDArray[Any]) -> NDArray[Any]:
    """(D, K) to bf16 panels (ceil(D/32), K/2, 32), each element two bf16 of neighbouring K; K is even."""
    from whisperlite.kernels.halves import rows_to_bf16

    source = np.ascontiguousarray(rows, np.float32)
    n_out, n_in = source.shape
    halves = np.empty((n_out, n_in), np.uint16)
    rows_to_bf16(
        source=source.ctypes.data, lds=4 * n_in, n_rows=n_out, n_in=n_in, out=halves.ctypes.data, ldo=2 * n_in
    )
    return _transposed_by_panels(halves.view(np.uint32))


def _transposed_by_panels(rows: NDArray[Any]) -> NDArray[Any]:
    """(D, K) of 32-bit elements to (ceil(D/32), K, 32), zero padded."""
    from whisperlite.kernels.packing import pack_weight_f32

    packed = aligned((-(-rows.shape[0] // PANEL), rows.shape[1], PANEL), rows.dtype)
    pack_weight_f32(
        source=rows.ctypes.data,
        lds=rows.strides[0],
        n_rows=rows.shape[0],
        n_in=rows.shape[1],
        panels=packed.ctypes.data,
    )
    return packed


def unpack(panels: NDArray[Any]) -> NDArray[Any]:
    """(P, K, 32) to (32 P, K) float32."""
    return panels.swapaxes(1, 2).reshape(-1, panels.shape[1]).astype(np.float32)


def unpack_bf16(panels: NDArray[Any]) -> NDArray[Any]:
    """(P, K/2, 32) pairs to (32 P, K) float32."""
    pairs = np.ascontiguousarray(panels.swapaxes(1, 2)).view(np.uint16)  # (P, 32, K)
    return (pairs.reshape(-1, pairs.shape[2]).astype(np.uint32) << 16).view(np.float32)


def round_bf16(values: NDArray[Any]) -> NDArray[Any]:
    """Float32 rounded to bf16, to nearest even."""
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def round_f16(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.float16).astype(np.float32)


PACK = {"float32": pack_f32, "float16": pack_f16, "bfloat16": pack_bf16}
UNPACK = {"float32": unpack, "float16": unpack, "bfloat16": unpack_bf16}
ROUND = {"float32": lambda values: values, "float16": round_f16, "bfloat16": round_bf16}


class Weights:
    """All parameters of one model. Reads a tensor when a program first needs it, and keeps only the packed form."""

    def __init__(self, source: TensorSource):
        self._source = source
        self._panels: dict[tuple[Parts, str], NDArray[Any]] = {}
        self._tables: dict[Parts, NDArray[Any]] = {}
        self._arrays: dict[tuple[Parts, str], NDArray[Any]] = {}

    def panels(self, parts: Parts, shape: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
        """Matmul weight (D, N) or (D, N, taps) as panels in the order that kernels of ``dtype`` read, zero padded."""
        key = (parts, dtype)
        if key not in self._panels:
            self._panels[key] = PACK[dtype](self._stacked(parts, shape))
        return self._panels[key]

    def table(self, parts: Parts, shape: tuple[int, ...]) -> NDArray[Any]:
        """Vector or table of rows, its last axis zero padded to a multiple of 32."""
        if parts not in self._tables:
            rows = self._read(parts, shape)  # may have more rows than the fact asks for: positions of a full window
            padded = aligned((*rows.shape[:-1], -(-shape[-1] // PANEL) * PANEL))
            padded[...] = 0
            padded[..., : shape[-1]] = rows
            self._tables[parts] = padded
        return self._tables[parts]

    def array(self, parts: Parts, shape: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
        """The parameter in its own shape, float32, as kernels of ``dtype`` know it; for the NumPy backend."""
        if parts in self._tables:
            return self._tables[parts][..., : shape[-1]][: shape[0]]
        key = (parts, dtype)
        if key in self._panels:
            rows = UNPACK[dtype](self._panels[key])[: shape[0]]
        else:
            if key not in self._arrays:
                self._arrays[key] = ROUND[dtype](np.array(self._stacked(parts, shape), np.float32))
            rows = self._arrays[key][: shape[0]]
        return rows if len(shape) < 3 else rows.reshape(shape[0], shape[2], shape[1]).swapaxes(1, 2)

    @property
    def n_bytes(self) -> int:
        """Memory held by packed parameters."""
        held = [*self._panels.values(), *self._tables.values(), *self._arrays.values()]
        return sum(array.nbytes for array in held)

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
