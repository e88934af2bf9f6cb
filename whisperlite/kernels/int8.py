"""Sums of byte products, and rounding rows of float32 to bytes.

In: vectors of bytes, rows of float32. Out: emitted instructions, codes with their scales.
Knows nothing of: layouts of panels, where rows come from.
"""

from __future__ import annotations

from llvmlite import ir

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.compiler import intrinsic, types
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


HEAD_BYTES = 16  # of a chunk of a row: scale, start of its sums
UNROLL = 4  # quads of K in the body of the loop; every count of quads is a multiple


def byte_products(b, terms, n_rows, pitch, panel, column, n_quads, starts, columns_unsigned, head_rows=1):
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
    head_rows : int
        Rows of the panel before its codes, the scales among them.

    Returns
    -------
    sums (as ``starts``) and the scales of the columns, float32 vectors
    """
    width = cpu.vector_width()
    words = vector(I32, width)
    n_each = n_rows * TILE_VECTORS
    n_sums = n_each * len(terms)
    # One address per three rows; the others are reached by adding the pitch once or twice in the addressing mode.
    # LLVM would rather compute each row's address from the one before, with instructions that take turns with the
    # products.
    pitch2 = b.add(pitch, pitch)
    bases = [b.add(first, b.mul(pitch, int64(r))) for first in terms for r in range(0, n_rows, 3)]

    def moving(base):
        return base if isinstance(pitch, ir.Constant) else simd.opaque(b, base)

    per_term = len(bases) // len(terms)

    def quad(b, totals, place, bases, u):
        columns = [
            simd.load(b, simd.offset(b, place, PANEL_BYTES * u + 4 * width * v), words) for v in range(TILE_VECTORS)
        ]
        simd.prefetch_ahead(b, simd.offset(b, place, PANEL_BYTES * u), 4 * width * TILE_VECTORS)
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
        moved = [moving(simd.offset(b, base, 4 * UNROLL)) for base in bases]
        return [*totals, simd.offset(b, place, UNROLL * PANEL_BYTES), *moved]

    scales = b.add(panel, b.mul(column, int64(4)))
    codes = simd.offset(b, scales, head_rows * PANEL_BYTES)
    carried = [start for term in starts for start in term] + [codes, *bases]
    carried = simd.loop(b, b.sdiv(n_quads, int64(UNROLL)), carried, quads)
    kind = vector(F32, width)
    return (
        [carried[t * n_each : (t + 1) * n_each] for t in range(len(terms))],
        [simd.load(b, simd.offset(b, scales, 4 * width * v), kind) for v in range(TILE_VECTORS)],
    )


def _round_chunk(zero=0):
    """One chunk of a row, a multiple of 16: codes, ``zero`` (0 or 128) added to them, and its head."""
    width = cpu.vector_width()
    kind, words = vector(F32, width), vector(I32, width)

    def emit(context, b, signature, args):
        x, size, codes, _, head = args

        def values(i):
            """Four vectors from the i-th group of four on."""
            first = b.add(x, b.mul(i, int64(16 * width)))
            return [simd.load(b, simd.offset(b, first, 4 * width * j), kind) for j in range(4)]

        def value(i):
            return simd.load(b, b.add(x, b.mul(i, int64(4 * width))), kind)

        def highest(b, i, tops):
            return [simd.fmax(b, simd.fabs(b, value(i)), tops[0])]

        def highest_of_four(b, i, tops):
            return [simd.fmax(b, simd.fabs(b, x), top) for x, top in zip(values(i), tops, strict=True)]

        def rounded(x):
            return simd.round_saturated(b, b.fmul(x, inverse))

        def put(b, i, sums):
            q, at = rounded(value(i)), b.mul(i, int64(width))
            code = b.trunc(b.add(q, simd.const_int(zero, width)), vector(I8, width))
            simd.store(b, code, b.add(codes, at), 1)
            return [b.add(sums[0], q)]

        def put_four(b, i, sums):
            q = [rounded(x) for x in values(i)]
            quads = simd.pack_bytes(b, [simd.pack_pair(b, *q[:2]), simd.pack_pair(b, *q[2:])], True)
            code = b.xor(quads, simd.const_int(0x01010101 * zero, width))
            simd.store(b, code, b.add(codes, b.mul(i, int64(4 * width))), 1)
            return [dot_bytes(b, sums[0], simd.const_int(0x01010101, width), quads)]

        n_vectors = b.sdiv(size, int64(width))
        n_fours = b.sdiv(n_vectors, int64(4))
        begun = b.mul(n_fours, int64(4))
        tops = simd.loop(b, n_fours, [simd.const(0.0, width)] * 4, highest_of_four)
        tops = [simd.fmax(b, simd.fmax(b, tops[0], tops[1]), simd.fmax(b, tops[2], tops[3]))]
        (top,) = simd.loop(b, n_vectors, tops, highest, begun)
        top = simd.reduce_lanes(b, top, simd.fmax)
        inverse = simd.splat(b, simd.per(b, 127, top), width)
        sums = simd.loop(b, n_fours, [ir.Constant(words, None)], put_four)
        (total,) = simd.loop(b, n_vectors, sums, put, begun)
        simd.store(b, b.fmul(top, ir.Constant(F32, 1.0 / 127)), head)
        total = simd.reduce_lanes(b, total, lambda b, x, y: b.add(x, y))
        start = b.sub(ir.Constant(I32, FLOAT_ZERO_BITS), b.mul(total, ir.Constant(I32, ZERO)))
        simd.store(b, start, simd.offset(b, head, 4))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


@intrinsic
def round_chunk(typingctx, x, size, codes, low, head):
    """``size`` float32 to signed bytes; ``head`` gets their scale and what sums of their products begin with."""
    return _round_chunk()


@intrinsic
def round_chunk_unsigned(typingctx, x, size, codes, low, head):
    """The same to unsigned bytes, zero 128."""
    return _round_chunk(zero=ZERO)
