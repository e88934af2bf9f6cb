"""Attention over packed keys and values.

In: query rows, key and value panels. Out: attention rows (heads side by side).
Knows nothing of: layers, beams, what is a window.

A block of query rows meets SPAN positions at a time under a running softmax: its scores stay in the first cache and
no score matrix is ever written to memory.
"""

from __future__ import annotations

import numpy as np

from whisperlite.kernels import scalars, simd
from whisperlite.kernels.compiler import intrinsic, njit_as, types
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.scalars import NOTHING, SINGLE, load_i32
from whisperlite.kernels.simd import F32, vector
from whisperlite.kernels.softmax import (
    CORRECTION,
    LOG2_E,
    LOWEST,
    SPAN,
    STATE_BYTES,
    UNIT,
    advance_states,
    clear_states,
    note_top,
    one_over_sum,
    soften_f32,
)
from whisperlite.kernels.tiles import (
    MAX_ROWS,
    PANEL,
    PANEL_BYTES,
    rows_times_panel_f16,
    rows_times_panel_f32,
)

ONE = np.float32(1.0)


@intrinsic
def row_scale(typingctx, x, n, scale, out):
    """out = x * scale."""

    def emit(context, b, signature, args):
        x, n, scale, out = args

        def body(b, at, lanes):
            value = simd.load(b, b.add(x, at), vector(F32, lanes))
            simd.store(b, b.fmul(value, simd.splat(b, scale, lanes)), b.add(out, at))

        simd.map_row(b, n, body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32, types.int64), emit


def share_attention(name, attend_rows, key_bytes, value_bytes):
    """Compile the sharing out of attention's work: items are blocks of query rows of one head.

    Parameters
    ----------
    name : str
        Of the dtype.
    attend_rows
        Compiled: attention of at most MAX_ROWS query rows over one head.
    key_bytes, value_bytes
        Compiled: bytes of the panels of one head, of (n_ctx, head_size).
    """

    @njit_as(name)
    def attend(args, sync, thread):
        q, q_batch, ldq, n_new, audio_rows = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
        n_audio, key_panels, value_panels, n_ctx = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8)
        n_head, head_size, scale = arg(args, 9), arg(args, 10), scalars.load_f32(args + 88)
        out, out_batch, ldo = arg(args, 12), arg(args, 13), arg(args, 14)
        scratch = arg(args, 15) + thread * arg(args, 16)
        item, first_item = claim(sync), 0
        for audio in range(n_audio):
            row0 = load_i32(audio_rows + 4 * audio) if audio_rows else audio
            row1 = load_i32(audio_rows + 4 * audio + 4) if audio_rows else audio + 1
            n_rows = (row1 - row0) * n_new
            # Query rows that lie one stride apart can share a tile across batch rows.
            together = n_rows if n_new == 1 else n_new
            ld_tile = q_batch if n_new == 1 else ldq
            ld_out = out_batch if n_new == 1 else ldo
            blocks = (together + MAX_ROWS - 1) // MAX_ROWS
            groups = 1 if n_new == 1 else row1 - row0
            while item < first_item + groups * blocks * n_head:
                local = item - first_item
                head = local // (groups * blocks)
                batch = row0 + local // blocks % groups
                first = local % blocks * MAX_ROWS
                owner = audio * n_head + head
                attend_rows(
                    q + batch * q_batch + first * ld_tile + head * head_size * 4, ld_tile,
                    min(MAX_ROWS, together - first), key_panels + owner * key_bytes(n_ctx, head_size),
                    value_panels + owner * value_bytes(n_ctx, head_size), n_ctx, head_size, scale, scratch,
                    out + batch * out_batch + first * ld_out + head * head_size * 4, ld_out,
                )  # fmt: skip
                item = claim(sync)
            first_item += groups * blocks * n_head

    return attend


def share_scores(name, score_row, key_bytes):
    """Compile the sharing out of the scores of chosen heads: items are query rows of one head.

    Parameters
    ----------
    name : str
        Of the dtype.
    score_row
        Compiled: scaled scores of one query row over one head.
    key_bytes
        Compiled: bytes of the key panels of one head, of (n_ctx, head_size).
    """

    @njit_as(name)
    def score(args, sync, thread):
        q, q_batch, ldq, n_batch, n_new = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
        audio_rows, n_audio, key_panels, n_ctx = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8)
        n_head, head_size, scale = arg(args, 9), arg(args, 10), scalars.load_f32(args + 88)
        heads, n_heads, out, ldo = arg(args, 12), arg(args, 13), arg(args, 14), arg(args, 15)
        scratch = arg(args, 16) + thread * arg(args, 17)
        while True:
            item = claim(sync)
            if item >= n_batch * n_new * n_heads:
                break
            row = item // n_heads
            batch, u = row // n_new, row % n_new
            head = load_i32(heads + 4 * (item % n_heads))
            audio = batch
            if audio_rows:
                audio = 0
                while audio + 1 < n_audio and load_i32(audio_rows + 4 * (audio + 1)) <= batch:
                    audio += 1
            keys = key_panels + (audio * n_head + head) * key_bytes(n_ctx, head_size)
            source = q + batch * q_batch + u * ldq + head * head_size * 4
            score_row(source, keys, n_ctx, head_size, scale, scratch, out + item * ldo)

    return score


