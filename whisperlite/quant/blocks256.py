"""Blocks of 256 columns in runs of 16 or 32, whose scales are quantised too: q2_k, q3_k, q4_k, q5_k, q6_k.

In: float32 (n, 256). Out: n blocks, and back.
Knows nothing of: rows, files.

The operations and their order are those of ggml's C reference on x86 (no fused multiply-add), so the bytes are
equal.
ref: ggml ggml-quants.c quantize_row_q*_K_ref, dequantize_row_q*_K
"""

from __future__ import annotations

import numpy as np

from whisperlite.quant.formats import FORMATS
from whisperlite.quant.searches import (
    largest,
    nearest_int,
    refine_scale,
    running_sum,
    search_scale,
    search_scale_and_min,
)

_ONE = np.float32(1)
_EPS = np.float32(1e-15)


def quantize_blocks256(values: np.ndarray, kind: str) -> np.ndarray:
    """Blocks of ``FORMATS[kind].block``, (n,), from finite float32 (n, 256)."""
    blocks = np.zeros(len(values), FORMATS[kind].block)
    if kind == "q2_k":
        _quantize_q2(values, blocks)
    elif kind == "q3_k":
        _quantize_q3(values, blocks)
    elif kind == "q6_k":
        _quantize_q6(values, blocks)
    else:
        _quantize_q4_q5(values, blocks, 31 if kind == "q5_k" else 15)
    return blocks


def dequantize_blocks256(blocks: np.ndarray, kind: str) -> np.ndarray:
    """float32 (n, 256) from blocks (n,)."""
    n = len(blocks)
    d = blocks["d"].astype(np.float32)[:, None]
    if kind in ("q4_k", "q5_k"):
        scales, mins = unpack_scales6_mins6(blocks["scales"])
        dmin = blocks["dmin"].astype(np.float32)[:, None]
        codes = unpack_halves(blocks["qs"])
        if kind == "q5_k":
            codes |= unpack_bits(blocks["qh"]) << 4
        product = (d * scales)[:, :, None] * codes.reshape(n, 8, 32)
        product -= (dmin * mins)[:, :, None]
    elif kind == "q2_k":
        dmin = blocks["dmin"].astype(np.float32)[:, None]
        product = (d * (blocks["scales"] & 15))[:, :, None] * unpack_quarters(blocks["qs"]).reshape(n, 16, 16)
        product -= (dmin * (blocks["scales"] >> 4))[:, :, None]
    elif kind == "q3_k":
        codes = unpack_quarters(blocks["qs"]) | (unpack_bits(blocks["hmask"]) << 2)
        scales = unpack_scales6(blocks["scales"])
        product = (d * scales)[:, :, None] * (codes.view(np.int8) - 4).reshape(n, 16, 16)
    else:
        low = blocks["ql"].reshape(n, 2, 1, 2, 32)
        codes = np.concatenate([low & 15, low >> 4], axis=2).reshape(n, 256)
        codes |= unpack_quarters(blocks["qh"]) << 4
        product = (d * blocks["scales"])[:, :, None] * (codes.view(np.int8) - 32).reshape(n, 16, 16)
    return product.reshape(n, 256)


def _quantize_q2(values: np.ndarray, blocks: np.ndarray) -> None:
    x = _runs(values, 16)
    scale, minimum, codes = search_scale_and_min(x, np.abs(x), 3, (-0.5, 0.1, 15), absolute=True)
    scales, mins = scale.reshape(-1, 16), minimum.reshape(-1, 16)
    top_scale, top_min = _positive_max(scales), _positive_max(mins)
    fifteen = np.float32(15)
    blocks["d"], blocks["dmin"] = top_scale / fifteen, top_min / fifteen
    low = nearest_int(_quotient(fifteen, top_scale)[:, None] * scales).astype(np.int32)
    high = nearest_int(_quotient(fifteen, top_min)[:, None] * mins).astype(np.int32)
    blocks["scales"] = low.astype(np.uint8) | (high << 4).astype(np.uint8)
    d = blocks["d"].astype(np.float32)[:, None] * (blocks["scales"] & 15)
    dm = blocks["dmin"].astype(np.float32)[:, None] * (blocks["scales"] >> 4)
    blocks["qs"] = _pack_quarters(_final_codes(x, codes, d, dm, 0, 3))


