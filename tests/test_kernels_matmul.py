"""Matmul and packing kernels against float64, over odd shapes, with guards around every buffer."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
from kernel_memory import Guarded, round_up, rows

from whisperlite.kernels import matmul, packing


def packed(weight):
    """Panels of a (D, n_in) weight, in guarded memory."""
    n_out, n_in = weight.shape
    source = Guarded.of(np.asarray(weight, np.float32))
    panels = Guarded((-(-n_out // 32), n_in, 32))
    packing.pack_weight_f32(
        source=source.address,
        lds=source.array.strides[0],
        n_rows=n_out,
        n_in=n_in,
        panels=panels.address,
        is_half=0,
        scratch=0,
        scratch_bytes=0,
    )
    panels.check()
    return panels


def padded_vector(values):
    vector = Guarded((round_up(len(values), 32),), fill=0)
    vector.array[: len(values)] = values
    return vector


def multiply(
    a, panels, n_out, bias=None, residual=None, activation=0, n_batch=1, taps=1, tap_stride=0, row_stride=1
):
    """Run the kernel on (n_batch, rows, n_in) activations that already lie in guarded memory."""
    n_in = panels.array.shape[1] // taps
    n_rows = (a.array.shape[-2] - taps) // row_stride + 1
    out = Guarded((n_batch, n_rows, round_up(n_out, 32)))
    lda = a.array.strides[-2]
    matmul.matmul_f32(
        a=a.address, a_batch=a.array.strides[0] if a.array.ndim == 3 else 0, lda=lda * row_stride, n_batch=n_batch,
        n_rows=n_rows, taps=taps, tap_stride=lda, n_in=n_in, panels=panels.address, n_panels=panels.array.shape[0],
        c=out.address, c_batch=out.array.strides[0], ldc=out.array.strides[1],
        bias=bias.address if bias else 0, residual=residual.address if residual else 0,
        residual_batch=residual.array.strides[0] if residual and residual.array.ndim == 3 else 0,
        ldr=residual.array.strides[-2] if residual else 0, activation=activation,
    )  # fmt: skip
    out.check()
    return out.array[..., :n_out]


@pytest.mark.parametrize("n_out", [1, 31, 32, 33, 70])
@pytest.mark.parametrize("n_in", [1, 5, 16, 35, 64])
def test_pack_weight_is_a_transpose_by_panels(n_in, n_out):
    weight = np.arange(n_out * n_in, dtype=np.float32).reshape(n_out, n_in) + 1
    panels = packed(weight).array
    whole = np.zeros((panels.shape[0] * 32, n_in), np.float32)
    whole[:n_out] = weight
    np.testing.assert_array_equal(panels, whole.reshape(-1, 32, n_in).swapaxes(1, 2))


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 23, 24, 25, 37, 64])
@pytest.mark.parametrize("n_in, n_out", [(1, 1), (3, 31), (64, 32), (65, 33), (130, 96), (1100, 40)])
def test_matmul_against_float64(n_rows, n_in, n_out):
    rng = np.random.default_rng(n_rows * 1000 + n_in)
    a, w = rng.standard_normal((n_rows, n_in)), rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)
    bias = rng.standard_normal(n_out)
    a32, w32, b32 = (x.astype(np.float32) for x in (a, w, bias))
    got = multiply(rows(a32), packed(w32), n_out, bias=padded_vector(b32))[0]
    want = a32.astype(np.float64) @ w32.astype(np.float64).T + b32
    np.testing.assert_allclose(got, want, atol=2e-6 * np.sqrt(n_in) + 1e-6)


def test_matmul_epilogue_is_bias_then_gelu_then_residual():
    rng = np.random.default_rng(1)
    a, w = rng.standard_normal((29, 48)).astype(np.float32), rng.standard_normal((40, 48)).astype(np.float32)
    bias, residual = rng.standard_normal(40).astype(np.float32), rng.standard_normal((29, 40)).astype(np.float32)
    got = multiply(rows(a), packed(w), 40, bias=padded_vector(bias), residual=rows(residual), activation=1)[0]
    x = a.astype(np.float64) @ w.T + bias
    want = x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2 + residual
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("n_batch, n_frames, n_in, n_out", [(1, 50, 80, 64), (3, 21, 5, 33), (2, 9, 600, 32)])
def test_matmul_with_taps_is_a_convolution(n_batch, n_frames, n_in, n_out, stride):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((n_batch, n_frames, n_in)).astype(np.float32)
    w = rng.standard_normal((n_out, n_in, 3)).astype(np.float32)
    frames = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    panels = packed(w.transpose(0, 2, 1).reshape(n_out, -1))
    got = multiply(rows(frames), panels, n_out, n_batch=n_batch, taps=3, row_stride=stride)
    windows = np.stack([frames[:, t : t + 3] for t in range(0, n_frames, stride)], axis=1).astype(np.float64)
    want = np.einsum("btkn,onk->bto", windows, w.astype(np.float64))
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_a_residual_without_batch_stride_is_broadcast():
    rng = np.random.default_rng(3)
    a, w = rng.standard_normal((2, 30, 16)).astype(np.float32), rng.standard_normal((32, 16)).astype(np.float32)
    residual = rng.standard_normal((30, 32)).astype(np.float32)
    got = multiply(rows(a), packed(w), 32, residual=rows(residual), n_batch=2)
    np.testing.assert_allclose(got, a.astype(np.float64) @ w.T + residual, atol=1e-5)
