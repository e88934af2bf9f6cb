"""Several rows at once to unsigned bytes about 128, and through a layer norm.

In: rows of float32. Out: codes and what to multiply them by; normal rows.
Knows nothing of: layouts of panels, where rows come from.

The largest value of a row is found by a chain of instructions that wait for each other, and so are its mean and its
variance. Rows that are taken together share one chain. What a row becomes does not depend on those beside it.
"""

from __future__ import annotations

from llvmlite import ir

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.int8 import FLOAT_ZERO, ZERO
from whisperlite.kernels.simd import F32, I8, I32, int64, vector

UNITS = 127
TOGETHER = 4  # rows: what they are made of and what they become fit L1, up to 1024 columns


def _addresses(b, first, pitch, n_rows):
    return [b.add(first, b.mul(pitch, int64(r))) for r in range(n_rows)]


def _lane(b, x, lane):
    """One lane in all lanes."""
    undefined = ir.Constant(x.type, ir.Undefined)
    return b.shuffle_vector(x, undefined, ir.Constant(vector(I32, x.type.count), [lane] * x.type.count))


def _fold(b, rows, size, step):
    """For each row a vector: zeros, then ``step(r, so far, x)`` for each vector x of row r."""
    width = cpu.vector_width()

    def body(b, i, folded):
        at = b.mul(i, int64(4 * width))
        values = [simd.load(b, b.add(row, at), vector(F32, width)) for row in rows]
        return [step(r, folded[r], x) for r, x in enumerate(values)]

    return simd.loop(b, b.sdiv(size, int64(width)), [simd.const(0.0, width)] * len(rows), body)


def _normalize(n_rows):
    width = cpu.vector_width()
    kind = vector(F32, width)

    def emit(context, b, signature, args):
        x, ldx, gamma, beta, size, eps, out, ldo = args
        sources, targets = _addresses(b, x, ldx, n_rows), _addresses(b, out, ldo, n_rows)
        count = b.sitofp(size, F32)
        share = simd.splat(b, b.fdiv(ir.Constant(F32, 1.0), count), width)

        def mean_of(sums):
            return b.fmul(simd.reduce_each(b, sums, simd.add), share)

        mean = mean_of(_fold(b, sources, size, lambda r, total, x: b.fadd(total, x)))
        means = [_lane(b, mean, r) for r in range(n_rows)]

        def squared(r, total, x):
            d = b.fsub(x, means[r])
            return simd.fma(b, d, d, total)

        variance = mean_of(_fold(b, sources, size, squared))
        root = simd.call(b, f"llvm.sqrt.v{width}f32", kind, [b.fadd(variance, simd.splat(b, eps, width))])
        scale = b.fdiv(simd.const(1.0, width), root)
        shift = b.fneg(b.fmul(mean, scale))
        scales, shifts = ([_lane(b, v, r) for r in range(n_rows)] for v in (scale, shift))

        def put(b, i, _):
            at = b.mul(i, int64(4 * width))
            factor, offset = (simd.load(b, b.add(place, at), kind) for place in (gamma, beta))
            for r in range(n_rows):
                value = simd.fma(b, simd.load(b, b.add(sources[r], at), kind), scales[r], shifts[r])
                simd.store(b, simd.fma(b, value, factor, offset), b.add(targets[r], at))
            return []

        simd.loop(b, b.sdiv(size, int64(width)), [], put)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i, i, types.float32, i, i), emit


def _larger_magnitude(b, x, top):
    """The larger of the magnitudes of x and of ``top``."""
    if x.type.count == 16 and "avx512dq" in cpu.features():
        larger, zero = ir.Constant(I32, 0b1011), ir.Constant(x.type, None)  # of magnitudes, with a sign of 0
        all_lanes, rounding = ir.Constant(simd.I16, -1), ir.Constant(I32, 4)
        words = [larger, zero, all_lanes, rounding]
        return simd.call(b, "llvm.x86.avx512.mask.range.ps.512", x.type, [x, top, *words])
    return simd.fmax(b, simd.fabs(b, x), top)


