"""Matrix multiplication with weights and activations in 8 bits, float32 sums from chunk to chunk of K.

In: float32 rows or frames A, int8 panels. Out: float32 rows C. Knows nothing of: file formats.

A panel has 32 columns; for each chunk of K (up to 512 steps):

    scales  float32 [32]
    starts  int32 [32], minus 128 times the sum of a column's codes
    codes   [chunk/4][32][4] signed bytes

Rows of A are rounded chunk by chunk as well, to unsigned bytes, zero 128: sums of products begin with ``starts``.
Few rows, whose cost is the weights' bytes alone, get two bytes each, so that a decode step rounds nothing but
weights; and so do the rows of a small matrix.
"""

from __future__ import annotations

from whisperlite.kernels import cpu, scalars, simd
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.int8 import byte_products
from whisperlite.kernels.matmul import SKINNY_ROWS, finish_rows_fast
from whisperlite.kernels.packing import pack_panel
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.rounding import round_row_fine, round_weights_f16, round_weights_f32
from whisperlite.kernels.rounding_rows import TOGETHER, normalize_rows, round_to_bytes
from whisperlite.kernels.rows import normalize_row
from whisperlite.kernels.scalars import NOTHING, SINGLE, fill_zero, load_i32
from whisperlite.kernels.simd import F32, I8, I32, int64, vector
from whisperlite.kernels.tiles import (
    MAX_ROWS,
    PANEL,
    PANEL_BYTES,
    SUBPANELS,
    TILE_COLUMNS,
    TILE_VECTORS,
    largest_of,
    tile_switch,
)

# Rows of one byte are many: their last tiles need not be of every height.
BYTE_ROWS = (MAX_ROWS, 4, 1)
FINE_ROWS = {16: (5, 4, 3, 2, 1), 8: (2, 1), 4: (2, 1)}[cpu.vector_width()]
HEAD_ROWS = 2  # of 128 bytes before the codes of a chunk
CHUNK_HEAD = HEAD_ROWS * PANEL_BYTES
ITEM_ROWS = 48  # of one work item: with a panel's chunk their codes stay in L1, where a model is small
# Matrices up to this size cost little beside the rest, and have few sums to average over.
FINE_WEIGHTS = 1 << 16


def _finish(b, n_rows, sums, scales, row_scales, ld_scales, c, ldc, added, ld_added, residual, ldr):
    """C = sums * scales of rows and columns + added [+ residual], where ``sums(r)`` gives the vectors of a row.

    Each row is emitted beside its stores: 24 stores that wait at once keep the next tile waiting.
    """
    width = cpu.vector_width()
    kind = vector(F32, width)

    def emit_rows(with_residual):
        for r in range(n_rows):
            place = b.add(row_scales, b.mul(ld_scales, int64(r)))
            row_scale = simd.splat(b, simd.load(b, place, F32), width)
            places = (c, ldc), (added, ld_added), (residual, ldr)
            target, other, more = (b.add(first, b.mul(pitch, int64(r))) for first, pitch in places)
            for v, total in enumerate(sums(r)):
                at = 4 * width * v
                x = simd.fma(b, b.fmul(total, row_scale), scales[v], simd.load(b, simd.offset(b, other, at), kind))
                if with_residual:
                    x = b.fadd(x, simd.load(b, simd.offset(b, more, at), kind))
                simd.store(b, x, simd.offset(b, target, at))

    with b.if_else(b.icmp_signed("!=", residual, int64(0))) as (then, otherwise):
        with then:
            emit_rows(True)
        with otherwise:
            emit_rows(False)


def _starts(b, place, column, n_rows):
    """What the sums of each row begin with."""
    width = cpu.vector_width()
    first = b.add(place, b.mul(column, int64(4)))
    starts = [simd.load(b, simd.offset(b, first, 4 * width * v), vector(I32, width)) for v in range(TILE_VECTORS)]
    return starts * n_rows


