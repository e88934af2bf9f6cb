"""Attention on keys and values in 8 bits: byte products, float32 sums, no score row longer than 128 positions.

In: query rows, quantised key and value panels. Out: attention rows. Knows nothing of: layers, beams, windows.

Scores are sums of products of unsigned key bytes (zero 128) and signed query bytes. Probabilities become unsigned
bytes, each 128 positions scaled to their own maximum, so that one sharp position does not round the others away.
Everything a span of 128 positions needs stays in the first cache.

    keys    for 32 positions: scales float32 [32], codes [K/4][32][4], less the mean key, which no softmax sees
    values  for 32 columns of a head, for each 128 positions: scales float32 [32], codes [32][32][4], signed

ref: SageAttention (Zhang et al. 2024) for keys less their mean.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.attention import (
    ATTENTION_PARAMS,
    SCORES_PARAMS,
    row_scale,
    share_attention,
    share_scores,
)
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.int8 import (
    FLOAT_ZERO,
    HEAD_BYTES,
    UNROLL,
    byte_products,
    dot_bytes,
    round_chunk,
    round_chunk_unsigned,
)
from whisperlite.kernels.packing import pack_panel
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.rows import row_add
from whisperlite.kernels.simd import F32, I32, NOTHING, SINGLE, fill_zero, int64, vector
from whisperlite.kernels.softmax import (
    CORRECTION,
    FACTOR,
    LOG2_E,
    LOWEST,
    SPAN,
    START,
    STATE_BYTES,
    SUMS,
    TOP,
    UNIT,
    add_to_sum,
    advance_states,
    clear_states,
    note_tops,
    of_row,
    one_over_sum,
)
from whisperlite.kernels.tiles import (
    MAX_ROWS,
    PANEL,
    PANEL_BYTES,
    SUBPANELS,
    TILE_COLUMNS,
    TILE_ROWS,
    TILE_VECTORS,
    largest_tile,
    tile_switch,
)

SPAN_BYTES = PANEL_BYTES + SPAN // 4 * PANEL_BYTES  # of 32 columns of values
SMALLEST_UNIT = np.float32(1.0e-15)
# What a score is below the top is counted in 1024ths of a base-2 logarithm, in 16 bits. 15 bits of probability, of
# which one code is 2**7 and the rounding bit 2**6, are shifted by the whole part and those 6 bits.
FRACTION_BITS = 10
SHIFTED = 6 << FRACTION_BITS
CODE_SCALE = 255 * 2**7


def _score_tile(b, kind, n_rows, q, ldq, states, row0, panel, column, n_quads, out, ldo):
    """Scores, in units of each row, of ``n_rows`` queries for TILE_COLUMNS positions."""
    width = cpu.vector_width()
    kind = vector(F32, width)
    first = b.add(b.add(states, int64(START)), b.mul(row0, int64(4)))
    starts = []
    for r in range(n_rows):
        start = simd.splat(b, simd.load(b, simd.offset(b, first, 4 * r), I32), width)
        starts += [start] * TILE_VECTORS
    (totals,), scales = byte_products(b, [q], n_rows, ldq, panel, column, n_quads, [starts], True)
    zeros = [b.fmul(scale, simd.const(-FLOAT_ZERO, width)) for scale in scales]
    for r in range(n_rows):
        target = b.add(out, b.mul(ldo, int64(r)))
        for v in range(TILE_VECTORS):
            value = simd.fma(b, b.bitcast(totals[r * TILE_VECTORS + v], kind), scales[v], zeros[v])
            simd.store(b, value, simd.offset(b, target, 4 * width * v))


def _value_tile(b, kind, n_rows, p, ldp, states, row0, panel, column, n_quads, out, ldo):
    """out = out * correction + probabilities x values, for TILE_COLUMNS columns."""
    width = cpu.vector_width()
    kind = vector(F32, width)
    starts = [ir.Constant(vector(I32, width), None)] * (n_rows * TILE_VECTORS)
    (totals,), scales = byte_products(b, [p], n_rows, ldp, panel, column, n_quads, [starts], False)
    states = b.add(states, b.mul(row0, int64(4)))
    for r in range(n_rows):
        correction = simd.splat(b, simd.load(b, simd.offset(b, states, CORRECTION + 4 * r), F32), width)
        factor = simd.splat(b, simd.load(b, simd.offset(b, states, FACTOR + 4 * r), F32), width)
        target = b.add(out, b.mul(ldo, int64(r)))
        for v in range(TILE_VECTORS):
            place = simd.offset(b, target, 4 * width * v)
            kept = b.fmul(simd.load(b, place, kind), correction)
            total = b.sitofp(totals[r * TILE_VECTORS + v], kind)
            simd.store(b, simd.fma(b, total, b.fmul(scales[v], factor), kept), place)


@intrinsic
def score_tile(typingctx, n_rows, q, ldq, states, row0, panel, column, n_quads, out, ldo):
    return tile_switch(_score_tile, None, TILE_ROWS, 10)


@intrinsic
def value_tile(typingctx, n_rows, p, ldp, states, row0, panel, column, n_quads, out, ldo):
    return tile_switch(_value_tile, None, TILE_ROWS, 10)


def _codes(b, below):
    """``255 * 2**-(below / 1024)``, rounded, for int16 ``below``; relative error 2e-3 before rounding.

    ``below`` counts from SHIFTED on.
    """
    kind = below.type
    wide = vector(I32, kind.count)

    def const(value):
        return ir.Constant(kind, [round(value)] * kind.count)

    def high_half(x, y):
        product = b.mul(b.zext(x, wide), b.zext(y, wide))
        return b.trunc(b.lshr(product, simd.const_int(16, kind.count)), kind)

    fraction = b.shl(below, const(16 - FRACTION_BITS))
    whole = b.lshr(below, const(FRACTION_BITS))
    p = high_half(fraction, const(0.168593554 * CODE_SCALE))
    p = high_half(fraction, b.sub(const(0.666004927 * CODE_SCALE), p))
    p = b.sub(const(0.998274168 * CODE_SCALE), p)
    return b.lshr(b.add(simd.shift_right(b, p, whole), const(1)), const(1))


@intrinsic
def soften_int8(typingctx, scores, codes, states, row):
    """Scores of SPAN positions of one row to unsigned bytes, relative to the span's top; their sum to the row's."""

    def emit(context, b, signature, args):
        scores, codes, states, row = args
        width = cpu.vector_width()
        kind, words = vector(F32, width), vector(I32, width)
        steps = simd.const(2.0**FRACTION_BITS, width)
        unit = b.fneg(b.fmul(of_row(b, states, row, UNIT, width), steps))
        top = simd.fma(b, of_row(b, states, row, TOP, width), steps, simd.const(float(SHIFTED), width))
        ones = simd.const_int(0x01010101, width)
        total = ir.Constant(words, None)
        for i in range(0, SPAN, 4 * width):
            below = []
            for j in range(i, i + 4 * width, width):
                score = simd.load(b, simd.offset(b, scores, 4 * j), kind)
                below.append(simd.round_saturated(b, simd.fma(b, score, unit, top)))
            pairs = [_codes(b, simd.pack_pair(b, *below[j : j + 2])) for j in (0, 2)]
            quads = simd.pack_bytes(b, pairs, False)
            simd.store(b, quads, simd.offset(b, codes, i))
            total = dot_bytes(b, total, quads, ones)
        add_to_sum(b, states, row, b.sitofp(total, kind), of_row(b, states, row, FACTOR, width))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


@njit
def quantize_queries(source, lds, n_rows, head_size, scale, codes, states):
    """Rows of a head to signed bytes; of each the unit of its scores, and what its sums begin with."""
    head = states + SUMS  # not needed yet
    for row in range(n_rows):
        round_chunk(source + row * lds, head_size, codes + row * head_size, NOTHING, head)
        # Not zero: a position that is not there must stay below all others.
        simd.store_f32(states + UNIT + 4 * row, max(simd.load_f32(head) * scale, SMALLEST_UNIT))
        simd.store_i32(states + START + 4 * row, simd.load_i32(head + 4))
    fill_zero(head, HEAD_BYTES)


@njit
def scores_of_panel(codes, states, n_rows, head_size, panel, scores, lds):
    """Scores of query rows for the 32 positions of a panel, in units of each row."""
    for s in range(SUBPANELS):
        row = 0
        while row < n_rows:
            taken = largest_tile(n_rows - row)
            score_tile(
                taken, codes + row * head_size, head_size, states, row, panel, s * TILE_COLUMNS, head_size // 4,
                scores + row * lds + 4 * s * TILE_COLUMNS, lds,
            )  # fmt: skip
            row += taken


@njit
def key_panel_bytes(head_size):
    return (head_size + 4) * PANEL


@njit
def key_bytes(n_ctx, head_size):
    return (n_ctx + PANEL - 1) // PANEL * key_panel_bytes(head_size)


@njit
def value_bytes(n_ctx, head_size):
    return head_size // PANEL * ((n_ctx + SPAN - 1) // SPAN) * SPAN_BYTES


@njit
def quads_of(n_positions):
    """Quads that hold so many positions; those past them have a probability of 0."""
    return (n_positions + 4 * UNROLL - 1) // (4 * UNROLL) * UNROLL


@njit
def attend_rows(source, lds, n_rows, keys, values, n_ctx, head_size, scale, scratch, target, ldt):
    """Attention of ``n_rows`` queries, at most MAX_ROWS, over one head."""
    lds_scores, ldo = 4 * SPAN, 4 * head_size
    states = scratch
    scores = states + STATE_BYTES
    mixed = scores + MAX_ROWS * lds_scores
    shares = mixed + MAX_ROWS * ldo
    codes = shares + MAX_ROWS * SPAN
    n_spans = (n_ctx + SPAN - 1) // SPAN
    clear_states(states, n_rows)
    fill_zero(mixed, n_rows * ldo)
    quantize_queries(source, lds, n_rows, head_size, scale * LOG2_E, codes, states)
    for span in range(n_spans):
        left = min(SPAN, n_ctx - span * SPAN)
        for p in range((left + PANEL - 1) // PANEL):
            panel = keys + (span * (SPAN // PANEL) + p) * key_panel_bytes(head_size)
            scores_of_panel(codes, states, n_rows, head_size, panel, scores + p * PANEL_BYTES, np.int64(lds_scores))
        for row in range(n_rows):
            for t in range(left, SPAN):
                simd.store_f32(scores + row * lds_scores + 4 * t, LOWEST)
        note_tops(scores, states)
        advance_states(states)
        for row in range(n_rows):
            soften_int8(scores + row * lds_scores, shares + row * SPAN, states, row)
        for column in range(0, head_size, TILE_COLUMNS):
            panel = values + (column // PANEL * n_spans + span) * SPAN_BYTES
            row = 0
            while row < n_rows:
                taken = largest_tile(n_rows - row)
                value_tile(
                    taken, shares + row * SPAN, SPAN, states, row, panel, column % PANEL, quads_of(left),
                    mixed + row * ldo + 4 * column, ldo,
                )  # fmt: skip
                row += taken
    for row in range(n_rows):
        row_scale(mixed + row * ldo, head_size, one_over_sum(states, row), target + row * ldt)


@njit
def score_row(source, keys, n_ctx, head_size, scale, scratch, target):
    """Scaled scores of one query for all positions of one head."""
    states, scores, codes = scratch, scratch + STATE_BYTES, scratch + STATE_BYTES + PANEL_BYTES
    quantize_queries(source, NOTHING, SINGLE, head_size, scale, codes, states)
    for p in range((n_ctx + PANEL - 1) // PANEL):
        panel = keys + p * key_panel_bytes(head_size)
        scores_of_panel(codes, states, SINGLE, head_size, panel, scores, np.int64(PANEL_BYTES))
        count = min(PANEL, n_ctx - p * PANEL)
        row_scale(scores, count, simd.load_f32(states + UNIT), target + p * PANEL_BYTES)


_attend = share_attention("int8", attend_rows, key_bytes, value_bytes)
_score = share_scores("int8", score_row, key_bytes)


@kernel(*ATTENTION_PARAMS)
def attention_packed_int8(args, sync, thread, n_threads):
    """``attention_packed_f32`` on keys and values in 8 bits."""
    _attend(args, sync, thread)


@kernel(*SCORES_PARAMS)
def cross_scores_int8(args, sync, thread, n_threads):
    """``cross_scores_f32`` on keys in 8 bits, less the same for all positions: q times the mean key."""
    _score(args, sync, thread)


KEY_GROUP = 24  # panels of a work item; each computes the mean key


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


@njit
def quantize_keys(source, lds, n_rows, mean, head_size, scratch, panel):
    """Up to 32 keys less ``mean``, whose sign is changed, to a panel.

    ``scratch``: a row, its head and the codes of 32 rows.
    """
    head, codes = scratch + 4 * head_size, scratch + 4 * head_size + HEAD_BYTES
    fill_zero(panel, PANEL_BYTES)
    for row in range(n_rows):
        row_add(source + row * lds, mean, head_size, scratch)
        round_chunk_unsigned(scratch, head_size, codes + row * head_size, NOTHING, head)
        simd.store_f32(panel + 4 * row, simd.load_f32(head))
    pack_panel(codes, head_size, n_rows, head_size // 4, panel + PANEL_BYTES)


@kernel("k", "k_batch", "ldk", "n_batch", "n_ctx", "n_head", "head_size", "panels", "scratch", "scratch_bytes")
def pack_keys_int8(args, sync, thread, n_threads):
    """Keys (A, T, H*K) less their mean over T to panels [A][H][ceil(T/32)] of scales and codes.

    ``scratch``: two rows of a head, 16 bytes, and the codes of 32 rows a thread.
    """
    k, k_batch, ldk, n_batch, n_ctx = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    n_head, head_size, panels = arg(args, 5), arg(args, 6), arg(args, 7)
    mean = arg(args, 8) + thread * arg(args, 9)
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
            quantize_keys(
                source + first * ldk, ldk, min(PANEL, n_ctx - first), mean, head_size, mean + 4 * head_size,
                panels + (owner * n_panels + p) * key_panel_bytes(head_size),
            )  # fmt: skip


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
            positive = b.fcmp_ordered(">", top, simd.const(0.0, width))
            inverse.append(b.select(positive, b.fdiv(simd.const(127.0, width), top), simd.const(0.0, width)))
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
