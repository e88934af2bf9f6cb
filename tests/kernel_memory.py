"""Aligned arrays and addresses for kernel tests, with guard bytes that a stray write would change."""

from __future__ import annotations

import numpy as np

GUARD = 1024
PATTERN = 0xA5


class Guarded:
    """An aligned array between two guards; ``check()`` fails when a kernel wrote outside it."""

    def __init__(self, shape, dtype=np.float32, fill=np.nan):
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.raw = np.full(n_bytes + 2 * GUARD + 64, PATTERN, np.uint8)
        self.start = GUARD + (-(self.raw.ctypes.data + GUARD)) % 64
        self.stop = self.start + n_bytes
        self.array = self.raw[self.start : self.stop].view(dtype).reshape(shape)
        if np.dtype(dtype).kind == "f":
            self.array[...] = fill
        else:
            self.array[...] = 0

    @classmethod
    def of(cls, values):
        values = np.ascontiguousarray(values)
        guarded = cls(values.shape, values.dtype)
        guarded.array[...] = values
        return guarded

    @property
    def address(self) -> int:
        return self.array.ctypes.data

    def check(self) -> None:
        assert (self.raw[: self.start] == PATTERN).all() and (self.raw[self.stop :] == PATTERN).all()


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def rows(values, pitch=None):
    """Guarded copy of (.., n) with its last axis padded by NaN to a pitch (default: a multiple of 32)."""
    values = np.asarray(values, np.float32)
    pitch = pitch or round_up(values.shape[-1], 32)
    guarded = Guarded((*values.shape[:-1], pitch))
    guarded.array[..., : values.shape[-1]] = values
    return guarded


def float_bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))