def _tile(b, _, n_rows, a, lda, starts, panel, column, n_quads, *rest):
    """C[n_rows, TILE_COLUMNS] from one chunk of rows x panel."""
    kind = vector(F32, cpu.vector_width())
    begun = [_starts(b, starts, column, n_rows)]
    (totals,), scales = byte_products(b, [a], n_rows, lda, panel, column, n_quads, begun, False, HEAD_ROWS)

    def sums(r):
        return [b.sitofp(total, kind) for total in totals[r * TILE_VECTORS : (r + 1) * TILE_VECTORS]]

    _finish(b, n_rows, sums, scales, *rest)


def _fine_tile(b, _, n_rows, a, lda, low, starts, panel, column, n_quads, *rest):
    """The same for rows of two bytes: high ones at ``a``, low ones ``low`` bytes further."""
    width = cpu.vector_width()
    kind = vector(F32, width)
    terms, begun = [a, b.add(a, low)], [_starts(b, starts, column, n_rows)] * 2
    (high, low), scales = byte_products(b, terms, n_rows, lda, panel, column, n_quads, begun, False, HEAD_ROWS)

    def sums(r):
        pairs = [(high[j], low[j]) for j in range(r * TILE_VECTORS, (r + 1) * TILE_VECTORS)]
        return [simd.fma(b, b.sitofp(x, kind), simd.const(256, width), b.sitofp(y, kind)) for x, y in pairs]

    _finish(b, n_rows, sums, scales, *rest)


@intrinsic
def int8_tile(
    typingctx, n_rows, a, lda, starts, panel, column, n_quads, row_scales, ld_scales, c, ldc, added, ld_added,
    residual, ldr,
):  # fmt: skip
    return tile_switch(_tile, None, BYTE_ROWS, 15)


@intrinsic
def fine_tile(
    typingctx, n_rows, a, lda, low, starts, panel, column, n_quads, row_scales, ld_scales, c, ldc, added, ld_added,
    residual, ldr,
):  # fmt: skip
    return tile_switch(_fine_tile, None, FINE_ROWS, 16)


@njit
def code_pitch(n_in):
    """Bytes from row to row of codes: not a power of two, or rows would share few cache sets."""
    return n_in + 64


@njit
def chunk_bytes_of(chunk):
    """Bytes of a chunk of a panel."""
    return CHUNK_HEAD + chunk * PANEL


