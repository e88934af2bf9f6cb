"""Codes, scales and minima of quantised rows: what a kernel needs to compute without unpacking weights.

In: bytes of rows. Out: ``Codes``. Knows nothing of: panels, kernels, files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whisperlite.quant.blocks256 import (
    unpack_bits,
    unpack_halves,
    unpack_quarters,
    unpack_scales6,
    unpack_scales6_mins6,
)
from whisperlite.quant.formats import format_of

# Bits of a code, columns that share a scale, zero point (None: minima of their own).
SHAPES: dict[str, tuple[int, int, int | None]] = {
    "q4_0": (4, 32, 8),
    "q4_1": (4, 32, None),
    "q5_0": (5, 32, 16),
    "q5_1": (5, 32, None),
    "q8_0": (8, 32, 128),
    "q2_k": (2, 16, None),
    "q3_k": (3, 16, 4),
    "q4_k": (4, 32, None),
    "q5_k": (5, 32, None),
    "q6_k": (6, 16, 32),
}


@dataclass(frozen=True)
class Codes:
    """Rows of weights as ``scale * code + minimum``.

    Attributes
    ----------
    codes : uint8 (n, n_cols)
    scales : float32 (n, n_cols / size)
    minima : float32 (n, n_cols / size), or None: the minimum is ``-zero * scale``
    bits, size : int
        Bits of a code; columns that share a scale.
    zero : int
        Zero point where there are no minima, else 0.
    """

    codes: np.ndarray
    scales: np.ndarray
    minima: np.ndarray | None
    bits: int
    size: int
    zero: int

    def values(self) -> np.ndarray:
        """float32 (n, n_cols): the weights, to the rounding of one multiply and add."""
        groups = self.codes.reshape(*self.scales.shape, self.size)
        if self.minima is None:
            product = (groups.astype(np.float32) - np.float32(self.zero)) * self.scales[..., None]
        else:
            product = groups * self.scales[..., None] + self.minima[..., None]
        return product.reshape(self.codes.shape)


def codes_of(blocks: np.ndarray, kind: str) -> Codes:
    """Codes, scales and minima of quantised rows.

    Parameters
    ----------
    blocks : (n, row_bytes) uint8
    kind
        A quantised name of ``FORMATS``.
    """
    bits, size, zero = SHAPES[kind]
    stored = np.ascontiguousarray(blocks).reshape(-1).view(format_of(kind).block)
    read = _codes256 if kind.endswith("_k") else _codes32
    codes, scales, minima = read(stored, kind)
    n = len(blocks)
    return Codes(
        codes.reshape(n, -1),
        np.asarray(scales, np.float32).reshape(n, -1),
        None if minima is None else np.asarray(minima, np.float32).reshape(n, -1),
        bits,
        size,
        zero or 0,
    )


_Parts = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def _codes32(stored: np.ndarray, kind: str) -> _Parts:
    if kind == "q8_0":
        return stored["qs"].view(np.uint8) ^ 128, stored["d"], None
    codes = np.concatenate([stored["qs"] & 15, stored["qs"] >> 4], axis=1)
    if kind.startswith("q5"):
        codes |= np.unpackbits(stored["qh"], axis=1, bitorder="little") << 4
    return codes, stored["d"], stored["m"] if kind.endswith("_1") else None


def _codes256(stored: np.ndarray, kind: str) -> _Parts:
    d = stored["d"].astype(np.float32)[:, None]
    if kind in ("q4_k", "q5_k"):
        scales, mins = unpack_scales6_mins6(stored["scales"])
        codes = unpack_halves(stored["qs"])
        if kind == "q5_k":
            codes |= unpack_bits(stored["qh"]) << 4
        return codes, d * scales, -(stored["dmin"].astype(np.float32)[:, None] * mins)
    if kind == "q2_k":
        minima = -(stored["dmin"].astype(np.float32)[:, None] * (stored["scales"] >> 4))
        return unpack_quarters(stored["qs"]), d * (stored["scales"] & 15), minima
    if kind == "q3_k":
        codes = unpack_quarters(stored["qs"]) | (unpack_bits(stored["hmask"]) << 2)
        return codes, d * unpack_scales6(stored["scales"]), None
    low = stored["ql"].reshape(len(stored), 2, 1, 2, 32)
    codes = np.concatenate([low & 15, low >> 4], axis=2).reshape(len(stored), 256)
    return codes | (unpack_quarters(stored["qh"]) << 4), d * stored["scales"], None
