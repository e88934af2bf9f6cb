"""Dot products of bf16: the matmul against float64 on rounded operands, and a model that uses it."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import golden_entries
from kernel_memory import Guarded, round_up, rows
from scipy.special import erf
from tiny_checkpoint import ODD, RandomCheckpoint

from whisperlite import WhisperModel
from whisperlite.errors import CheckFailedError
from whisperlite.kernels import cpu, matmul_bf16
from whisperlite.model import Whisper
from whisperlite.runtime import executor
from whisperlite.runtime.panels import pack_bf16
from whisperlite.runtime.team import run_kernel

pytestmark = pytest.mark.skipif(not cpu.has_bf16_dot(), reason="this CPU has no AVX-512 BF16")


def to_bf16(values):
    """Float32 to the nearest bf16, ties to even, as float64."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32).astype(np.float64)


def multiply(x, weight, taps=1, stride=1, bias=None, residual=None, gelu=False, pad=0, threads=1):
    """x (B, F, N), weight (D, taps * N): what the kernel makes of them."""
    n_batch, n_frames, n_in = x.shape
    n_out = len(weight)
    n_rows = (n_frames - taps) // stride + 1
    panels, frames = Guarded.of(pack_bf16(weight)), rows(x, n_in + pad)
    out = Guarded((n_batch, n_rows, round_up(n_out, 32)))
    each = matmul_bf16.dot_scratch_bytes(n_in, taps, stride)
    scratch = Guarded((threads * each,), np.uint8)
    added = rows(residual) if residual is not None else None
    offsets = rows(bias[None]) if bias is not None else None
    run_kernel(
        matmul_bf16.matmul_bf16_dot, threads,
        a=frames.address, a_batch=frames.array.strides[0], ldf=frames.array.strides[1], n_batch=n_batch,
        n_rows=n_rows, taps=taps, stride=stride, n_in=n_in, panels=panels.address, n_panels=-(-n_out // 32),
        c=out.address, c_batch=out.array.strides[0], ldc=out.array.strides[1],
        bias=offsets.address if offsets else 0, residual=added.address if added else 0,
        residual_batch=added.array.strides[0] if added else 0, ldr=added.array.strides[1] if added else 0,
        activation=int(gelu), item_rows=matmul_bf16.dot_rows(n_in, stride), pitch=matmul_bf16.dot_pitch(n_in),
        scratch=scratch.address, scratch_bytes=each,
    )  # fmt: skip
    out.check()
    scratch.check()
    return out.array[..., :n_out]


@pytest.mark.parametrize("n_rows", [1, 3, 11, 12, 25, 61, 200])
@pytest.mark.parametrize("n_in, n_out", [(2, 1), (34, 96), (64, 33), (1100, 40)])
def test_rows_times_weights(n_rows, n_in, n_out):
    rng = np.random.default_rng(n_rows + n_in)
    x = rng.standard_normal((1, n_rows, n_in)).astype(np.float32)
    weight = rng.standard_normal((n_out, n_in)).astype(np.float32)
    got = multiply(x, weight)
    want = to_bf16(x) @ to_bf16(weight).T
    np.testing.assert_allclose(got, want, atol=3e-6 * n_in)
    # What rounding the rows costs, as a part of a row's length times a column's.
    lengths = np.linalg.norm(x, axis=-1)[..., None] * np.linalg.norm(weight, axis=-1)
    assert (np.abs(got - x.astype(np.float64) @ to_bf16(weight).T) <= 0.004 * lengths).all()


def test_a_long_row_of_a_large_model():
    """K past one block of the loop, and work items that are short because rows are long."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 150, 5120)).astype(np.float32)
    weight = rng.standard_normal((32, 5120)).astype(np.float32) / 70
    assert matmul_bf16.dot_rows(5120, 1) == 36
    np.testing.assert_allclose(multiply(x, weight), to_bf16(x) @ to_bf16(weight).T, atol=2e-5)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n_batch, n_frames, stride", [(1, 130, 1), (3, 61, 2), (2, 26, 1)])
def test_frames_with_taps_and_epilogue(n_batch, n_frames, stride, threads):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((n_batch, n_frames, 80)).astype(np.float32)
    weight = (rng.standard_normal((40, 240)) / 15).astype(np.float32)
    bias = rng.standard_normal(40).astype(np.float32)
    n_rows = (n_frames - 3) // stride + 1
    residual = rng.standard_normal((n_batch, n_rows, 40)).astype(np.float32)
    got = multiply(x, weight, 3, stride, bias, residual, gelu=True, pad=16, threads=threads)
    windows = np.stack([x[:, stride * t : stride * t + 3].reshape(n_batch, -1) for t in range(n_rows)], 1)
    sums = to_bf16(windows) @ to_bf16(weight).T + bias
    want = sums * (1 + erf(sums / np.sqrt(2))) / 2 + residual
    np.testing.assert_allclose(got, want, atol=4e-5)


def test_rounding_is_to_nearest_even():
    """Halfway between two bf16: up to an even one, down to an even one, and away from neither."""
    values = np.tile(np.float32([1.00390625, 1.01171875, -1.00390625, 1.00390637]), (1, 25, 1))
    one = np.zeros((32, 4), np.float32)
    one[:4, :4] = np.eye(4)
    np.testing.assert_array_equal(multiply(values, one)[0, 7, :4], np.float32([1, 1.015625, -1, 1.0078125]))


@pytest.fixture
def mel():
    return np.random.default_rng(0).standard_normal((2, ODD.n_mels, 82)).astype(np.float32)


def test_the_encoder_rounds_its_rows_and_is_checked_within_a_tolerance(mel, monkeypatch):
    monkeypatch.setenv("WHISPERLITE_BF16", "widen")
    exact = Whisper(RandomCheckpoint(ODD), "bfloat16").encode(mel)
    monkeypatch.setenv("WHISPERLITE_BF16", "dot")
    model = Whisper(RandomCheckpoint(ODD), "bfloat16")
    features = model.encode(mel)
    assert 0 < np.linalg.norm(features - exact) < 0.01 * np.linalg.norm(exact)
    np.testing.assert_array_equal(Whisper(RandomCheckpoint(ODD), "bfloat16", threads=3).encode(mel), features)
    monkeypatch.setenv("WHISPERLITE_CHECK", "1")
    np.testing.assert_array_equal(model.encode(mel), features)
    monkeypatch.setattr(executor, "BF16_TOLERANCE", 1e-6)
    with pytest.raises(CheckFailedError, match="linear"):
        model.encode(mel)


def test_a_step_stays_in_float32(mel, monkeypatch):
    """Few rows cost the weights' bytes: nothing is rounded there."""
    logits = []
    for way in ("widen", "dot"):
        monkeypatch.setenv("WHISPERLITE_BF16", way)
        model = Whisper(RandomCheckpoint(ODD), "bfloat16")
        features = np.ones((1, ODD.n_audio_ctx // 2, ODD.n_audio_state), np.float32)  # 20 rows
        logits.append(model.prefill([[1, 2, 3]], model.new_cache(1), model.cross_kv(features))[0])
    np.testing.assert_array_equal(*logits)


class StoredInBf16(RandomCheckpoint):
    """Every tensor as a file in bf16 has it."""

    def __init__(self, dims):
        super().__init__(dims)
        self.tensors = {name: to_bf16(values).astype(np.float32) for name, values in self.tensors.items()}

    def dtype(self, name):
        return "bfloat16"


def test_a_file_in_bf16_is_not_rounded_unless_asked(monkeypatch):
    """``default`` promises the results of float32; ``bfloat16`` does not."""
    logits = {}
    for compute_type in ("float32", "default", "bfloat16"):
        monkeypatch.setenv("WHISPERLITE_BF16", "dot")
        model = Whisper(StoredInBf16(ODD), compute_type)
        cross = model.cross_kv(np.ones((1, ODD.n_audio_ctx, ODD.n_audio_state), np.float32))
        logits[compute_type] = model.prefill([list(range(30))], model.new_cache(1), cross)[0]
    largest = np.abs(logits["float32"]).max()
    assert np.abs(logits["default"] - logits["float32"]).max() < 1e-5 * largest
    assert np.abs(logits["bfloat16"] - logits["float32"]).max() > 1e-4 * largest


# Logits of nano change by up to 0.42 against float32, the distance of the two best by up to 0.37.
CLEAR = {name: entry for name, entry in golden_entries("decode").items() if (entry["min_margin"] or 0) > 0.5}


@pytest.fixture(scope="module")
def nano_dot():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERLITE_BF16", "dot")
        model = WhisperModel("nano", compute_type="bfloat16")
        model.encode(np.zeros((1, model.dims.n_mels, 3000), np.float32))
        yield model


@pytest.mark.parametrize("name", CLEAR or ["none"])
def test_nano_says_the_same(nano_dot, audio_file, name):
    if not CLEAR:
        pytest.skip("no goldens: neither ../shared nor tests/fixtures has openai_whisper.json")
    mel = nano_dot.log_mel(audio_file(name.split("/")[0]))
    [result] = nano_dot.decode(nano_dot.encode(mel[None]), **CLEAR[name]["options"])
    assert result.text == CLEAR[name]["text"]
    assert list(result.tokens) == CLEAR[name]["tokens"]
