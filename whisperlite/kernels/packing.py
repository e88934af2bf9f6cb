"""Packing matrices into the panels that matmul and attention read.

In: rows in their natural order. Out: panels of 32. Knows nothing of: checkpoints, cache layout.
"""

from __future__ import annotations

from whisperlite.kernels import cpu, scalars, simd
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.scalars import copy_bytes, fill_zero
from whisperlite.kernels.simd import F16, F32, vector
from whisperlite.kernels.tiles import PANEL, PANEL_BYTES

BLOCK = cpu.vector_width()  # side of the squares that are transposed in registers


@intrinsic
def transpose_square(typingctx, source, lds, target, ldt):
    """target[k, r] = source[r, k] for a square of ``BLOCK`` float32."""

    def emit(context, b, signature, args):
        source, lds, target, ldt = args
        kind = vector(F32, BLOCK)
        rows = [simd.load(b, b.add(source, b.mul(lds, simd.int64(r))), kind) for r in range(BLOCK)]
        for k, row in enumerate(simd.transpose(b, rows)):
            simd.store(b, row, b.add(target, b.mul(ldt, simd.int64(k))))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


@njit
def pack_panel(source, lds, n_rows, n_in, panel):
    """panel[k, r] = source[r, k] for up to 32 rows; columns past ``n_rows`` are zero."""
    if n_rows < PANEL:
        fill_zero(panel, n_in * PANEL_BYTES)
    whole_rows = n_rows // BLOCK * BLOCK
    whole_in = n_in // BLOCK * BLOCK
    for r in range(0, whole_rows, BLOCK):
        for k in range(0, whole_in, BLOCK):
            transpose_square(source + r * lds + 4 * k, lds, panel + k * PANEL_BYTES + 4 * r, PANEL_BYTES)
        for k in range(whole_in, n_in):
            for i in range(r, r + BLOCK):
                scalars.store_f32(panel + k * PANEL_BYTES + 4 * i, scalars.load_f32(source + i * lds + 4 * k))
    for r in range(whole_rows, n_rows):
        for k in range(n_in):
            scalars.store_f32(panel + k * PANEL_BYTES + 4 * r, scalars.load_f32(source + r * lds + 4 * k))


