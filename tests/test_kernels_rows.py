"""Row kernels (norm, GELU, sum, padding, gathers) against float64, with guards around every buffer."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
from kernel_memory import Guarded, float_bits, round_up, rows
from numba import njit

from whisperlite.kernels import rows as kernels
from whisperlite.kernels import scalars
from whisperlite.kernels.packing import pack_weight_f32

COLUMNS = [1, 2, 15, 16, 31, 33, 64, 100, 384]


@pytest.mark.parametrize("n_cols", COLUMNS)
@pytest.mark.parametrize("n_rows", [1, 7, 8, 19])
def test_layer_norm(n_rows, n_cols):
    rng = np.random.default_rng(n_cols)
    x = (rng.standard_normal((n_rows, n_cols)) * 3 + 50).astype(np.float32)  # a mean far from zero
    gamma, beta = rng.standard_normal((2, n_cols)).astype(np.float32)
    source, g, b = rows(x), rows(gamma), rows(beta)
    out = Guarded((n_rows, round_up(n_cols, 32)))
    kernels.layer_norm_f32(
        x=source.address, ldx=source.array.strides[0], gamma=g.address, beta=b.address, n_rows=n_rows,
        n_cols=n_cols, eps_bits=float_bits(1e-5), out=out.address, ldo=out.array.strides[0],
    )  # fmt: skip
    out.check()
    x64 = x.astype(np.float64)
    centred = x64 - x64.mean(1, keepdims=True)
    want = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * gamma + beta
    np.testing.assert_allclose(out.array[:, :n_cols], want, atol=1e-4 if n_cols > 2 else 2e-2)


@pytest.mark.parametrize("n_cols", COLUMNS)
def test_gelu(n_cols):
    x = np.linspace(-12, 12, 3 * n_cols).astype(np.float32).reshape(3, n_cols)
    source, out = rows(x), Guarded((3, round_up(n_cols, 32)))
    kernels.gelu_f32(
        x=source.address, ldx=source.array.strides[0], n_rows=3, n_cols=n_cols, out=out.address,
        ldo=out.array.strides[0],
    )  # fmt: skip
    out.check()
    want = x.astype(np.float64) * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2
    np.testing.assert_allclose(out.array[:, :n_cols], want, atol=5e-7)


def test_add_repeats_the_shorter_operand():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 37)).astype(np.float32), rng.standard_normal((3, 37)).astype(np.float32)
    a, b, out = rows(x), rows(y), Guarded((6, 64))
    kernels.add_f32(
        x=a.address, ldx=a.array.strides[0], y=b.address, ldy=b.array.strides[0], n_rows=6, n_rows_y=3, n_cols=37,
        out=out.address, ldo=out.array.strides[0],
    )  # fmt: skip
    out.check()
    np.testing.assert_array_equal(out.array[:, :37], x + np.tile(y, (2, 1)))


@pytest.mark.parametrize("pad", [0, 1, 2])
def test_transpose_and_pad_frames(pad):
    rng = np.random.default_rng(0)
    mel = rng.standard_normal((2, 5, 37)).astype(np.float32)
    source, out = Guarded.of(mel), Guarded((2, 37 + 2 * pad, 32))
    kernels.transpose_frames_f32(
        mel=source.address, mel_batch=source.array.strides[0], ldm=source.array.strides[1], n_batch=2, n_mels=5,
        n_frames=37, pad=pad, out=out.address, out_batch=out.array.strides[0], ldo=out.array.strides[1],
    )  # fmt: skip
    out.check()
    want = np.pad(mel.swapaxes(1, 2), ((0, 0), (pad, pad), (0, 0)))
    np.testing.assert_array_equal(out.array[:, :, :5], want)

    again = Guarded((2, 37 + 4 * pad, 32))
    kernels.pad_frames_f32(
        x=out.address, x_batch=out.array.strides[0], ldx=out.array.strides[1], n_batch=2, n_rows=37 + 2 * pad,
        n_cols=5, pad=pad, out=again.address, out_batch=again.array.strides[0], ldo=again.array.strides[1],
    )  # fmt: skip
    again.check()
    np.testing.assert_array_equal(again.array[:, :, :5], np.pad(want, ((0, 0), (pad, pad), (0, 0))))


def test_zero_pad_rows_leaves_the_rest():
    out = Guarded((2, 6, 32), fill=7)
    kernels.zero_pad_rows(out=out.address, batch_stride=6 * 128, n_batch=2, n_rows=4, row_bytes=128, pad=1)
    out.check()
    assert (out.array[:, [0, 5]] == 0).all() and (out.array[:, 1:5] == 7).all()


def test_embed_reads_packed_panels():
    rng = np.random.default_rng(0)
    embedding, positions = rng.standard_normal((70, 20)).astype(np.float32), rng.standard_normal((9, 20))
    source, panels, table = Guarded.of(embedding), Guarded((3, 20, 32)), rows(positions)
    pack_weight_f32(
        source=source.address,
        lds=80,
        n_rows=70,
        n_in=20,
        panels=panels.address,
        is_half=0,
        scratch=0,
        scratch_bytes=0,
    )
    tokens = Guarded.of(np.array([[0, 69, 31], [32, 33, 1]], np.int32))
    past = Guarded.of(np.array([0, 6], np.int32))
    out = Guarded((2, 3, 32))
    kernels.embed_f32(
        tokens=tokens.address, past=past.address, panels=panels.address, positions=table.address,
        ldp=table.array.strides[0], n_batch=2, n_new=3, n_state=20, out=out.address, ldo=128,
    )  # fmt: skip
    out.check()
    at = past.array[:, None] + np.arange(3)
    np.testing.assert_array_equal(out.array[..., :20], embedding[tokens.array] + positions.astype(np.float32)[at])


def test_select_rows():
    x = rows(np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5))
    wanted, out = Guarded.of(np.array([2, 0, 1, 1], np.int32)), Guarded((2, 4, 32))
    kernels.select_rows_f32(
        x=x.address, x_batch=x.array.strides[0], ldx=x.array.strides[1], n_batch=2, positions=wanted.address,
        n_positions=4, n_cols=5, out=out.address, ldo=128,
    )  # fmt: skip
    out.check()
    np.testing.assert_array_equal(out.array[..., :5], x.array[:, wanted.array, :5])


@njit
def _horizontal(x, n, out):
    scalars.store_f32(out, kernels.row_sum(x, n))
    scalars.store_f32(out + 4, kernels.row_squared_distance(x, n, np.float32(2)))


@pytest.mark.parametrize("n", [0, 1, 16, 33, 1000])
def test_row_reductions(n):
    x = np.arange(n, dtype=np.float32)
    out = np.zeros(2, np.float32)
    _horizontal(x.ctypes.data, n, out.ctypes.data)
    assert out[0] == x.sum(dtype=np.float64)
    assert out[1] == pytest.approx(((x - 2.0) ** 2).sum(), rel=1e-6)
