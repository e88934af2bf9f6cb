"""Kernels on bytes against float64 and against the same rounding in NumPy, with guards around every buffer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernel_memory import Guarded, float_bits, round_up, rows
from numba import njit, types
from numba.extending import intrinsic

from whisperlite.kernels import (
    attention,
    attention_int8,
    cpu,
    elementary,
    matmul_int8,
    mlp_int8,
    packing_int8,
    simd,
)
from whisperlite.kernels.reference import ops as reference
from whisperlite.kernels.rounding import (
    GELU_LOWEST,
    GELU_MARGIN,
    GELU_SCRATCH_BYTES,
    _has_lines,
    round_gelu_of_rows,
)
from whisperlite.kernels.rounding_rows import normalize_rows, round_to_bytes
from whisperlite.kernels.rows import layer_norm_f32
from whisperlite.runtime.panels import int8_chunk, new_panels, pack_f32, pack_int8, round_int8, unpack_int8

ROOT = Path(__file__).parent.parent


def relative(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def panel_shapes(n_audio, n_head, n_ctx, head_size):
    keys = (n_audio, n_head, -(-n_ctx // 32), head_size + 4, 32)
    return keys, (n_audio, n_head, head_size // 32, 132 * -(-n_ctx // 128), 32)


def packed(x, n_head, is_keys):
    """Panels of keys or values (A, T, D)."""
    n_audio, n_ctx, n_state = x.shape
    head_size = n_state // n_head
    source = rows(x)
    panels = Guarded(panel_shapes(n_audio, n_head, n_ctx, head_size)[0 if is_keys else 1], np.int8)
    name, kernel = ("k", packing_int8.pack_keys_int8) if is_keys else ("v", packing_int8.pack_values_int8)
    batch, pitch = source.array.strides[:2]
    arguments = {name: source.address, f"{name}_batch": batch, f"ld{name}": pitch}
    scratch = Guarded((128 * head_size,), np.uint8)
    if is_keys:
        arguments |= {"scratch": scratch.address, "scratch_bytes": scratch.array.nbytes}
    kernel(n_batch=n_audio, n_ctx=n_ctx, n_head=n_head, head_size=head_size, panels=panels.address, **arguments)
    panels.check()
    scratch.check()
    return panels


@pytest.mark.parametrize("n_ctx", [1, 3, 32, 45, 128, 131, 300])
@pytest.mark.parametrize("n_head, head_size", [(1, 64), (1, 96), (3, 32)])
def test_panels_hold_what_the_reference_packs(n_ctx, n_head, head_size):
    x = np.random.default_rng(n_ctx).standard_normal((2, n_ctx, n_head * head_size)).astype(np.float32) + 1
    heads = reference.split_heads(x, n_head)
    keys = reference.unpack_keys(packed(x, n_head, True).array, n_ctx)
    centred = heads - heads.mean(2, keepdims=True)
    np.testing.assert_allclose(keys, centred, atol=np.abs(centred).max() / 250)
    values = reference.unpack_values(packed(x, n_head, False).array, n_ctx, head_size)
    np.testing.assert_allclose(values, heads, atol=np.abs(heads).max() / 250)
    for is_keys, pack in ((True, reference.pack_keys), (False, reference.pack_values)):
        out = np.zeros(panel_shapes(2, n_head, n_ctx, head_size)[0 if is_keys else 1], np.int8)
        pack(x, out=out, n_head=n_head, dtype="int8")
        same = out.view(np.uint8) == packed(x, n_head, is_keys).array.view(np.uint8)
        assert same.mean() > 0.98  # the last bit of a mean may turn a code or a scale


def attend(q, keys, values, n_head, n_ctx, audio_rows=None):
    n_batch, n_new, n_state = q.shape
    head_size = n_state // n_head
    query, out = rows(q), Guarded((n_batch, n_new, round_up(n_state, 32)))
    scratch = Guarded((attention.attention_scratch_bytes(head_size),), np.uint8)
    offsets = Guarded.of(np.array(audio_rows, np.int32)) if audio_rows else None
    attention_int8.attention_packed_int8(
        q=query.address, q_batch=query.array.strides[0], ldq=query.array.strides[1], n_new=n_new,
        audio_rows=offsets.address if offsets else 0, n_audio=len(keys.array), key_panels=keys.address,
        value_panels=values.address, n_ctx=n_ctx, n_head=n_head, head_size=head_size,
        scale_bits=float_bits(head_size**-0.5), out=out.address, out_batch=out.array.strides[0],
        ldo=out.array.strides[1], scratch=scratch.address, scratch_bytes=scratch.array.nbytes,
    )  # fmt: skip
    out.check()
    scratch.check()
    return out.array[..., :n_state]


def exact_attention(q, k, v, n_head, audio):
    heads = [reference.split_heads(x.astype(np.float64), n_head) for x in (q, k[audio], v[audio])]
    scores = heads[0] @ heads[1].swapaxes(-1, -2) * heads[0].shape[-1] ** -0.5
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return reference.join_heads(e / e.sum(-1, keepdims=True) @ heads[2])


@pytest.mark.parametrize("n_ctx", [1, 31, 45, 128, 129, 300])
@pytest.mark.parametrize("n_new", [1, 2, 13])
@pytest.mark.parametrize("n_head, head_size", [(1, 64), (1, 96), (3, 32)])
def test_attention_is_close(n_ctx, n_new, n_head, head_size):
    rng = np.random.default_rng(n_ctx)
    q = rng.standard_normal((5, n_new, n_head * head_size)).astype(np.float32) * 2
    k, v = rng.standard_normal((2, 3, n_ctx, n_head * head_size)).astype(np.float32) + 1
    keys, values = packed(k, n_head, True), packed(v, n_head, False)
    got = attend(q, keys, values, n_head, n_ctx, [0, 2, 2, 5])
    want = exact_attention(q, k, v, n_head, [0, 0, 2, 2, 2])
    assert relative(got, want) < 0.02


def test_one_sharp_position_leaves_the_others_their_share():
    """A score so large that its span's other probabilities round to 0 takes nothing from the other spans."""
    q = np.zeros((1, 1, 64), np.float32)
    q[..., 0] = 8
    k, v = np.zeros((1, 1024, 64), np.float32), np.ones((1, 1024, 64), np.float32)
    k[0, 500, 0] = 6.5  # as much as some 660 of the others
    v[0, 500] = -1
    got = attend(q, packed(k, 1, True), packed(v, 1, False), 1, 1024)
    want = exact_attention(q, k, v, 1, [0])
    np.testing.assert_allclose(got, want, atol=0.15)