def _attention(name, product, row_bytes):
    """Compile attention over key and value panels of one float dtype.

    Parameters
    ----------
    name : str
        Of the dtype.
    product
        Compiled: some rows times one panel.
    row_bytes
        Bytes of a panel row of 32 columns.
    """

    @njit_as(name)
    def key_bytes(n_ctx, head_size):
        return (n_ctx + PANEL - 1) // PANEL * row_bytes * head_size

    @njit_as(name)
    def value_bytes(n_ctx, head_size):
        return (head_size + PANEL - 1) // PANEL * n_ctx * row_bytes

    @njit_as(name)
    def attend_rows(q, ldq, n_rows, keys, values, n_ctx, head_size, scale, scratch, target, ldt):
        n_panels = (head_size + PANEL - 1) // PANEL
        states, lds, ldm = scratch, 4 * SPAN, n_panels * PANEL_BYTES
        scores = states + STATE_BYTES
        mixed = scores + MAX_ROWS * lds
        clear_states(states, n_rows)
        for row in range(n_rows):
            scalars.store_f32(states + UNIT + 4 * row, scale * LOG2_E)
        for start in range(0, n_ctx, SPAN):
            left = min(SPAN, n_ctx - start)
            for p in range((left + PANEL - 1) // PANEL):
                panel = keys + (start // PANEL + p) * head_size * row_bytes
                product(q, ldq, n_rows, panel, head_size, scores + p * PANEL_BYTES, lds, NOTHING)
            for row in range(n_rows):
                for t in range(left, SPAN):
                    scalars.store_f32(scores + row * lds + 4 * t, LOWEST)
                note_top(scores + row * lds, states, row)
            advance_states(states)
            for row in range(n_rows):
                soften_f32(scores + row * lds, states, row)
                correction = scalars.load_f32(states + CORRECTION + 4 * row)
                if start and correction != ONE:
                    row_scale(mixed + row * ldm, n_panels * PANEL, correction, mixed + row * ldm)
            for p in range(n_panels):
                panel = values + (p * n_ctx + start) * row_bytes
                product(scores, lds, n_rows, panel, left, mixed + p * PANEL_BYTES, ldm, start)
        for row in range(n_rows):
            row_scale(mixed + row * ldm, head_size, one_over_sum(states, row), target + row * ldt)

    @njit_as(name)
    def score_row(q, keys, n_ctx, head_size, scale, scores, target):
        for p in range((n_ctx + PANEL - 1) // PANEL):
            panel = keys + p * head_size * row_bytes
            product(q, NOTHING, SINGLE, panel, head_size, scores, NOTHING, NOTHING)
            row_scale(scores, min(PANEL, n_ctx - p * PANEL), scale, target + p * PANEL_BYTES)

    return share_attention(name, attend_rows, key_bytes, value_bytes), share_scores(name, score_row, key_bytes)


def attention_scratch_bytes(head_size: int) -> int:
    """Scratch that each thread needs for attention, whatever the dtype of keys and values."""
    n_columns = -(-head_size // PANEL) * PANEL
    return STATE_BYTES + MAX_ROWS * 5 * (SPAN + n_columns)


ATTENTION_PARAMS = (
    "q", "q_batch", "ldq", "n_new", "audio_rows", "n_audio", "key_panels", "value_panels", "n_ctx", "n_head",
    "head_size", "scale_bits", "out", "out_batch", "ldo", "scratch", "scratch_bytes",
)  # fmt: skip
SCORES_PARAMS = (
    "q", "q_batch", "ldq", "n_batch", "n_new", "audio_rows", "n_audio", "key_panels", "n_ctx", "n_head",
    "head_size", "scale_bits", "heads", "n_heads", "out", "ldo", "scratch",
    "scratch_bytes",
)  # fmt: skip

_attend_f32, _score_f32 = _attention("f32", rows_times_panel_f32, PANEL_BYTES)
_attend_f16, _score_f16 = _attention("f16", rows_times_panel_f16, PANEL_BYTES // 2)


@kernel(*ATTENTION_PARAMS)
def attention_packed_f32(args, sync, thread, n_threads):
    """Unmasked attention: batch rows ``audio_rows[a] .. audio_rows[a+1]`` attend to audio a.

    With ``audio_rows`` 0, batch row b attends to audio b. Each batch row has ``n_new`` query rows. ``scratch``
    gives every thread ``scratch_bytes``.
    """
    _attend_f32(args, sync, thread)


@kernel(*ATTENTION_PARAMS)
def attention_packed_f16(args, sync, thread, n_threads):
    """The same with keys and values in float16, widened exactly."""
    _attend_f16(args, sync, thread)


@kernel(*SCORES_PARAMS)
def cross_scores_f32(args, sync, thread, n_threads):
    """Scaled scores before softmax of chosen heads: rows of n_ctx, ``ldo`` apart, in order (B, n_new, n_heads)."""
    _score_f32(args, sync, thread)


@kernel(*SCORES_PARAMS)
def cross_scores_f16(args, sync, thread, n_threads):
    """The same with keys in float16."""
    _score_f16(args, sync, thread)