def _quantize_q3(values: np.ndarray, blocks: np.ndarray) -> None:
    x = _runs(values, 16)
    scale, codes = refine_scale(x, 4)
    scales = scale.reshape(-1, 16)
    top, _ = largest(scales.T)
    inverse = _quotient(np.float32(-32), top)
    steps = nearest_int(inverse[:, None] * scales).astype(np.int32).astype(np.int8)
    steps = np.clip(steps, -32, 31)
    blocks["d"] = np.where(top == 0, np.float32(0), _ONE / inverse)
    steps[top == 0] = -32
    blocks["scales"] = _pack_scales6((steps + 32).astype(np.uint8))
    d = blocks["d"].astype(np.float32)[:, None] * steps
    final = _final_codes(x, codes, d, None, -4, 3)
    blocks["qs"] = _pack_quarters(final & 3)
    blocks["hmask"] = _pack_bits(final >> 2)


def _quantize_q4_q5(values: np.ndarray, blocks: np.ndarray, max_code: int) -> None:
    x = _runs(values, 32)
    mean_square = running_sum(x * x) / np.float32(32)
    weights = np.sqrt(mean_square) + np.abs(x)
    steps = (-0.5, 0.1, 15) if max_code == 31 else (-1.0, 0.1, 20)
    scale, minimum, codes = search_scale_and_min(x, weights, max_code, steps, absolute=False)
    scales, mins = scale.reshape(-1, 8), minimum.reshape(-1, 8)
    top_scale, top_min = _positive_max(scales), _positive_max(mins)
    top = np.float32(63)
    blocks["d"], blocks["dmin"] = top_scale / top, top_min / top
    scales6 = _to_byte(nearest_int(_quotient(top, top_scale)[:, None] * scales), 63)
    mins6 = _to_byte(nearest_int(_quotient(top, top_min)[:, None] * mins), 63)
    blocks["scales"] = _pack_scales6_mins6(scales6, mins6)
    d = blocks["d"].astype(np.float32)[:, None] * scales6
    dm = blocks["dmin"].astype(np.float32)[:, None] * mins6
    final = _final_codes(x, codes, d, dm, 0, max_code)
    blocks["qs"] = _pack_halves(final & 15)
    if max_code == 31:
        blocks["qh"] = _pack_bits(final >> 4)


def _quantize_q6(values: np.ndarray, blocks: np.ndarray) -> None:
    x = _runs(values, 16)
    scale, codes = search_scale(x, 32)
    scales = scale.reshape(-1, 16)
    top, magnitude = largest(scales.T)
    nothing = magnitude < _EPS
    inverse = _quotient(np.float32(-128), top)
    blocks["d"] = _ONE / inverse
    steps = np.minimum(nearest_int(inverse[:, None] * scales), np.float32(127))
    blocks["scales"] = steps.astype(np.int32).astype(np.int8)
    d = blocks["d"].astype(np.float32)[:, None] * blocks["scales"]
    final = _final_codes(x, codes, d, None, -32, 31)
    low = (final & 15).reshape(-1, 2, 2, 2, 32)
    blocks["ql"] = (low[:, :, 0] | (low[:, :, 1] << 4)).reshape(-1, 128)
    blocks["qh"] = _pack_quarters(final >> 4)
    blocks[nothing] = np.zeros((), blocks.dtype)


def _runs(values: np.ndarray, length: int) -> np.ndarray:
    """(length, n * 256 / length): a step of the reference's loop over a run is a row here."""
    return np.ascontiguousarray(values.reshape(-1, length).T)


