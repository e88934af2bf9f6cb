"""The MLP of a transformer block on weights in 8 bits: norm, two matmuls, GELU and residual, some rows at a time.

In: float32 rows, int8 panels of both weights. Out: float32 rows. Knows nothing of: file formats, layers.

Of some rows, a chunk of the hidden layer is made, rounded to bytes and forgotten, until all of it is bytes; then
the second matmul reads those. A hidden layer of 1500 rows would be written to memory and read again.
"""

from __future__ import annotations

from whisperlite.kernels import cpu, scalars, simd
from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.matmul import SKINNY_ROWS, finish_row_fast
from whisperlite.kernels.matmul_int8 import (
    ITEM_ROWS,
    chunk_bytes_of,
    code_pitch,
    multiply_panel,
    round_normal_rows,
    round_rows,
)
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.rounding import GELU_LOWEST, GELU_SCRATCH_BYTES, ZERO, round_gelu_of_rows
from whisperlite.kernels.rounding_rows import TOGETHER
from whisperlite.kernels.scalars import NOTHING, SINGLE, copy_bytes, fill_zero
from whisperlite.kernels.simd import F32, I32, vector
from whisperlite.kernels.tiles import MAX_ROWS, PANEL, PANEL_BYTES


@intrinsic
def add_lowest(typingctx, bias, panel):
    """Add to 32 biases what a chunk of a panel makes of rows whose values are all -GELU_LOWEST."""

    def emit(context, b, signature, args):
        bias, panel = args
        width = cpu.vector_width()
        kind = vector(F32, width)
        for at in range(0, PANEL_BYTES, 4 * width):
            starts = simd.load(b, simd.offset(b, panel, PANEL_BYTES + at), vector(I32, width))
            scales = b.fmul(simd.load(b, simd.offset(b, panel, at), kind), simd.const(GELU_LOWEST / ZERO, width))
            place = simd.offset(b, bias, at)
            simd.store(b, simd.fma(b, b.sitofp(starts, kind), scales, simd.load(b, place, kind)), place)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


def mlp_scratch_bytes(n_state: int, n_hidden: int, chunk: int, hidden_chunk: int, is_fine: bool) -> int:
    """Scratch of one thread: normal rows, biases, zeros, GELU's, some rows in codes, so their hidden layer."""
    n_bytes = 2 if is_fine else 1
    row = n_bytes * (n_state + n_hidden + 128) + (n_state // chunk + n_hidden // hidden_chunk) * 4
    once = (TOGETHER + 1) * 4 * n_state + PANEL_BYTES + GELU_SCRATCH_BYTES
    return once + ITEM_ROWS * (row + 4 * hidden_chunk)


@kernel(
    "x", "ldx", "n_rows", "gamma", "beta", "eps_bits", "n_state", "n_hidden", "chunk", "hidden_chunk", "panels",
    "bias", "output_panels", "output_bias", "out", "ldo", "is_fine", "scratch", "scratch_bytes",
)  # fmt: skip
def mlp_int8(args, sync, thread, n_threads):
    """``x + gelu(layer_norm(x) W' + bias) V' + output_bias`` on the panels of ``matmul_int8``.

    The hidden layer is rounded from GELU's lowest value up, or, if ``is_fine``, to two bytes as any row.
    ``scratch``: mlp_scratch_bytes each.
    """
    x, ldx, n_rows, gamma, beta = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    eps, n_state, n_hidden = scalars.load_f32(args + 40), arg(args, 6), arg(args, 7)
    chunk, hidden_chunk, panels, bias = arg(args, 8), arg(args, 9), arg(args, 10), arg(args, 11)
    output_panels, given_bias, out, ldo = arg(args, 12), arg(args, 13), arg(args, 14), arg(args, 15)
    is_fine, normal = arg(args, 16), arg(args, 17) + thread * arg(args, 18)
    share = n_rows // (4 * n_threads) // MAX_ROWS * MAX_ROWS
    rows_per_item = max(SKINNY_ROWS, min(ITEM_ROWS, share))
    n_chunks, n_hidden_chunks = n_state // chunk, n_hidden // hidden_chunk
    panel_bytes = n_chunks * chunk_bytes_of(chunk)
    output_chunk_bytes = chunk_bytes_of(hidden_chunk)
    output_panel_bytes = n_hidden_chunks * output_chunk_bytes
    ldq, hidden_ldq = code_pitch(n_state) * (2 if is_fine else 1), code_pitch(n_hidden) * (2 if is_fine else 1)
    ld_scales, hidden_ld_scales, lds = 4 * n_chunks, 4 * n_hidden_chunks, 4 * hidden_chunk
    output_bias = normal + TOGETHER * 4 * n_state
    zeros = output_bias + 4 * n_state
    gelu_scratch = zeros + PANEL_BYTES
    sums = gelu_scratch + GELU_SCRATCH_BYTES
    codes = sums + rows_per_item * lds
    scales = codes + rows_per_item * ldq
    hidden_codes = scales + rows_per_item * ld_scales
    hidden_scales = hidden_codes + rows_per_item * hidden_ldq
    fill_zero(zeros, PANEL_BYTES)
    copy_bytes(output_bias, given_bias, 4 * n_state)
    if not is_fine:
        for i in range(n_state // PANEL * n_hidden_chunks):
            add_lowest(output_bias + i // n_hidden_chunks * PANEL_BYTES, output_panels + i * output_chunk_bytes)
    while True:
        row0 = claim(sync) * rows_per_item
        if row0 >= n_rows:
            break
        count, source, target = min(rows_per_item, n_rows - row0), x + row0 * ldx, out + row0 * ldo
        round_normal_rows(
            source, ldx, count, gamma, beta, eps, n_state, normal, chunk, is_fine, codes, ldq, scales
        )  # fmt: skip
        for i in range(n_hidden_chunks):
            for p in range(hidden_chunk // PANEL):
                panel = i * (hidden_chunk // PANEL) + p
                multiply_panel(
                    codes, ldq, scales, ld_scales, count, SINGLE, SINGLE, n_chunks, chunk // 4, is_fine,
                    panels + panel * panel_bytes, NOTHING, sums + p * PANEL_BYTES, lds, bias + panel * PANEL_BYTES,
                    NOTHING, NOTHING,
                )  # fmt: skip
            to, scales_to = hidden_codes + i * hidden_chunk, hidden_scales + 4 * i
            if not is_fine:
                round_gelu_of_rows(
                    sums, lds, count, hidden_chunk, to, hidden_ldq, scales_to, hidden_ld_scales, gelu_scratch
                )  # fmt: skip
                continue
            for row in range(count):
                made = sums + row * lds
                for at in range(0, lds, PANEL_BYTES):
                    finish_row_fast(made + at, NOTHING, NOTHING, SINGLE, made + at)
                round_rows(
                    made, NOTHING, SINGLE, hidden_chunk, hidden_chunk, is_fine, to + row * hidden_ldq, hidden_ldq,
                    scales_to + row * hidden_ld_scales,
                )  # fmt: skip
        for p in range(n_state // PANEL):
            at = p * PANEL_BYTES
            multiply_panel(
                hidden_codes, hidden_ldq, hidden_scales, hidden_ld_scales, count, SINGLE, SINGLE, n_hidden_chunks,
                hidden_chunk // 4, is_fine, output_panels + p * output_panel_bytes, NOTHING if is_fine else zeros,
                target + at, ldo, output_bias + at, source + at, ldx,
            )  # fmt: skip