def _four_to_bytes(b, values, inverse):
    """Four vectors times ``inverse``, between -127 and 127, plus 128 as bytes, in 32-bit words."""
    width = values[0].type.count
    if not simd.has_look_up():
        q = [simd.round_saturated(b, simd.fma(b, x, inverse, simd.const(ZERO, width))) for x in values]
        return simd.pack_bytes(b, [simd.pack_pair(b, *q[:2]), simd.pack_pair(b, *q[2:])], False)
    # The lowest byte of such a float is its code.
    codes = vector(I8, 64)
    q = [b.bitcast(simd.fma(b, x, inverse, simd.const(FLOAT_ZERO + ZERO, width)), codes) for x in values]
    order = ir.Constant(vector(I8, 64), [4 * i for i in range(32)] * 2)
    pairs = [simd.call(b, "llvm.x86.avx512.vpermi2var.qi.512", codes, [x, order, y]) for x, y in (q[:2], q[2:])]
    quads = [b.bitcast(pair, vector(I32, 16)) for pair in pairs]
    return b.shuffle_vector(*quads, ir.Constant(vector(I32, 16), [*range(8), *range(24, 32)]))


def _round(n_rows):
    width = cpu.vector_width()
    kind = vector(F32, width)

    def emit(context, b, signature, args):
        x, ldx, size, codes, ldq, scales, ld_scales = args
        sources, targets = _addresses(b, x, ldx, n_rows), _addresses(b, codes, ldq, n_rows)
        tops = _fold(b, sources, size, lambda r, top, x: _larger_magnitude(b, x, top))
        top = simd.reduce_each(b, tops, simd.fmax)
        inverse, scale = simd.per(b, UNITS, top), b.fmul(top, simd.const(1 / UNITS, width))
        for r, place in enumerate(_addresses(b, scales, ld_scales, n_rows)):
            simd.store(b, b.extract_element(scale, ir.Constant(I32, r)), place)
        inverses = [_lane(b, inverse, r) for r in range(n_rows)]

        def put_four(b, i, _):
            at, to = b.mul(i, int64(16 * width)), b.mul(i, int64(4 * width))
            for source, target, factor in zip(sources, targets, inverses, strict=True):
                first = b.add(source, at)
                values = [simd.load(b, simd.offset(b, first, 4 * width * j), kind) for j in range(4)]
                simd.store(b, _four_to_bytes(b, values, factor), b.add(target, to), 1)
            return []

        def put(b, i, _):
            at, to = b.mul(i, int64(4 * width)), b.mul(i, int64(width))
            for source, target, factor in zip(sources, targets, inverses, strict=True):
                value = simd.fma(b, simd.load(b, b.add(source, at), kind), factor, simd.const(ZERO, width))
                simd.store(b, b.trunc(simd.round_saturated(b, value), vector(I8, width)), b.add(target, to), 1)
            return []

        n_vectors = b.sdiv(size, int64(width))
        n_fours = b.sdiv(n_vectors, int64(4))
        simd.loop(b, n_fours, [], put_four)
        simd.loop(b, n_vectors, [], put, b.mul(n_fours, int64(4)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), emit


@intrinsic
def _normalize_together(typingctx, x, ldx, gamma, beta, size, eps, out, ldo):
    return _normalize(TOGETHER)


@intrinsic
def _normalize_one(typingctx, x, ldx, gamma, beta, size, eps, out, ldo):
    return _normalize(1)


@intrinsic
def _round_together(typingctx, x, ldx, size, codes, ldq, scales, ld_scales):
    return _round(TOGETHER)


@intrinsic
def _round_one(typingctx, x, ldx, size, codes, ldq, scales, ld_scales):
    return _round(1)


@njit
def normalize_rows(x, ldx, n_rows, gamma, beta, size, eps, out, ldo):
    """Layer norm of rows of ``size`` float32, a multiple of 16."""
    row = 0
    while row < n_rows:
        if n_rows - row >= TOGETHER:
            _normalize_together(x + row * ldx, ldx, gamma, beta, size, eps, out + row * ldo, ldo)
            row += TOGETHER
        else:
            _normalize_one(x + row * ldx, ldx, gamma, beta, size, eps, out + row * ldo, ldo)
            row += 1


@njit
def round_to_bytes(x, ldx, n_rows, size, codes, ldq, scales, ld_scales):
    """Rows of ``size`` float32, a multiple of 16, to bytes; a value is its row's ``scale * (code - 128)``."""
    row = 0
    while row < n_rows:
        source, target, scale = x + row * ldx, codes + row * ldq, scales + row * ld_scales
        if n_rows - row >= TOGETHER:
            _round_together(source, ldx, size, target, ldq, scale, ld_scales)
            row += TOGETHER
        else:
            _round_one(source, ldx, size, target, ldq, scale, ld_scales)
            row += 1
