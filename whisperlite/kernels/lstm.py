"""Kernels of a small recurrent network: LSTM over time, and magnitude, ReLU and sigmoid of rows.

In: addresses, sizes, strides in bytes. Out: rows written at ``out``.
Knows nothing of: speech, spectra, how the gates' inputs were made.
"""

from __future__ import annotations

from whisperlite.kernels import cpu, elementary, simd
from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.rows import ROWS_PER_ITEM, item_range
from whisperlite.kernels.simd import F32, Builder, Value, const, int64, vector

PANEL = 32  # columns of a weight panel
CHAINS = 4 if cpu.vector_width() >= 16 else 2  # sums kept apart, to hide the latency of an addition


def logistic(b: Builder, x: Value) -> Value:
    """``1 / (1 + e**-x)``, relative error 4e-7."""
    n = x.type.count
    e = elementary.exp(b, simd.fmin(b, b.fneg(x), const(88.0, n)))
    return b.fdiv(const(1.0, n), b.fadd(e, const(1.0, n)))


def tanh(b: Builder, x: Value) -> Value:
    """Absolute error 3e-7."""
    n = x.type.count
    return simd.fma(b, logistic(b, b.fadd(x, x)), const(2.0, n), const(-1.0, n))


@intrinsic
def row_relu(typingctx, x, n, out):
    def emit(context, b, signature, args):
        x, n, out = args

        def body(b, at, lanes):
            value = simd.load(b, b.add(x, at), vector(F32, lanes))
            simd.store(b, simd.fmax(b, value, const(0.0, lanes)), b.add(out, at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@intrinsic
def row_sigmoid(typingctx, x, n, out):
    def emit(context, b, signature, args):
        x, n, out = args

        def body(b, at, lanes):
            simd.store(b, logistic(b, simd.load(b, b.add(x, at), vector(F32, lanes))), b.add(out, at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@intrinsic
def row_magnitude(typingctx, real, imaginary, n, out):
    def emit(context, b, signature, args):
        real, imaginary, n, out = args

        def body(b, at, lanes):
            kind = vector(F32, lanes)
            re, im = simd.load(b, b.add(real, at), kind), simd.load(b, b.add(imaginary, at), kind)
            power = simd.fma(b, re, re, b.fmul(im, im))
            simd.store(b, simd.call(b, f"llvm.sqrt.v{lanes}f32", kind, [power]), b.add(out, at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), emit


@intrinsic
def panel_product(typingctx, panel, x, n, out):
    """``out[j] = sum over k < n of x[k] * panel[k][j]`` for the 32 columns of a panel."""

    def emit(context, b, signature, args):
        panel, x, n, out = args
        kind = vector(F32, PANEL)

        def term(b, k, total):
            weights = simd.load(b, b.add(panel, b.mul(k, int64(4 * PANEL))), kind)
            value = simd.load(b, b.add(x, b.mul(k, int64(4))), F32)
            return simd.fma(b, weights, simd.splat(b, value, PANEL), total)

        def several(b, i, totals):
            first = b.mul(i, int64(CHAINS))
            return [term(b, b.add(first, int64(j)), total) for j, total in enumerate(totals)]

        n_whole = b.sdiv(n, int64(CHAINS))
        totals = simd.loop(b, n_whole, [const(0.0, PANEL)] * CHAINS, several)
        done = b.mul(n_whole, int64(CHAINS))
        (last,) = simd.loop(b, b.sub(n, done), [totals[0]], lambda b, i, total: [term(b, b.add(done, i), total[0])])
        for total in totals[1:]:
            last = b.fadd(last, total)
        simd.store(b, last, out)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), emit


@intrinsic
def lstm_cell(typingctx, gates, recurrent, cell, n, out):
    """One step: gates and recurrent (4n: input, forget, cell, output), cell (n) to out (2n: hidden, cell)."""

    def emit(context, b, signature, args):
        gates, recurrent, cell, n, out = args
        width = b.mul(n, int64(4))

        def body(b, at, lanes):
            kind = vector(F32, lanes)

            def gate(index):
                place = b.add(b.mul(width, int64(index)), at)
                return b.fadd(simd.load(b, b.add(gates, place), kind), simd.load(b, b.add(recurrent, place), kind))

            kept = b.fmul(logistic(b, gate(1)), simd.load(b, b.add(cell, at), kind))
            new_cell = simd.fma(b, logistic(b, gate(0)), tanh(b, gate(2)), kept)
            simd.store(b, b.fmul(logistic(b, gate(3)), tanh(b, new_cell)), b.add(out, at))
            simd.store(b, new_cell, b.add(b.add(out, width), at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


@kernel("x", "ldx", "n_rows", "n_cols", "out", "ldo")
def relu_f32(args, sync, thread, n_threads):
    x, ldx, n_rows, n_cols = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    out, ldo = arg(args, 4), arg(args, 5)
    while True:
        first, last = item_range(claim(sync), ROWS_PER_ITEM, n_rows)
        if first >= n_rows:
            break
        for row in range(first, last):
            row_relu(x + row * ldx, n_cols, out + row * ldo)


@kernel("x", "ldx", "n_rows", "n_cols", "out", "ldo")
def sigmoid_f32(args, sync, thread, n_threads):
    x, ldx, n_rows, n_cols = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    out, ldo = arg(args, 4), arg(args, 5)
    while True:
        first, last = item_range(claim(sync), ROWS_PER_ITEM, n_rows)
        if first >= n_rows:
            break
        for row in range(first, last):
            row_sigmoid(x + row * ldx, n_cols, out + row * ldo)


@kernel("x", "ldx", "n_rows", "n_cols", "out", "ldo")
def magnitude_f32(args, sync, thread, n_threads):
    """A row of x is ``n_cols`` real parts, then as many imaginary ones."""
    x, ldx, n_rows, n_cols = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    out, ldo = arg(args, 4), arg(args, 5)
    while True:
        first, last = item_range(claim(sync), ROWS_PER_ITEM, n_rows)
        if first >= n_rows:
            break
        for row in range(first, last):
            row_magnitude(x + row * ldx, x + row * ldx + 4 * n_cols, n_cols, out + row * ldo)


@kernel(
    "gates", "gates_step", "ldg", "n_steps", "n_batch", "n_hidden", "panels", "state", "lds", "out", "out_step",
    "ldo", "scratch", "scratch_bytes",
)  # fmt: skip
def lstm_f32(args, sync, thread, n_threads):
    """Steps follow each other; only the rows of a batch run side by side.

    gates (T, B, 4H), state (B, 2H: hidden, cell), out (T, B, 2H); panels: recurrent weight (ceil(4H/32), H, 32).
    """
    gates, gates_step, ldg, n_steps = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    n_batch, n_hidden, panels, state, lds = arg(args, 4), arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8)
    out, out_step, ldo = arg(args, 9), arg(args, 10), arg(args, 11)
    recurrent = arg(args, 12) + thread * arg(args, 13)
    n_panels = (4 * n_hidden + PANEL - 1) // PANEL
    while True:
        row = claim(sync)
        if row >= n_batch:
            break
        before = state + row * lds
        for t in range(n_steps):
            for p in range(n_panels):
                panel = panels + p * n_hidden * 4 * PANEL
                panel_product(panel, before, n_hidden, recurrent + p * 4 * PANEL)
            after = out + t * out_step + row * ldo
            given = gates + t * gates_step + row * ldg
            lstm_cell(given, recurrent, before + 4 * n_hidden, n_hidden, after)
            before = after


def lstm_scratch_bytes(n_hidden: int) -> int:
    """Scratch of each thread for ``lstm_f32``."""
    return 4 * PANEL * -(-4 * n_hidden // PANEL)
