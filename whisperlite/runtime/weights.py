"""Parameters in the form that kernels read.

In: a source of named tensors. Out: packed panels, padded tables, matrices; each made once and shared by programs.
Knows nothing of: checkpoint formats, ops.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from whisperlite.quant import CODE_SHAPES, codes_of
from whisperlite.runtime.packer import Packer
from whisperlite.runtime.panels import (
    BYTE_CHUNKS,
    PACK,
    PANEL,
    ROUND,
    UNPACK,
    Pool,
    int8_chunk,
    new_panels,
    pack_blocks,
    pack_row_codes,
    packings,
    round_int8,
    unpack_codes,
)

Parts = tuple[str | int, ...]


class TensorSource(Protocol):
    """Where parameters come from."""

    def read(self, name: str) -> NDArray[Any]:
        """The named tensor as float32 or float16; may be a view of a mapped file."""
        ...

    def release(self) -> None:
        """Give back memory that only reading needed."""
        ...


class BlockSource(TensorSource, Protocol):
    """Where quantised parameters come from."""

    def read_blocks(self, name: str) -> tuple[str, NDArray[Any]]:
        """Name of the block format and uint8 (rows, bytes of a row)."""
        ...


@runtime_checkable
class RowCodeSource(TensorSource, Protocol):
    """Where parameters come from that may have a scale for each row."""

    def read_codes(self, name: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Codes (rows, ...) and float32 (rows): a value is code / scale; None for a tensor of floats."""
        ...


class Weights:
    """All parameters of one model. Reads a tensor when a program first needs it, and keeps only the packed form.

    Panels of a floating dtype or int8 have their address at once and their contents after ``finish``.
    """

    def __init__(self, source: TensorSource, threads: int = 1):
        self._source = source
        self._threads = threads  # that pack
        # Who writes to a huge page first waits for it: tables are written here, panels by those who pack.
        self._pool, self._table_pool = Pool(), Pool()
        self._packer = Packer(threads, lambda: self._source.release())
        self._panels: dict[tuple[Parts, str], NDArray[Any]] = {}
        self._tables: dict[Parts, NDArray[Any]] = {}
        self._arrays: dict[tuple[Parts, str], NDArray[Any]] = {}

    def panels(self, parts: Parts, shape: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
        """Matmul weight (D, N) or (D, N, taps) as zero padded panels, in the order kernels of ``dtype`` read."""
        key = (parts, dtype)
        if key not in self._panels:
            codes = self._row_codes(parts) if dtype in BYTE_CHUNKS else None
            if codes is not None:
                self._panels[key] = pack_row_codes(*codes, int8_chunk(shape[1], dtype))
            elif dtype in PACK:
                self._panels[key] = self._to_pack(parts, shape, dtype)
            else:
                self._panels[key] = pack_blocks(*self._blocks(parts, dtype), self._threads)
            if codes is not None or dtype not in PACK:
                self._source.release()  # what waits to be packed is not read yet
        return self._panels[key]

    def start(self) -> None:
        """Let another thread fill panels asked for so far; the caller goes on."""
        self._packer.start()

    def finish(self) -> None:
        """Fill all panels asked for so far."""
        self._packer.finish()

    def table(self, parts: Parts, shape: tuple[int, ...]) -> NDArray[Any]:
        """Vector or table of rows, its last axis zero padded to a multiple of 32."""
        if parts not in self._tables:
            rows = self._read(parts, shape)  # may have more rows than the fact asks for: positions of a full window
            padded = self._table_pool.array((*rows.shape[:-1], -(-shape[-1] // PANEL) * PANEL))
            padded[..., : shape[-1]] = rows
            padded[..., shape[-1] :] = 0
            self._tables[parts] = padded
        return self._tables[parts]

    def array(self, parts: Parts, shape: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
        """The parameter in its own shape, float32, as kernels of ``dtype`` know it; for the NumPy backend."""
        self.finish()
        if parts in self._tables:
            return self._tables[parts][..., : shape[-1]][: shape[0]]
        key = (parts, dtype)
        if key in self._panels:
            packed = self._panels[key]
            rows = UNPACK[dtype](packed) if dtype in UNPACK else unpack_codes(packed, *panel_shape(dtype))
            rows = rows[: shape[0]]
        else:
            if key not in self._arrays:
                if dtype in BYTE_CHUNKS:
                    made = np.array(self._stacked(parts, shape), np.float32)
                    if self._row_codes(parts) is None:
                        made = round_int8(made, int8_chunk(shape[1], dtype))
                elif dtype in ROUND:
                    made = ROUND[dtype](np.array(self._stacked(parts, shape), np.float32))
                else:
                    made = codes_of(*self._blocks(parts, dtype)).values()
                self._arrays[key] = made
            rows = self._arrays[key][: shape[0]]
        return rows if len(shape) < 3 else rows.reshape(shape[0], shape[2], shape[1]).swapaxes(1, 2)

    @property
    def n_bytes(self) -> int:
        """Memory held by packed parameters."""
        held = [*self._panels.values(), *self._tables.values(), *self._arrays.values()]
        return sum(array.nbytes for array in held)

    def _to_pack(self, parts: Parts, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Panels of a floating dtype or int8, still to be filled; parts that fill whole panels are not copied."""
        pieces = []
        if len(shape) == 2:
            pieces = [self._stacked((part,), shape) for part in parts if isinstance(part, str)]
        if len(pieces) < len(parts) or any(len(piece) % PANEL for piece in pieces[:-1]):
            pieces = [self._stacked(parts, shape)]
        n_out, n_in = sum(map(len, pieces)), pieces[0].shape[1]
        packed, at = new_panels(dtype, n_out, n_in, self._pool, shape[2] if len(shape) == 3 else 1), 0
        for piece in pieces:
            end = at - (-len(piece) // PANEL)
            self._packer.add(packings(dtype, piece, packed[at:end]))
            at = end
        return packed

    def _blocks(self, parts: Parts, dtype: str) -> tuple[NDArray[Any], str]:
        """Quantised rows of the checkpoint and their format."""
        pieces = []
        for part in parts:
            assert isinstance(part, str), "weights are stacked from tensors; only a bias has zero rows"
            kind, blocks = self._source.read_blocks(part)  # type: ignore[attr-defined]
            assert kind == dtype, f"{part} is {kind}; the graph says {dtype}"
            pieces.append(blocks)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces), dtype

    def _row_codes(self, parts: Parts) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Bytes (D, K), taps before channels, and their scales (D), of a matrix that is stored so; else None."""
        if not isinstance(self._source, RowCodeSource):
            return None
        found = [self._source.read_codes(part) if isinstance(part, str) else None for part in parts]
        pieces = [pair for pair in found if pair is not None and pair[0].dtype == np.int8]
        if len(pieces) < len(parts):
            return None
        codes, scales = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        return (codes.transpose(0, 2, 1).reshape(len(codes), -1) if codes.ndim == 3 else codes), scales

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


def panel_shape(dtype: str) -> tuple[int, int, int | None]:
    """Bits of a code as panels keep it, steps of K in a block, zero point (None: minima), of a quantised dtype."""
    bits, size, zero = CODE_SHAPES[dtype]
    return (4 if bits <= 4 else 5 if bits == 5 else 8), size, zero