@njit
def round_rows(a, lda, n_rows, n_in, chunk, is_fine, codes, ldq, scales):
    """Rows of float32 to codes, ``ldq`` apart, and a float32 for each chunk, those of a row side by side."""
    n_chunks = n_in // chunk
    for i in range(n_chunks):
        at, scale = i * chunk, scales + 4 * i
        if is_fine:
            for row in range(n_rows):
                target = codes + row * ldq + at
                round_row_fine(a + row * lda + 4 * at, chunk, target, target + ldq // 2, scale + row * 4 * n_chunks)
        else:
            round_to_bytes(a + 4 * at, lda, n_rows, chunk, codes + at, ldq, scale, 4 * n_chunks)


@njit
def round_normal_rows(x, ldx, n_rows, gamma, beta, eps, n_in, normal, chunk, is_fine, codes, ldq, scales):
    """``round_rows`` of the layer norm of rows; ``normal``: scratch of TOGETHER rows."""
    row, ldn, ld_scales = 0, 4 * n_in, n_in // chunk * 4
    while row < n_rows:
        count = SINGLE if is_fine else min(TOGETHER, n_rows - row)
        if is_fine:
            normalize_row(x + row * ldx, gamma, beta, n_in, eps, normal)
        else:
            normalize_rows(x + row * ldx, ldx, count, gamma, beta, n_in, eps, normal, ldn)
        round_rows(normal, ldn, count, n_in, chunk, is_fine, codes + row * ldq, ldq, scales + row * ld_scales)
        row += count


largest_fine_tile = largest_of("int8_fine", FINE_ROWS)
largest_byte_tile = largest_of("int8", BYTE_ROWS)


@njit
def multiply_panel(
    codes, ldq, scales, ld_scales, n_rows, stride, taps, n_chunks, n_quads, is_fine, panel, starts, c, ldc, bias,
    residual, ldr,
):  # fmt: skip
    """All of K for rounded rows and one panel, plus bias and, unless its address is 0, the residual.

    ``starts``: 32 int32 with which the sums of each chunk begin; 0 for those of the panel.
    """
    step_a, step_scales, chunk_bytes = stride * ldq, stride * ld_scales, chunk_bytes_of(4 * n_quads)
    n_steps = taps * n_chunks
    for step in range(n_steps):
        tap, i = step // n_chunks, step % n_chunks
        a, row_scales = codes + tap * ldq + i * 4 * n_quads, scales + tap * ld_scales + i * 4
        place = panel + step * chunk_bytes
        begun = starts if starts else place + PANEL_BYTES
        last = residual if step == n_steps - 1 else NOTHING
        added, ld_added = (c, ldc) if step else (bias, NOTHING)
        for s in range(SUBPANELS):
            column, row = s * TILE_COLUMNS, 0
            while row < n_rows:
                rows, target = a + row * step_a, c + row * ldc + 4 * column
                other = added + row * ld_added + 4 * column
                more = last + row * ldr + 4 * column if last else NOTHING
                if is_fine:
                    taken = largest_fine_tile(n_rows - row)
                    fine_tile(
                        taken, rows, step_a, ldq // 2, begun, place, column, n_quads,
                        row_scales + row * step_scales, step_scales, target, ldc, other, ld_added, more, ldr,
                    )  # fmt: skip
                else:
                    taken = largest_byte_tile(n_rows - row)
                    int8_tile(
                        taken, rows, step_a, begun, place, column, n_quads, row_scales + row * step_scales,
                        step_scales, target, ldc, other, ld_added, more, ldr,
                    )  # fmt: skip
                row += taken


def rounds_to_two_bytes(n_rows: int, n_weights: int) -> bool:
    """Whether rows of activations get two bytes: a few, or many on a small matrix."""
    return n_rows <= SKINNY_ROWS or n_weights <= FINE_WEIGHTS


def int8_scratch_bytes(n_rows: int, n_in: int, taps: int, stride: int, chunk: int, is_fine: bool) -> int:
    """Scratch of one thread: a bias of zeros, some normal rows, codes of an item's frames, and their scales."""
    frames = ((n_rows if n_rows <= SKINNY_ROWS else ITEM_ROWS) - 1) * stride + taps
    return PANEL_BYTES + TOGETHER * 4 * n_in + frames * ((n_in + 64) * (2 if is_fine else 1) + n_in // chunk * 4)


INT8_MATMUL_PARAMS = (
    "a", "a_batch", "ldf", "n_batch", "n_rows", "taps", "stride", "n_in", "chunk", "panels", "n_panels", "c",
    "c_batch", "ldc", "bias", "residual", "residual_batch", "ldr", "activation", "scratch", "scratch_bytes",
    "is_fine", "gamma", "beta", "eps_bits",
)  # fmt: skip


@kernel(*INT8_MATMUL_PARAMS)
def matmul_int8(args, sync, thread, n_threads):
    """int8 panels ``[N/32][taps * K/chunk]``.

    ``n_batch`` groups of ``n_rows`` rows; row t of a group is the ``taps`` frames from ``t * stride`` on, which lie
    ``ldf`` bytes apart. ``is_fine``: rows of A are rounded to two bytes. ``gamma``: rows go through a layer norm
    first; 0 if not, else there are no taps. ``scratch``: int8_scratch_bytes each.
    """
    a, a_batch, ldf, n_batch, n_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    taps, stride, n_in, chunk, panels = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    n_panels, c, c_batch, ldc, bias = arg(args, 10), arg(args, 11), arg(args, 12), arg(args, 13), arg(args, 14)
    residual, residual_batch, ldr, activation = arg(args, 15), arg(args, 16), arg(args, 17), arg(args, 18)
    zeros, is_fine = arg(args, 19) + thread * arg(args, 20), arg(args, 21)
    if n_rows <= SKINNY_ROWS:
        rows_per_item, panels_per_item = n_rows, max(1, n_panels // (8 * n_threads))
    else:
        share = n_batch * n_rows // (4 * n_threads) // MAX_ROWS * MAX_ROWS
        rows_per_item, panels_per_item = max(SKINNY_ROWS, min(ITEM_ROWS, share)), n_panels
    gamma, beta, eps = arg(args, 22), arg(args, 23), scalars.load_f32(args + 192)
    normal = zeros + PANEL_BYTES
    codes, ldq = normal + TOGETHER * 4 * n_in, code_pitch(n_in) * (2 if is_fine else 1)
    n_chunks, ld_scales = n_in // chunk, n_in // chunk * 4
    scales = codes + ((rows_per_item - 1) * stride + taps) * ldq
    row_items = (n_rows + rows_per_item - 1) // rows_per_item
    panel_items = (n_panels + panels_per_item - 1) // panels_per_item
    fill_zero(zeros, PANEL_BYTES)
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
            if gamma:
                round_normal_rows(
                    source, ldf, count, gamma, beta, eps, n_in, normal, chunk, is_fine, codes, ldq, scales
                )  # fmt: skip
            else:
                round_rows(source, ldf, (count - 1) * stride + taps, n_in, chunk, is_fine, codes, ldq, scales)
            ready = block
        target = c + batch * c_batch + row0 * ldc
        added = residual + batch * residual_batch + row0 * ldr if residual else NOTHING
        for p in range(panel0, panel1):
            at = p * PANEL_BYTES
            more = added + at if added else NOTHING
            multiply_panel(
                codes, ldq, scales, ld_scales, count, stride, taps, n_chunks, chunk // 4, is_fine,
                panels + p * taps * n_chunks * chunk_bytes_of(chunk), NOTHING, target + at, ldc,
                bias + at if bias else zeros, NOTHING if activation else more, ldr,
            )  # fmt: skip
            if activation:
                finish_rows_fast(target + at, ldc, count, NOTHING, more, ldr, activation, target + at, ldc)


@kernel("source", "lds", "is_half", "n_rows", "n_in", "chunk", "panels", "scratch", "scratch_bytes")
def pack_weight_int8(args, sync, thread, n_threads):
    """Weight (n_rows, n_in) of float32, or float16, to panels. ``scratch``: the codes of 32 chunks a thread."""
    source, lds, is_half, n_rows, n_in = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    chunk, panels, codes = arg(args, 5), arg(args, 6), arg(args, 7) + thread * arg(args, 8)
    n_chunks, chunk_bytes, item_bytes = n_in // chunk, chunk_bytes_of(chunk), 2 if is_half else 4
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
                scale, start = panel + 4 * column, panel + PANEL_BYTES + 4 * column
                if is_half:
                    round_weights_f16(x, chunk, target, scale, start)
                else:
                    round_weights_f32(x, chunk, target, scale, start)
            pack_panel(codes, chunk, count, chunk // 4, panel + CHUNK_HEAD)


@kernel(
    "tokens", "past", "panels", "positions", "ldp", "n_batch", "n_new", "n_state", "out", "ldo", "chunk"
)  # fmt: skip
def embed_int8(args, sync, thread, n_threads):
    """Token embedding, read from the panels of the logits matmul, plus positional embedding."""
    tokens, past, panels, positions, ldp = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_batch, n_new, n_state, out, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    chunk = arg(args, 10)
    n_chunks, chunk_bytes = n_state // chunk, chunk_bytes_of(chunk)
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
                code = load_i8(panel + (k // 4 + HEAD_ROWS) * PANEL_BYTES + k % 4)
                at = 4 * (i * chunk + k)
                value = scale * scalars.to_f32(code) + scalars.load_f32(positions + position * ldp + at)
                scalars.store_f32(out + row * ldo + at, value)


@intrinsic
def load_i8(typingctx, address):
    def emit(context, b, signature, args):
        return b.sext(simd.load(b, args[0], I8, 1), simd.I64)

    return types.int64(types.int64), emit
