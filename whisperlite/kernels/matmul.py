"""Matrix multiplication ``activation(A W' + bias) + residual`` on packed weights.

In: rows A (strided), weight panels. Out: rows C. Knows nothing of: what the rows mean.

Weights are packed once into panels of 32 output columns, ``[N/32][K][32]``: the inner loop reads them as one
stream, for 1500 encoder rows and for one decoder row alike. The register tile is ``rows x (2 vectors)``; its row
counts depend on the vector width (see ``TILE_ROWS``).
"""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.simd import F32, int64, vector

PANEL = 32  # output columns of a weight panel
PANEL_BYTES = 4 * PANEL  # bytes of one step of K in a panel
TILE_VECTORS = 2
# More accumulators than 24 zmm (of 32) or 12 ymm/xmm (of 16) spill.
TILE_ROWS = {16: (12, 8, 5, 4, 3, 2, 1), 8: (6, 4, 3, 2, 1), 4: (6, 4, 2, 1)}[cpu.vector_width()]
MAX_ROWS = TILE_ROWS[0]
TILE_COLUMNS = TILE_VECTORS * cpu.vector_width()
SUBPANELS = PANEL // TILE_COLUMNS
SUBPANEL_BYTES = 4 * TILE_COLUMNS
UNROLL = 4
K_BLOCK = 512  # steps of K between visits to C: A tile and B panel stay in L1 and L2
A_BLOCK_BYTES = 384 * 1024  # rows of A worked on at once, for L2
SKINNY_ROWS = 24  # up to here the weights are the traffic: items are panels, not rows


def _emit_tile(b, n_rows, a, lda, panel, n_steps, c, ldc, accumulate):
    """C[n_rows, TILE_COLUMNS] (+)= A[n_rows, n_steps] x panel, in registers."""
    width = cpu.vector_width()
    kind = vector(F32, width)
    # With few rows the multiply-add latency shows: several sets of accumulators, added at the end.
    n_sets = 4 if n_rows == 1 else 2 if n_rows <= 3 else 1
    n_acc = n_rows * TILE_VECTORS
    zero = ir.Constant(kind, None)
    # One address per three rows; the others are reached by adding lda or 2*lda in the addressing mode.
    bases = [b.add(a, b.mul(lda, int64(r))) for r in range(0, n_rows, 3)]
    lda2 = b.add(lda, lda)

    def step(b, accumulators, panel, bases, u):
        row_of_b = [
            simd.load(b, simd.offset(b, panel, u * PANEL_BYTES + v * 4 * width), kind) for v in range(TILE_VECTORS)
        ]
        first = (u % n_sets) * n_acc
        for r in range(n_rows):
            base = bases[r // 3]
            if r % 3:
                base = b.add(base, lda if r % 3 == 1 else lda2)
            value = simd.splat(b, simd.load(b, simd.offset(b, base, 4 * u), F32), width)
            for v in range(TILE_VECTORS):
                j = first + r * TILE_VECTORS + v
                accumulators[j] = simd.fma(b, value, row_of_b[v], accumulators[j])

    def steps(n_unrolled):
        def body(b, i, carried):
            accumulators, panel, *bases = list(carried[: n_sets * n_acc]), *carried[n_sets * n_acc :]
            for u in range(n_unrolled):
                step(b, accumulators, panel, bases, u)
            moved = [simd.offset(b, base, 4 * n_unrolled) for base in bases]
            return [*accumulators, simd.offset(b, panel, n_unrolled * PANEL_BYTES), *moved]

        return body

    n_whole = b.sdiv(n_steps, int64(UNROLL))
    n_left = b.sub(n_steps, b.mul(n_whole, int64(UNROLL)))
    carried = simd.loop(b, n_whole, [zero] * (n_sets * n_acc) + [panel, *bases], steps(UNROLL))
    carried = simd.loop(b, n_left, carried, steps(1))
    sums = list(carried[:n_acc])
    for s in range(1, n_sets):
        sums = [b.fadd(x, carried[s * n_acc + j]) for j, x in enumerate(sums)]
    targets = [
        simd.offset(b, b.add(c, b.mul(ldc, int64(r))), v * 4 * width)
        for r in range(n_rows)
        for v in range(TILE_VECTORS)
    ]
    with b.if_else(b.icmp_signed("!=", accumulate, int64(0))) as (then, otherwise):
        with then:
            for value, target in zip(sums, targets, strict=True):
                simd.store(b, b.fadd(simd.load(b, target, kind), value), target)
        with otherwise:
            for value, target in zip(sums, targets, strict=True):
                simd.store(b, value, target)


@intrinsic
def tile(typingctx, n_rows, a, lda, panel, n_steps, c, ldc, accumulate):
    """One register tile for ``n_rows`` out of ``TILE_ROWS``: a switch over the unrolled variants."""

    def emit(context, b, signature, args):
        n_rows, *rest = args
        after = b.append_basic_block("tile.after")
        cases = {count: b.append_basic_block(f"tile.{count}") for count in TILE_ROWS}
        switch = b.switch(n_rows, after)
        for count, block in cases.items():
            switch.add_case(int64(count), block)
            b.position_at_end(block)
            _emit_tile(b, count, *rest)
            b.branch(after)
        b.position_at_end(after)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), emit


