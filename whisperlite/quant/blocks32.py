"""Blocks of 32 columns with a scale, or a scale and a minimum: q4_0, q4_1, q5_0, q5_1, q8_0.

In: float32 (n, 32). Out: n blocks, and back.
Knows nothing of: rows, files.

The operations and their order are those of ggml's C reference on x86 (no fused multiply-add), so the bytes are
equal.
ref: ggml ggml-quants.c quantize_row_q*_ref, dequantize_row_q*
"""

from __future__ import annotations

import numpy as np

from whisperlite.quant.formats import FORMATS
from whisperlite.quant.searches import largest


def quantize_blocks32(values: np.ndarray, kind: str) -> np.ndarray:
    """Blocks of ``FORMATS[kind].block``, (n,), from finite float32 (n, 32)."""
    columns = np.ascontiguousarray(values.T)  # (32, n): a step of the reference's loop is a row here
    blocks = np.zeros(len(values), FORMATS[kind].block)
    n_codes = 16 if kind.startswith("q4") else 32
    if kind == "q8_0":
        scale = np.abs(columns).max(axis=0) / np.float32(127)
        codes = _rounded_away(columns * _inverse(scale))
    elif kind.endswith("_0"):
        scale = largest(columns)[0] / np.float32(-n_codes // 2)
        codes = columns * _inverse(scale)
        codes += np.float32(n_codes // 2 + 0.5)
    else:
        lowest = _extreme(columns, np.less)
        scale = (_extreme(columns, np.greater) - lowest) / np.float32(n_codes - 1)
        codes = (columns - lowest) * _inverse(scale)
        codes += np.float32(0.5)
        blocks["m"] = lowest
    blocks["d"] = scale
    # Where scale or inverse overflow, so did the codes; x86 converts such to INT_MIN, whose low byte is 0.
    codes[:, ~(np.isfinite(scale) & np.isfinite(_inverse(scale)))] = 0
    if kind == "q8_0":
        blocks["qs"] = codes.astype(np.int8).T
    else:
        _pack(blocks, np.minimum(codes.astype(np.uint8), n_codes - 1))
    return blocks


def dequantize_blocks32(blocks: np.ndarray, kind: str) -> np.ndarray:
    """float32 (n, 32) from blocks (n,)."""
    scale = blocks["d"].astype(np.float32)[:, None]
    if kind == "q8_0":
        return blocks["qs"] * scale
    codes = np.concatenate([blocks["qs"] & 15, blocks["qs"] >> 4], axis=1)
    if kind.startswith("q5"):
        codes |= np.unpackbits(blocks["qh"], axis=1, bitorder="little") << 4
    if kind.endswith("_0"):
        return (codes.astype(np.float32) - np.float32(8 if kind == "q4_0" else 16)) * scale
    return codes * scale + blocks["m"].astype(np.float32)[:, None]


def _pack(blocks: np.ndarray, codes: np.ndarray) -> None:
    """Halves of the bytes of ``qs``, and the fifth bits, from codes (32, n)."""
    blocks["qs"] = ((codes[:16] & 15) | (codes[16:] << 4)).T
    if "qh" in (blocks.dtype.names or ()):
        blocks["qh"] = np.packbits(codes >> 4, axis=0, bitorder="little").T


def _inverse(scale: np.ndarray) -> np.ndarray:
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)


def _extreme(columns: np.ndarray, is_beyond: np.ufunc) -> np.ndarray:
    """The least or greatest value, the first of several: of 0 and -0 the one that comes first."""
    extreme = columns[0].copy()
    for column in columns[1:]:
        np.copyto(extreme, column, where=is_beyond(column, extreme))
    return extreme


def _rounded_away(values: np.ndarray) -> np.ndarray:
    """C's roundf: halves go away from zero."""
    whole = np.trunc(values)
    whole += np.copysign(np.abs(values - whole) >= 0.5, values)
    return whole
