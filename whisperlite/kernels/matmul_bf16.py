"""Matrix multiplication of many rows by bf16 weights, the rows rounded to bf16 as well: AVX-512 BF16 only.

In: float32 rows or frames A, bf16 panels ``[N/32][taps * K/2][32][2]``. Out: float32 rows C.
Knows nothing of: whether ``matmul_bf16``, which keeps A in float32, is faster here.

Products of two bf16 are exact, and two of them are added to a float32 sum in one instruction. What is lost is the
rounding of A: half a unit of 8 bits, 0.2 % of each element at most.
"""

from __future__ import annotations

from whisperlite.kernels.compiler import njit
from whisperlite.kernels.halves import row_to_bf16
from whisperlite.kernels.matmul import A_BLOCK_BYTES, block_multiplier, finish_rows_fast
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.tiles import MAX_ROWS, PANEL_BYTES, rows_times_panel_bf16_dot

MOST_ROWS = 192  # of one work item

_multiply_block = block_multiplier("bf16_dot", rows_times_panel_bf16_dot, finish_rows_fast, 2, PANEL_BYTES, 2)


def dot_pitch(n_in: int) -> int:
    """Bytes from row to row of A in bf16: not a power of two, or rows would share few cache sets."""
    return 2 * n_in + 64


def dot_rows(n_in: int, stride: int) -> int:
    """Rows of C of one work item at most: their part of A stays in L2."""
    fit = A_BLOCK_BYTES // (dot_pitch(n_in) * stride)
    return max(2 * MAX_ROWS, min(fit, MOST_ROWS) // MAX_ROWS * MAX_ROWS)


def dot_scratch_bytes(n_in: int, taps: int, stride: int) -> int:
    """Scratch of one thread: the frames of a work item in bf16."""
    return ((dot_rows(n_in, stride) - 1) * stride + taps) * dot_pitch(n_in)


@njit
def frames_to_bf16(a, ldf, n_frames, n_in, out, ldo):
    """Frames of float32 to bf16, ``ldo`` bytes apart."""
    for frame in range(n_frames):
        row_to_bf16(a + frame * ldf, n_in, out + frame * ldo)


@kernel(
    "a", "a_batch", "ldf", "n_batch", "n_rows", "taps", "stride", "n_in", "panels", "n_panels",
    "c", "c_batch", "ldc", "bias", "residual", "residual_batch", "ldr", "activation",
    "item_rows", "pitch", "scratch", "scratch_bytes",
)  # fmt: skip
def matmul_bf16_dot(args, sync, thread, n_threads):
    """``n_batch`` groups of ``n_rows`` rows; row t of a group is the ``taps`` frames from ``t * stride`` on.

    Frames lie ``ldf`` bytes apart. ``item_rows`` and ``pitch`` are those of ``dot_rows`` and ``dot_pitch``.
    """
    a, a_batch, ldf, n_batch, n_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    taps, stride, n_in, panels, n_panels = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
    c, c_batch, ldc, bias, residual = arg(args, 10), arg(args, 11), arg(args, 12), arg(args, 13), arg(args, 14)
    residual_batch, ldr, activation = arg(args, 15), arg(args, 16), arg(args, 17)
    pitch, rounded = arg(args, 19), arg(args, 20) + thread * arg(args, 21)
    share = n_batch * n_rows // (4 * n_threads) // MAX_ROWS * MAX_ROWS
    item_rows = min(arg(args, 18), max(2 * MAX_ROWS, share))
    row_items = (n_rows + item_rows - 1) // item_rows
    while True:
        item = claim(sync)
        if item >= n_batch * row_items:
            break
        batch, row0 = item // row_items, item % row_items * item_rows
        count = min(item_rows, n_rows - row0)
        source = a + batch * a_batch + row0 * stride * ldf
        frames_to_bf16(source, ldf, (count - 1) * stride + taps, n_in, rounded, pitch)
        _multiply_block(
            rounded, stride * pitch, count, taps, pitch, n_in, panels, 0, n_panels,
            c + batch * c_batch + row0 * ldc, ldc, bias,
            residual + batch * residual_batch + row0 * ldr if residual else 0, ldr, activation,
        )  # fmt: skip
