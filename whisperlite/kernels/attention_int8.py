"""Attention on keys and values in 8 bits: byte products, float32 sums, no score row longer than 128 positions.

In: query rows, quantised key and value panels. Out: attention rows. Knows nothing of: layers, beams, windows.

Scores are sums of products of unsigned key bytes (zero 128) and signed query bytes. They are kept as costs: int16,
steps of a base-2 logarithm downwards. Probabilities become unsigned bytes, each 128 positions scaled to their own
maximum, so that one sharp position does not round the others away.
Everything a span of 128 positions needs stays in the first cache. Keys and values lie in panels of
``packing_int8``.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from whisperlite.kernels import cpu, scalars, simd
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
    FLOAT_ZERO_BITS,
    UNROLL,
    ZERO,
    byte_products,
    dot_bytes,
)
from whisperlite.kernels.packing_int8 import SPAN_BYTES, key_panel_bytes
from whisperlite.kernels.registry import kernel
from whisperlite.kernels.rounding import put_codes, top_of_row
from whisperlite.kernels.scalars import NOTHING, SINGLE, fill_zero
from whisperlite.kernels.simd import F32, I16, I32, int64, vector
from whisperlite.kernels.softmax import (
    CORRECTION,
    FACTOR,
    FLOOR,
    LANES,
    LOG2_E,
    SPAN,
    START,
    STATE_BYTES,
    STEP,
    SUMS,
    TOP,
    UNIT,
    add_to_sum,
    advance_states,
    clear_states,
    of_row,
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

COST_PITCH = 2 * SPAN
HIGHEST_COST = 2**15 - 1
# Steps of a base-2 logarithm, in which costs count: scores beyond 1600 (with a table; else 350) are all one,
# where rounded keys leave little to tell. With a table what is 127 steps below the top becomes 0.
STEPS = 14 if simd.has_look_up() else 64
ONE_STEP = np.float32(-1 / STEPS)  # of cost, as a base-2 logarithm
TABLE = [*(round(255 * 2 ** (-i / STEPS)) for i in range(127)), 0]
# Without one: 15 bits of probability, of which one code is 2**7 and the rounding bit 2**6, are shifted by the whole
# part of the logarithm and those 6 bits.
FRACTION_BITS = 6
SHIFTED = 0 if simd.has_look_up() else 6 << FRACTION_BITS
CODE_SCALE = 255 * 2**7


def _scores(b, n_rows, q, ldq, states, row0, panel, column, n_quads):
    """Scores of ``n_rows`` queries for TILE_COLUMNS positions, in units of each row: a function of the row.

    Scaled row by row, so that stores need not wait for all of them.
    """
    width = cpu.vector_width()
    # Loaded for each vector anew: a copy of a register takes turns with the products, a load does not.
    first = b.add(b.add(states, int64(START)), b.mul(row0, int64(4)))
    places = [simd.opaque(b, first) for _ in range(TILE_VECTORS)]
    starts = [
        simd.splat(b, simd.load(b, simd.offset(b, place, 4 * r), I32), width)
        for r in range(n_rows)
        for place in places
    ]
    (totals,), scales = byte_products(b, [q], n_rows, ldq, panel, column, n_quads, [starts], True)
    return _scaled(b, totals, scales)


def _scaled(b, totals, scales):
    """Sums that began with FLOAT_ZERO_BITS times the scales of their columns: a function of the row."""
    zeros = [b.fmul(scale, simd.const(-FLOAT_ZERO, scale.type.count)) for scale in scales]

    def scaled_row(r):
        row = totals[r * TILE_VECTORS : (r + 1) * TILE_VECTORS]
        return [
            simd.fma(b, b.bitcast(total, scale.type), scale, zero)
            for total, scale, zero in zip(row, scales, zeros, strict=True)
        ]

    return scaled_row


def _score_tile(b, _, n_rows, q, ldq, states, row0, panel, column, n_quads, out, ldo):
    """Scores, in units of each row, as float32."""
    width = cpu.vector_width()
    scores_of = _scores(b, n_rows, q, ldq, states, row0, panel, column, n_quads)
    for r in range(n_rows):
        target = b.add(out, b.mul(ldo, int64(r)))
        for v, score in enumerate(scores_of(r)):
            simd.store(b, score, simd.offset(b, target, 4 * width * v))


def _cost_tile(b, _, n_rows, q, ldq, states, row0, panel, column, n_quads, out, ldo):
    """Scores in steps downwards, as int16 in the order of ``pack_pair``."""
    width = cpu.vector_width()
    scores_of = _scores(b, n_rows, q, ldq, states, row0, panel, column, n_quads)
    steps = b.add(b.add(states, int64(STEP)), b.mul(row0, int64(4)))
    for r in range(n_rows):
        step = simd.splat(b, simd.load(b, simd.offset(b, steps, 4 * r), F32), width)
        pair = [simd.round_saturated(b, b.fmul(score, step)) for score in scores_of(r)]
        simd.store(b, simd.pack_pair(b, *pair), b.add(out, b.mul(ldo, int64(r))))


def _value_tile(b, _, n_rows, p, ldp, states, row0, panel, column, n_quads, out, ldo):
    """out = out * correction + probabilities x values, for TILE_COLUMNS columns."""
    width = cpu.vector_width()
    kind = vector(F32, width)
    starts = [simd.const_int(FLOAT_ZERO_BITS, width)] * (n_rows * TILE_VECTORS)
    (totals,), scales = byte_products(b, [p], n_rows, ldp, panel, column, n_quads, [starts], False)
    values_of = _scaled(b, totals, scales)
    states = b.add(states, b.mul(row0, int64(4)))
    for r in range(n_rows):
        correction = simd.splat(b, simd.load(b, simd.offset(b, states, CORRECTION + 4 * r), F32), width)
        factor = simd.splat(b, simd.load(b, simd.offset(b, states, FACTOR + 4 * r), F32), width)
        target = b.add(out, b.mul(ldo, int64(r)))
        for v, value in enumerate(values_of(r)):
            place = simd.offset(b, target, 4 * width * v)
            kept = b.fmul(simd.load(b, place, kind), correction)
            simd.store(b, simd.fma(b, value, factor, kept), place)


@intrinsic
def score_tile(typingctx, n_rows, q, ldq, states, row0, panel, column, n_quads, out, ldo):
    return tile_switch(_score_tile, None, (1,), 10)


@intrinsic
def cost_tile(typingctx, n_rows, q, ldq, states, row0, panel, column, n_quads, out, ldo):
    return tile_switch(_cost_tile, None, TILE_ROWS, 10)


@intrinsic
def value_tile(typingctx, n_rows, p, ldp, states, row0, panel, column, n_quads, out, ldo):
    return tile_switch(_value_tile, None, TILE_ROWS, 10)


@intrinsic
def bar_absent(typingctx, costs, n_positions):
    """The highest cost for positions of a span that are not there, for MAX_ROWS rows."""

    def emit(context, b, signature, args):
        costs, n_positions = args
        width = cpu.vector_width()
        kind = vector(I16, 2 * width)
        # The order of ``pack_pair``: four of the first vector, four of the second.
        order = [i // 8 * 4 + i % 4 + i // 4 % 2 * width for i in range(2 * width)]
        count = simd.splat(b, b.trunc(n_positions, I16), 2 * width)
        for first in range(0, SPAN, 2 * width):
            is_there = b.icmp_signed("<", ir.Constant(kind, [first + i for i in order]), count)
            for row in range(MAX_ROWS):
                place = simd.offset(b, costs, COST_PITCH * row + 2 * first)
                cost = b.select(is_there, simd.load(b, place, kind), ir.Constant(kind, [HIGHEST_COST] * 2 * width))
                simd.store(b, cost, place)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def note_lowest(typingctx, costs, states):
    """Note the lowest cost of a span for each of MAX_ROWS rows, and what ``soften_int8`` subtracts from costs."""

    def emit(context, b, signature, args):
        costs, states = args
        width = cpu.vector_width()
        kind, words = vector(I16, 2 * width), vector(I32, width)
        half = simd.const_int(16, width)
        lowest = []
        for row in range(MAX_ROWS):
            costs_of_row = simd.offset(b, costs, COST_PITCH * row)
            places = [simd.offset(b, costs_of_row, 2 * first) for first in range(0, SPAN, 2 * width)]
            low = simd.load(b, places[0], kind)
            for place in places[1:]:
                low = simd.smin(b, simd.load(b, place, kind), low)
            # The lower one of each pair to the upper half of its 32 bits, whose order that half decides.
            moved = b.shl(b.bitcast(low, words), half)
            lowest.append(b.bitcast(simd.smin(b, b.bitcast(moved, kind), low), words))
        for first in range(0, MAX_ROWS, width):
            low = b.ashr(simd.reduce_each(b, lowest[first : first + width], simd.smin), half)
            simd.store(b, b.sitofp(low, vector(F32, width)), simd.offset(b, states, TOP + 4 * first))
            floor = low
            if SHIFTED:
                floor, smallest = b.sub(low, simd.const_int(SHIFTED, width)), simd.const_int(-(2**15), width)
                floor = b.select(b.icmp_signed(">", floor, smallest), floor, smallest)
            twice = b.or_(b.shl(floor, half), b.and_(floor, simd.const_int(0xFFFF, width)))
            simd.store(b, twice, simd.offset(b, states, FLOOR + 4 * first))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


def _codes(b, below):
    """``255 * 2**-(below / STEPS)``, rounded, for int16 ``below``; relative error 2e-3 before rounding.

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
def soften_int8(typingctx, costs, codes, states, row):
    """Costs of SPAN positions of one row to unsigned bytes, relative to the span's top; their sum to the row's."""

    def emit(context, b, signature, args):
        costs, codes, states, row = args
        width = cpu.vector_width()
        kind, words = vector(I16, 2 * width), vector(I32, width)
        place = simd.offset(b, b.add(states, b.mul(row, int64(4))), FLOOR)
        floor = b.bitcast(simd.splat(b, simd.load(b, place, I32), width), kind)
        ones = simd.const_int(0x01010101, width)
        total = ir.Constant(words, None)
        for first in range(0, SPAN, 4 * width):
            places = [simd.offset(b, costs, 2 * i) for i in (first, first + 2 * width)]
            below = [simd.subtract_saturated(b, simd.load(b, place, kind), floor) for place in places]
            if simd.has_look_up():
                quads = simd.look_up(b, TABLE, simd.pack_bytes(b, below, True))
            else:
                quads = simd.pack_bytes(b, [_codes(b, x) for x in below], False)
            simd.store(b, quads, simd.offset(b, codes, first))
            total = dot_bytes(b, total, quads, ones)
        factor = of_row(b, states, row, FACTOR, width)
        add_to_sum(b, states, row, b.sitofp(total, vector(F32, width)), factor)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