@pytest.mark.parametrize("spread, limit", [(1, 0.025), (2, 0.032), (3, 0.032)])
def test_many_positions_of_spread_scores_are_close(spread, limit):
    """Probabilities from 1 down to those that round to nothing in one span and not in another."""
    rng = np.random.default_rng(spread)
    q = rng.standard_normal((1, 24, 64)).astype(np.float32) * spread
    k, v = rng.standard_normal((2, 1, 1500, 64)).astype(np.float32)
    got = attend(q, packed(k, 1, True), packed(v, 1, False), 1, 1500)
    assert relative(got, exact_attention(q, k, v, 1, [0])) < limit


@pytest.mark.parametrize("n_ctx", [45, 300])
@pytest.mark.parametrize("size", [100, 1e3, 1e8])
def test_large_scores_single_out_one_position(n_ctx, size):
    """Scores that int16 cannot count are as good as one another, and no other row sees them."""
    k = np.zeros((1, n_ctx, 64), np.float32)
    k[0, :, 0] = np.random.default_rng(0).permutation(np.repeat([-1.0, -0.5], [n_ctx // 2, n_ctx - n_ctx // 2]))
    k[0, 17, 0] = 1
    v = np.random.default_rng(1).standard_normal((1, n_ctx, 64)).astype(np.float32)
    q = np.zeros((1, 2, 64), np.float32)
    q[:, 0, 0], q[:, 1, 0] = size, 8
    got = attend(q, packed(k, 1, True), packed(v, 1, False), 1, n_ctx)
    if size < 1e8:
        np.testing.assert_allclose(got[0, 0], v[0, 17], atol=0.03)
    assert np.abs(got[0, 0]).max() < 1.02 * np.abs(v).max()
    np.testing.assert_allclose(got[0, 1], exact_attention(q, k, v, 1, [0])[0, 1], atol=0.02)


def test_a_query_of_zeros_gives_the_mean():
    v = np.random.default_rng(0).standard_normal((1, 45, 64)).astype(np.float32)
    got = attend(np.zeros((1, 2, 64), np.float32), packed(v, 1, True), packed(v, 1, False), 1, 45)
    np.testing.assert_allclose(got, v.mean(1, keepdims=True).repeat(2, 1), atol=0.01)


def test_scores_differ_from_exact_ones_by_the_same_for_all_positions():
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((1, 4, 96)).astype(np.float32), rng.standard_normal((1, 45, 96)).astype(np.float32)
    keys, query, heads = packed(k, 3, True), rows(q), Guarded.of(np.array([2, 0], np.int32))
    out = Guarded((1, 4, 2, 64))
    scratch = Guarded((attention.attention_scratch_bytes(32),), np.uint8)
    attention_int8.cross_scores_int8(
        q=query.address, q_batch=query.array.strides[0], ldq=query.array.strides[1], n_batch=1, n_new=4,
        audio_rows=0, n_audio=1, key_panels=keys.address, n_ctx=45, n_head=3, head_size=32,
        scale_bits=float_bits(32**-0.5), heads=heads.address, n_heads=2, out=out.address, ldo=256,
        scratch=scratch.address, scratch_bytes=scratch.array.nbytes,
    )  # fmt: skip
    out.check()
    scratch.check()
    split = [reference.split_heads(x, 3) for x in (q, k)]
    want = (split[0] @ split[1].swapaxes(-1, -2) * 32**-0.5)[0, [2, 0]].swapaxes(0, 1)
    difference = out.array[0, ..., :45] - want
    assert np.ptp(difference, axis=-1).max() < 0.08


@pytest.mark.parametrize("n_in, n_out", [(32, 1), (64, 33), (80, 40), (128, 40), (384, 70)])
def test_weights_are_packed_as_numpy_rounds_them(n_in, n_out):
    weight = np.random.default_rng(n_in).standard_normal((n_out, n_in)).astype(np.float32)
    weight[0] = 0
    unpacked = unpack_int8(pack_int8(weight))
    np.testing.assert_allclose(unpacked[:n_out], round_int8(weight, int8_chunk(n_in)), atol=1e-6)
    assert not unpacked[n_out:].any()


@pytest.mark.parametrize("n_in, n_out", [(32, 33), (384, 64), (90, 40)])
def test_float16_weights_are_packed_as_their_float32_values(n_in, n_out):
    halves = np.random.default_rng(n_in).standard_normal((n_out, n_in)).astype(np.float16)
    np.testing.assert_array_equal(pack_f32(halves), pack_f32(halves.astype(np.float32)))
    if int8_chunk(n_in):
        np.testing.assert_array_equal(pack_int8(halves), pack_int8(halves.astype(np.float32)))


def pack_as(weight, dtype, taps=1):
    return pack_int8(weight, 1, new_panels(dtype, *weight.shape, taps=taps))


def multiply(
    x, weight, taps=1, stride=1, bias=None, residual=None, gelu=False, pad=0, is_fine=True, dtype="int8", norm=()
):  # fmt: skip
    """x (B, F, N), weight (D, taps * N): what the kernel makes of them, and its panels as float32."""
    n_batch, n_frames, n_in = x.shape
    n_out, chunk = len(weight), int8_chunk(n_in, dtype)
    n_rows = (n_frames - taps) // stride + 1
    panels, frames = Guarded.of(pack_as(weight, dtype, taps)), rows(x, n_in + pad)
    out = Guarded((n_batch, n_rows, round_up(n_out, 32)))
    n_scratch = matmul_int8.int8_scratch_bytes(n_rows, n_in, taps, stride, chunk, is_fine)
    scratch = Guarded((n_scratch,), np.uint8)
    added = rows(residual) if residual is not None else None
    offsets = rows(bias[None]) if bias is not None else None
    matmul_int8.matmul_int8(
        a=frames.address, a_batch=frames.array.strides[0], ldf=frames.array.strides[1], n_batch=n_batch,
        n_rows=n_rows, taps=taps, stride=stride, n_in=n_in, chunk=chunk, panels=panels.address,
        n_panels=-(-n_out // 32), c=out.address, c_batch=out.array.strides[0], ldc=out.array.strides[1],
        bias=offsets.address if offsets else 0, residual=added.address if added else 0,
        residual_batch=added.array.strides[0] if added else 0, ldr=added.array.strides[1] if added else 0,
        activation=int(gelu), scratch=scratch.address, scratch_bytes=n_scratch,
        is_fine=int(is_fine), gamma=norm[0] if norm else 0, beta=norm[1] if norm else 0, eps_bits=float_bits(1e-5),
    )  # fmt: skip
    out.check()
    scratch.check()
    return out.array[..., :n_out], unpack_int8(panels.array)[:n_out].astype(np.float64)


@pytest.mark.parametrize("is_fine", [True, False])
@pytest.mark.parametrize("n_rows", [1, 2, 5, 7, 24, 25, 100, 301])
@pytest.mark.parametrize(
    "n_in, n_out, dtype",
    [(32, 1, "int8"), (64, 33, "int8"), (80, 40, "int8"), (384, 40, "int8"), (384, 96, "int8_long"),
     (1024, 33, "int8_long")],
)  # fmt: skip
def test_rows_times_weights(n_rows, n_in, n_out, dtype, is_fine):
    rng = np.random.default_rng(n_rows + n_in)
    x = rng.standard_normal((1, n_rows, n_in)).astype(np.float32)
    x[0, 0] = 0
    weight = rng.standard_normal((n_out, n_in)).astype(np.float32)
    got, kept = multiply(x, weight, is_fine=is_fine, dtype=dtype)
    want = x.astype(np.float64) @ kept.T
    limit = 3e-4 if is_fine else 0.018  # of two bytes only the weights' rounding is left
    assert np.abs(got - want).max() <= limit * max(np.abs(want).max(), np.sqrt(n_in))


def test_a_row_is_the_same_whatever_is_beside_it():
    """Up to 24 rows: a token checked in a batch gets the bits that it gets alone."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 24, 128)).astype(np.float32)
    weight = rng.standard_normal((64, 128)).astype(np.float32)
    together, _ = multiply(x, weight)
    for n in (1, 2, 5, 9):
        np.testing.assert_array_equal(multiply(x[:, :n], weight)[0], together[:, :n])


def test_sums_of_the_largest_codes_fit():
    """All products at their largest, over the longest chunk, in one byte and in two."""
    x, weight = np.full((1, 30, 512), -1, np.float32), np.full((32, 512), 1, np.float32)
    for sign in (1, -1):
        for is_fine in (True, False):
            got, _ = multiply(sign * x, weight, is_fine=is_fine, dtype="int8_long")
            np.testing.assert_allclose(got, -512 * sign, rtol=1e-6)


def test_a_convolution_has_whole_chunks_in_each_tap():
    """Chunks are those of a frame, where the frames of a row together would allow longer ones."""
    rng = np.random.default_rng(6)
    x, weight = rng.standard_normal((1, 40, 512)).astype(np.float32), rng.standard_normal((32, 3 * 512))
    got, kept = multiply(x, weight.astype(np.float32), taps=3, is_fine=False, dtype="int8_long")
    want = np.stack([x[0, t : t + 3].reshape(-1) for t in range(38)]) @ kept.T
    assert np.abs(got[0] - want).max() <= 0.018 * np.abs(want).max()


@pytest.mark.parametrize("is_fine", [True, False])
@pytest.mark.parametrize("n_in", [32, 80])
@pytest.mark.parametrize("n_frames", [9, 90])
def test_frames_with_taps_and_epilogue(n_frames, n_in, is_fine):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, n_frames, n_in)).astype(np.float32)
    weight = rng.standard_normal((40, 3 * n_in)).astype(np.float32)
    bias = rng.standard_normal(40).astype(np.float32)
    n_rows = (n_frames - 3) // 2 + 1
    residual = rng.standard_normal((2, n_rows, 40)).astype(np.float32)
    got, kept = multiply(
        x, weight, taps=3, stride=2, bias=bias, residual=residual, gelu=True, pad=16, is_fine=is_fine
    )
    windows = np.stack([x[:, 2 * t : 2 * t + 3].reshape(2, -1) for t in range(n_rows)], 1)
    sums = windows @ kept.T + bias
    want = np.empty_like(sums)
    reference.gelu(sums, out=want)
    limit = 3e-4 if is_fine else 0.02
    assert np.abs(got - want - residual).max() < limit * np.abs(sums).max()


@pytest.mark.parametrize("is_fine", [True, False])
@pytest.mark.parametrize("n_rows", [5, 130])
def test_a_norm_before_a_matmul_is_a_norm_of_its_own(n_rows, is_fine):
    """To the bit in two bytes; else sums of another order turn a code here and there."""
    rng = np.random.default_rng(n_rows)
    x, gamma, beta = (rng.standard_normal((n, 384)).astype(np.float32) for n in (n_rows, 1, 1))
    weight, normal = rng.standard_normal((64, 384)).astype(np.float32), Guarded((n_rows, 384))
    given, norm, offset = rows(x), rows(gamma), rows(beta)
    layer_norm_f32(
        x=given.address, ldx=given.array.strides[0], gamma=norm.address, beta=offset.address, n_rows=n_rows,
        n_cols=384, eps_bits=float_bits(1e-5), out=normal.address, ldo=4 * 384,
    )  # fmt: skip
    more = {"is_fine": is_fine, "dtype": "int8_long"}
    got, _ = multiply(x[None], weight, norm=(norm.address, offset.address), **more)
    want, _ = multiply(normal.array[None], weight, **more)
    if is_fine:
        np.testing.assert_array_equal(got, want)
    assert relative(got, want) < 5e-4


@njit
def round_rows_to_bytes(x, ldx, n_rows, size, codes, ldq, scales):
    round_to_bytes(x, ldx, n_rows, size, codes, ldq, scales, 8)


@pytest.mark.parametrize("size", [16, 80, 128, 384])
@pytest.mark.parametrize("n_rows", [1, 4, 11])
def test_rows_are_rounded_about_128(n_rows, size):
    x = np.random.default_rng(size).standard_normal((n_rows, size)).astype(np.float32)
    x *= np.logspace(-3, 3, n_rows, dtype=np.float32)[:, None]
    x[n_rows // 2] = 0
    source, codes, scales = rows(x, size + 16), Guarded((n_rows, size), np.uint8), Guarded((n_rows, 2))
    scales.array[:] = -1
    pitch = source.array.strides[0]
    round_rows_to_bytes(source.address, pitch, n_rows, size, codes.address, size, scales.address)
    for made in (source, codes, scales):
        made.check()
    tops = np.abs(x).max(1, keepdims=True)
    np.testing.assert_allclose(scales.array[:, :1], tops / 127, rtol=1e-6)
    assert (scales.array[:, 1] == -1).all()
    exact = x / np.maximum(tops, 1e-30) * 127 + 128
    assert np.abs(codes.array - exact).max() <= 0.5001
    for row in range(n_rows):
        alone, scale = Guarded((1, size), np.uint8), Guarded((1, 2))
        round_rows_to_bytes(source.address + row * pitch, pitch, 1, size, alone.address, size, scale.address)
        np.testing.assert_array_equal(alone.array[0], codes.array[row])
        assert scale.array[0, 0] == scales.array[row, 0]


@njit
def normal_rows(x, ldx, n_rows, gamma, beta, size, out, ldo):
    normalize_rows(x, ldx, n_rows, gamma, beta, size, 1e-5, out, ldo)


@pytest.mark.parametrize("size", [16, 80, 384])
@pytest.mark.parametrize("n_rows", [1, 4, 11])
def test_rows_go_through_a_norm(n_rows, size):
    rng = np.random.default_rng(size)
    x, gamma, beta = (rng.standard_normal((n, size)).astype(np.float32) for n in (n_rows, 1, 1))
    x += 30 * rng.standard_normal((n_rows, 1)).astype(np.float32)
    source, out, factor, offset = rows(x, size + 16), Guarded((n_rows, size)), rows(gamma), rows(beta)
    pitch = source.array.strides[0]
    normal_rows(source.address, pitch, n_rows, factor.address, offset.address, size, out.address, 4 * size)
    for made in (source, out):
        made.check()
    centred = x.astype(np.float64) - x.mean(1, keepdims=True, dtype=np.float64)
    want = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * gamma + beta
    np.testing.assert_allclose(out.array, want, atol=1e-4)
    for row in range(n_rows):
        alone = Guarded((1, size))
        place = source.address + row * pitch
        normal_rows(place, pitch, 1, factor.address, offset.address, size, alone.address, 4 * size)
        np.testing.assert_array_equal(alone.array[0], out.array[row])


@njit
def round_gelu(x, ldx, n_rows, size, codes, ldq, scales, ld_scales, scratch):
    round_gelu_of_rows(x, ldx, n_rows, size, codes, ldq, scales, ld_scales, scratch)


GELU_ERROR = 2.1e-3  # of straight lines; of a polynomial 4e-4


def gelu_codes(x):
    """Codes and scales of rows (R, N) of GELU."""
    (n_rows, n), scratch = x.shape, Guarded((GELU_SCRATCH_BYTES,), np.uint8)
    source, codes, scales = rows(x, n + 16), Guarded((n_rows, n + 5), np.uint8), Guarded((n_rows, 3))
    codes.array[:], scales.array[:] = 77, 77
    pitch = source.array.strides[0]
    round_gelu(source.address, pitch, n_rows, n, codes.address, n + 5, scales.address, 12, scratch.address)
    for made in (source, codes, scales, scratch):
        made.check()
    assert (codes.array[:, n:] == 77).all() and (scales.array[:, 1:] == 77).all()
    return codes.array[:, :n], scales.array[:, :1]


@pytest.mark.parametrize("n_rows, n", [(1, 32), (3, 80), (16, 384), (37, 112)])
@pytest.mark.parametrize("middle, spread", [(0, 1), (0, 12), (-3, 0.5), (4, 3), (-0.75, 0.01), (0, 1e-3), (0, 1e6)])
def test_gelu_is_rounded_from_its_lowest_value_up(n_rows, n, middle, spread):
    x = np.linspace(middle - spread, middle + spread, n_rows * n).astype(np.float32)
    x = np.random.default_rng(n).permutation(x).reshape(n_rows, n)
    wanted = np.empty_like(x)
    reference.gelu(x, out=wanted)
    codes, steps = gelu_codes(x)
    top = np.maximum(wanted.max(1, keepdims=True), 0)
    np.testing.assert_allclose(steps, (top + GELU_LOWEST + GELU_MARGIN) / 255, rtol=3e-3)
    error = np.abs(steps * codes - GELU_LOWEST - wanted)
    assert (error < 0.51 * steps + GELU_ERROR + 1e-4 * np.abs(x).max()).all()


def test_gelu_of_bytes_has_an_even_error():
    """Rounding to 255 codes and straight lines together, over values as they come out of a norm and weights."""
    x = np.random.default_rng(0).standard_normal((200, 384)).astype(np.float32)
    wanted = np.empty_like(x)
    reference.gelu(x, out=wanted)
    codes, steps = gelu_codes(x)
    error = steps * codes - GELU_LOWEST - wanted
    assert abs(error.mean()) < 2e-4
    assert np.sqrt((error**2).mean()) < np.sqrt((steps**2).mean() / 12 + 7e-4**2)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_gelu_of_bytes_on_other_cpus(lanes, tmp_path):
    """Without straight lines: narrower vectors, and AVX-512 that does not look up bytes."""
    switches = {
        4: {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        8: {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
        16: {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": ""},
    }
    if lanes > cpu.vector_width():
        pytest.skip(f"this CPU has {cpu.vector_width()} lanes")
    script = "import sys, numpy as np; from test_kernels_int8 import *; print(cpu.vector_width())\n"
    script += "np.savez(sys.argv[2], *gelu_codes(np.load(sys.argv[1])))"
    x = np.linspace(-6, 6, 19 * 112).astype(np.float32).reshape(19, 112)
    np.save(tmp_path / "x.npy", x)
    told = {**os.environ, **switches[lanes], "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "-c", script, str(tmp_path / "x.npy"), str(tmp_path / "codes.npz")]
    done = subprocess.run(command, env=told, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == lanes
    wanted = np.empty_like(x)
    reference.gelu(x, out=wanted)
    codes, steps = np.load(tmp_path / "codes.npz").values()
    assert (np.abs(steps * codes - GELU_LOWEST - wanted) < 0.51 * steps + 1e-3).all()


@pytest.mark.skipif(not _has_lines(), reason="this CPU computes it by a polynomial")
def test_gelu_on_lines():
    @intrinsic
    def on_lines(typingctx, x, out):
        def emit(context, b, signature, args):
            lanes = simd.load(b, args[0], simd.vector(simd.F32, 16))
            simd.store(b, elementary.gelu_on_lines(b, lanes, *elementary.gelu_tables()), args[1])
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), emit

    @njit
    def run(x, n, out):
        for at in range(0, 4 * n, 64):
            on_lines(x + at, out + at)

    x = np.linspace(-7, 7, 160000).astype(np.float32)
    got, wanted = np.empty_like(x), np.empty_like(x)
    reference.gelu(x, out=wanted)
    run(x.ctypes.data, len(x), got.ctypes.data)
    assert np.abs(got - wanted).max() < GELU_ERROR
    assert got.min() > elementary.LINES_LOWEST
    so_far = np.maximum.accumulate(got), np.maximum(np.maximum.accumulate(wanted), 0)
    assert (so_far[0] - so_far[1]).max() < 1.3e-3
    density = np.exp(-(x**2) / 2)
    assert np.sqrt(((got - wanted) ** 2 * density).sum() / density.sum()) < 6.2e-4


def run_mlp(x, gamma, beta, weights, biases, is_fine):
    """What the op makes of rows x (R, D), and what its parts make: norm, then two matmuls."""
    n_rows, n_state, n_hidden = *x.shape, len(weights[0])
    chunks = int8_chunk(n_state, "int8_long"), int8_chunk(n_hidden, "int8_long")
    given, norm, offset = rows(x, n_state + 16), rows(gamma), rows(beta)
    panels = [Guarded.of(pack_as(w, "int8_long")) for w in weights]
    offsets = [rows(bias[None]) for bias in biases]
    out, normal = Guarded((n_rows, n_state)), Guarded((n_rows, n_state))
    n_scratch = mlp_int8.mlp_scratch_bytes(n_state, n_hidden, *chunks, is_fine)
    scratch = Guarded((n_scratch,), np.uint8)
    eps = float_bits(1e-5)
    mlp_int8.mlp_int8(
        x=given.address, ldx=given.array.strides[0], n_rows=n_rows, gamma=norm.address, beta=offset.address,
        eps_bits=eps, n_state=n_state, n_hidden=n_hidden, chunk=chunks[0], hidden_chunk=chunks[1],
        panels=panels[0].address, bias=offsets[0].address, output_panels=panels[1].address,
        output_bias=offsets[1].address, out=out.address, ldo=4 * n_state, is_fine=int(is_fine),
        scratch=scratch.address, scratch_bytes=n_scratch,
    )  # fmt: skip
    out.check()
    scratch.check()
    layer_norm_f32(
        x=given.address, ldx=given.array.strides[0], gamma=norm.address, beta=offset.address, n_rows=n_rows,
        n_cols=n_state, eps_bits=eps, out=normal.address, ldo=4 * n_state,
    )  # fmt: skip
    more = {"is_fine": is_fine, "dtype": "int8_long"}
    hidden, kept = multiply(normal.array[None], weights[0], bias=biases[0], gelu=True, **more)
    parts, output_kept = multiply(hidden, weights[1], bias=biases[1], residual=x[None], **more)
    sums = normal.array @ kept.T + biases[0]
    exact = np.empty_like(sums)
    reference.gelu(sums, out=exact)
    return out.array, parts[0], exact @ output_kept.T + biases[1] + x


@pytest.mark.parametrize("n_rows", [1, 24, 49, 130])
@pytest.mark.parametrize("n_state, n_hidden", [(32, 96), (64, 256), (128, 512)])
def test_an_mlp_is_its_parts(n_state, n_hidden, n_rows):
    """In two bytes bit for bit; in one byte closer to the exact result, since GELU has a rounding of its own."""
    rng = np.random.default_rng(n_rows)
    x, gamma, beta = (rng.standard_normal((n, n_state)).astype(np.float32) for n in (n_rows, 1, 1))
    weights = [rng.standard_normal(s).astype(np.float32) for s in ((n_hidden, n_state), (n_state, n_hidden))]
    biases = [rng.standard_normal(n).astype(np.float32) for n in (n_hidden, n_state)]
    got, parts, exact = run_mlp(x, gamma, beta, weights, biases, True)
    np.testing.assert_array_equal(got, parts)
    assert relative(got, exact) < 3e-4
    got, parts, exact = run_mlp(x, gamma, beta, weights, biases, False)
    assert relative(got, exact) < 0.013
    if n_rows > 1:
        assert relative(got, exact) < 0.95 * relative(parts, exact)


def test_an_mlp_of_nothing_is_its_bias():
    """Where GELU gives zeros alone, codes of a row that has no negative value still mean almost zero."""
    n_state, n_hidden = 64, 256
    x, gamma, beta = np.ones((30, n_state), np.float32), np.ones((1, n_state)), np.zeros((1, n_state))
    weights = [np.zeros((n_hidden, n_state), np.float32), np.ones((n_state, n_hidden), np.float32)]
    biases = [np.zeros(n_hidden, np.float32), np.full(n_state, 3, np.float32)]
    got, _, _ = run_mlp(x, gamma.astype(np.float32), beta.astype(np.float32), weights, biases, False)
    step = (GELU_LOWEST + GELU_MARGIN) / 255
    np.testing.assert_allclose(got, 4, atol=n_hidden * (GELU_ERROR + step / 2))


def test_few_rows_and_small_matrices_get_two_bytes():
    assert matmul_int8.rounds_to_two_bytes(24, 51865 * 384)
    assert not matmul_int8.rounds_to_two_bytes(25, 384 * 384)
    assert matmul_int8.rounds_to_two_bytes(1500, 512 * 128)


def test_embedding_reads_the_same_weights():
    rng = np.random.default_rng(1)
    weight, positions = rng.standard_normal((70, 64)).astype(np.float32), rows(rng.standard_normal((9, 64)))
    panels = Guarded.of(pack_int8(weight))
    tokens, past = Guarded.of(np.array([[3, 69]], np.int32)), Guarded.of(np.array([4], np.int32))
    out = Guarded((1, 2, 64))
    matmul_int8.embed_int8(
        tokens=tokens.address, past=past.address, panels=panels.address, positions=positions.address, ldp=256,
        n_batch=1, n_new=2, n_state=64, out=out.address, ldo=256, chunk=64,
    )  # fmt: skip
    out.check()
    want = unpack_int8(panels.array)[[3, 69]] + positions.array[[4, 5]]
    np.testing.assert_allclose(out.array[0], want, atol=1e-5)
