"""16-bit weights: matmul and embedding against float64 on the rounded weights."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_memory import Guarded, round_up, rows

from whisperlite.kernels import cpu, halves, matmul, packing


def packed(weight):
    """Panels of a (D, n_in) weight, and the weight as bf16 has it."""
    n_out, n_in = weight.shape
    source = Guarded.of(np.asarray(weight, np.float32))
    rounded = Guarded((n_out, n_in), np.uint16)
    halves.rows_to_bf16(
        source=source.address, lds=4 * n_in, n_rows=n_out, n_in=n_in, out=rounded.address, ldo=2 * n_in
    )
    rounded.check()
    panels = Guarded((-(-n_out // 32), n_in // 2, 32), np.uint32)
    packing.pack_weight_f32(
        source=rounded.address,
        lds=2 * n_in,
        n_rows=n_out,
        n_in=n_in // 2,
        panels=panels.address,
        is_half=0,
        scratch=0,
        scratch_bytes=0,
    )
    panels.check()
    return panels, (rounded.array.astype(np.uint32) << 16).view(np.float32)


def test_rounding_is_to_nearest_even():
    values = np.array([1.0, 1.00390625, 1.01171875, -3.14159, 65504, 1e-30, 0.0, -0.0] * 5, np.float32)
    _, rounded = packed(values[None])
    bits = values.view(np.uint32).astype(np.uint64)
    expected = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)
    np.testing.assert_array_equal(rounded[0], expected)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 5, 7, 12, 24, 25, 61])
@pytest.mark.parametrize("n_in, n_out", [(2, 1), (64, 33), (34, 96), (1100, 40)])
@pytest.mark.parametrize("taps", [1, 3])
def test_matmul_bf16(n_rows, n_in, n_out, taps):
    rng = np.random.default_rng(n_rows)
    a = rng.standard_normal((n_rows + taps - 1, n_in)).astype(np.float32)
    weight = rng.standard_normal((n_out, taps * n_in)).astype(np.float32) / np.sqrt(taps * n_in)
    bias, residual = rng.standard_normal(n_out), rng.standard_normal((n_rows, n_out))
    panels, rounded = packed(weight)
    source, added, offset = rows(a), rows(residual), rows(bias)
    offset.array[n_out:] = 0
    out = Guarded((n_rows, round_up(n_out, 32)))
    lda = source.array.strides[0]
    matmul.matmul_bf16(
        a=source.address, a_batch=0, lda=lda, n_batch=1, n_rows=n_rows, taps=taps, tap_stride=lda, n_in=n_in,
        panels=panels.address, n_panels=panels.array.shape[0], c=out.address, c_batch=0, ldc=out.array.strides[0],
        bias=offset.address, residual=added.address, residual_batch=0, ldr=added.array.strides[0], activation=0,
    )  # fmt: skip
    out.check()
    frames = np.concatenate([a[t : t + n_rows] for t in range(taps)], axis=1).astype(np.float64)
    want = frames @ rounded.T.astype(np.float64) + bias + residual
    np.testing.assert_allclose(out.array[:, :n_out], want, atol=3e-6 * np.sqrt(taps * n_in) + 2e-6)


@pytest.mark.skipif(not cpu.has_float16(), reason="this CPU does not convert float16 in one instruction")
@pytest.mark.parametrize("n_rows", [1, 3, 5, 30])
def test_float16_weights_give_the_bits_of_float32(n_rows):
    rng = np.random.default_rng(n_rows)
    a = rng.standard_normal((n_rows, 130)).astype(np.float32)
    weight = rng.standard_normal((70, 130)).astype(np.float16)
    padded = np.pad(weight, ((0, 26), (0, 0))).reshape(3, 32, 130).swapaxes(1, 2)
    results = []
    for kernel, dtype in ((matmul.matmul_f16, np.float16), (matmul.matmul_f32, np.float32)):
        panels, source, out = Guarded.of(padded.astype(dtype)), rows(a), Guarded((n_rows, 96))
        kernel(
            a=source.address, a_batch=0, lda=source.array.strides[0], n_batch=1, n_rows=n_rows, taps=1,
            tap_stride=0, n_in=130, panels=panels.address, n_panels=3, c=out.address, c_batch=0, ldc=384, bias=0,
            residual=0, residual_batch=0, ldr=0, activation=0,
        )  # fmt: skip
        out.check()
        results.append(out.array)
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0][:, :70], a.astype(np.float64) @ weight.T.astype(np.float64), atol=1e-4)


@pytest.mark.skipif(not cpu.has_float16(), reason="this CPU does not convert float16 in one instruction")
def test_embed_f16():
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((64, 20)).astype(np.float16)
    panels = Guarded.of(embedding.reshape(2, 32, 20).swapaxes(1, 2))
    table, out = rows(np.ones((3, 20))), Guarded((1, 2, 32))
    tokens, past = Guarded.of(np.array([[1, 40]], np.int32)), Guarded.of(np.array([1], np.int32))
    halves.embed_f16(
        tokens=tokens.address, past=past.address, panels=panels.address, positions=table.address,
        ldp=table.array.strides[0], n_batch=1, n_new=2, n_state=20, out=out.address, ldo=128,
    )  # fmt: skip
    out.check()
    np.testing.assert_array_equal(out.array[0, :, :20], embedding[[1, 40]].astype(np.float32) + 1)


def test_embed_bf16():
    rng = np.random.default_rng(0)
    embedding, positions = rng.standard_normal((70, 20)), rng.standard_normal((9, 20)).astype(np.float32)
    panels, rounded = packed(embedding)
    table, out = rows(positions), Guarded((2, 3, 32))
    tokens = Guarded.of(np.array([[0, 69, 31], [32, 33, 1]], np.int32))
    past = Guarded.of(np.array([0, 6], np.int32))
    halves.embed_bf16(
        tokens=tokens.address, past=past.address, panels=panels.address, positions=table.address,
        ldp=table.array.strides[0], n_batch=2, n_new=3, n_state=20, out=out.address, ldo=128,
    )  # fmt: skip
    out.check()
    at = past.array[:, None] + np.arange(3)
    np.testing.assert_array_equal(out.array[..., :20], rounded[tokens.array] + positions[at])
