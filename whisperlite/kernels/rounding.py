"""Rounding of rows and of weights to bytes.

In: rows of float32. Out: codes and what to multiply them by.
Knows nothing of: layouts of panels, where rows come from.

For ``matmul_int8`` rows become unsigned bytes, weights signed ones. A row is rounded about 128, in one byte or two,
or, where it comes from GELU, from that function's lowest value up: its negative values lie so close to 0 that half
of the codes would stand for nothing.
"""

from __future__ import annotations

from llvmlite import ir

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.elementary import gelu_rough
from whisperlite.kernels.int8 import ZERO, dot_bytes
from whisperlite.kernels.simd import F32, I8, I32, int64, vector

FINE_UNITS = 127 * 256
GELU_LOWEST = 0.17  # GELU is nowhere below minus this
GELU_UNITS = 255


def _round_row(units, offset, is_fine=False, of_gelu=False):
    """One chunk of a row, a multiple of 16, to codes and the number that they count in.

    ``offset`` is the code of 0; with ``of_gelu`` x becomes GELU of x, whose codes begin at -GELU_LOWEST instead.
    """
    width = cpu.vector_width()
    kind = vector(F32, width)

    def emit(context, b, signature, args):
        x, size, codes, *low, scale = args

        def value(i):
            return simd.load(b, b.add(x, b.mul(i, int64(4 * width))), kind)

        def places(i):
            """Of four vectors from the i-th group of four on."""
            first = b.add(x, b.mul(i, int64(16 * width)))
            return [simd.offset(b, first, 4 * width * j) for j in range(4)]

        def values(i):
            return [simd.load(b, place, kind) for place in places(i)]

        def prepared(place):
            """What counts for the largest."""
            value = simd.load(b, place, kind)
            if not of_gelu:
                return simd.fabs(b, value)
            value = gelu_rough(b, value)
            simd.store(b, value, place)
            return value

        def highest(b, i, tops):
            return [simd.fmax(b, prepared(b.add(x, b.mul(i, int64(4 * width)))), tops[0])]

        def highest_of_four(b, i, tops):
            return [simd.fmax(b, prepared(place), top) for place, top in zip(places(i), tops, strict=True)]

        def rounded(x):
            return simd.round_saturated(b, simd.fma(b, x, inverse, zero))

        def put(b, i, _):
            q, at = rounded(value(i)), b.mul(i, int64(width))
            if is_fine:
                simd.store(b, b.trunc(q, vector(I8, width)), b.add(low[0], at), 1)
                q = b.ashr(q, simd.const_int(8, width))
            simd.store(b, b.trunc(q, vector(I8, width)), b.add(codes, at), 1)
            return []

        def put_four(b, i, _):
            q = [rounded(x) for x in values(i)]
            quads = simd.pack_bytes(b, [simd.pack_pair(b, *q[:2]), simd.pack_pair(b, *q[2:])], False)
            simd.store(b, quads, b.add(codes, b.mul(i, int64(4 * width))), 1)
            return []

        n_vectors = b.sdiv(size, int64(width))
        n_fours = b.sdiv(n_vectors, int64(4))
        begun = b.mul(n_fours, int64(4))
        tops = simd.loop(b, n_fours, [simd.const(0.0, width)] * 4, highest_of_four)
        tops = [simd.fmax(b, simd.fmax(b, tops[0], tops[1]), simd.fmax(b, tops[2], tops[3]))]
        (top,) = simd.loop(b, n_vectors, tops, highest, begun)
        top = simd.reduce_lanes(b, top, simd.fmax)
        if of_gelu:
            top = b.fadd(top, ir.Constant(F32, GELU_LOWEST))
        factor = simd.per(b, units, top)
        inverse = simd.splat(b, factor, width)
        if of_gelu:
            zero = simd.splat(b, b.fmul(factor, ir.Constant(F32, GELU_LOWEST)), width)
        else:
            zero = simd.const(float(offset), width)
        if is_fine:
            begun = int64(0)
        else:
            simd.loop(b, n_fours, [], put_four)
        simd.loop(b, n_vectors, [], put, begun)
        simd.store(b, b.fmul(top, ir.Constant(F32, 1.0 / units)), scale)
        return context.get_dummy_value()

    return types.void(*[types.int64] * (5 if is_fine else 4)), emit