def _combined(b, states, kind, combine):
    """What stands in SUMS for each of MAX_ROWS rows, a vector, as one number a row: (first row, vector) pairs."""
    width = cpu.vector_width()
    for first in range(0, MAX_ROWS, width):
        places = [
            simd.offset(b, states, SUMS + 4 * LANES * row) for row in range(first, min(MAX_ROWS, first + width))
        ]
        yield first, simd.reduce_each(b, [simd.load(b, place, kind) for place in places], combine)


def _sums_of_row(b, states, row):
    return simd.offset(b, b.add(states, b.mul(row, int64(4 * LANES))), SUMS)


@intrinsic
def quantize_queries(typingctx, source, lds, n_rows, head_size, scale, codes, states):
    """Rows of a head to signed bytes; of each the unit of its scores times ``scale``, and the start of its sums.

    SUMS must be zero and are again. What is reduced to one number a row is reduced for all rows at once.
    """

    def emit(context, b, signature, args):
        source, lds, n_rows, head_size, scale, codes, states = args
        width = cpu.vector_width()
        kind, words = vector(F32, width), vector(I32, width)

        def values_of(row):
            x = b.add(source, b.mul(row, lds))

            def values(i, count):
                first = b.add(x, b.mul(i, int64(4 * width * count)))
                return [simd.load(b, simd.offset(b, first, 4 * width * j), kind) for j in range(count)]

            return values

        def note_top(b, row, _):
            simd.store(b, top_of_row(b, values_of(row), head_size), _sums_of_row(b, states, row))
            return []

        def codes_of_row(b, row, _):
            inverse = of_row(b, states, row, FACTOR, width)
            total = put_codes(b, values_of(row), head_size, inverse, b.add(codes, b.mul(row, head_size)))
            simd.store(b, total, _sums_of_row(b, states, row))
            return []

        simd.loop(b, n_rows, [], note_top)
        unit = simd.splat(b, b.fmul(scale, ir.Constant(F32, 1 / 127)), width)
        for first, top in _combined(b, states, kind, simd.fmax):
            simd.store(b, b.fmul(top, unit), simd.offset(b, states, STEP + 4 * first))
            simd.store(b, simd.per(b, 127, top), simd.offset(b, states, FACTOR + 4 * first))
        simd.loop(b, n_rows, [], codes_of_row)
        for first, total in _combined(b, states, words, lambda b, x, y: b.add(x, y)):
            start = b.sub(simd.const_int(FLOAT_ZERO_BITS, width), b.mul(total, simd.const_int(ZERO, width)))
            simd.store(b, start, simd.offset(b, states, START + 4 * first))
        for row in range(MAX_ROWS):
            simd.store(b, ir.Constant(words, None), simd.offset(b, states, SUMS + 4 * LANES * row))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, types.float32, *[types.int64] * 2), emit


