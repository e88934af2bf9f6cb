"""Rounding of rows and of weights to bytes.

In: rows of float32. Out: codes and what to multiply them by.
Knows nothing of: layouts of panels, where rows come from.

For ``matmul_int8`` rows become unsigned bytes, weights signed ones. A row is rounded about 128, to two bytes (in
``rounding_rows`` to one), or, where it comes from GELU, from that function's lowest value up: its negative values
lie so close to 0 that half of the codes would stand for nothing.
"""

from __future__ import annotations

from llvmlite import ir

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.elementary import LINES_LOWEST, gelu_on_lines, gelu_rough, gelu_tables
from whisperlite.kernels.int8 import ZERO, dot_bytes
from whisperlite.kernels.scalars import load_f32, store_f32
from whisperlite.kernels.simd import F32, I8, I16, I32, int64, vector

FINE_UNITS = 127 * 256
GELU_LOWEST = -LINES_LOWEST
GELU_UNITS = 255
GELU_MARGIN = 2e-3  # above GELU of a row's largest value, for the errors of both of its approximations
LANES = cpu.vector_width()
GELU_SCRATCH_BYTES = 4 * LANES * (LANES + 2)


@intrinsic
def round_row_fine(typingctx, x, size, codes, low, scale):
    """``size`` float32, a multiple of 16, to two bytes, low ones at ``low``.

    A value is ``scale * (256 * (code - 128) + low - 128)``.
    """

    def emit(context, b, signature, args):
        x, size, codes, low, scale = args
        width = cpu.vector_width()

        def value(i):
            return simd.load(b, b.add(x, b.mul(i, int64(4 * width))), vector(F32, width))

        def highest(b, i, tops):
            values = [value(b.add(b.mul(i, int64(len(tops))), int64(j))) for j in range(len(tops))]
            return [simd.fmax(b, simd.fabs(b, x), top) for x, top in zip(values, tops, strict=True)]

        def put(b, i, _):
            q, at = simd.round_saturated(b, simd.fma(b, value(i), inverse, zero)), b.mul(i, int64(width))
            simd.store(b, b.trunc(q, vector(I8, width)), b.add(low, at), 1)
            q = b.ashr(q, simd.const_int(8, width))
            simd.store(b, b.trunc(q, vector(I8, width)), b.add(codes, at), 1)
            return []

        n_vectors = b.sdiv(size, int64(width))
        n_fours = b.sdiv(n_vectors, int64(4))
        tops = simd.loop(b, n_fours, [simd.const(0.0, width)] * 4, highest)
        tops = [simd.fmax(b, simd.fmax(b, tops[0], tops[1]), simd.fmax(b, tops[2], tops[3]))]
        (top,) = simd.loop(b, n_vectors, tops, highest, b.mul(n_fours, int64(4)))
        top = simd.reduce_lanes(b, top, simd.fmax)
        inverse, zero = simd.splat(b, simd.per(b, FINE_UNITS, top), width), simd.const(256.0 * ZERO + ZERO, width)
        simd.loop(b, n_vectors, [], put)
        simd.store(b, b.fmul(top, ir.Constant(F32, 1.0 / FINE_UNITS)), scale)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


@intrinsic
def _highest_of_row(typingctx, x, size, tops):
    """The highest values of a row of float32 and 0, lane by lane, to ``tops``."""

    def emit(context, b, signature, args):
        x, size, tops = args
        width = cpu.vector_width()

        def highest(b, i, found):
            first = b.add(x, b.mul(i, int64(4 * width * len(found))))
            places = [simd.offset(b, first, 4 * width * j) for j in range(len(found))]
            values = [simd.load(b, place, vector(F32, width)) for place in places]
            return [simd.fmax(b, value, top) for value, top in zip(values, found, strict=True)]

        n_vectors = b.sdiv(size, int64(width))
        n_fours = b.sdiv(n_vectors, int64(4))
        found = simd.loop(b, n_fours, [simd.const(0.0, width)] * 4, highest)
        found = [simd.fmax(b, simd.fmax(b, *found[:2]), simd.fmax(b, *found[2:]))]
        found = simd.loop(b, n_vectors, found, highest, b.mul(n_fours, int64(4)))
        simd.store(b, found[0], tops)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), emit


@intrinsic
def _gelu_units(typingctx, tops, n_rows, factors):
    """For rows whose ``tops`` are known, up to a vector's lanes of them, how many codes are 1, and what a code is.

    The first go to ``factors``, the others behind them. GELU of a row's highest value is the highest of GELU, which
    where it falls is negative.
    """

    def emit(context, b, signature, args):
        tops, n_rows, factors = args
        width = cpu.vector_width()
        rows = []
        for r in range(width):
            row = b.select(b.icmp_signed("<", int64(r), n_rows), int64(r), int64(0))
            rows.append(simd.load(b, b.add(tops, b.mul(row, int64(4 * width))), vector(F32, width)))
        top = gelu_rough(b, simd.reduce_each(b, rows, simd.fmax))
        span = b.fadd(simd.fmax(b, top, simd.const(0.0, width)), simd.const(GELU_LOWEST + GELU_MARGIN, width))
        simd.store(b, simd.per(b, GELU_UNITS, span), factors)
        simd.store(b, b.fmul(span, simd.const(1.0 / GELU_UNITS, width)), simd.offset(b, factors, 4 * width))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), emit