@intrinsic
def round_row_fine(typingctx, x, size, codes, low, scale):
    """The same to two bytes, low ones at ``low``; ``scale * (256 * (code - 128) + low - 128)``."""
    return _round_row(FINE_UNITS, 256 * ZERO + ZERO, is_fine=True)


@intrinsic
def round_gelu_of_row(typingctx, x, size, codes, scale):
    """GELU of ``size`` float32 to bytes, and in the place of x; a value is ``scale * code - GELU_LOWEST``."""
    return _round_row(GELU_UNITS, 0, of_gelu=True)


def put_codes(b, values, size, inverse, codes, zero=0):
    """A row's values times ``inverse`` as bytes plus ``zero`` (0 or 128), to ``codes``.

    ``values(i, count)`` gives ``count`` vectors from the i-th group of ``count`` on; ``size`` is a multiple of two
    vectors. Gives partial sums of the codes, int32, without ``zero``.
    """
    width = cpu.vector_width()

    def rounded(i, count):
        return [simd.round_saturated(b, b.fmul(x, inverse)) for x in values(i, count)]

    def put_four(b, i, sums):
        q = rounded(i, 4)
        quads = simd.pack_bytes(b, [simd.pack_pair(b, *q[:2]), simd.pack_pair(b, *q[2:])], True)
        coded = b.xor(quads, simd.const_int(0x01010101 * zero, width))
        simd.store(b, coded, b.add(codes, b.mul(i, int64(4 * width))))
        return [dot_bytes(b, sums[0], simd.const_int(0x01010101, width), quads)]

    def put_pair(b, i, sums):
        q = rounded(i, 2)
        for j, x in enumerate(q):
            code = b.trunc(b.add(x, simd.const_int(zero, width)), vector(I8, width))
            simd.store(b, code, b.add(codes, b.add(b.mul(i, int64(2 * width)), int64(j * width))))
        return [b.add(sums[0], b.add(*q))]

    n_fours = b.sdiv(size, int64(4 * width))
    sums = simd.loop(b, n_fours, [ir.Constant(vector(I32, width), None)], put_four)
    (total,) = simd.loop(b, b.sdiv(size, int64(2 * width)), sums, put_pair, b.mul(n_fours, int64(2)))
    return total


def top_of_row(b, values, size):
    """The largest magnitudes of a row, lane by lane; as ``put_codes``."""
    width = cpu.vector_width()

    def highest(b, i, tops):
        return [simd.fmax(b, simd.fabs(b, x), top) for x, top in zip(values(i, 2), tops, strict=True)]

    tops = simd.loop(b, b.sdiv(size, int64(2 * width)), [simd.const(0.0, width)] * 2, highest)
    return simd.fmax(b, *tops)


def _round_weights(is_half):
    width = cpu.vector_width()
    kind = vector(F32, width)

    def emit(context, b, signature, args):
        x, n, codes, scale, start = args

        def values(b, i):
            if is_half:
                return simd.load_f16(b, b.add(x, b.mul(i, int64(2 * width))), width)
            return simd.load(b, b.add(x, b.mul(i, int64(4 * width))), kind)

        def highest(b, i, tops):
            return [simd.fmax(b, simd.fabs(b, values(b, i)), tops[0])]

        def put(b, i, sums):
            q = simd.round_saturated(b, b.fmul(values(b, i), inverse))
            simd.store(b, b.trunc(q, vector(I8, width)), b.add(codes, b.mul(i, int64(width))), 1)
            return [b.add(sums[0], q)]

        n_vectors = b.sdiv(n, int64(width))
        (top,) = simd.loop(b, n_vectors, [simd.const(0.0, width)], highest)
        top = simd.reduce_lanes(b, top, simd.fmax)
        inverse = simd.splat(b, simd.per(b, 127, top), width)
        (total,) = simd.loop(b, n_vectors, [ir.Constant(vector(I32, width), None)], put)
        total = simd.reduce_lanes(b, total, lambda b, x, y: b.add(x, y))
        simd.store(b, b.fdiv(top, ir.Constant(F32, 127.0)), scale)
        simd.store(b, b.mul(total, ir.Constant(I32, -ZERO)), start)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


@intrinsic
def round_weights_f32(typingctx, x, n, codes, scale, start):
    """``n`` float32, a multiple of 16, to signed bytes, their scale and the start of sums of products with rows."""
    return _round_weights(is_half=False)


@intrinsic
def round_weights_f16(typingctx, x, n, codes, scale, start):
    """The same for float16."""
    return _round_weights(is_half=True)
