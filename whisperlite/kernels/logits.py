"""What a search wants to know of a row of logits, read once.

In: a row of logits. Out: ``Peaks``: the largest, where it is, and the log of the sum of exponentials.
Knows nothing of: tokens, rules, how a token is chosen.
"""

# mypy: ignore-errors

from __future__ import annotations

import ctypes
import math

import numpy as np
from llvmlite import ir

from whisperlite.kernels import elementary, simd
from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.reference.logits import Peaks
from whisperlite.kernels.registry import CLAIMS, SYNC_WORDS, arg, claim, kernel
from whisperlite.kernels.scalars import load_f32, store_f32, store_i32
from whisperlite.kernels.simd import F32, I32, vector

BLOCK = 2048  # logits that stay in the first cache between their two readings
LOWEST = np.float32(-np.inf)
LOG2_E = math.log2(math.e)


@intrinsic
def row_max(typingctx, x, n):
    """Largest of n; NaN is passed over, ``-inf`` where nothing is left."""

    def emit(context, b, signature, args):
        x, n = args

        def step(b, acc, at, lanes):
            return simd.fmax(b, simd.load(b, b.add(x, at), vector(F32, lanes)), acc)

        return simd.reduce_row(b, n, -np.inf, step, simd.fmax)

    return types.float32(types.int64, types.int64), emit


@intrinsic
def row_sum_exp(typingctx, x, n, top):
    """Sum of ``exp(x - top)``."""

    def emit(context, b, signature, args):
        x, n, top = args

        def step(b, acc, at, lanes):
            below = b.fsub(simd.load(b, b.add(x, at), vector(F32, lanes)), simd.splat(b, top, lanes))
            return b.fadd(acc, elementary.exp2(b, b.fmul(below, simd.const(LOG2_E, lanes))))

        return simd.reduce_row(b, n, 0.0, step, simd.add)

    return types.float32(types.int64, types.int64, types.float32), emit


@intrinsic
def exp_f32(typingctx, x):
    """e**x for one x <= 88."""

    def emit(context, b, signature, args):
        return b.extract_element(elementary.exp(b, simd.splat(b, args[0], 1)), ir.Constant(I32, 0))

    return types.float32(types.float32), emit


@kernel("x", "begin", "n", "out")
def row_peaks_f32(args, sync, thread, n_threads):
    """Of ``x[:begin]`` the largest; of ``x[begin:n]`` the largest, the sum of ``exp(x - largest)`` and the index.

    ``out`` takes three float32 and an int32. NaN is passed over by the largest.
    """
    x, begin, n, out = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    if claim(sync) > 0:
        return
    top, total, first = LOWEST, np.float32(0.0), begin
    for start in range(begin, n, BLOCK):
        count = min(BLOCK, n - start)
        highest = row_max(x + 4 * start, count)
        if highest > top:
            total *= exp_f32(top - highest)
            top, first = highest, start
        if top > LOWEST:
            total += row_sum_exp(x + 4 * start, count, top)
    if top > LOWEST:
        while load_f32(x + 4 * first) != top:
            first += 1
    store_f32(out, row_max(x, begin))
    store_f32(out + 4, top)
    store_f32(out + 8, total)
    store_i32(out + 12, first)


class _Out(ctypes.Structure):
    _fields_ = (
        ("before", ctypes.c_float),
        ("top", ctypes.c_float),
        ("total", ctypes.c_float),
        ("index", ctypes.c_int32),
    )


class RowPeaks:
    """What ``reference.logits.row_peaks`` is, compiled; one for each thread.

    The kernel's arguments lie in place: calling it by name takes as long as reading a row.

    Raises
    ------
    ValueError
        When called: the row is not contiguous float32, or ``begin`` lies outside it.
    """

    def __init__(self) -> None:
        self._out = _Out()
        self._words = (ctypes.c_int64 * len(row_peaks_f32.params))()
        self._words[row_peaks_f32.params.index("out")] = ctypes.addressof(self._out)
        self._sync = (ctypes.c_int64 * SYNC_WORDS)()
        self._addresses = (ctypes.addressof(self._words), ctypes.addressof(self._sync))
        self._entry = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(row_peaks_f32.address())

    def __call__(self, row: np.ndarray, begin: int = 0) -> Peaks:
        n = len(row)
        if row.dtype != np.float32 or row.strides != (4,):
            raise ValueError(f"a row of logits is {row.dtype} with strides {row.strides}; give float32, contiguous")
        if not 0 <= begin <= n:
            raise ValueError(f"begin={begin} in a row of {n}")
        words = self._words
        words[0], words[1], words[2] = row.ctypes.data, begin, n
        self._sync[CLAIMS // 8] = 0
        self._entry(*self._addresses, 0, 1)
        out = self._out
        top = out.top
        return Peaks(out.before, top, top + math.log(out.total) if out.total > 0 else top, out.index)
