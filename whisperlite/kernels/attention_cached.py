"""The decoder's cache of keys and values: appending to it, and causal attention over it.

In: query rows, new keys and values, cache rows and the table of who owns which position. Out: attention rows (heads
side by side), cache rows written. Knows nothing of: layers, beams, what is a prompt.

A few query rows are taken one at a time, as a decode step reads each key once. Of many, MAX_ROWS rows of a head
meet panels packed from the cache, in the matmul's register tiles.
"""

from __future__ import annotations

from llvmlite import ir

from whisperlite.kernels import cpu, elementary, scalars, simd
from whisperlite.kernels.attention import row_scale
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.scalars import copy_bytes, fill_zero, load_i32
from whisperlite.kernels.simd import F32, I64, LINE_BYTES, int64, vector
from whisperlite.kernels.softmax import LOWEST
from whisperlite.kernels.tiles import MAX_ROWS, PANEL, PANEL_BYTES, SUBPANELS, SUM_BYTES, whole_tile_f32

APPENDED_ROWS = 16  # of a work item
SCORED = 8  # positions that meet a query at a time; their addresses and sums stay in registers


@intrinsic
def row_max(typingctx, x, n):
    def emit(context, b, signature, args):
        x, n = args

        def step(b, acc, at, lanes):
            return simd.fmax(b, simd.load(b, b.add(x, at), vector(F32, lanes)), acc)

        return simd.reduce_row(b, n, -3.0e38, step, simd.fmax)

    return types.float32(types.int64, types.int64), emit


@intrinsic
def row_exp_sum(typingctx, x, n, top, scale):
    """x = exp((x - top) * scale) in place; gives the sum."""

    def emit(context, b, signature, args):
        x, n, top, scale = args

        def step(b, acc, at, lanes):
            place = b.add(x, at)
            shifted = b.fsub(simd.load(b, place, vector(F32, lanes)), simd.splat(b, top, lanes))
            value = elementary.exp(b, b.fmul(shifted, simd.splat(b, scale, lanes)))
            simd.store(b, value, place)
            return b.fadd(acc, value)

        return simd.reduce_row(b, n, 0.0, step, simd.add)

    f = types.float32
    return f(types.int64, types.int64, f, f), emit


