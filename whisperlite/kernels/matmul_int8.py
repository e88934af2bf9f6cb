"""Matrix multiplication with weights and activations in 8 bits, float32 sums from chunk to chunk of K.

In: float32 rows or frames A, int8 panels. Out: float32 rows C. Knows nothing of: file formats.

A panel has 32 columns; for each chunk of K (128 steps, or 64, 32 or 80 where K asks for it):

    scales  float32 [32]
    codes   [chunk/4][32][4] unsigned bytes, zero 128

Rows of A are rounded chunk by chunk as well. Many rows get signed bytes; few rows, whose cost is the weights' bytes
alone, get two bytes each, so that a decode step rounds nothing but weights; and so do the rows of a small matrix.
"""

from __future__ import annotations

from whisperlite.kernels import cpu, scalars, simd
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.int8 import (
    FLOAT_ZERO,
    HEAD_BYTES,
    ZERO,
    byte_products,
    round_chunk,
    round_chunk_fine,
    round_weights_f16,
    round_weights_f32,
)
from whisperlite.kernels.matmul import SKINNY_ROWS, finish_rows_fast
from whisperlite.kernels.packing import pack_panel
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.scalars import fill_zero, load_i32
from whisperlite.kernels.simd import F32, I8, I32, int64, vector
from whisperlite.kernels.tiles import (
    MAX_ROWS,
    PANEL,
    PANEL_BYTES,
    SUBPANELS,
    TILE_COLUMNS,
    TILE_ROWS,
    TILE_VECTORS,
    largest_tile,
    tile_switch,
)

FINE_ROWS = {16: (5, 4, 3, 2, 1), 8: (2, 1), 4: (2, 1)}[cpu.vector_width()]
ITEM_ROWS = 48  # of one work item: with a panel's chunk their codes stay in L1, where a model is small
# Matrices up to this size cost little beside the rest, and have few sums to average over.
FINE_WEIGHTS = 1 << 16


def _add_to_c(b, n_rows, factors, c, ldc, accumulate):
    """C (+)= x * y, where ``factors(r)`` emits x and y for each vector of row r.

    They are emitted beside their stores: 24 stores that wait at once keep the next tile waiting.
    """

    def emit_rows(finish):
        for r in range(n_rows):
            row = b.add(c, b.mul(ldc, int64(r)))
            for v, (x, y) in enumerate(factors(r)):
                place = simd.offset(b, row, 4 * cpu.vector_width() * v)
                simd.store(b, finish(x, y, place), place)

    with b.if_else(b.icmp_signed("!=", accumulate, int64(0))) as (then, otherwise):
        with then:
            emit_rows(lambda x, y, place: simd.fma(b, x, y, simd.load(b, place, x.type)))
        with otherwise:
            emit_rows(lambda x, y, _: b.fmul(x, y))


def _head(b, heads, ldh, row, place, lanes, of_type):
    return simd.splat(b, simd.load(b, simd.offset(b, b.add(heads, b.mul(ldh, int64(row))), place), of_type), lanes)


def _tile(b, _, n_rows, a, lda, heads, ldh, panel, column, n_quads, c, ldc, accumulate):
    """C[n_rows, TILE_COLUMNS] (+)= one chunk of rows x panel."""
    width = cpu.vector_width()
    kind = vector(F32, width)
    starts = [_head(b, heads, ldh, r, 4, width, I32) for r in range(n_rows) for _ in range(TILE_VECTORS)]
    (totals,), scales = byte_products(b, [a], n_rows, lda, panel, column, n_quads, [starts], True)
    zeros = [b.fmul(scale, simd.const(-FLOAT_ZERO, width)) for scale in scales]

    def factors(r):
        row_scale = _head(b, heads, ldh, r, 0, width, F32)
        for v in range(TILE_VECTORS):
            total = b.bitcast(totals[r * TILE_VECTORS + v], kind)
            yield simd.fma(b, total, scales[v], zeros[v]), row_scale

    _add_to_c(b, n_rows, factors, c, ldc, accumulate)


def _fine_tile(b, _, n_rows, a, lda, low, heads, ldh, panel, column, n_quads, c, ldc, accumulate):
    """The same for rows of two bytes: high ones at ``a``, low ones ``low`` bytes further."""
    width = cpu.vector_width()
    kind = vector(F32, width)
    starts = [
        [_head(b, heads, ldh, r, place, width, I32) for r in range(n_rows) for _ in range(TILE_VECTORS)]
        for place in (4, 8)
    ]
    terms = [a, b.add(a, low)]
    (high, low), scales = byte_products(b, terms, n_rows, lda, panel, column, n_quads, starts, True)

    def factors(r):
        row_scale = _head(b, heads, ldh, r, 0, width, F32)
        for v in range(TILE_VECTORS):
            j = r * TILE_VECTORS + v
            total = b.add(b.shl(high[j], simd.const_int(8, width)), low[j])
            yield b.sitofp(total, kind), b.fmul(scales[v], row_scale)

    _add_to_c(b, n_rows, factors, c, ldc, accumulate)


