"""Sums of byte products.

In: vectors of bytes, codes of rows and of columns. Out: emitted instructions.
Knows nothing of: layouts of panels, where rows come from.
"""

from __future__ import annotations

from llvmlite import ir

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