@intrinsic
def scores_of(typingctx, q, size, keys, places, scores):
    """Products of a query of ``size`` numbers with the keys at SCORED places after ``keys``."""

    def emit(context, b, signature, args):
        q, size, keys, places, scores = args
        width = cpu.vector_width()
        kind = vector(F32, width)
        rows = [b.add(keys, simd.load(b, simd.offset(b, places, 8 * i), I64)) for i in range(SCORED)]

        def products(b, i, totals):
            at = b.mul(i, int64(4 * width))
            numbers = simd.load(b, b.add(q, at), kind)
            return [
                simd.fma(b, numbers, simd.load(b, b.add(row, at), kind), total)
                for row, total in zip(rows, totals, strict=True)
            ]

        n_whole = b.sdiv(size, int64(width))
        totals = simd.loop(b, n_whole, [simd.const(0.0, width)] * SCORED, products)
        for first in range(0, SCORED, width):
            sums = simd.reduce_each(b, totals[first : first + width], simd.add)
            for i in range(first, min(SCORED, first + width)):
                total = b.extract_element(sums, ir.Constant(simd.I32, i - first))
                simd.store(b, total, simd.offset(b, scores, 4 * i))

        def single(b, i, _):
            at = b.mul(i, int64(4))
            number = simd.load(b, b.add(q, at), F32)
            for r, row in enumerate(rows):
                place = simd.offset(b, scores, 4 * r)
                product = b.fmul(number, simd.load(b, b.add(row, at), F32))
                simd.store(b, b.fadd(simd.load(b, place, F32), product), place)
            return []

        simd.loop(b, size, [], single, b.mul(n_whole, int64(width)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


@intrinsic
def mix_values(typingctx, values, places, shares, n, size, factor, out):
    """Sum of the ``n`` rows of ``size`` numbers at places after ``values``, each times its share and ``factor``."""

    def emit(context, b, signature, args):
        values, places, shares, n, size, factor, out = args
        lanes = 4 * cpu.vector_width()  # their sums stay in registers

        def mix(b, at, lanes):
            kind = vector(F32, lanes)

            def add(b, p, total):
                row = b.add(values, simd.load(b, b.add(places, b.mul(p, int64(8))), I64))
                share = simd.splat(b, simd.load(b, b.add(shares, b.mul(p, int64(4))), F32), lanes)
                return [simd.fma(b, share, simd.load(b, b.add(row, at), kind), total[0])]

            (total,) = simd.loop(b, n, [simd.const(0.0, lanes)], add)
            simd.store(b, b.fmul(total, simd.splat(b, factor, lanes)), b.add(out, at))

        n_whole = b.sdiv(size, int64(lanes))

        def whole(b, i, _):
            mix(b, b.mul(i, int64(4 * lanes)), lanes)
            return []

        def single(b, i, _):
            mix(b, b.mul(i, int64(4)), 1)
            return []

        simd.loop(b, n_whole, [], whole)
        simd.loop(b, size, [], single, b.mul(n_whole, int64(lanes)))
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i, i, types.float32, i), emit


@intrinsic
def one_over(typingctx, value):
    def emit(context, b, signature, args):
        return b.fdiv(ir.Constant(F32, 1.0), args[0])

    return types.float32(types.float32), emit


@kernel("new", "new_batch", "ldn", "n_batch", "n_new", "past", "own_rows", "n_state", "cache", "cache_row", "ldc")
def cache_append_f32(args, sync, thread, n_threads):
    """cache[own_rows[b], past[b] + u] = new[b, u]."""
    new, new_batch, ldn, n_batch, n_new = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    past, own_rows, n_state = arg(args, 5), arg(args, 6), arg(args, 7)
    cache, cache_row, ldc = arg(args, 8), arg(args, 9), arg(args, 10)
    n_parts = (n_new + APPENDED_ROWS - 1) // APPENDED_ROWS
    while True:
        item = claim(sync)
        if item >= n_batch * n_parts:
            break
        batch, start = item // n_parts, item % n_parts * APPENDED_ROWS
        target = cache + load_i32(own_rows + 4 * batch) * cache_row + load_i32(past + 4 * batch) * ldc
        for u in range(start, min(n_new, start + APPENDED_ROWS)):
            copy_bytes(target + u * ldc, new + batch * new_batch + u * ldn, 4 * n_state)


CACHED_PARAMS = (
    "q", "q_batch", "ldq", "n_batch", "n_rows", "positions", "past", "own_rows", "cache_rows", "n_cache", "keys",
    "values", "cache_row", "ldc", "n_head", "head_size", "scale_bits", "out", "out_batch", "ldo", "scratch",
    "scratch_bytes",
)  # fmt: skip


@njit
def place_of(position, before, table, own, cache_row, ldc):
    """Bytes from the cache's start to a position of a sequence: of the shared past, or of its own row."""
    row = load_i32(table + 4 * position) if position < before else own
    return row * cache_row + position * ldc


@njit
def seen_by(row, before, positions):
    """Positions that a query row sees: those of the past and the new ones up to its own."""
    return before + 1 + (load_i32(positions + 4 * row) if positions else row)


@njit
def seen_by_any(start, stop, before, positions):
    """The most positions that one of the query rows ``start .. stop`` sees."""
    if not positions:
        return before + stop
    most = before
    for row in range(start, stop):
        most = max(most, seen_by(row, before, positions))
    return most


def cached_scratch_bytes(n_cache: int) -> int:
    """Scratch that each thread needs for ``cached_attention_f32``."""
    return 12 * (n_cache + SCORED)


@kernel(*CACHED_PARAMS)
def cached_attention_f32(args, sync, thread, n_threads):
    """Causal attention of new positions over the cache.

    Query row r of a sequence stands at position ``past[b] + positions[r]``, or ``past[b] + r`` where ``positions``
    is 0. Position p before ``past[b]`` is read from cache row ``cache_rows[b, p]`` (beams share their past without
    copies), later ones from ``own_rows[b]``. ``scratch``: a place and a score for each position.
    """
    q, q_batch, ldq, n_batch, n_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    positions, past, own_rows, cache_rows = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8)
    n_cache, keys, values, cache_row, ldc = arg(args, 9), arg(args, 10), arg(args, 11), arg(args, 12), arg(args, 13)
    n_head, head_size, scale = arg(args, 14), arg(args, 15), scalars.load_f32(args + 128)
    out, out_batch, ldo = arg(args, 17), arg(args, 18), arg(args, 19)
    places = arg(args, 20) + thread * arg(args, 21)
    scores = places + 8 * (n_cache + SCORED)
    while True:
        item = claim(sync)
        if item >= n_batch * n_rows * n_head:
            break
        head = item % n_head
        row = item // n_head % n_rows
        batch = item // (n_head * n_rows)
        before = load_i32(past + 4 * batch)
        own = load_i32(own_rows + 4 * batch)
        table = cache_rows + batch * n_cache * 4
        source = q + batch * q_batch + row * ldq + head * head_size * 4
        target = out + batch * out_batch + row * ldo + head * head_size * 4
        n_seen = seen_by(row, before, positions)
        n_scored = (n_seen + SCORED - 1) // SCORED * SCORED
        for p in range(n_scored):
            place = place_of(min(p, n_seen - 1), before, table, own, cache_row, ldc) + head * head_size * 4
            scalars.store_i64(places + 8 * p, place)
        for p in range(0, n_scored, SCORED):
            scores_of(source, head_size, keys, places + 8 * p, scores + 4 * p)
        top = row_max(scores, n_seen)
        share = one_over(row_exp_sum(scores, n_seen, top, scale))
        mix_values(values, places, scores, n_seen, head_size, share, target)