@njit
def largest_tile(n_rows):
    """The most rows that one tile can take of ``n_rows``."""
    for count in TILE_ROWS:
        if count <= n_rows:
            return count
    return 1


@njit
def block_times_panel(a, lda, n_rows, panel, n_steps, c, ldc, accumulate):
    """C[n_rows, 32] (+)= A[n_rows, n_steps] x panel[n_steps, 32]."""
    for s in range(SUBPANELS):
        row = 0
        while row < n_rows:
            count = largest_tile(n_rows - row)
            tile(
                count, a + row * lda, lda, panel + s * SUBPANEL_BYTES, n_steps,
                c + row * ldc + s * SUBPANEL_BYTES, ldc, accumulate,
            )  # fmt: skip
            row += count


@intrinsic
def finish_row(typingctx, c, bias, residual, activation):
    """Epilogue of 32 columns of one row: bias, activation (1 = GELU), residual. An address 0 means none."""

    def emit(context, b, signature, args):
        c, bias, residual, activation = args
        lanes = min(PANEL, 2 * cpu.vector_width())
        kind = vector(F32, lanes)
        n = PANEL // lanes
        places = [simd.offset(b, c, 4 * lanes * i) for i in range(n)]

        def each(b, condition, change):
            with b.if_then(condition):
                for i, place in enumerate(places):
                    simd.store(b, change(b, simd.load(b, place, kind), 4 * lanes * i), place)

        def plus(source):
            return lambda b, x, at: b.fadd(x, simd.load(b, simd.offset(b, source, at), kind))

        each(b, b.icmp_signed("!=", bias, int64(0)), plus(bias))
        each(b, b.icmp_signed("!=", activation, int64(0)), lambda b, x, at: simd.gelu(b, x))
        each(b, b.icmp_signed("!=", residual, int64(0)), plus(residual))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


@njit
def multiply_block(
    a, lda, n_rows, taps, tap_stride, n_in, panels, panel0, panel1, c, ldc, bias, residual, ldr, activation
):
    """All of K for ``n_rows`` rows and panels ``panel0 .. panel1``, then the epilogue."""
    n_steps = taps * n_in
    for tap in range(taps):
        for k0 in range(0, n_in, K_BLOCK):
            count = min(K_BLOCK, n_in - k0)
            started = tap * n_in + k0
            for p in range(panel0, panel1):
                block_times_panel(
                    a + tap * tap_stride + 4 * k0, lda, n_rows,
                    panels + (p * n_steps + started) * PANEL_BYTES, count,
                    c + p * PANEL_BYTES, ldc, started,
                )  # fmt: skip
                if started + count == n_steps and (bias or residual or activation):
                    for row in range(n_rows):
                        finish_row(
                            c + row * ldc + p * PANEL_BYTES,
                            bias + p * PANEL_BYTES if bias else 0,
                            residual + row * ldr + p * PANEL_BYTES if residual else 0,
                            activation,
                        )


@kernel(
    "a", "a_batch", "lda", "n_batch", "n_rows", "taps", "tap_stride", "n_in", "panels", "n_panels",
    "c", "c_batch", "ldc", "bias", "residual", "residual_batch", "ldr", "activation",
)  # fmt: skip
def matmul_f32(args, sync, thread, n_threads):
    """``activation(A W' + bias) + residual`` for ``n_batch`` groups of ``n_rows`` rows.

    Row t of A begins at ``a + t*lda`` and is the ``taps`` pieces of ``n_in`` elements at ``tap_stride`` bytes
    from each other: a convolution over frames is such a matmul.
    """
    a, a_batch, lda, n_batch, n_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    taps, tap_stride, n_in, panels, n_panels = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    c, c_batch, ldc, bias, residual = arg(args, 10), arg(args, 11), arg(args, 12), arg(args, 13), arg(args, 14)
    residual_batch, ldr, activation = arg(args, 15), arg(args, 16), arg(args, 17)
    if n_rows <= SKINNY_ROWS:
        rows_per_item = n_rows
        panels_per_item = max(1, n_panels // (8 * n_threads))
    else:
        fit = A_BLOCK_BYTES // (4 * min(n_in, K_BLOCK))
        share = (n_batch * n_rows) // (4 * n_threads)
        rows_per_item = max(2 * MAX_ROWS, min(fit, share, 192) // MAX_ROWS * MAX_ROWS)
        panels_per_item = n_panels
    row_items = (n_rows + rows_per_item - 1) // rows_per_item
    panel_items = (n_panels + panels_per_item - 1) // panels_per_item
    while True:
        item = claim(sync)
        if item >= n_batch * row_items * panel_items:
            break
        panel0 = (item % panel_items) * panels_per_item
        row0 = (item // panel_items % row_items) * rows_per_item
        batch = item // (panel_items * row_items)
        multiply_block(
            a + batch * a_batch + row0 * lda, lda, min(rows_per_item, n_rows - row0), taps, tap_stride, n_in,
            panels, panel0, min(panel0 + panels_per_item, n_panels),
            c + batch * c_batch + row0 * ldc, ldc, bias,
            residual + batch * residual_batch + row0 * ldr if residual else 0, ldr, activation,
        )  # fmt: skip
