"""The MLP of a transformer block on weights in 8 bits: norm, two matmuls, GELU and residual, some rows at a time.

In: float32 rows, int8 panels of both weights. Out: float32 rows. Knows nothing of: file formats, layers.

Of some rows, 128 columns of the hidden layer are made, rounded to bytes and forgotten, until all of them are bytes;
then the second matmul reads those. A hidden layer of 1500 rows would be written to memory and read again.
"""

from __future__ import annotations

from whisperlite.kernels import scalars
from whisperlite.kernels.int8 import HEAD_BYTES
from whisperlite.kernels.matmul import SKINNY_ROWS, finish_rows_fast
from whisperlite.kernels.matmul_int8 import ITEM_ROWS, code_pitch, multiply_panel, round_rows
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.rows import normalize_row
from whisperlite.kernels.scalars import NOTHING, SINGLE
from whisperlite.kernels.tiles import MAX_ROWS, PANEL, PANEL_BYTES


def mlp_scratch_bytes(n_state: int, n_hidden: int, chunk: int, hidden_chunk: int, is_fine: bool) -> int:
    """Scratch of one thread: a row, some rows in codes with their heads, and so their hidden layer."""
    n_bytes = 2 if is_fine else 1
    row = n_bytes * (n_state + n_hidden + 128) + (n_state // chunk + n_hidden // hidden_chunk) * HEAD_BYTES
    return 4 * n_state + ITEM_ROWS * (row + 4 * hidden_chunk)


@kernel(
    "x", "ldx", "n_rows", "gamma", "beta", "eps_bits", "n_state", "n_hidden", "chunk", "hidden_chunk", "panels",
    "bias", "output_panels", "output_bias", "out", "ldo", "is_fine", "scratch", "scratch_bytes",
)  # fmt: skip
def mlp_int8(args, sync, thread, n_threads):
    """``x + gelu(layer_norm(x) W' + bias) V' + output_bias`` on the panels of ``matmul_int8``.

    Rounding is that of two calls of ``matmul_int8``, bit for bit. ``scratch``: mlp_scratch_bytes each.
    """
    x, ldx, n_rows, gamma, beta = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    eps, n_state, n_hidden = scalars.load_f32(args + 40), arg(args, 6), arg(args, 7)
    chunk, hidden_chunk, panels, bias = arg(args, 8), arg(args, 9), arg(args, 10), arg(args, 11)
    output_panels, output_bias, out, ldo = arg(args, 12), arg(args, 13), arg(args, 14), arg(args, 15)
    is_fine, normal = arg(args, 16), arg(args, 17) + thread * arg(args, 18)
    share = n_rows // (4 * n_threads) // MAX_ROWS * MAX_ROWS
    rows_per_item = max(SKINNY_ROWS, min(ITEM_ROWS, share))
    n_chunks, n_hidden_chunks = n_state // chunk, n_hidden // hidden_chunk
    panel_bytes = n_chunks * (PANEL_BYTES + chunk * PANEL)
    output_panel_bytes = n_hidden_chunks * (PANEL_BYTES + hidden_chunk * PANEL)
    ldq, ldh = code_pitch(n_state) * (2 if is_fine else 1), n_chunks * HEAD_BYTES
    hidden_ldq, hidden_ldh = code_pitch(n_hidden) * (2 if is_fine else 1), n_hidden_chunks * HEAD_BYTES
    lds = 4 * hidden_chunk
    sums = normal + 4 * n_state
    codes = sums + rows_per_item * lds
    heads = codes + rows_per_item * ldq
    hidden_codes = heads + rows_per_item * ldh
    hidden_heads = hidden_codes + rows_per_item * hidden_ldq
    while True:
        row0 = claim(sync) * rows_per_item
        if row0 >= n_rows:
            break
        count, source, target = min(rows_per_item, n_rows - row0), x + row0 * ldx, out + row0 * ldo
        for row in range(count):
            normalize_row(source + row * ldx, gamma, beta, n_state, eps, normal)
            round_rows(
                normal, NOTHING, SINGLE, n_state, chunk, is_fine, codes + row * ldq, ldq, heads + row * ldh, ldh
            )  # fmt: skip
        for i in range(n_hidden_chunks):
            for p in range(hidden_chunk // PANEL):
                panel, place = i * (hidden_chunk // PANEL) + p, sums + p * PANEL_BYTES
                multiply_panel(
                    codes, ldq, heads, ldh, count, SINGLE, SINGLE, n_chunks, chunk // 4, is_fine,
                    panels + panel * panel_bytes, PANEL_BYTES + chunk * PANEL, place, lds,
                )  # fmt: skip
                finish_rows_fast(
                    place, lds, count, bias + panel * PANEL_BYTES, NOTHING, NOTHING, SINGLE, place, lds
                )
            round_rows(
                sums, lds, count, hidden_chunk, hidden_chunk, is_fine, hidden_codes + i * hidden_chunk, hidden_ldq,
                hidden_heads + i * HEAD_BYTES, hidden_ldh,
            )  # fmt: skip
        for p in range(n_state // PANEL):
            at = p * PANEL_BYTES
            multiply_panel(
                hidden_codes, hidden_ldq, hidden_heads, hidden_ldh, count, SINGLE, SINGLE,
                n_hidden_chunks, hidden_chunk // 4, is_fine, output_panels + p * output_panel_bytes,
                PANEL_BYTES + hidden_chunk * PANEL, target + at, ldo,
            )  # fmt: skip
            finish_rows_fast(target + at, ldo, count, output_bias + at, source + at, ldx, NOTHING, target + at, ldo)
