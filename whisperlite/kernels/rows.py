"""Kernels that work row by row: layer norm, GELU, sum, copies with padding, gathers.

In: addresses, sizes, strides in bytes. Out: rows written at ``out``.
Knows nothing of: what the rows mean.
"""

from __future__ import annotations

from whisperlite.kernels import elementary, scalars, simd
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.scalars import copy_bytes, fill_zero, load_i32
from whisperlite.kernels.simd import F32, vector

ROWS_PER_ITEM = 8


@intrinsic
def row_sum(typingctx, x, n):
    def emit(context, b, signature, args):
        x, n = args

        def step(b, acc, at, lanes):
            return b.fadd(acc, simd.load(b, b.add(x, at), vector(F32, lanes)))

        return simd.reduce_row(b, n, 0.0, step, simd.add)

    return types.float32(types.int64, types.int64), emit


@intrinsic
def row_squared_distance(typingctx, x, n, center):
    """Sum of (x - center)**2."""

    def emit(context, b, signature, args):
        x, n, center = args

        def step(b, acc, at, lanes):
            d = b.fsub(simd.load(b, b.add(x, at), vector(F32, lanes)), simd.splat(b, center, lanes))
            return simd.fma(b, d, d, acc)

        return simd.reduce_row(b, n, 0.0, step, simd.add)

    return types.float32(types.int64, types.int64, types.float32), emit