@njit
def padded_row_bytes(n_cache):
    """Bytes from row to row of scores: whole panels, and not a power of two."""
    return (n_cache + PANEL - 1) // PANEL * PANEL_BYTES + LINE_BYTES


@njit
def pack_sequence(
    keys, values, before, table, own, cache_row, ldc, n_seen, n_cache, head_size, key_panels, value_panels
):  # fmt: skip
    """The first ``n_seen`` positions of one head of a sequence as panels.

    Keys to [ceil(n_seen/32)][K][32], values to [ceil(K/32)][n_cache][32].
    """
    for position in range(n_seen):
        place = place_of(position, before, table, own, cache_row, ldc)
        panel = key_panels + position // PANEL * PANEL_BYTES * head_size
        if position % PANEL == 0 and n_seen - position < PANEL:
            fill_zero(panel, PANEL_BYTES * head_size)
        for k in range(head_size):
            value = scalars.load_f32(keys + place + 4 * k)
            scalars.store_f32(panel + k * PANEL_BYTES + position % PANEL * 4, value)
        for column in range(0, head_size, PANEL):
            width = min(PANEL, head_size - column)
            target = value_panels + (column // PANEL * n_cache + position) * PANEL_BYTES
            if width < PANEL:
                fill_zero(target, PANEL_BYTES)
            copy_bytes(target, values + place + 4 * column, 4 * width)


@njit
def times_panel(a, lda, panel, n_steps, c, ldc):
    """C[MAX_ROWS, 32] = A[MAX_ROWS] x panel of ``n_steps`` rows."""
    for s in range(SUBPANELS):
        at = s * SUM_BYTES
        whole_tile_f32(a, lda, panel + at, n_steps, c + at, ldc)


@njit
def attend_block(
    q, ldq, first, n_skipped, before, positions, key_panels, value_panels, n_cache, head_size, scale, scratch,
    target, ldt
):  # fmt: skip
    """Causal attention of MAX_ROWS query rows of one head, which are ``first`` and the next of their sequence.

    The first ``n_skipped`` of them are not written.
    """
    lds, n_panels = padded_row_bytes(n_cache), (head_size + PANEL - 1) // PANEL
    ldm = n_panels * PANEL_BYTES
    shares = scratch
    mixed = shares + LINE_BYTES
    scores = mixed + MAX_ROWS * ldm
    n_seen = seen_by_any(first, first + MAX_ROWS, before, positions)
    n_filled = (n_seen + PANEL - 1) // PANEL * PANEL
    for start in range(0, n_filled, PANEL):
        times_panel(q, ldq, key_panels + 4 * head_size * start, head_size, scores + 4 * start, lds)
    for row in range(MAX_ROWS):
        line, seen = scores + row * lds, seen_by(first + row, before, positions)
        for position in range(seen, n_filled):
            scalars.store_f32(line + 4 * position, LOWEST)
        top = row_max(line, n_filled)
        scalars.store_f32(shares + 4 * row, one_over(row_exp_sum(line, n_filled, top, scale)))
        fill_zero(line + 4 * seen, 4 * (n_seen - seen))
    for p in range(n_panels):
        times_panel(scores, lds, value_panels + p * n_cache * PANEL_BYTES, n_seen, mixed + p * PANEL_BYTES, ldm)
    for row in range(n_skipped, MAX_ROWS):
        row_scale(mixed + row * ldm, head_size, scalars.load_f32(shares + 4 * row), target + row * ldt)


def cached_blocks_scratch_bytes(n_cache: int, head_size: int) -> int:
    """Scratch that each thread needs for ``cached_attention_blocks_f32``."""
    n_positions, n_columns = -(-n_cache // PANEL) * PANEL, -(-head_size // PANEL) * PANEL
    panels = 4 * (n_positions * head_size + n_cache * n_columns)
    return panels + LINE_BYTES + MAX_ROWS * (4 * n_columns + 4 * n_positions + LINE_BYTES)


@kernel(*CACHED_PARAMS)
def cached_attention_blocks_f32(args, sync, thread, n_threads):
    """``cached_attention_f32`` for at least MAX_ROWS query rows; ``scratch``: panels and scores of one head."""
    q, q_batch, ldq, n_batch, n_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
    positions, past, own_rows, cache_rows = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8)
    n_cache, keys, values, cache_row, ldc = arg(args, 9), arg(args, 10), arg(args, 11), arg(args, 12), arg(args, 13)
    n_head, head_size, scale = arg(args, 14), arg(args, 15), scalars.load_f32(args + 128)
    out, out_batch, ldo = arg(args, 17), arg(args, 18), arg(args, 19)
    key_panels = arg(args, 20) + thread * arg(args, 21)
    value_panels = key_panels + (n_cache + PANEL - 1) // PANEL * PANEL * 4 * head_size
    scratch = value_panels + (head_size + PANEL - 1) // PANEL * n_cache * PANEL_BYTES
    # Heads are shared out; where they are few, parts of a head too, those that see the most first.
    n_owners, n_blocks = n_batch * n_head, (n_rows + MAX_ROWS - 1) // MAX_ROWS
    n_parts = max(1, min((4 * n_threads + n_owners - 1) // n_owners, n_blocks // 2))
    part_rows = (n_blocks + n_parts - 1) // n_parts * MAX_ROWS
    n_parts = (n_rows + part_rows - 1) // part_rows
    while True:
        item = claim(sync)
        if item >= n_owners * n_parts:
            break
        owner, part = item % n_owners, n_parts - 1 - item // n_owners
        batch, head_bytes = owner // n_head, owner % n_head * head_size * 4
        before = load_i32(past + 4 * batch)
        last = n_rows - MAX_ROWS  # first row of the last block, which takes rows of the one before along
        start, stop = part * part_rows, min(n_rows, (part + 1) * part_rows)
        pack_sequence(
            keys + head_bytes, values + head_bytes, before, cache_rows + batch * n_cache * 4,
            load_i32(own_rows + 4 * batch), cache_row, ldc, seen_by_any(min(start, last), stop, before, positions),
            n_cache, head_size, key_panels, value_panels,
        )  # fmt: skip
        for row in range(start, stop, MAX_ROWS):
            first = min(row, last)
            attend_block(
                q + batch * q_batch + first * ldq + head_bytes, ldq, first, row - first, before, positions,
                key_panels, value_panels, n_cache, head_size, scale, scratch,
                out + batch * out_batch + first * ldo + head_bytes, ldo,
            )  # fmt: skip
