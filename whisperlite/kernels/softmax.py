"""The running softmax of attention: a span of positions at a time, sums corrected when a larger score comes.

In: scores of a few query rows for SPAN positions. Out: what their probabilities are, and how earlier sums change.
Knows nothing of: keys, values, dtypes.

Scores count in units of their row; ``unit * score`` is the base-2 logarithm of what the softmax sums.

ref: FlashAttention (Dao et al. 2022).
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir

from whisperlite.kernels import cpu, elementary, scalars, simd
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.scalars import fill_zero
from whisperlite.kernels.simd import F32, vector
from whisperlite.kernels.tiles import MAX_ROWS

SPAN = 128  # positions
LOWEST = np.float32(-1.0e20)  # score of a position that is not there
LOG2_E = np.float32(math.log2(math.e))
# What is kept of each of up to MAX_ROWS rows: arrays of LANES numbers, one for each row, then the running sums.
# START, STEP and FLOOR are for scores of bytes.
LANES = 16
BEST, CORRECTION, FACTOR, TOP, UNIT, START, STEP, FLOOR, SUMS = (4 * LANES * i for i in range(9))
STATE_BYTES = SUMS + MAX_ROWS * 4 * LANES


@njit
def clear_states(states, n_rows):
    """Nothing seen yet."""
    fill_zero(states, STATE_BYTES)
    for row in range(n_rows):
        scalars.store_f32(states + BEST + 4 * row, LOWEST)


@intrinsic
def note_top(typingctx, scores, states, row):
    """Note the largest of a row's SPAN scores."""

    def emit(context, b, signature, args):
        scores, states, row = args
        width = cpu.vector_width()
        kind, n_vectors = vector(F32, width), SPAN // width
        tops = [simd.load(b, simd.offset(b, scores, 4 * width * i), kind) for i in range(n_vectors)]
        while len(tops) > 1:
            tops = [simd.fmax(b, tops[i], tops[i + len(tops) // 2]) for i in range(len(tops) // 2)]
        top = simd.reduce_lanes(b, tops[0], simd.fmax)
        simd.store(b, top, b.add(states, b.add(b.mul(row, simd.int64(4)), simd.int64(TOP))))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@intrinsic
def advance_states(typingctx, states):
    """From the tops noted of a span: best so far, correction of sums so far, factor of the span; tops in base 2.

    A span's probabilities are relative to its own top; ``factor`` makes them relative to the best.
    """

    def emit(context, b, signature, args):
        (states,) = args
        kind = vector(F32, LANES)

        def at(place):
            return simd.load(b, simd.offset(b, states, place), kind)

        top = b.fmul(at(TOP), at(UNIT))
        best = simd.fmax(b, at(BEST), top)
        correction, factor = elementary.exp2(b, b.fsub(at(BEST), best)), elementary.exp2(b, b.fsub(top, best))
        for place, value in ((TOP, top), (BEST, best), (CORRECTION, correction), (FACTOR, factor)):
            simd.store(b, value, simd.offset(b, states, place))
        return context.get_dummy_value()

    return types.void(types.int64), emit


def of_row(b, states, row, place, width):
    """A number of one row, in all lanes."""
    address = b.add(states, b.add(b.mul(row, simd.int64(4)), simd.int64(place)))
    return simd.splat(b, simd.load(b, address, F32), width)


def add_to_sum(b, states, row, total, factor):
    """sum = sum * correction + total * factor."""
    width = total.type.count
    place = simd.offset(b, b.add(states, b.mul(row, simd.int64(4 * LANES))), SUMS)
    kept = b.fmul(simd.load(b, place, total.type), of_row(b, states, row, CORRECTION, width))
    simd.store(b, simd.fma(b, total, factor, kept), place)


@intrinsic
def soften_f32(typingctx, scores, states, row):
    """SPAN scores to probabilities relative to the best so far, in place; their sum is added to the row's."""

    def emit(context, b, signature, args):
        scores, states, row = args
        width = cpu.vector_width()
        kind = vector(F32, width)
        unit, below = of_row(b, states, row, UNIT, width), b.fneg(of_row(b, states, row, BEST, width))
        totals = [simd.const(0.0, width)] * 2
        for i in range(SPAN // width):
            place = simd.offset(b, scores, 4 * width * i)
            value = elementary.exp2(b, simd.fma(b, simd.load(b, place, kind), unit, below))
            simd.store(b, value, place)
            totals[i % 2] = b.fadd(totals[i % 2], value)
        add_to_sum(b, states, row, b.fadd(*totals), simd.const(1.0, width))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@intrinsic
def one_over_sum(typingctx, states, row):
    """Reciprocal of a row's running sum."""

    def emit(context, b, signature, args):
        states, row = args
        place = simd.offset(b, b.add(states, b.mul(row, simd.int64(4 * LANES))), SUMS)
        total = simd.load(b, place, vector(F32, cpu.vector_width()))
        return b.fdiv(ir.Constant(F32, 1.0), simd.reduce_lanes(b, total, simd.add))

    return types.float32(types.int64, types.int64), emit
