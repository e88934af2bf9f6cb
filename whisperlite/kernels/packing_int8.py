"""Keys and values of attention to panels of bytes.

In: float32 rows of keys and values. Out: panels. Knows nothing of: queries, layers.

    keys    for 32 positions: scales float32 [32], codes [K/4][32][4], less the mean key, which no softmax sees
    values  for 32 columns of a head, for each 128 positions: scales float32 [32], codes [32][32][4], signed

ref: SageAttention (Zhang et al. 2024) for keys less their mean.
"""

from __future__ import annotations

from llvmlite import ir

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.int8 import ZERO
from whisperlite.kernels.packing import pack_panel
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.rounding import put_codes, top_of_row
from whisperlite.kernels.scalars import fill_zero
from whisperlite.kernels.simd import F32, I32, int64, vector
from whisperlite.kernels.softmax import SPAN
from whisperlite.kernels.tiles import PANEL, PANEL_BYTES

SPAN_BYTES = PANEL_BYTES + SPAN // 4 * PANEL_BYTES  # of 32 columns of values
KEY_GROUP = 24  # panels of a work item; each computes the mean key


@njit
def key_panel_bytes(head_size):
    return (head_size + 4) * PANEL


@intrinsic
def mean_of_rows(typingctx, source, lds, n_rows, mean):
    """Minus the mean of rows of 32 columns."""

    def emit(context, b, signature, args):
        source, lds, n_rows, mean = args
        width = cpu.vector_width()
        kind, n_vectors = vector(F32, width), PANEL // width

        def add(b, t, totals):
            row = b.add(source, b.mul(lds, t))
            loaded = [simd.load(b, simd.offset(b, row, 4 * width * v), kind) for v in range(n_vectors)]
            return [b.fadd(total, x) for total, x in zip(totals, loaded, strict=True)]

        totals = simd.loop(b, n_rows, [simd.const(0.0, width)] * n_vectors, add)
        factor = simd.splat(b, b.fdiv(ir.Constant(F32, -1.0), b.sitofp(n_rows, F32)), width)
        for v, total in enumerate(totals):
            simd.store(b, b.fmul(total, factor), simd.offset(b, mean, 4 * width * v))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


@intrinsic
def quantize_keys(typingctx, source, lds, n_rows, mean, head_size, scratch, panel):
    """Up to 32 keys less ``mean``, whose sign is changed, to codes in ``scratch``; their scales to the panel.

    ``scratch``: a scale for each of 32 rows, then a vector of tops or the codes of each.
    """

    def emit(context, b, signature, args):
        source, lds, n_rows, mean, head_size, scratch, panel = args
        width = cpu.vector_width()
        kind = vector(F32, width)
        codes = simd.offset(b, scratch, PANEL_BYTES)

        def values_of(row):
            x = b.add(source, b.mul(row, lds))

            def values(i, count):
                first = b.mul(i, int64(4 * width * count))
                return [
                    b.fadd(*(simd.load(b, simd.offset(b, b.add(y, first), 4 * width * j), kind) for y in (x, mean)))
                    for j in range(count)
                ]

            return values

        def note_top(b, row, _):
            tops = top_of_row(b, values_of(row), head_size)
            simd.store(b, tops, b.add(codes, b.mul(row, int64(4 * width))))
            return []

        def codes_of_row(b, row, _):
            inverse = simd.splat(b, simd.load(b, b.add(scratch, b.mul(row, int64(4))), F32), width)
            put_codes(b, values_of(row), head_size, inverse, b.add(codes, b.mul(row, head_size)), ZERO)
            return []

        for row in range(PANEL):
            simd.store(b, simd.const(0.0, width), simd.offset(b, codes, 4 * width * row))
        simd.loop(b, n_rows, [], note_top)
        for first in range(0, PANEL, width):
            places = [simd.offset(b, codes, 4 * width * row) for row in range(first, first + width)]
            top = simd.reduce_each(b, [simd.load(b, place, kind) for place in places], simd.fmax)
            simd.store(b, b.fmul(top, simd.const(1 / 127, width)), simd.offset(b, panel, 4 * first))
            simd.store(b, simd.per(b, 127, top), simd.offset(b, scratch, 4 * first))
        simd.loop(b, n_rows, [], codes_of_row)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), emit