@intrinsic
def int8_tile(typingctx, n_rows, a, lda, heads, ldh, panel, column, n_quads, c, ldc, accumulate):
    return tile_switch(_tile, None, TILE_ROWS, 11)


@intrinsic
def fine_tile(typingctx, n_rows, a, lda, low, heads, ldh, panel, column, n_quads, c, ldc, accumulate):
    return tile_switch(_fine_tile, None, FINE_ROWS, 12)


@njit
def code_pitch(n_in):
    """Bytes from row to row of codes: not a power of two, or rows would share few cache sets."""
    return n_in + 64


@njit
def round_rows(a, lda, n_rows, n_in, chunk, is_fine, codes, ldq, heads, ldh):
    """Rows of float32 to codes, ``ldq`` apart, and their heads, ``ldh`` apart."""
    for row in range(n_rows):
        source, target = a + row * lda, codes + row * ldq
        for i in range(n_in // chunk):
            at, head = i * chunk, heads + row * ldh + i * HEAD_BYTES
            if is_fine:
                round_chunk_fine(source + 4 * at, chunk, target + at, target + ldq // 2 + at, head)
            else:
                round_chunk(source + 4 * at, chunk, target + at, 0, head)


@njit
def largest_fine_tile(n_rows):
    """The most rows of two bytes that one tile can take of ``n_rows``."""
    for count in FINE_ROWS:
        if count <= n_rows:
            return count
    return 1


@njit
def multiply_panel(
    codes, ldq, heads, ldh, n_rows, stride, taps, n_chunks, n_quads, is_fine, panel, chunk_bytes, c, ldc
):  # fmt: skip
    """All of K for rounded rows and one panel."""
    step_a, step_head = stride * ldq, stride * ldh
    for step in range(taps * n_chunks):
        tap, i = step // n_chunks, step % n_chunks
        a, head = codes + tap * ldq + i * 4 * n_quads, heads + tap * ldh + i * HEAD_BYTES
        place = panel + step * chunk_bytes
        for s in range(SUBPANELS):
            column, row = s * TILE_COLUMNS, 0
            while row < n_rows:
                rows, row_heads, target = a + row * step_a, head + row * step_head, c + row * ldc + 4 * column
                if is_fine:
                    taken = largest_fine_tile(n_rows - row)
                    fine_tile(
                        taken, rows, step_a, ldq // 2, row_heads, step_head, place, column, n_quads, target, ldc,
                        step,
                    )  # fmt: skip
                else:
                    taken = largest_tile(n_rows - row)
                    int8_tile(
                        taken, rows, step_a, row_heads, step_head, place, column, n_quads, target, ldc, step
                    )  # fmt: skip
                row += taken


def rounds_to_two_bytes(n_rows: int, n_weights: int) -> bool:
    """Whether rows of activations get two bytes: a few, or many on a small matrix."""
    return n_rows <= SKINNY_ROWS or n_weights <= FINE_WEIGHTS


def int8_scratch_bytes(n_rows: int, n_in: int, taps: int, stride: int, chunk: int, is_fine: bool) -> int:
    """Scratch of one thread: codes of the frames of a work item, and their heads."""
    frames = ((n_rows if n_rows <= SKINNY_ROWS else ITEM_ROWS) - 1) * stride + taps
    return frames * ((n_in + 64) * (2 if is_fine else 1) + n_in // chunk * HEAD_BYTES)


INT8_MATMUL_PARAMS = (
    "a", "a_batch", "ldf", "n_batch", "n_rows", "taps", "stride", "n_in", "chunk", "panels", "n_panels", "c",
    "c_batch", "ldc", "bias", "residual", "residual_batch", "ldr", "activation", "scratch", "scratch_bytes",
    "is_fine",
)  # fmt: skip


@kernel(*INT8_MATMUL_PARAMS)
def matmul_int8(args, sync, thread, n_threads):
    """int8 panels ``[N/32][taps * K/chunk]``.

    ``n_batch`` groups of ``n_rows`` rows; row t of a group is the ``taps`` frames from ``t * stride`` on, which lie
    ``ldf`` bytes apart. ``is_fine``: rows of A are rounded to two bytes. ``scratch``: int8_scratch_bytes each.
    """
    a, a_batch, ldf, n_batch, n_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    taps, stride, n_in, chunk, panels = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    n_panels, c, c_batch, ldc, bias = arg(args, 10), arg(args, 11), arg(args, 12), arg(args, 13), arg(args, 14)
    residual, residual_batch, ldr, activation = arg(args, 15), arg(args, 16), arg(args, 17), arg(args, 18)
    codes, is_fine = arg(args, 19) + thread * arg(args, 20), arg(args, 21)
    if n_rows <= SKINNY_ROWS:
        rows_per_item, panels_per_item = n_rows, max(1, n_panels // (8 * n_threads))
    else:
        share = n_batch * n_rows // (4 * n_threads) // MAX_ROWS * MAX_ROWS
        rows_per_item, panels_per_item = max(SKINNY_ROWS, min(ITEM_ROWS, share)), n_panels
    ldq = code_pitch(n_in) * (2 if is_fine else 1)
    n_chunks, chunk_bytes = n_in // chunk, PANEL_BYTES + chunk * PANEL
    ldh = n_chunks * HEAD_BYTES
    heads = codes + ((rows_per_item - 1) * stride + taps) * ldq
    row_items = (n_rows + rows_per_item - 1) // rows_per_item
    panel_items = (n_panels + panels_per_item - 1) // panels_per_item
    ready = -1
    while True:
        item = claim(sync)
        if item >= n_batch * row_items * panel_items:
            break
        panel0 = item % panel_items * panels_per_item
        panel1 = min(panel0 + panels_per_item, n_panels)
        block = item // panel_items
        batch, row0 = block // row_items, block % row_items * rows_per_item
        count = min(rows_per_item, n_rows - row0)
        if ready != block:
            source = a + batch * a_batch + row0 * stride * ldf
            round_rows(source, ldf, (count - 1) * stride + taps, n_in, chunk, is_fine, codes, ldq, heads, ldh)
            ready = block
        target = c + batch * c_batch + row0 * ldc
        for p in range(panel0, panel1):
            at = p * PANEL_BYTES
            multiply_panel(
                codes, ldq, heads, ldh, count, stride, taps, n_chunks, chunk // 4, is_fine,
                panels + p * taps * n_chunks * chunk_bytes, chunk_bytes, target + at, ldc,
            )  # fmt: skip
            if bias or residual or activation:
                finish_rows_fast(
                    target + at, ldc, count, bias + at if bias else 0,
                    residual + batch * residual_batch + row0 * ldr + at if residual else 0, ldr, activation,
                    target + at, ldc,
                )  # fmt: skip


@kernel("source", "lds", "is_half", "n_rows", "n_in", "chunk", "panels", "scratch", "scratch_bytes")
def pack_weight_int8(args, sync, thread, n_threads):
    """Weight (n_rows, n_in) of float32, or float16, to panels. ``scratch``: the codes of 32 chunks a thread."""
    source, lds, is_half, n_rows, n_in = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    chunk, panels, codes = arg(args, 5), arg(args, 6), arg(args, 7) + thread * arg(args, 8)
    n_chunks, chunk_bytes, item_bytes = n_in // chunk, PANEL_BYTES + chunk * PANEL, 2 if is_half else 4
    while True:
        p = claim(sync)
        if p * PANEL >= n_rows:
            break
        count, rows = min(PANEL, n_rows - p * PANEL), source + p * PANEL * lds
        if count < PANEL:
            fill_zero(panels + p * n_chunks * chunk_bytes, n_chunks * chunk_bytes)
        for i in range(n_chunks):
            panel = panels + (p * n_chunks + i) * chunk_bytes
            for column in range(count):
                x, target = rows + column * lds + i * chunk * item_bytes, codes + column * chunk
                if is_half:
                    scale = round_weights_f16(x, chunk, target)
                else:
                    scale = round_weights_f32(x, chunk, target)
                scalars.store_f32(panel + 4 * column, scale)
            pack_panel(codes, chunk, count, chunk // 4, panel + PANEL_BYTES)


@kernel(
    "tokens", "past", "panels", "positions", "ldp", "n_batch", "n_new", "n_state", "out", "ldo", "chunk"
)  # fmt: skip
def embed_int8(args, sync, thread, n_threads):
    """Token embedding, read from the panels of the logits matmul, plus positional embedding."""
    tokens, past, panels, positions, ldp = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_batch, n_new, n_state, out, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    chunk = arg(args, 10)
    n_chunks, chunk_bytes = n_state // chunk, PANEL_BYTES + chunk * PANEL
    while True:
        row = claim(sync)
        if row >= n_batch * n_new:
            break
        token = load_i32(tokens + 4 * row)
        position = load_i32(past + 4 * (row // n_new)) + row % n_new
        for i in range(n_chunks):
            panel = panels + (token // PANEL * n_chunks + i) * chunk_bytes + token % PANEL * 4
            scale = scalars.load_f32(panel)
            for k in range(chunk):
                code = load_u8(panel + (k // 4 + 1) * PANEL_BYTES + k % 4) - ZERO
                at = 4 * (i * chunk + k)
                value = scale * scalars.to_f32(code) + scalars.load_f32(positions + position * ldp + at)
                scalars.store_f32(out + row * ldo + at, value)


@intrinsic
def load_u8(typingctx, address):
    def emit(context, b, signature, args):
        return b.zext(simd.load(b, args[0], I8, 1), simd.I64)

    return types.int64(types.int64), emit