def _final_codes(
    x: np.ndarray, found: np.ndarray, d: np.ndarray, dm: np.ndarray | None, low: int, high: int
) -> np.ndarray:
    """uint8 (n, 256): codes for the scales as stored; where such a scale is 0, those of the search stay."""
    d = d.reshape(-1)
    numerator = x if dm is None else x + dm.reshape(-1)
    codes = nearest_int(np.divide(numerator, d, out=np.zeros_like(x), where=d != 0))
    np.clip(codes, np.float32(low), np.float32(high), out=codes)
    codes -= np.float32(low)
    np.copyto(codes, found, where=d == 0)
    return codes.astype(np.uint8).T.reshape(-1, 256)


def _positive_max(values: np.ndarray) -> np.ndarray:
    """Greatest over the last axis, and 0 where none is positive; NaN is passed over as in C's comparisons."""
    return np.fmax(np.fmax.reduce(values, axis=1), np.float32(0))


def _quotient(numerator: np.float32, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator != 0)


def _to_byte(values: np.ndarray, limit: int) -> np.ndarray:
    return np.minimum(values.astype(np.int32).astype(np.uint8), limit)


def _pack_halves(codes: np.ndarray) -> np.ndarray:
    pairs = codes.reshape(-1, 4, 2, 32)
    return (pairs[:, :, 0] | (pairs[:, :, 1] << 4)).reshape(-1, 128)


def unpack_halves(packed: np.ndarray) -> np.ndarray:
    pairs = packed.reshape(-1, 4, 1, 32)
    return np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(-1, 256)


def _pack_quarters(codes: np.ndarray) -> np.ndarray:
    fours = codes.reshape(-1, 2, 4, 32)
    return (fours[:, :, 0] | fours[:, :, 1] << 2 | fours[:, :, 2] << 4 | fours[:, :, 3] << 6).reshape(-1, 64)


def unpack_quarters(packed: np.ndarray) -> np.ndarray:
    shifts = np.array([0, 2, 4, 6], np.uint8)[:, None]
    return ((packed.reshape(-1, 2, 1, 32) >> shifts) & 3).reshape(-1, 256)


def _pack_bits(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits.reshape(-1, 8, 32), axis=1, bitorder="little").reshape(-1, 32)


def unpack_bits(packed: np.ndarray) -> np.ndarray:
    return np.unpackbits(packed.reshape(-1, 1, 32), axis=1, bitorder="little").reshape(-1, 256)


def _pack_scales6(scales: np.ndarray) -> np.ndarray:
    """q3_k's 12 bytes from 16 numbers of 6 bits, (n, 16) uint8."""
    low = (scales[:, :8] & 15) | (scales[:, 8:] << 4)
    fours = (scales >> 4).reshape(-1, 4, 4)
    high = fours[:, 0] | fours[:, 1] << 2 | fours[:, 2] << 4 | fours[:, 3] << 6
    return np.concatenate([low, high], axis=1)


def unpack_scales6(packed: np.ndarray) -> np.ndarray:
    """q3_k's 16 signed scales, int8 (n, 16), from its 12 bytes (n, 12)."""
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    shifts = np.array([0, 2, 4, 6], np.uint8)[:, None]
    high = ((packed[:, None, 8:] >> shifts) & 3).reshape(-1, 16)
    return (low | high << 4).view(np.int8) - np.int8(32)


def _pack_scales6_mins6(scales: np.ndarray, mins: np.ndarray) -> np.ndarray:
    """12 bytes of q4_k and q5_k from 8 scales and 8 mins of 6 bits, (n, 8) uint8 each."""
    first = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    second = mins[:, :4] | (mins[:, 4:] >> 4) << 6
    third = (scales[:, 4:] & 15) | mins[:, 4:] << 4
    return np.concatenate([first, second, third], axis=1)


def unpack_scales6_mins6(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """8 scales and 8 mins of q4_k and q5_k, uint8 (n, 8) each, from their 12 bytes (n, 12)."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6) << 4], axis=1)
    mins = np.concatenate([second & 63, (third >> 4) | (second >> 6) << 4], axis=1)
    return scales, mins