@kernel("k", "k_batch", "ldk", "n_batch", "n_ctx", "n_head", "head_size", "panels", "scratch", "scratch_bytes")
def pack_keys_int8(args, sync, thread, n_threads):
    """Keys (A, T, H*K) less their mean over T to panels [A][H][ceil(T/32)] of scales and codes.

    ``scratch``, for each thread: a row of a head, 32 scales, and 32 vectors of tops or rows of codes.
    """
    k, k_batch, ldk, n_batch, n_ctx = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_head, head_size, panels = arg(args, 5), arg(args, 6), arg(args, 7)
    mean = arg(args, 8) + thread * arg(args, 9)
    scratch = mean + 4 * head_size
    n_panels = (n_ctx + PANEL - 1) // PANEL
    n_groups = (n_panels + KEY_GROUP - 1) // KEY_GROUP
    while True:
        item = claim(sync)
        if item >= n_batch * n_head * n_groups:
            break
        group, owner = item % n_groups, item // n_groups
        source = k + owner // n_head * k_batch + owner % n_head * head_size * 4
        for column in range(0, head_size, PANEL):
            mean_of_rows(source + 4 * column, ldk, n_ctx, mean + 4 * column)
        for p in range(group * KEY_GROUP, min(n_panels, (group + 1) * KEY_GROUP)):
            first = p * PANEL
            n_rows, panel = min(PANEL, n_ctx - first), panels + (owner * n_panels + p) * key_panel_bytes(head_size)
            quantize_keys(source + first * ldk, ldk, n_rows, mean, head_size, scratch, panel)
            pack_panel(scratch + PANEL_BYTES, head_size, n_rows, head_size // 4, panel + PANEL_BYTES)


@intrinsic
def pack_span(typingctx, source, lds, n_positions, panel):
    """Up to SPAN positions of 32 columns to signed codes with a scale for each column."""

    def emit(context, b, signature, args):
        source, lds, n_positions, panel = args
        width = cpu.vector_width()
        kind, words = vector(F32, width), vector(I32, width)
        n_vectors = PANEL // width

        def row(b, t):
            place = b.add(source, b.mul(lds, t))
            return [simd.load(b, simd.offset(b, place, 4 * width * v), kind) for v in range(n_vectors)]

        def highest(b, t, tops):
            return [simd.fmax(b, simd.fabs(b, x), top) for x, top in zip(row(b, t), tops, strict=True)]

        tops = simd.loop(b, n_positions, [simd.const(0.0, width)] * n_vectors, highest)
        inverse = []
        for v, top in enumerate(tops):
            simd.store(b, b.fmul(top, simd.const(1 / 127, width)), simd.offset(b, panel, 4 * width * v))
            inverse.append(simd.per(b, 127, top))
        codes = simd.offset(b, panel, PANEL_BYTES)

        def code(b, x, v):
            return b.fptosi(simd.rint(b, b.fmul(x, inverse[v])), words)

        def quad(b, i, _):
            first = b.mul(i, int64(4))
            rows = [row(b, b.add(first, int64(j))) for j in range(4)]
            for v in range(n_vectors):
                word = b.and_(code(b, rows[0][v], v), simd.const_int(255, width))
                for j in range(1, 4):
                    byte = b.and_(code(b, rows[j][v], v), simd.const_int(255, width))
                    word = b.or_(word, b.shl(byte, simd.const_int(8 * j, width)))
                simd.store(b, word, b.add(codes, b.add(b.mul(i, int64(PANEL_BYTES)), int64(4 * width * v))))
            return []

        n_whole = b.sdiv(n_positions, int64(4))
        simd.loop(b, n_whole, [], quad)
        done = b.mul(n_whole, int64(4))

        # Positions of a last quad that is not whole are added to its word one by one.
        def single(b, i, _):
            for v, x in enumerate(row(b, b.add(done, i))):
                place = b.add(codes, b.add(b.mul(n_whole, int64(PANEL_BYTES)), int64(4 * width * v)))
                byte = b.and_(code(b, x, v), simd.const_int(255, width))
                shift = simd.splat(b, b.trunc(b.mul(i, int64(8)), I32), width)
                simd.store(b, b.or_(simd.load(b, place, words), b.shl(byte, shift)), place)
            return []

        simd.loop(b, b.sub(n_positions, done), [], single)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


@kernel("v", "v_batch", "ldv", "n_batch", "n_ctx", "n_head", "head_size", "panels")
def pack_values_int8(args, sync, thread, n_threads):
    """Values (A, T, H*K) to panels [A][H][K/32][ceil(T/128)] of scales and codes; K is a multiple of 32."""
    v, v_batch, ldv, n_batch, n_ctx = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_head, head_size, panels = arg(args, 5), arg(args, 6), arg(args, 7)
    n_spans, n_panels = (n_ctx + SPAN - 1) // SPAN, head_size // PANEL
    while True:
        item = claim(sync)
        if item >= n_batch * n_head * n_panels * n_spans:
            break
        span, column = item % n_spans, item // n_spans % n_panels * PANEL
        owner = item // (n_spans * n_panels)
        source = v + owner // n_head * v_batch + (owner % n_head * head_size + column) * 4
        count = min(SPAN, n_ctx - span * SPAN)
        panel = panels + item * SPAN_BYTES
        if count < SPAN:
            fill_zero(panel, SPAN_BYTES)
        pack_span(source + span * SPAN * ldv, ldv, count, panel)
