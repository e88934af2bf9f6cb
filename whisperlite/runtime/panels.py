"""Parameters in the order that kernels read: panels of 32 columns, and back.

In: rows, or codes of quantised rows. Out: panels. Knows nothing of: names, checkpoints, ops.

The layouts are those of ``kernels/tiles`` and ``kernels/blocks``.
"""

from __future__ import annotations

import contextlib
import mmap
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whisperlite.kernels.reference.ops import round_to_bytes
from whisperlite.quant import CODE_SHAPES, Codes, codes_of
from whisperlite.runtime.packer import Packing, run_packings

if TYPE_CHECKING:
    from whisperlite.kernels.registry import Kernel

PANEL = 32
INT8_HEAD = 8  # scales and starts, in rows of 32 bytes
# Steps of K that share a scale, the first that divides K. A sum of byte products ends with instructions of its own:
# long chunks have fewer ends, short ones smaller steps of rounding.
BYTE_CHUNKS = {"int8": (128, 80, 64, 32), "int8_long": (384, 512, 320, 256, 128, 80, 64, 32)}
ALIGNMENT = 64
PIECE_BYTES = 16 << 20
CHUNK_ROWS = 512  # of k-quants unpacked at a time: the whole of a token embedding would take ten times its file


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """Uninitialised array whose first byte lies on a cache line."""
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(n_bytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


class Pool:
    """Memory of arrays that live as long as a model: taken from large pieces, which the system gives in huge pages.

    Ten thousand pages of 4 KiB cost more to be given one by one than packing what goes there.
    """

    def __init__(self) -> None:
        self._piece = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
        """Uninitialised array whose first byte lies on a cache line."""
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        taken = -(-n_bytes // ALIGNMENT) * ALIGNMENT
        if taken > len(self._piece):
            if n_bytes > PIECE_BYTES // 4:
                return _huge_pages(n_bytes).view(dtype).reshape(shape)
            self._piece = _huge_pages(PIECE_BYTES)
        start, self._piece = self._piece[:n_bytes], self._piece[taken:]
        return start.view(dtype).reshape(shape)


def _huge_pages(n_bytes: int) -> NDArray[Any]:
    """Bytes of a mapping of their own, in huge pages where the system has them."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return aligned((n_bytes,), np.uint8)
    mapping = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel built without them
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapping, np.uint8)


def new_panels(dtype: str, n_out: int, n_in: int, pool: Pool | None = None, taps: int = 1) -> NDArray[Any]:
    """Uninitialised panels for a weight (D, K), K of ``taps`` frames, kept in a floating dtype or in bytes."""
    chunk = int8_chunk(n_in // taps, dtype) if dtype in BYTE_CHUNKS else 1
    inner, stored = {
        "float32": ((n_in, PANEL), np.float32),
        "float16": ((n_in, PANEL), np.float16),
        "bfloat16": ((n_in // 2, PANEL), np.uint32),
        **dict.fromkeys(BYTE_CHUNKS, ((n_in // chunk, chunk + INT8_HEAD, PANEL), np.int8)),
    }[dtype]
    return (aligned if pool is None else pool.array)((-(-n_out // PANEL), *inner), stored)


def packings(dtype: str, rows: NDArray[Any], out: NDArray[Any]) -> list[Packing]:
    """What fills ``out``, from ``new_panels``, with the panels of (D, K) rows in a floating dtype or int8."""
    return _PACKINGS[dtype](rows, out)


def _f32_packings(rows: NDArray[Any], out: NDArray[Any]) -> list[Packing]:
    from whisperlite.kernels.packing import pack_weight_f32

    source = float_rows(rows)
    is_half = source.dtype == np.float16
    return [_packing(pack_weight_f32, source, out, 4 * PANEL * source.shape[1] * is_half, is_half=is_half)]


def _f16_packings(rows: NDArray[Any], out: NDArray[Any]) -> list[Packing]:
    from whisperlite.kernels.packing import pack_weight_f16

    source = np.ascontiguousarray(rows, np.float16)
    return [_packing(pack_weight_f16, source, out, 2 * 4 * PANEL * source.shape[1])]


def _bf16_packings(rows: NDArray[Any], out: NDArray[Any]) -> list[Packing]:
    from whisperlite.kernels.halves import rows_to_bf16

    source = np.ascontiguousarray(rows, np.float32)
    n_out, n_in = source.shape
    halves = np.empty((n_out, n_in), np.uint16)
    arguments = {
        "source": source.ctypes.data, "lds": 4 * n_in, "n_rows": n_out, "n_in": n_in, "out": halves.ctypes.data,
        "ldo": 2 * n_in,
    }  # fmt: skip
    return [Packing(rows_to_bf16, arguments, source, halves), *_f32_packings(halves.view(np.float32), out)]


def _int8_packings(rows: NDArray[Any], out: NDArray[Any]) -> list[Packing]:
    from whisperlite.kernels.matmul_int8 import pack_weight_int8

    source = float_rows(rows)
    chunk = out.shape[2] - INT8_HEAD
    is_half = source.dtype == np.float16
    return [_packing(pack_weight_int8, source, out, PANEL * chunk, is_half=is_half, chunk=chunk)]


def _packing(kernel: Kernel, source: NDArray[Any], out: NDArray[Any], scratch_bytes: int, **more: int) -> Packing:
    arguments = {
        "source": source.ctypes.data, "lds": source.strides[0], "n_rows": source.shape[0],
        "n_in": source.shape[1], "panels": out.ctypes.data, **more,
    }  # fmt: skip
    return Packing(kernel, arguments, source, out, scratch_bytes)


def _pack(dtype: str, rows: NDArray[Any], threads: int = 1, out: NDArray[Any] | None = None) -> NDArray[Any]:
    packed = new_panels(dtype, *rows.shape) if out is None else out
    run_packings(packings(dtype, rows, packed), threads)
    return packed


def pack_f32(rows: NDArray[Any], threads: int = 1) -> NDArray[Any]:
    """(D, K) to float32 panels (ceil(D/32), K, 32)."""
    return _pack("float32", rows, threads)


def pack_f16(rows: NDArray[Any], threads: int = 1) -> NDArray[Any]:
    """(D, K) to float16 panels (ceil(D/32), K, 32)."""
    return _pack("float16", rows, threads)


def pack_bf16(rows: NDArray[Any], threads: int = 1) -> NDArray[Any]:
    """(D, K) to bf16 panels (ceil(D/32), K/2, 32), each element two bf16 of neighbouring K; K is even."""
    return _pack("bfloat16", rows, threads)


def pack_int8(rows: NDArray[Any], threads: int = 1, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """(D, K) to int8 panels (ceil(D/32), K/chunk, 8 + chunk, 32), as ``kernels/matmul_int8`` reads them.

    ``out``: from ``new_panels``, for chunks of another length.
    """
    return _pack("int8", rows, threads, out)


def float_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows that kernels can pack: float16 as it is, anything else as float32; contiguous."""
    return np.ascontiguousarray(rows, np.float16 if rows.dtype == np.float16 else np.float32)


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


def pack_blocks(blocks: NDArray[Any], kind: str, threads: int = 1) -> NDArray[Any]:
    """Rows of blocks (D, row_bytes) uint8 of a quantised format to block panels, as ``pack_codes`` makes them."""
    from whisperlite.kernels.packing_blocks import pack_blocks32
    from whisperlite.runtime.team import run_kernel

    bits, _, zero = CODE_SHAPES[kind]
    n_out = len(blocks)
    if kind.endswith("_k"):
        pieces = [pack_codes(codes_of(blocks[at : at + CHUNK_ROWS], kind)) for at in range(0, n_out, CHUNK_ROWS)]
        if len(pieces) == 1:
            return pieces[0]
        packed = aligned((-(-n_out // PANEL), *pieces[0].shape[1:]), np.uint8)
        return np.concatenate(pieces, out=packed)
    rows = np.ascontiguousarray(blocks)
    n_heads = 2 if zero is None else 1
    code_bytes = 32 if bits == 8 else 4 * bits
    n_blocks = rows.shape[1] // (2 * n_heads + code_bytes)
    packed = aligned((-(-n_out // PANEL), n_blocks, PANEL * (2 * n_heads + code_bytes)), np.uint8)
    run_kernel(
        pack_blocks32,
        threads,
        source=rows.ctypes.data,
        row_bytes=rows.shape[1],
        n_rows=n_out,
        n_blocks=n_blocks,
        bits=bits,
        n_heads=n_heads,
        panels=packed.ctypes.data,
    )
    return packed


def pack_codes(codes: Codes) -> NDArray[Any]:
    """Quantised rows (D, K) to block panels, uint8 (ceil(D/32), K/size, bytes of a block)."""
    n_out, n_in = codes.codes.shape
    n_panels, n_blocks, size = -(-n_out // PANEL), n_in // codes.size, codes.size
    missing = n_panels * PANEL - n_out

    def by_panels(array: NDArray[Any], *inner: int) -> NDArray[Any]:
        """(D, ..) to (P, 32, n_blocks, ..), zero padded."""
        padded = np.pad(array, ((0, missing), (0, 0))) if missing else array
        return padded.reshape(n_panels, PANEL, n_blocks, *inner)

    heads = [codes.scales] if codes.minima is None else [codes.scales, codes.minima]
    pieces = [np.ascontiguousarray(by_panels(head).swapaxes(1, 2), np.float16).view(np.uint8) for head in heads]
    if codes.bits > 5:
        quads = by_panels(codes.codes, size // 4, 4).transpose(0, 2, 3, 1, 4)
    else:
        words = by_panels(codes.codes & 15, size // 8, 2, 4)
        quads = (words[..., 0, :] | (words[..., 1, :] << 4)).transpose(0, 2, 3, 1, 4)
    pieces.append(np.ascontiguousarray(quads).reshape(n_panels, n_blocks, -1))
    if codes.bits == 5:
        high = np.packbits(codes.codes >> 4, axis=1, bitorder="little").reshape(n_out, -1)
        pieces.append(np.ascontiguousarray(by_panels(high, 4).swapaxes(1, 2)).reshape(n_panels, n_blocks, -1))
    n_bytes = sum(piece.shape[2] for piece in pieces)
    packed = aligned((n_panels, n_blocks, n_bytes), np.uint8)
    np.concatenate(pieces, axis=2, out=packed)
    return packed


def unpack_codes(panels: NDArray[Any], bits: int, size: int, zero: int | None) -> NDArray[Any]:
    """Block panels to (32 P, K) float32; ``zero`` None means minima of their own."""
    n_panels, n_blocks, _ = panels.shape
    n_heads = 2 if zero is None else 1
    heads = np.ascontiguousarray(panels[:, :, : 2 * PANEL * n_heads]).view(np.float16)
    heads = heads.reshape(n_panels, n_blocks, n_heads, PANEL).astype(np.float32)
    raw = panels[:, :, 2 * PANEL * n_heads :]
    if bits == 8:
        codes = raw.reshape(n_panels, n_blocks, size // 4, PANEL, 4).transpose(0, 3, 1, 2, 4)
    else:
        n_bytes = size // 2 * PANEL
        halves = raw[:, :, :n_bytes].reshape(n_panels, n_blocks, size // 8, PANEL, 4).transpose(0, 3, 1, 2, 4)
        codes = np.stack([halves & 15, halves >> 4], axis=-2)
        if bits == 5:
            words = raw[:, :, n_bytes:].reshape(n_panels, n_blocks, PANEL, 4).swapaxes(1, 2)
            high = np.unpackbits(np.ascontiguousarray(words), axis=-1, bitorder="little")
            codes = codes | (high << 4).reshape(codes.shape)
    codes = codes.reshape(n_panels, PANEL, n_blocks, size).astype(np.float32)
    scales = heads[:, :, 0].swapaxes(1, 2)[..., None]
    minima = heads[:, :, 1].swapaxes(1, 2)[..., None] if zero is None else scales * np.float32(-zero)
    return (codes * scales + minima).reshape(n_panels * PANEL, -1)


def int8_chunk(n_in: int, dtype: str = "int8") -> int:
    """Steps of K that share a scale in panels of bytes; 0 where K does not allow any."""
    return next((chunk for chunk in BYTE_CHUNKS[dtype] if n_in % chunk == 0), 0)


def pack_row_codes(codes: NDArray[Any], scales: NDArray[Any], chunk: int) -> NDArray[Any]:
    """Bytes (D, K) with a number (D) to divide each row by, to the panels of ``pack_int8``; no code is changed."""
    n_out, n_in = codes.shape
    n_panels = -(-n_out // PANEL)
    packed = aligned((n_panels, n_in // chunk, chunk + INT8_HEAD, PANEL), np.int8)
    whole = np.zeros((n_panels * PANEL, n_in), np.int8)
    whole[:n_out] = codes
    quads = whole.reshape(n_panels, PANEL, n_in // chunk, chunk // 4, 4).transpose(0, 2, 3, 1, 4)
    packed[:, :, INT8_HEAD:] = quads.reshape(n_panels, n_in // chunk, chunk, PANEL)
    units = np.zeros((n_panels, 1, PANEL), np.float32)
    with np.errstate(divide="ignore"):
        units.reshape(-1)[:n_out] = np.where(scales == 0, 0, np.float32(1) / scales)
    heads = packed.reshape(n_panels, n_in // chunk, -1)[:, :, : INT8_HEAD * PANEL]
    heads[:, :, : 4 * PANEL].view(np.float32)[...] = units
    heads[:, :, 4 * PANEL :].view(np.int32)[...] = -128 * quads.sum(axis=(2, 4), dtype=np.int32)
    return packed


def unpack_int8(panels: NDArray[Any]) -> NDArray[Any]:
    """(P, K/chunk, 8 + chunk, 32) to (32 P, K) float32."""
    scales = np.ascontiguousarray(panels[:, :, :4]).view(np.float32).reshape(*panels.shape[:2], PANEL)
    codes = np.ascontiguousarray(panels[:, :, INT8_HEAD:]).reshape(*panels.shape[:2], -1, PANEL, 4)
    values = codes.astype(np.float32) * scales[:, :, None, :, None]  # (P, chunks, quads, 32, 4)
    return values.transpose(0, 3, 1, 2, 4).reshape(panels.shape[0] * PANEL, -1)


def round_int8(values: NDArray[Any], chunk: int) -> NDArray[Any]:
    """Float32 rows as panels of bytes keep them."""
    chunks = values.reshape(len(values), -1, chunk)
    codes, scales = round_to_bytes(chunks, axis=2)
    return (codes * scales).reshape(values.shape)


def pack_kernels(dtype: str) -> tuple[Kernel, ...]:
    """The kernels that pack weights kept in a dtype."""
    from whisperlite.kernels import halves, matmul_int8, packing, packing_blocks

    if dtype in PACK:
        return {
            "float32": (packing.pack_weight_f32,),
            "float16": (packing.pack_weight_f16,),
            "bfloat16": (halves.rows_to_bf16, packing.pack_weight_f32),
            **dict.fromkeys(BYTE_CHUNKS, (matmul_int8.pack_weight_int8,)),
        }[dtype]
    return () if dtype.endswith("_k") else (packing_blocks.pack_blocks32,)


_PACKINGS = {
    "float32": _f32_packings,
    "float16": _f16_packings,
    "bfloat16": _bf16_packings,
    **dict.fromkeys(BYTE_CHUNKS, _int8_packings),
}
PACK = {dtype: partial(_pack, dtype) for dtype in _PACKINGS}
UNPACK = {"float32": unpack, "float16": unpack, "bfloat16": unpack_bf16, **dict.fromkeys(BYTE_CHUNKS, unpack_int8)}
ROUND = {
    "float32": lambda values: values,
    "float16": round_f16,
    "bfloat16": round_bf16,
}
