"""Dynamic time warping and the median of seven, for word times.

In: float32 matrices. Out: the cheapest path through one, or its rows smoothed.
Knows nothing of: attention, tokens, times.
"""

# mypy: ignore-errors

from __future__ import annotations

import numpy as np
from llvmlite import ir

from whisperlite.kernels import simd
from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.scalars import load_f32
from whisperlite.kernels.simd import F32, I8, I64, Builder, Value, vector

MEDIAN_WIDTH = 7
PAD = MEDIAN_WIDTH // 2
F64 = ir.DoubleType()
DIAGONAL, UP, LEFT = 0, 1, 2  # where the cheapest way into a cell comes from


@intrinsic
def load_u8(typingctx, address):
    return types.int64(types.int64), lambda context, b, signature, args: b.zext(simd.load(b, args[0], I8, 1), I64)


@intrinsic
def store_u8(typingctx, address, value):
    def emit(context, b, signature, args):
        simd.store(b, b.trunc(args[1], I8), args[0], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def load_f64(typingctx, address):
    return types.float64(types.int64), lambda context, b, signature, args: simd.load(b, args[0], F64, 8)


@intrinsic
def store_f64(typingctx, address, value):
    def emit(context, b, signature, args):
        simd.store(b, args[1], args[0], 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), emit


@intrinsic
def store_i64(typingctx, address, value):
    def emit(context, b, signature, args):
        simd.store(b, args[1], args[0], 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


def median(b: Builder, values: list[Value]) -> Value:
    """Median of an odd number of vectors, lane by lane.

    Of n // 2 + 2 values neither the least nor the greatest can be the median of all n: both go, one more value
    comes, until one is left.
    """
    kept, waiting = list(values[: len(values) // 2 + 2]), list(values[len(values) // 2 + 2 :])
    while len(kept) > 1:
        for i in range(1, len(kept)):  # the least to the front
            kept[0], kept[i] = simd.fmin(b, kept[0], kept[i]), simd.fmax(b, kept[0], kept[i])
        for i in range(1, len(kept) - 1):  # the greatest to the end
            kept[i], kept[-1] = simd.fmin(b, kept[i], kept[-1]), simd.fmax(b, kept[i], kept[-1])
        kept = kept[1:-1] + waiting[:1]
        waiting = waiting[1:]
    return kept[0]


@intrinsic
def row_median7(typingctx, x, n, out):
    """Of ``x[i .. i + 6]``, for n outputs."""

    def emit(context, b, signature, args):
        x, n, out = args

        def body(b, at, lanes):
            kind = vector(F32, lanes)
            taps = [simd.load(b, b.add(simd.offset(b, x, 4 * tap), at), kind) for tap in range(MEDIAN_WIDTH)]
            simd.store(b, median(b, taps), b.add(out, at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@kernel("x", "ldx", "n_rows", "n_cols", "out", "ldo")
def median7_rows_f32(args, sync, thread, n_threads):
    """``out[r, i]`` = median of ``x[r, i .. i + 6]``: rows of x are 6 longer than those of out."""
    x, ldx, n_rows, n_cols = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    out, ldo = arg(args, 4), arg(args, 5)
    while True:
        row = claim(sync)
        if row >= n_rows:
            break
        row_median7(x + row * ldx, n_cols, out + row * ldo)


@kernel("x", "ldx", "n_rows", "n_cols", "cost", "trace", "path", "length")
def dtw_f32(args, sync, thread, n_threads):
    """Cheapest monotonic path from the first to the last cell of x; thread 0 does it all.

    Costs add up in float64, as upstream: near ties go another way in float32. cost: scratch, n_cols + 1 float64.
    trace: scratch, n_rows * n_cols bytes. path: int64 pairs (row, column), from the last cell to the first, room
    for n_rows + n_cols. length: int64, pairs written.
    """
    if thread != 0:
        return
    x, ldx, n_rows, n_cols = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    cost, trace, path, length = arg(args, 4), arg(args, 5), arg(args, 6), arg(args, 7)
    infinity = np.inf
    for j in range(n_cols + 1):
        store_f64(cost + 8 * j, infinity)
    diagonal = 0.0
    for i in range(n_rows):
        left = infinity
        for j in range(n_cols):
            up = load_f64(cost + 8 * (j + 1))
            # Where two ways tie the left one is taken, even a dearer one. ref: openai/whisper timing.py dtw_cpu
            if diagonal < up and diagonal < left:
                best, step = diagonal, DIAGONAL
            elif up < diagonal and up < left:
                best, step = up, UP
            else:
                best, step = left, LEFT
            left = load_f32(x + i * ldx + 4 * j) + best
            store_f64(cost + 8 * (j + 1), left)
            store_u8(trace + i * n_cols + j, step)
            diagonal = up
        diagonal = infinity
    i, j, n = n_rows - 1, n_cols - 1, 0
    while i >= 0 and j >= 0:
        store_i64(path + 16 * n, i)
        store_i64(path + 16 * n + 8, j)
        n += 1
        step = load_u8(trace + i * n_cols + j)
        if i > 0 and (j == 0 or step != LEFT):
            i -= 1
            if j > 0 and step == DIAGONAL:
                j -= 1
        else:
            j -= 1
    store_i64(length, n)


def median7(x: np.ndarray) -> np.ndarray:
    """Running median of seven along the last axis, ends mirrored; a shorter axis than 4 comes back as it is.

    Parameters
    ----------
    x : ndarray (..., n) float32
    """
    if x.shape[-1] <= PAD:
        return x
    rows = x.reshape(-1, x.shape[-1])
    padded = np.pad(rows, ((0, 0), (PAD, PAD)), mode="reflect").astype(np.float32, copy=False)
    out = np.empty(rows.shape, np.float32)
    median7_rows_f32(
        x=padded.ctypes.data, ldx=padded.strides[0], n_rows=len(rows), n_cols=rows.shape[1],
        out=out.ctypes.data, ldo=out.strides[0],
    )  # fmt: skip
    return out.reshape(x.shape)


def dtw(x: np.ndarray) -> np.ndarray:
    """Cheapest path through a matrix of costs: int64 (2, length), rows and columns of its cells in order.

    Where the ways from the diagonal and from above tie, the left one is taken even if it is dearer, as upstream.

    Parameters
    ----------
    x : ndarray (n, m) float32
    """
    x = np.ascontiguousarray(x, np.float32)
    n_rows, n_cols = x.shape
    cost = np.empty(n_cols + 1, np.float64)
    trace = np.empty(n_rows * n_cols, np.uint8)
    path = np.empty((n_rows + n_cols, 2), np.int64)
    length = np.zeros(1, np.int64)
    dtw_f32(
        x=x.ctypes.data, ldx=x.strides[0], n_rows=n_rows, n_cols=n_cols, cost=cost.ctypes.data,
        trace=trace.ctypes.data, path=path.ctypes.data, length=length.ctypes.data,
    )  # fmt: skip
    return path[: length[0]][::-1].T
