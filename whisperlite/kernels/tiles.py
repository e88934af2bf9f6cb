"""Register tiles: a few rows times 32 packed columns, for every dtype of weights.

In: addresses of rows and of one panel. Out: sums written to C. Knows nothing of: epilogues, work splitting.

Weights are packed into panels of 32 output columns: ``[N/32][K/s][32][s]``, where s steps of K of one column lie
side by side (1 float32 or float16, 2 bf16). The inner loop reads a panel as one stream, for 1500 encoder rows and
for one decoder row alike; there are no horizontal sums. A tile is ``rows x (2 vectors)`` of accumulators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.compiler import intrinsic, njit_as, types
from whisperlite.kernels.simd import F16, F32, I32, int64, vector

PANEL = 32  # output columns of a weight panel
PANEL_BYTES = 4 * PANEL  # bytes of one row of a panel of 32-bit columns
TILE_VECTORS = 2
# More accumulators than 24 zmm (of 32) or 12 ymm/xmm (of 16) spill.
TILE_ROWS = {16: (12, 8, 5, 4, 3, 2, 1), 8: (6, 4, 3, 2, 1), 4: (6, 4, 2, 1)}[cpu.vector_width()]
MAX_ROWS = TILE_ROWS[0]
TILE_COLUMNS = TILE_VECTORS * cpu.vector_width()
SUBPANELS = PANEL // TILE_COLUMNS
SUM_BYTES = 4 * TILE_COLUMNS  # of one row of a tile's sums


@dataclass(frozen=True)
class TileKind:
    """How one panel row meets the rows of A.

    Attributes
    ----------
    raw : llvmlite type
        What a column is loaded as.
    column_bytes : int
        Bytes of a column in one panel row.
    a_bytes : int
        Bytes of an A row that one panel row uses.
    columns : builder, raw vector -> operands, one for each load from A
    unroll : int
        Panel rows in the loop body.
    element : llvmlite type
        What is loaded from A at a time and spread over the lanes.
    multiply : builder, element in every lane, operand, sums -> sums
    """

    raw: ir.Type
    column_bytes: int
    a_bytes: int
    columns: Callable
    unroll: int
    element: ir.Type = F32
    multiply: Callable = simd.fma


def _columns_as_loaded(b, raw):
    return [raw]


def _columns_f16(b, raw):
    return [b.fpext(raw, vector(F32, raw.type.count))]


F32_KIND = TileKind(F32, 4, 4, _columns_as_loaded, 4)
F16_KIND = TileKind(F16, 2, 4, _columns_f16, 4)
BF16_KIND = TileKind(I32, 4, 8, simd.expand_bf16, 2)
# Rows of A in bf16 too, and many of them: few variants to compile, and a short loop body.
BF16_DOT_KIND = TileKind(I32, 4, 4, _columns_as_loaded, 1, I32, simd.dot_bf16)
BF16_DOT_ROWS = (MAX_ROWS, 4, 1)


def _emit_tile(b, kind, n_rows, a, lda, panel, n_steps, c, ldc, accumulate):
    """C[n_rows, TILE_COLUMNS] (+)= A[n_rows] x panel of ``n_steps`` rows, in registers."""
    width = cpu.vector_width()
    total_type, raw_type = vector(F32, width), vector(kind.raw, width)
    panel_bytes = PANEL * kind.column_bytes
    # With few rows the latency of a multiply shows: several sets of accumulators, added at the end.
    n_sets = 4 if n_rows == 1 else 2 if n_rows <= 3 else 1
    n_acc = n_rows * TILE_VECTORS
    zero = ir.Constant(total_type, None)
    # One address per three rows; the others are reached by adding lda or 2*lda in the addressing mode.
    bases = [b.add(a, b.mul(lda, int64(r))) for r in range(0, n_rows, 3)]
    lda2 = b.add(lda, lda)

    def step(b, totals, panel, bases, u):
        places = [
            simd.offset(b, panel, u * panel_bytes + v * kind.column_bytes * width) for v in range(TILE_VECTORS)
        ]
        simd.prefetch_ahead(b, places[0], kind.column_bytes * TILE_COLUMNS)
        columns = [kind.columns(b, simd.load(b, place, raw_type, kind.column_bytes)) for place in places]
        n_loads = len(columns[0])
        for j in range(n_loads):
            first = ((u * n_loads + j) % n_sets) * n_acc
            for r in range(n_rows):
                base = bases[r // 3]
                if r % 3:
                    base = b.add(base, lda if r % 3 == 1 else lda2)
                value = simd.load(b, simd.offset(b, base, kind.a_bytes * u + 4 * j), kind.element)
                value = simd.splat(b, value, width)
                for v in range(TILE_VECTORS):
                    i = first + r * TILE_VECTORS + v
                    totals[i] = kind.multiply(b, value, columns[v][j], totals[i])

    def steps(n_unrolled):
        def body(b, i, carried):
            totals = list(carried[: n_sets * n_acc])
            panel, *bases = carried[n_sets * n_acc :]
            for u in range(n_unrolled):
                step(b, totals, panel, bases, u)
            moved = [simd.offset(b, base, kind.a_bytes * n_unrolled) for base in bases]
            return [*totals, simd.offset(b, panel, n_unrolled * panel_bytes), *moved]

        return body

    n_whole = b.sdiv(n_steps, int64(kind.unroll))
    carried = simd.loop(b, n_whole, [zero] * (n_sets * n_acc) + [panel, *bases], steps(kind.unroll))
    if kind.unroll > 1:
        n_left = b.sub(n_steps, b.mul(n_whole, int64(kind.unroll)))
        carried = simd.loop(b, n_left, carried, steps(1))
    sums = list(carried[:n_acc])
    for s in range(1, n_sets):
        sums = [b.fadd(x, carried[s * n_acc + i]) for i, x in enumerate(sums)]
    emit_sums(b, sums, n_rows, c, ldc, accumulate)


def emit_sums(b, sums, n_rows, c, ldc, accumulate):
    """Write a tile's sums, vectors of a row side by side, to C, or add them to it."""
    width = cpu.vector_width()
    targets = [
        simd.offset(b, b.add(c, b.mul(ldc, int64(r))), v * 4 * width)
        for r in range(n_rows)
        for v in range(TILE_VECTORS)
    ]
    with b.if_else(b.icmp_signed("!=", accumulate, int64(0))) as (then, otherwise):
        with then:
            for value, target in zip(sums, targets, strict=True):
                simd.store(b, b.fadd(simd.load(b, target, value.type), value), target)
        with otherwise:
            for value, target in zip(sums, targets, strict=True):
                simd.store(b, value, target)


