"""Matmul and embedding on quantised blocks, against float64 on the weights the blocks stand for."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_memory import Guarded, round_up, rows

from whisperlite.kernels import blocks
from whisperlite.quant import FORMATS, QUANTIZED, codes_of, dequantize, quantize
from whisperlite.runtime.lower.matmul_ops import block_weight
from whisperlite.runtime.panels import pack_blocks, pack_codes, unpack_codes
from whisperlite.runtime.weights import panel_shape


def quantised(kind, n_out, n_in, seed=0):
    """Panels of a random weight in guarded memory, and the float32 weight they stand for."""
    weight = np.random.default_rng(seed).standard_normal((n_out, n_in)).astype(np.float32) / np.float32(
        np.sqrt(n_in)
    )
    stored = quantize(weight, kind)
    return Guarded.of(pack_codes(codes_of(stored, kind))), dequantize(stored, kind, n_in)


@pytest.mark.parametrize("kind", QUANTIZED)
@pytest.mark.parametrize("n_out", [1, 32, 45])
def test_panels_hold_the_weights(kind, n_out):
    panels, weight = quantised(kind, n_out, 512)
    unpacked = unpack_codes(panels.array, *panel_shape(kind))
    # Scales of k-quants are products, which float16 rounds.
    np.testing.assert_allclose(unpacked[:n_out], weight, atol=1e-3 * np.abs(weight).max())
    assert (unpacked[n_out:] == 0).all()


@pytest.mark.parametrize("kind", QUANTIZED)
@pytest.mark.parametrize("n_out, n_in", [(1, 256), (64, 512), (45, 768), (1100, 256)])
def test_blocks_of_a_file_are_packed_as_their_codes(kind, n_out, n_in):
    rng = np.random.default_rng(n_out)
    n_bytes = FORMATS[kind].row_bytes(n_in)
    stored = rng.integers(0, 256, n_out * n_bytes + 1, np.uint8)[1:].reshape(n_out, n_bytes)  # at an odd address
    halves = {"q2_k": (80, 82), "q3_k": (108,), "q4_k": (0, 2), "q5_k": (0, 2), "q6_k": (208,)}
    for at in halves.get(kind, (0, 2)[: 2 if kind.endswith("_1") else 1]):  # float16: finite
        for offset in range(at, n_bytes, FORMATS[kind].block_bytes):
            stored[:, offset + 1] &= 0x3B
    np.testing.assert_array_equal(pack_blocks(stored, kind), pack_codes(codes_of(stored, kind)))


@pytest.mark.parametrize("kind", QUANTIZED)
@pytest.mark.parametrize("n_rows", [1, 2, 3, 5, 7, 24, 25, 130])
@pytest.mark.parametrize("n_in, n_out", [(256, 33), (1280, 70)])
def test_matmul(kind, n_rows, n_in, n_out):
    panels, _ = quantised(kind, n_out, n_in)
    weight = unpack_codes(panels.array, *panel_shape(kind))[:n_out].astype(np.float64)
    packed = block_weight(kind)
    rng = np.random.default_rng(n_rows)
    # Activations that a signed byte holds exactly: what is left is the rounding of float32 sums.
    a = rng.integers(-127, 128, (n_rows, n_in)).astype(np.float32)
    a.reshape(n_rows, -1, 16)[:, :, 0] = 127
    bias, residual = rng.standard_normal(n_out), rng.standard_normal((n_rows, n_out))
    source, added, offset = rows(a), rows(residual), rows(bias)
    offset.array[n_out:] = 0
    out = Guarded((n_rows, round_up(n_out, 32)))
    n_scratch = blocks.block_scratch_bytes(n_in, packed.size)
    scratch = Guarded((n_scratch,), np.uint8)
    packed.matmul(
        a=source.address, lda=source.array.strides[0], n_rows=n_rows, n_in=n_in, panels=panels.address,
        n_panels=len(panels.array), zero=packed.zero, c=out.address, ldc=out.array.strides[0], bias=offset.address,
        residual=added.address, ldr=added.array.strides[0], activation=0, scratch=scratch.address,
        scratch_bytes=n_scratch,
    )  # fmt: skip
    out.check()
    scratch.check()
    want = a.astype(np.float64) @ weight.T + bias + residual
    np.testing.assert_allclose(out.array[:, :n_out], want, atol=2e-5 * np.abs(want).max())


def test_activations_are_rounded_to_signed_bytes_by_block():
    """The error of ordinary activations is that of 127 steps to the largest of each block."""
    panels, _ = quantised("q8_0", 64, 512)
    weight = unpack_codes(panels.array, *panel_shape("q8_0"))[:64].astype(np.float64)
    packed = block_weight("q8_0")
    a = np.random.default_rng(1).standard_normal((9, 512)).astype(np.float32)
    a[3] = 0
    source, out = rows(a), Guarded((9, 64))
    n_scratch = blocks.block_scratch_bytes(512, 32)
    scratch = Guarded((n_scratch,), np.uint8)
    packed.matmul(
        a=source.address, lda=2048, n_rows=9, n_in=512, panels=panels.address, n_panels=2, zero=packed.zero,
        c=out.address, ldc=256, bias=0, residual=0, ldr=0, activation=0, scratch=scratch.address,
        scratch_bytes=n_scratch,
    )  # fmt: skip
    groups = a.reshape(9, 16, 32).astype(np.float64)
    scale = np.abs(groups).max(-1, keepdims=True) / 127
    rounded = np.rint(groups / np.where(scale == 0, 1, scale)) * scale
    np.testing.assert_allclose(out.array, rounded.reshape(9, 512) @ weight.T, atol=2e-4)
    assert (out.array[3] == 0).all()


@pytest.mark.parametrize("kind", QUANTIZED)
def test_embedding(kind):
    panels, _ = quantised(kind, 70, 256)
    weight = unpack_codes(panels.array, *panel_shape(kind))
    packed = block_weight(kind)
    positions = np.random.default_rng(1).standard_normal((9, 256)).astype(np.float32)
    table, out = rows(positions), Guarded((2, 3, 256))
    tokens = Guarded.of(np.array([[0, 69, 31], [32, 33, 1]], np.int32))
    past = Guarded.of(np.array([0, 6], np.int32))
    packed.embed(
        tokens=tokens.address, past=past.address, panels=panels.address, positions=table.address,
        ldp=table.array.strides[0], n_batch=2, n_new=3, n_state=256, out=out.address, ldo=1024, zero=packed.zero,
    )  # fmt: skip
    out.check()
    want = weight[tokens.array] + positions[past.array[:, None] + np.arange(3)]
    np.testing.assert_allclose(out.array, want, atol=1e-6)