@intrinsic
def divide_by_sums(typingctx, rows, ldr, n_rows, head_size, states, target, ldt):
    """target = rows / the sum of each row's probabilities; FACTOR is lost."""

    def emit(context, b, signature, args):
        rows, ldr, n_rows, head_size, states, target, ldt = args
        width = cpu.vector_width()
        kind = vector(F32, width)
        for first, total in _combined(b, states, kind, simd.add):
            simd.store(b, b.fdiv(simd.const(1.0, width), total), simd.offset(b, states, FACTOR + 4 * first))

        def divide(b, row, _):
            x, out = b.add(rows, b.mul(row, ldr)), b.add(target, b.mul(row, ldt))
            factor = of_row(b, states, row, FACTOR, width)

            def pair(b, i, _):
                for j in range(2):
                    at = b.add(b.mul(i, int64(8 * width)), int64(4 * width * j))
                    simd.store(b, b.fmul(simd.load(b, b.add(x, at), kind), factor), b.add(out, at))
                return []

            simd.loop(b, b.sdiv(head_size, int64(2 * width)), [], pair)
            return []

        simd.loop(b, n_rows, [], divide)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), emit


@njit
def costs_of_panel(codes, states, n_rows, head_size, panel, costs):
    """Costs of query rows for the 32 positions of a panel."""
    for s in range(SUBPANELS):
        row = 0
        while row < n_rows:
            taken = largest_tile(n_rows - row)
            cost_tile(
                taken, codes + row * head_size, head_size, states, row, panel, s * TILE_COLUMNS, head_size // 4,
                costs + row * COST_PITCH + 2 * s * TILE_COLUMNS, COST_PITCH,
            )  # fmt: skip
            row += taken


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
    ldo = 4 * head_size
    states = scratch
    costs = states + STATE_BYTES
    mixed = costs + MAX_ROWS * COST_PITCH
    shares = mixed + MAX_ROWS * ldo
    codes = shares + MAX_ROWS * SPAN
    n_spans = (n_ctx + SPAN - 1) // SPAN
    clear_states(states, n_rows)
    for row in range(n_rows):
        scalars.store_f32(states + UNIT + 4 * row, ONE_STEP)
    fill_zero(mixed, n_rows * ldo)
    quantize_queries(source, lds, n_rows, head_size, scale * LOG2_E / ONE_STEP, codes, states)
    for span in range(n_spans):
        left = min(SPAN, n_ctx - span * SPAN)
        for p in range((left + PANEL - 1) // PANEL):
            panel = keys + (span * (SPAN // PANEL) + p) * key_panel_bytes(head_size)
            costs_of_panel(codes, states, n_rows, head_size, panel, costs + 2 * p * PANEL)
        if left < SPAN:
            bar_absent(costs, left)
        note_lowest(costs, states)
        advance_states(states)
        for row in range(n_rows):
            soften_int8(costs + row * COST_PITCH, shares + row * SPAN, states, row)
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
    divide_by_sums(mixed, ldo, n_rows, head_size, states, target, ldt)


@njit
def score_row(source, keys, n_ctx, head_size, scale, scratch, target):
    """Scaled scores of one query for all positions of one head."""
    states, scores, codes = scratch, scratch + STATE_BYTES, scratch + STATE_BYTES + PANEL_BYTES
    clear_states(states, SINGLE)
    quantize_queries(source, NOTHING, SINGLE, head_size, scale, codes, states)
    for p in range((n_ctx + PANEL - 1) // PANEL):
        panel = keys + p * key_panel_bytes(head_size)
        for column in range(0, PANEL, TILE_COLUMNS):
            score_tile(
                1, codes, head_size, states, 0, panel, column, head_size // 4, scores + 4 * column, PANEL_BYTES
            )  # fmt: skip
        count = min(PANEL, n_ctx - p * PANEL)
        row_scale(scores, count, scalars.load_f32(states + STEP), target + p * PANEL_BYTES)


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
