"""Matrix multiplication ``activation(A W' + bias) + residual`` on packed weights, in float32 arithmetic.

In: rows A (strided), weight panels in float32, float16 or bf16. Out: rows C. Knows nothing of: what the rows mean.
"""

from __future__ import annotations

from whisperlite.kernels import cpu, elementary, simd
from whisperlite.kernels.compiler import intrinsic, njit, njit_as, types
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.simd import F32, int64, vector
from whisperlite.kernels.tiles import (
    MAX_ROWS,
    PANEL,
    PANEL_BYTES,
    rows_times_panel_bf16,
    rows_times_panel_f16,
    rows_times_panel_f32,
)

K_BLOCK = 512  # steps of K between visits to C: A tile and B panel stay in L1 and L2
A_BLOCK_BYTES = 384 * 1024  # rows of A worked on at once, for L2
SKINNY_ROWS = 24  # up to here the weights are the traffic: items are panels, not rows


def _finish_row(gelu):
    """Epilogue of 32 columns of one row: ``c = activation(source + bias) + residual``."""

    def emit(context, b, signature, args):
        source, bias, residual, activation, c = args
        lanes = min(PANEL, 2 * cpu.vector_width())
        kind = vector(F32, lanes)

        def columns(b, address, i):
            return simd.load(b, simd.offset(b, address, 4 * lanes * i), kind)

        def each(b, with_bias, with_gelu, with_residual):
            for i in range(PANEL // lanes):
                x = columns(b, source, i)
                if with_bias:
                    x = b.fadd(x, columns(b, bias, i))
                if with_gelu:
                    x = gelu(b, x)
                if with_residual:
                    x = b.fadd(x, columns(b, residual, i))
                simd.store(b, x, simd.offset(b, c, 4 * lanes * i))

        present = [b.icmp_signed("!=", value, int64(0)) for value in (bias, activation, residual)]

        def choose(b, chosen):
            if len(chosen) == len(present):
                each(b, *chosen)
                return
            with b.if_else(present[len(chosen)]) as (then, otherwise):
                with then:
                    choose(b, (*chosen, True))
                with otherwise:
                    choose(b, (*chosen, False))

        choose(b, ())
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


@intrinsic
def finish_row(typingctx, source, bias, residual, activation, c):
    """Epilogue of 32 columns of one row; an address 0 means none, activation 1 is GELU."""
    return _finish_row(elementary.gelu)


@intrinsic
def finish_row_fast(typingctx, source, bias, residual, activation, c):
    """The same with a GELU that is as good as bf16 can tell."""
    return _finish_row(elementary.gelu_fast)


@njit
def finish_rows(source, lds, n_rows, bias, residual, ldr, activation, c, ldc):
    """``finish_row`` for the rows of a block of 32 columns."""
    for row in range(n_rows):
        finish_row(source + row * lds, bias, residual + row * ldr if residual else 0, activation, c + row * ldc)


@njit
def finish_rows_fast(source, lds, n_rows, bias, residual, ldr, activation, c, ldc):
    """``finish_row_fast`` for the rows of a block of 32 columns."""
    for row in range(n_rows):
        finish_row_fast(
            source + row * lds, bias, residual + row * ldr if residual else 0, activation, c + row * ldc
        )


@njit
def split_rows(n_rows, n_batch, n_in, n_panels, n_threads):
    """Rows and panels of one work item: few rows share out the weights, many rows share out the rows."""
    if n_rows <= SKINNY_ROWS:
        return n_rows, max(1, n_panels // (8 * n_threads))
    fit = A_BLOCK_BYTES // (4 * min(n_in, K_BLOCK))
    share = (n_batch * n_rows) // (4 * n_threads)
    return max(2 * MAX_ROWS, min(fit, share, 192) // MAX_ROWS * MAX_ROWS), n_panels


def block_multiplier(name, product, finish, row_steps, row_bytes, step_bytes=4):
    """Compile what multiplies some rows by some panels, for one kind of panels.

    Parameters
    ----------
    name : str
        Of the dtype.
    product, finish
        Compiled: some rows times one panel; the epilogue of such a block.
    row_steps, row_bytes
        Steps of K in a panel row, and its bytes.
    step_bytes
        Bytes of a step of K in a row of A.
    """

    @njit_as(name)
    def multiply_block(
        a, lda, n_rows, taps, tap_stride, n_in, panels, panel0, panel1, c, ldc, bias, residual, ldr, activation,
    ):  # fmt: skip
        """All of K for ``n_rows`` rows and panels ``panel0 .. panel1``, then the epilogue."""
        n_steps = taps * n_in
        for p in range(panel0, panel1):
            at = p * PANEL_BYTES
            for tap in range(taps):
                for k0 in range(0, n_in, K_BLOCK):
                    started = tap * n_in + k0
                    product(
                        a + tap * tap_stride + step_bytes * k0, lda, n_rows,
                        panels + (p * n_steps + started) // row_steps * row_bytes,
                        min(K_BLOCK, n_in - k0) // row_steps, c + at, ldc, started,
                    )  # fmt: skip
            if bias or residual or activation:
                finish(
                    c + at, ldc, n_rows, bias + at if bias else 0, residual + at if residual else 0, ldr,
                    activation, c + at, ldc,
                )  # fmt: skip

    return multiply_block


def _matmul(name, multiply_block):
    """Compile the sharing out of a matmul's blocks."""

    @njit_as(name)
    def share_matmul(args, sync, n_threads):
        """This thread's part of a matmul: claim blocks until none is left."""
        a, a_batch, lda, n_batch, n_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
        taps, tap_stride, n_in, panels, n_panels = (
            arg(args, 5),
            arg(args, 6),
            arg(args, 7),
            arg(args, 8),
            arg(args, 9),
        )
        c, c_batch, ldc, bias, residual = arg(args, 10), arg(args, 11), arg(args, 12), arg(args, 13), arg(args, 14)
        residual_batch, ldr, activation = arg(args, 15), arg(args, 16), arg(args, 17)
        rows_per_item, panels_per_item = split_rows(n_rows, n_batch, n_in, n_panels, n_threads)
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

    return share_matmul


MATMUL_PARAMS = (
    "a", "a_batch", "lda", "n_batch", "n_rows", "taps", "tap_stride", "n_in", "panels", "n_panels",
    "c", "c_batch", "ldc", "bias", "residual", "residual_batch", "ldr", "activation",
)  # fmt: skip


_share_f32 = _matmul("f32", block_multiplier("f32", rows_times_panel_f32, finish_rows, 1, PANEL_BYTES))
_share_f16 = _matmul("f16", block_multiplier("f16", rows_times_panel_f16, finish_rows, 1, PANEL_BYTES // 2))
_share_bf16 = _matmul("bf16", block_multiplier("bf16", rows_times_panel_bf16, finish_rows, 2, PANEL_BYTES))


@kernel(*MATMUL_PARAMS)
def matmul_f32(args, sync, thread, n_threads):
    """Float32 panels ``[N/32][taps * K][32]``.

    ``n_batch`` groups of ``n_rows`` rows. Row t of A begins at ``a + t*lda`` and is the ``taps`` pieces of ``n_in``
    elements at ``tap_stride`` bytes from each other: a convolution over frames is such a matmul.
    """
    _share_f32(args, sync, n_threads)


@kernel(*MATMUL_PARAMS)
def matmul_f16(args, sync, thread, n_threads):
    """Float16 panels ``[N/32][taps * K][32]``, widened exactly: the sums are those of ``matmul_f32``."""
    _share_f16(args, sync, n_threads)


@kernel(*MATMUL_PARAMS)
def matmul_bf16(args, sync, thread, n_threads):
    """bf16 panels ``[N/32][taps * K/2][32][2]``, widened exactly; K is even."""
    _share_bf16(args, sync, n_threads)