def tile_switch(emit_tile, kind, row_counts, n_arguments):
    """What an intrinsic returns for one register tile: a switch on its first argument over unrolled variants."""

    def emit(context, b, signature, args):
        n_rows, *rest = args
        after = b.append_basic_block("tile.after")
        switch = b.switch(n_rows, after)
        for count in row_counts:
            block = b.append_basic_block(f"tile.{count}")
            switch.add_case(int64(count), block)
            b.position_at_end(block)
            emit_tile(b, kind, count, *rest)
            b.branch(after)
        b.position_at_end(after)
        return context.get_dummy_value()

    return types.void(*[types.int64] * n_arguments), emit


def _tile(kind):
    return tile_switch(_emit_tile, kind, TILE_ROWS, 8)


@intrinsic
def tile_f32(typingctx, n_rows, a, lda, panel, n_steps, c, ldc, accumulate):
    return _tile(F32_KIND)


@intrinsic
def tile_bf16(typingctx, n_rows, a, lda, panel, n_steps, c, ldc, accumulate):
    return _tile(BF16_KIND)


@intrinsic
def tile_f16(typingctx, n_rows, a, lda, panel, n_steps, c, ldc, accumulate):
    return _tile(F16_KIND)


@intrinsic
def whole_tile_f32(typingctx, a, lda, panel, n_steps, c, ldc):
    """C[MAX_ROWS, TILE_COLUMNS] = A[MAX_ROWS] x panel: the largest tile alone, for callers with no other."""

    def emit(context, b, signature, args):
        _emit_tile(b, F32_KIND, MAX_ROWS, *args, int64(0))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), emit


@intrinsic
def tile_bf16_dot(typingctx, n_rows, a, lda, panel, n_steps, c, ldc, accumulate):
    return tile_switch(_emit_tile, BF16_DOT_KIND, BF16_DOT_ROWS, 8)


def largest_of(name, row_counts):
    """Compile the choice of the most rows, of ``row_counts``, that one tile can take."""

    @njit_as(name)
    def largest(n_rows):
        for count in row_counts:
            if count <= n_rows:
                return count
        return 1

    return largest


largest_tile = largest_of("tile", TILE_ROWS)
largest_dot_tile = largest_of("bf16_dot", BF16_DOT_ROWS)


def _panel_product(name, tile, kind, largest=largest_tile):
    subpanel_bytes = kind.column_bytes * TILE_COLUMNS

    @njit_as(name)
    def product(a, lda, n_rows, panel, n_steps, c, ldc, accumulate):
        for s in range(SUBPANELS):
            row = 0
            while row < n_rows:
                count = largest(n_rows - row)
                tile(
                    count, a + row * lda, lda, panel + s * subpanel_bytes, n_steps,
                    c + row * ldc + s * SUM_BYTES, ldc, accumulate,
                )  # fmt: skip
                row += count

    return product


# C[n_rows, 32] (+)= A[n_rows] x panel of n_steps rows; A and C are float32.
rows_times_panel_f32 = _panel_product("f32", tile_f32, F32_KIND)
rows_times_panel_f16 = _panel_product("f16", tile_f16, F16_KIND)
rows_times_panel_bf16 = _panel_product("bf16", tile_bf16, BF16_KIND)
# The same with A in bf16; where the CPU has dot products of bf16.
rows_times_panel_bf16_dot = _panel_product("bf16_dot", tile_bf16_dot, BF16_DOT_KIND, largest_dot_tile)
