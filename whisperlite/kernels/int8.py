"""Sums of byte products, and rounding rows of float32 to bytes.

In: vectors of bytes, rows of float32. Out: emitted instructions, codes with their scales.
Knows nothing of: layouts of panels, where rows come from.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.simd import F32, I8, I32, int64, vector
from whisperlite.kernels.tiles import PANEL_BYTES, TILE_VECTORS

ZERO = 128  # what is added to signed codes where the unsigned operand is wanted
# An integer below 2**22 added to the bits of this float is added to its value: sums need no conversion.
FLOAT_ZERO = 1.5 * 2.0**23
FLOAT_ZERO_BITS = 0x4B400000


def has_vnni() -> bool:
    """Whether one instruction sums four byte products, at the width that kernels use."""
    if cpu.vector_width() == 16:
        return "avx512vnni" in cpu.features()
    return "avx512vnni" in cpu.features() and "avx512vl" in cpu.features()


def dot_bytes(b, total, unsigned, signed):
    """total += unsigned bytes times signed bytes, four products to each 32 bits."""
    lanes = total.type.count
    if has_vnni():
        name = {16: "512", 8: "256", 4: "128"}[lanes]
        codes = vector(I8, 4 * lanes)
        return simd.call(
            b,
            f"llvm.x86.avx512.vpdpbusd.{name}",
            total.type,
            [total, b.bitcast(unsigned, codes), b.bitcast(signed, codes)],
        )
    for i in range(4):
        code = b.and_(b.lshr(unsigned, simd.const_int(8 * i, lanes)), simd.const_int(255, lanes))
        factor = b.shl(signed, simd.const_int(24 - 8 * i, lanes))
        total = b.add(total, b.mul(code, b.ashr(factor, simd.const_int(24, lanes))))
    return total


UNROLL = 4  # quads of K in the body of the loop; every count of quads is a multiple


def byte_products(b, terms, n_rows, pitch, panel, column, n_quads, starts, columns_unsigned):
    """Sums of quads of rows times TILE_COLUMNS columns of a panel that begins with a row of scales.

    Parameters
    ----------
    terms : list of addresses
        First row of codes, of which four are broadcast at a time; several for several bytes of the same rows.
    n_rows, pitch : int, int64 value
        Rows and the bytes from one to the next.
    n_quads : int64 value
        Of K; a multiple of UNROLL.
    starts : list of lists of int32 vectors
        What the sums of each term begin with, the vectors of a row side by side.
    columns_unsigned : bool
        Whether the panel holds the unsigned operand, or the rows.

    Returns
    -------
    sums (as ``starts``) and the scales of the columns, float32 vectors
    """
    width = cpu.vector_width()
    words = vector(I32, width)
    n_each = n_rows * TILE_VECTORS
    n_sums = n_each * len(terms)
    # One address per three rows; the others are reached by adding the pitch once or twice in the addressing mode.
    pitch2 = b.add(pitch, pitch)
    bases = [b.add(first, b.mul(pitch, int64(r))) for first in terms for r in range(0, n_rows, 3)]
    per_term = len(bases) // len(terms)

    def quad(b, totals, place, bases, u):
        columns = [
            simd.load(b, simd.offset(b, place, PANEL_BYTES * u + 4 * width * v), words) for v in range(TILE_VECTORS)
        ]
        for t in range(len(terms)):
            for r in range(n_rows):
                at = bases[t * per_term + r // 3]
                if r % 3:
                    at = b.add(at, pitch if r % 3 == 1 else pitch2)
                word = simd.splat(b, simd.load(b, simd.offset(b, at, 4 * u), I32), width)
                for v in range(TILE_VECTORS):
                    j = t * n_each + r * TILE_VECTORS + v
                    operands = (columns[v], word) if columns_unsigned else (word, columns[v])
                    totals[j] = dot_bytes(b, totals[j], *operands)

    def quads(b, i, carried):
        totals, (place, *bases) = list(carried[:n_sums]), carried[n_sums:]
        for u in range(UNROLL):
            quad(b, totals, place, bases, u)
        moved = [simd.offset(b, base, 4 * UNROLL) for base in bases]
        return [*totals, simd.offset(b, place, UNROLL * PANEL_BYTES), *moved]

    scales = b.add(panel, b.mul(column, int64(4)))
    carried = [start for term in starts for start in term] + [simd.offset(b, scales, PANEL_BYTES), *bases]
    carried = simd.loop(b, b.sdiv(n_quads, int64(UNROLL)), carried, quads)
    kind = vector(F32, width)
    return (
        [carried[t * n_each : (t + 1) * n_each] for t in range(len(terms))],
        [simd.load(b, simd.offset(b, scales, 4 * width * v), kind) for v in range(TILE_VECTORS)],
    )


@intrinsic
def largest_magnitude(typingctx, x, n):
    """Largest absolute value of ``n`` float32."""

    def emit(context, b, signature, args):
        x, n = args

        def step(b, top, at, lanes):
            return simd.fmax(b, simd.fabs(b, simd.load(b, b.add(x, at), vector(F32, lanes))), top)

        return simd.reduce_row(b, n, 0.0, step, simd.fmax)

    return types.float32(types.int64, types.int64), emit


@intrinsic
def round_row(typingctx, x, n, inverse, zero, codes):
    """``codes = round(x * inverse) + zero`` as bytes; gives the sum of the rounded values."""

    def emit(context, b, signature, args):
        x, n, inverse, zero, codes = args

        def step(b, total, at, lanes):
            value = simd.load(b, b.add(x, at), vector(F32, lanes))
            value = simd.rint(b, b.fmul(value, simd.splat(b, inverse, lanes)))
            words = b.add(b.fptosi(value, vector(I32, lanes)), simd.splat(b, b.trunc(zero, I32), lanes))
            simd.store(b, b.trunc(words, vector(I8, lanes)), b.add(codes, b.sdiv(at, int64(4))), 1)
            return b.fadd(total, value)

        return simd.reduce_row(b, n, 0.0, step, simd.add)

    i, f = types.int64, types.float32
    return f(i, i, f, i, i), emit


@intrinsic
def code_factor(typingctx, top):
    """127 / top, or 0 for a row of zeros."""

    def emit(context, b, signature, args):
        (top,) = args
        positive = b.fcmp_ordered(">", top, ir.Constant(F32, 0.0))
        return b.select(positive, b.fdiv(ir.Constant(F32, 127.0), top), ir.Constant(F32, 0.0))

    return types.float32(types.float32), emit


@intrinsic
def to_i64(typingctx, value):
    """Truncate a float32."""
    return types.int64(types.float32), lambda context, b, signature, args: b.fptosi(args[0], simd.I64)
