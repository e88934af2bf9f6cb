"""16-bit weights: rounding to bf16, and token embeddings from float16 and bf16 panels.

In: rows or panels. Out: bf16 rows, float32 embeddings. Knows nothing of: matmuls.
"""

from __future__ import annotations

from whisperlite.kernels import scalars, simd
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.rows import ROWS_PER_ITEM, item_range
from whisperlite.kernels.scalars import fill_zero, load_i32
from whisperlite.kernels.simd import F32, int64, vector
from whisperlite.kernels.tiles import PANEL_BYTES


@intrinsic
def row_to_bf16(typingctx, source, n, target):
    """Convert ``n`` float32 to bf16."""

    def emit(context, b, signature, args):
        source, n, target = args

        def body(b, at, lanes):
            x = simd.load(b, b.add(source, at), vector(F32, lanes))
            simd.store(b, simd.to_bf16(b, x), b.add(target, b.sdiv(at, int64(2))), 2)

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@kernel("source", "lds", "n_rows", "n_in", "out", "ldo")
def rows_to_bf16(args, sync, thread, n_threads):
    """Rows of float32 to rows of bf16, zero padded to ``ldo`` bytes."""
    source, lds, n_rows, n_in = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    out, ldo = arg(args, 4), arg(args, 5)
    while True:
        first, last = item_range(claim(sync), ROWS_PER_ITEM, n_rows)
        if first >= n_rows:
            break
        for row in range(first, last):
            target = out + row * ldo
            row_to_bf16(source + row * lds, n_in, target)
            fill_zero(target + 2 * n_in, ldo - 2 * n_in)


@kernel("tokens", "past", "panels", "positions", "ldp", "n_batch", "n_new", "n_state", "out", "ldo")
def embed_bf16(args, sync, thread, n_threads):
    """Token embedding from bf16 panels, plus positional embedding in float32."""
    tokens, past, panels, positions, ldp = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_batch, n_new, n_state, out, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    while True:
        row = claim(sync)
        if row >= n_batch * n_new:
            break
        token = load_i32(tokens + 4 * row)
        position = load_i32(past + 4 * (row // n_new)) + row % n_new
        column = panels + (token // 32) * (n_state // 2) * PANEL_BYTES + (token % 32) * 4
        for pair in range(n_state // 2):
            low, high = bf16_pair(column + pair * PANEL_BYTES)
            place = positions + position * ldp + 8 * pair
            scalars.store_f32(out + row * ldo + 8 * pair, low + scalars.load_f32(place))
            scalars.store_f32(out + row * ldo + 8 * pair + 4, high + scalars.load_f32(place + 4))


@intrinsic
def bf16_half(typingctx, address, high):
    """The low or high bf16 of the 32 bits at ``address``, as float32."""

    def emit(context, b, signature, args):
        word = simd.load(b, args[0], simd.I32)
        shifted = b.shl(word, simd.ir.Constant(simd.I32, 16))
        masked = b.and_(word, simd.ir.Constant(simd.I32, -65536))
        return b.bitcast(b.select(b.icmp_signed("!=", args[1], int64(0)), masked, shifted), F32)

    return types.float32(types.int64, types.int64), emit


@njit
def bf16_pair(address):
    return bf16_half(address, 0), bf16_half(address, 1)


@kernel("tokens", "past", "panels", "positions", "ldp", "n_batch", "n_new", "n_state", "out", "ldo")
def embed_f16(args, sync, thread, n_threads):
    """Token embedding from float16 panels, plus positional embedding in float32."""
    tokens, past, panels, positions, ldp = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_batch, n_new, n_state, out, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    while True:
        row = claim(sync)
        if row >= n_batch * n_new:
            break
        token = load_i32(tokens + 4 * row)
        position = load_i32(past + 4 * (row // n_new)) + row % n_new
        column = panels + (token // 32) * n_state * 64 + (token % 32) * 2
        for k in range(n_state):
            value = scalars.load_half(column + k * 64) + scalars.load_f32(positions + position * ldp + 4 * k)
            scalars.store_f32(out + row * ldo + 4 * k, value)