@intrinsic
def row_normalize(typingctx, x, gamma, beta, n, mean, scale, out):
    """``(x - mean) * scale * gamma + beta``."""

    def emit(context, b, signature, args):
        x, gamma, beta, n, mean, scale, out = args

        def body(b, at, lanes):
            kind = vector(F32, lanes)
            d = b.fsub(simd.load(b, b.add(x, at), kind), simd.splat(b, mean, lanes))
            d = b.fmul(d, simd.splat(b, scale, lanes))
            g, offset = simd.load(b, b.add(gamma, at), kind), simd.load(b, b.add(beta, at), kind)
            simd.store(b, simd.fma(b, d, g, offset), b.add(out, at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    i, f = types.int64, types.float32
    return types.void(i, i, i, i, f, f, i), emit


@intrinsic
def row_gelu(typingctx, x, n, out):
    def emit(context, b, signature, args):
        x, n, out = args

        def body(b, at, lanes):
            simd.store(b, elementary.gelu(b, simd.load(b, b.add(x, at), vector(F32, lanes))), b.add(out, at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@intrinsic
def row_add(typingctx, x, y, n, out):
    def emit(context, b, signature, args):
        x, y, n, out = args

        def body(b, at, lanes):
            kind = vector(F32, lanes)
            total = b.fadd(simd.load(b, b.add(x, at), kind), simd.load(b, b.add(y, at), kind))
            simd.store(b, total, b.add(out, at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), emit


@njit
def item_range(item, per_item, n):
    """First and past-last index of a work item of ``per_item`` units."""
    return item * per_item, min(n, (item + 1) * per_item)


@njit
def normalize_row(source, gamma, beta, n_cols, eps, target):
    """Layer norm of one row."""
    mean = row_sum(source, n_cols) / scalars.to_f32(n_cols)
    variance = row_squared_distance(source, n_cols, mean) / scalars.to_f32(n_cols)
    scale = scalars.reciprocal_sqrt(variance + eps)
    row_normalize(source, gamma, beta, n_cols, mean, scale, target)


@kernel("x", "ldx", "gamma", "beta", "n_rows", "n_cols", "eps_bits", "out", "ldo")
def layer_norm_f32(args, sync, thread, n_threads):
    x, ldx, gamma, beta = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    n_rows, n_cols, eps = arg(args, 4), arg(args, 5), scalars.load_f32(args + 48)
    out, ldo = arg(args, 7), arg(args, 8)
    while True:
        first, last = item_range(claim(sync), ROWS_PER_ITEM, n_rows)
        if first >= n_rows:
            break
        for row in range(first, last):
            normalize_row(x + row * ldx, gamma, beta, n_cols, eps, out + row * ldo)


@kernel("x", "ldx", "n_rows", "n_cols", "out", "ldo")
def gelu_f32(args, sync, thread, n_threads):
    x, ldx, n_rows, n_cols = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    out, ldo = arg(args, 4), arg(args, 5)
    while True:
        first, last = item_range(claim(sync), ROWS_PER_ITEM, n_rows)
        if first >= n_rows:
            break
        for row in range(first, last):
            row_gelu(x + row * ldx, n_cols, out + row * ldo)


@kernel("x", "ldx", "y", "ldy", "n_rows", "n_rows_y", "n_cols", "out", "ldo")
def add_f32(args, sync, thread, n_threads):
    """Sum; row i of x meets row ``i % n_rows_y`` of y."""
    x, ldx, y, ldy, n_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_rows_y, n_cols, out, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8)
    while True:
        first, last = item_range(claim(sync), ROWS_PER_ITEM, n_rows)
        if first >= n_rows:
            break
        for row in range(first, last):
            row_add(x + row * ldx, y + (row % n_rows_y) * ldy, n_cols, out + row * ldo)


@kernel("out", "batch_stride", "n_batch", "n_rows", "row_bytes", "pad")
def zero_pad_rows(args, sync, thread, n_threads):
    """Zero the ``pad`` rows before and after the ``n_rows`` rows of each batch entry."""
    out, batch_stride, n_batch = arg(args, 0), arg(args, 1), arg(args, 2)
    n_rows, row_bytes, pad = arg(args, 3), arg(args, 4), arg(args, 5)
    while True:
        batch = claim(sync)
        if batch >= n_batch:
            break
        start = out + batch * batch_stride
        fill_zero(start, pad * row_bytes)
        fill_zero(start + (pad + n_rows) * row_bytes, pad * row_bytes)


@kernel("x", "x_batch", "ldx", "n_batch", "n_rows", "n_cols", "pad", "out", "out_batch", "ldo")
def pad_frames_f32(args, sync, thread, n_threads):
    x, x_batch, ldx, n_batch, n_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_cols, pad, out, out_batch, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    n_out = n_rows + 2 * pad
    while True:
        item = claim(sync)
        if item >= n_batch * n_out:
            break
        batch, row = item // n_out, item % n_out
        target = out + batch * out_batch + row * ldo
        if row < pad or row >= pad + n_rows:
            fill_zero(target, 4 * n_cols)
        else:
            copy_bytes(target, x + batch * x_batch + (row - pad) * ldx, 4 * n_cols)


@kernel("mel", "mel_batch", "ldm", "n_batch", "n_mels", "n_frames", "pad", "out", "out_batch", "ldo")
def transpose_frames_f32(args, sync, thread, n_threads):
    """(n_mels, n_frames) to (pad + n_frames + pad, n_mels)."""
    mel, mel_batch, ldm, n_batch, n_mels = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_frames, pad, out, out_batch, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    n_out = n_frames + 2 * pad
    n_blocks = (n_out + 15) // 16  # frames of one cache line are taken together
    while True:
        item = claim(sync)
        if item >= n_batch * n_blocks:
            break
        batch, first = item // n_blocks, (item % n_blocks) * 16
        for row in range(first, min(first + 16, n_out)):
            target = out + batch * out_batch + row * ldo
            if row < pad or row >= pad + n_frames:
                fill_zero(target, 4 * n_mels)
            else:
                source = mel + batch * mel_batch + (row - pad) * 4
                for m in range(n_mels):
                    scalars.store_f32(target + 4 * m, scalars.load_f32(source + m * ldm))


@kernel("tokens", "past", "panels", "positions", "ldp", "n_batch", "n_new", "n_state", "out", "ldo")
def embed_f32(args, sync, thread, n_threads):
    """Token embedding, read from the packed panels of the logits matmul, plus positional embedding."""
    tokens, past, panels, positions, ldp = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_batch, n_new, n_state, out, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    while True:
        row = claim(sync)
        if row >= n_batch * n_new:
            break
        token = load_i32(tokens + 4 * row)
        position = load_i32(past + 4 * (row // n_new)) + row % n_new
        column = panels + (token // 32) * n_state * 128 + (token % 32) * 4
        for k in range(n_state):
            value = scalars.load_f32(column + k * 128) + scalars.load_f32(positions + position * ldp + 4 * k)
            scalars.store_f32(out + row * ldo + 4 * k, value)


@kernel("x", "x_batch", "ldx", "n_batch", "positions", "n_positions", "n_cols", "out", "ldo")
def select_rows_f32(args, sync, thread, n_threads):
    """Rows of out, ``ldo`` apart: for each batch row, its rows at ``positions``."""
    x, x_batch, ldx, n_batch, positions = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_positions, n_cols, out, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8)
    while True:
        i = claim(sync)
        if i >= n_batch * n_positions:
            break
        position = load_i32(positions + 4 * (i % n_positions))
        copy_bytes(out + i * ldo, x + i // n_positions * x_batch + position * ldx, 4 * n_cols)