def _has_lines():
    """Whether there is every instruction that ``_codes_on_lines`` names."""
    return simd.has_look_up() and {"avx512dq", "avx512bw"} <= cpu.features()


def _codes_on_lines(b, factor):
    """GELU by straight lines, ``factor`` times it as codes: functions of four vectors and of one.

    Lines begin at 2**15: of the bits of such a float, those from the eighth on are a code.
    """
    words = vector(I32, 16)
    slopes, offsets = gelu_tables()
    lowest, start = simd.const(GELU_LOWEST, 16), simd.const(2.0**15 + 0.5, 16)
    slopes = [b.fmul(x, factor) for x in slopes]
    offsets = [simd.fma(b, b.fadd(x, lowest), factor, start) for x in offsets]

    def coded(x):
        return b.bitcast(gelu_on_lines(b, x, slopes, offsets), words)

    def single(x):
        return b.lshr(coded(x), simd.const_int(8, 16))

    def pair(x, y):
        # The code of x in byte 0, that of y in byte 1; above them are bits that only one of the two has, 0x47.
        choice, a_if_choice_else_c = simd.const_int(0x0047FF00, 16), ir.Constant(I32, 0xCA)
        parts = [choice, coded(y), single(x), a_if_choice_else_c]
        return simd.call(b, "llvm.x86.avx512.pternlog.d.512", words, parts)

    def quads(x):
        pairs = [pair(*x[:2]), pair(*x[2:])]
        codes = simd.call(b, "llvm.x86.avx512.packusdw.512", vector(I16, 32), pairs)
        codes = b.bitcast(codes, vector(I8, 64))
        order = [lane // 4 * 16 + lane % 4 * 2 + j // 2 * 8 + j % 2 for j in range(4) for lane in range(16)]
        return b.shuffle_vector(codes, ir.Constant(codes.type, ir.Undefined), ir.Constant(vector(I32, 64), order))

    return quads, single


def _codes_by_polynomial(b, factor):
    """The same on other CPUs."""
    zero = b.fmul(factor, simd.const(GELU_LOWEST, factor.type.count))

    def single(x):
        return simd.round_saturated(b, simd.fma(b, gelu_rough(b, x), factor, zero))

    def quads(x):
        q = [single(part) for part in x]
        return simd.pack_bytes(b, [simd.pack_pair(b, *q[:2]), simd.pack_pair(b, *q[2:])], False)

    return quads, single


@intrinsic
def _put_gelu_codes(typingctx, x, size, codes, factor):
    """GELU of a row as bytes."""

    def emit(context, b, signature, args):
        x, size, codes, factor = args
        width = cpu.vector_width()
        factor = simd.splat(b, simd.load(b, factor, F32), width)
        quads, single = (_codes_on_lines if _has_lines() else _codes_by_polynomial)(b, factor)

        def values(i, count):
            first = b.add(x, b.mul(i, int64(4 * width * count)))
            return [simd.load(b, simd.offset(b, first, 4 * width * j), vector(F32, width)) for j in range(count)]

        def put_four(b, i, _):
            simd.store(b, quads(values(i, 4)), b.add(codes, b.mul(i, int64(4 * width))), 1)
            return []

        def put(b, i, _):
            code = b.trunc(single(*values(i, 1)), vector(I8, width))
            simd.store(b, code, b.add(codes, b.mul(i, int64(width))), 1)
            return []

        n_vectors = b.sdiv(size, int64(width))
        n_fours = b.sdiv(n_vectors, int64(4))
        simd.loop(b, n_fours, [], put_four)
        simd.loop(b, n_vectors, [], put, b.mul(n_fours, int64(4)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


@njit
def round_gelu_of_rows(x, ldx, n_rows, size, codes, ldq, scales, ld_scales, scratch):
    """GELU of ``size`` float32, a multiple of 16, of each row to bytes; a value is ``scale * code - GELU_LOWEST``.

    A group of rows is looked through before the first of it is rounded: none waits for what its scale takes.
    ``scratch``: GELU_SCRATCH_BYTES.
    """
    row0, factors = 0, scratch + 4 * LANES * LANES
    while row0 < n_rows:
        count = min(LANES, n_rows - row0)
        for r in range(count):
            _highest_of_row(x + (row0 + r) * ldx, size, scratch + 4 * LANES * r)
        _gelu_units(scratch, count, factors)
        for r in range(count):
            row = row0 + r
            _put_gelu_codes(x + row * ldx, size, codes + row * ldq, factors + 4 * r)
            store_f32(scales + row * ld_scales, load_f32(factors + 4 * (LANES + r)))
        row0 += count


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