@intrinsic
def row_from_f16(typingctx, source, n, target):
    """Convert ``n`` float16 to float32."""

    def emit(context, b, signature, args):
        source, n, target = args

        def body(b, at, lanes):
            half = b.add(source, b.sdiv(at, simd.int64(2)))
            simd.store(b, simd.load_f16(b, half, lanes), b.add(target, at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@njit
def widen_rows(source, lds, n_rows, n_in, target):
    """Rows of float16 to rows of float32 that lie side by side."""
    for row in range(n_rows):
        row_from_f16(source + row * lds, n_in, target + 4 * row * n_in)


@kernel("source", "lds", "is_half", "n_rows", "n_in", "panels", "scratch", "scratch_bytes")
def pack_weight_f32(args, sync, thread, n_threads):
    """Weight (n_rows, n_in) of float32, or float16, to panels [ceil(n_rows/32)][n_in][32].

    ``scratch``: 32 float32 rows a thread, for float16.
    """
    source, lds, is_half, n_rows, n_in = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    panels, widened = arg(args, 5), arg(args, 6) + thread * arg(args, 7)
    while True:
        p = claim(sync)
        if p * PANEL >= n_rows:
            break
        count, rows, pitch = min(PANEL, n_rows - p * PANEL), source + p * PANEL * lds, lds
        if is_half:
            widen_rows(rows, lds, count, n_in, widened)
            rows, pitch = widened, 4 * n_in
        pack_panel(rows, pitch, count, n_in, panels + p * n_in * PANEL_BYTES)


@kernel("source", "lds", "n_rows", "n_in", "panels", "scratch", "scratch_bytes")
def pack_weight_f16(args, sync, thread, n_threads):
    """Weight (n_rows, n_in) of float16 to panels of float16; ``scratch``: 64 float32 rows a thread."""
    source, lds, n_rows, n_in, panels = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    widened = arg(args, 5) + thread * arg(args, 6)
    panel = widened + PANEL * 4 * n_in
    while True:
        p = claim(sync)
        if p * PANEL >= n_rows:
            break
        count = min(PANEL, n_rows - p * PANEL)
        widen_rows(source + p * PANEL * lds, lds, count, n_in, widened)
        pack_panel(widened, 4 * n_in, count, n_in, panel)
        row_to_f16(panel, PANEL * n_in, panels + p * n_in * PANEL_BYTES // 2)  # exact: they were float16


@kernel("k", "k_batch", "ldk", "n_batch", "n_ctx", "n_head", "head_size", "panels")
def pack_keys_f32(args, sync, thread, n_threads):
    """Keys (A, T, H*K) to panels [A][H][ceil(T/32)][K][32]: positions side by side."""
    k, k_batch, ldk, n_batch, n_ctx = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_head, head_size, panels = arg(args, 5), arg(args, 6), arg(args, 7)
    n_panels = (n_ctx + PANEL - 1) // PANEL
    while True:
        item = claim(sync)
        if item >= n_batch * n_head * n_panels:
            break
        t = (item % n_panels) * PANEL
        head = item // n_panels % n_head
        batch = item // (n_panels * n_head)
        source = k + batch * k_batch + t * ldk + head * head_size * 4
        pack_panel(source, ldk, min(PANEL, n_ctx - t), head_size, panels + item * head_size * PANEL_BYTES)


@kernel("v", "v_batch", "ldv", "n_batch", "n_ctx", "n_head", "head_size", "panels")
def pack_values_f32(args, sync, thread, n_threads):
    """Values (A, T, H*K) to panels [A][H][ceil(K/32)][T][32]: 32 columns of a head side by side."""
    v, v_batch, ldv, n_batch, n_ctx = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_head, head_size, panels = arg(args, 5), arg(args, 6), arg(args, 7)
    n_panels = (head_size + PANEL - 1) // PANEL
    while True:
        item = claim(sync)
        if item >= n_batch * n_head * n_panels:
            break
        column = (item % n_panels) * PANEL
        head = item // n_panels % n_head
        batch = item // (n_panels * n_head)
        count = min(PANEL, head_size - column)
        source = v + batch * v_batch + (head * head_size + column) * 4
        target = panels + item * n_ctx * PANEL_BYTES
        for t in range(n_ctx):
            if count < PANEL:
                fill_zero(target + t * PANEL_BYTES, PANEL_BYTES)
            copy_bytes(target + t * PANEL_BYTES, source + t * ldv, 4 * count)


@intrinsic
def row_to_f16(typingctx, source, n, target):
    """Convert ``n`` float32 to float16."""

    def emit(context, b, signature, args):
        source, n, target = args

        def body(b, at, lanes):
            x = simd.load(b, b.add(source, at), vector(F32, lanes))
            half = b.fptrunc(x, vector(F16, lanes))
            simd.store(b, half, b.add(target, b.sdiv(at, simd.int64(2))), 2)

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@kernel("k", "k_batch", "ldk", "n_batch", "n_ctx", "n_head", "head_size", "panels", "scratch", "scratch_bytes")
def pack_keys_f16(args, sync, thread, n_threads):
    """As ``pack_keys_f32``, to float16; ``scratch`` holds one float32 panel a thread."""
    k, k_batch, ldk, n_batch, n_ctx = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_head, head_size, panels = arg(args, 5), arg(args, 6), arg(args, 7)
    panel = arg(args, 8) + thread * arg(args, 9)
    n_panels = (n_ctx + PANEL - 1) // PANEL
    while True:
        item = claim(sync)
        if item >= n_batch * n_head * n_panels:
            break
        t = (item % n_panels) * PANEL
        head = item // n_panels % n_head
        batch = item // (n_panels * n_head)
        source = k + batch * k_batch + t * ldk + head * head_size * 4
        pack_panel(source, ldk, min(PANEL, n_ctx - t), head_size, panel)
        row_to_f16(panel, PANEL * head_size, panels + item * head_size * PANEL_BYTES // 2)


@kernel("v", "v_batch", "ldv", "n_batch", "n_ctx", "n_head", "head_size", "panels")
def pack_values_f16(args, sync, thread, n_threads):
    """As ``pack_values_f32``, to float16."""
    v, v_batch, ldv, n_batch, n_ctx = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_head, head_size, panels = arg(args, 5), arg(args, 6), arg(args, 7)
    n_panels, row_bytes = (head_size + PANEL - 1) // PANEL, PANEL_BYTES // 2
    while True:
        item = claim(sync)
        if item >= n_batch * n_head * n_panels:
            break
        column = (item % n_panels) * PANEL
        head = item // n_panels % n_head
        batch = item // (n_panels * n_head)
        count = min(PANEL, head_size - column)
        source = v + batch * v_batch + (head * head_size + column) * 4
        target = panels + item * n_ctx * row_bytes
        for t in range(n_ctx):
            if count < PANEL:
                fill_zero(target + t * row_bytes, row_bytes)
            row_to_f16(source + t * ldv, count, target + t * row_bytes)
