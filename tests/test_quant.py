"""Block formats: bytes pinned by hashes of ggml's, values by the layout written out element by element."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from whisperlite.errors import CheckpointError, OptionError
from whisperlite.quant import BY_FTYPE, BY_GGML_TYPE, FORMATS, QUANTIZED, dequantize, format_of, quantize


def _uniform(seed: int, *shape: int) -> np.ndarray:
    """float32 in [-1, 1): the same numbers on every machine and NumPy (a bit generator's raw stream is fixed)."""
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((raw >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)).reshape(shape)


def _cases() -> dict[str, np.ndarray]:
    bell = _uniform(1, 64, 512) + _uniform(2, 64, 512) + _uniform(3, 64, 512)
    powers = np.exp2(np.floor(_uniform(4, 64, 512) * 20)).astype(np.float32)
    runs = np.exp2(np.floor(_uniform(5, 64, 32, 1) * 120)).astype(np.float32)
    chance = _uniform(6, 64, 512)
    bits = np.random.PCG64(7).random_raw(64 * 512).astype(np.uint32).view(np.float32).reshape(64, 512)
    constants = np.array([1, -1, 0.3, -0.3, 1e-15, 1e-20, 1e-40, -1e-40, 3e38, -3e38, 65504, 1e5], np.float32)
    return {
        "bell": bell,
        "float16": (bell * np.float32(0.02)).astype(np.float16).astype(np.float32),
        "zeros": np.zeros((2, 256), np.float32),
        "signed zeros": np.where(chance < 0, np.float32(-0.0), np.float32(0)),
        "constants": np.repeat(constants[:, None], 256, axis=1),
        "sparse": np.where(chance < 0.9, np.float32(0), bell),
        "positive": np.abs(bell),
        "negative": -np.abs(bell),
        "integers": np.floor(bell * 8),
        "halves": np.floor(bell * 16) / 2,
        "mixed sizes": bell * powers,
        "runs of all sizes": (bell.reshape(64, 32, 16) * runs).reshape(64, 512),
        "outliers": np.where(chance > 0.98, bell * 100, bell),
        "denormal": bell * np.float32(1e-40),
        "huge": bell * np.float32(1e38),
        "wild": np.where(np.isfinite(bits), bits, np.float32(0)),
    }


CASES = _cases()

# sha256, first 12 digits, of what ggml_quantize_chunk writes for each of CASES: pywhispercpp 1.5.1 (ggml 0.13.1) on
# x86-64; ggml 0.21.0 writes the same. Generated and checked by test_quant_peers.py test_goldens_are_of_ggml.
GOLDEN = {
    "q4_0": (
        "4c40eb37829d 6e7951c85b29 2555f15e3333 015815ebfd02 780b1264a093 f408c284e801 da02ab425ca6 b121b4e06417 "
        "7c8e153658e2 08d1884ccbaa f1a924ec3c17 bf2c0dacca8e 2baa35da078b 844cb0763a82 673322458df0 22fbd933ed56"
    ),
    "q4_1": (
        "b0f2a5255fe3 04c14cd3c26b 7b6436b0c98f a2314337ab71 28f68b476a75 448600a3114d 87c022451d20 a96792ddcb84 "
        "677cd640d0cc 47460bd27813 cee65b51c3ed c032ca612761 7a0c81e64524 abebabb1a099 595137dfa6b3 7c7fceaff195"
    ),
    "q5_0": (
        "e61303fc6f00 19c61a3fcea6 99af7a302158 4ec613b80432 5d1d630d64ce e71a34c14e40 ae863296000f 4fe708b71b8f "
        "07b0331c2e11 95e02ab0fd5a 3f769c49a12e f3ce9a4a927b 6dc73a79a2a9 5bc5efaf7972 cd48f31057db 25117e2a3890"
    ),
    "q5_1": (
        "bec4ee3cd2e5 31c5db5db4db a1a4f5721c1c bfa5c4588399 93be1088a6fd c46e583ba880 cc7f9164b108 59c691715120 "
        "955cfff81d84 b74ab0bfa136 c9056b79c569 73a0a808e32d 22337b651af2 de1b5565ee7b 0a5479ff7dea f0d126376daf"
    ),
    "q8_0": (
        "bd31ca86fa0e 66f86b6e890a 44ddd2f47847 5bc703857c55 de51a63d7255 304fad340769 136b826d3887 3b12d9d500b2 "
        "57216187b930 56e2e3b9c65b 31e5cfb63cab 5816e3fe142a a7df5cf82bfc 5bc703857c55 dfb9ac33ce65 591597e5671e"
    ),
    "q2_k": (
        "7899427f7071 91fe50c4ee15 e3c2af35d1df ee0d534dd385 633bb3c2fefd f75dbcde5b09 55f3152c86a2 e91a79fe59fc "
        "f837ebaa018a 32692ed44330 ca95b3ed7c50 baf4f60bfaa0 784770f62b4b ee0d534dd385 e71c813f7db2 c832fda1692a"
    ),
    "q3_k": (
        "3281a5e7c22b bff98448c485 ac9ab7fef49a 175c6cc0a98c 10b820cd5486 0ae586dd4acb 1283db24afbf afcb370573e2 "
        "0f77525020a9 047fd7e360aa 0e6d7fe6d946 6ab588fdd42a bfbaf9cfe552 175c6cc0a98c 13b83c4ad18d 2da14f329d4b"
    ),
    "q4_k": (
        "097a30d3ee88 ae1e6b13b53b 2d5565fb483d f7b586904e36 adf30dcc1fa1 2a5a00006a13 533ddc2e2abd 3b3356e570ef "
        "ea436e1686e2 b95e9f5f2416 705c7c7cdc40 dab9acc59a69 c0136d7093ba f7b586904e36 b9b66539f5ff 468a09b457b9"
    ),
    "q5_k": (
        "ebd799a3da20 d060e394f52f 627f6149015f 3b7b2d6a621d 947f9d08dbf2 784e1fa7eeea 967b839d6ba0 f4740ba50490 "
        "1c5a6fdd3d89 221915ad7220 48af8663dd66 724827bce134 9d8b0cc220b7 3b7b2d6a621d 759808cf5734 669388c225f1"
    ),
    "q6_k": (
        "3f4e79914397 b68fa72087e0 de1da8f3791d 010928b46bb6 a0384d554151 227a2a28725c 8aa137d49053 11742f16ce54 "
        "12ef4f69de82 e3f83e1215f4 26c9ff984e11 794e0d12594b c9379699ef80 010928b46bb6 010928b46bb6 fd2f7516c4f9"
    ),
}


def bits_equal(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Every bit, but a NaN is a NaN."""
    number = ~np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), ~number)
    np.testing.assert_array_equal(ours.view(np.uint32)[number], theirs.view(np.uint32)[number])


@pytest.mark.parametrize("kind", QUANTIZED)
@pytest.mark.parametrize("case", CASES)
def test_bytes_are_ggmls(case, kind):
    golden = dict(zip(CASES, GOLDEN[kind].split(), strict=True))
    assert hashlib.sha256(quantize(CASES[case], kind)).hexdigest()[:12] == golden[case]


def _value(block: np.void, kind: str, i: int) -> np.float32:
    """Column i of a block, by the table of formats.py."""
    h, j, l, k = i // 128, i // 32, i % 32, i // 16
    d = np.float32(block["d"])
    if kind == "q8_0":
        return d * np.float32(block["qs"][i])
    if kind in ("q4_0", "q4_1", "q5_0", "q5_1"):
        q = int(block["qs"][i % 16]) >> (0 if i < 16 else 4) & 15
        if kind.startswith("q5"):
            q |= (int.from_bytes(block["qh"].tobytes(), "little") >> i & 1) << 4
        if kind.endswith("_1"):
            return d * np.float32(q) + np.float32(block["m"])
        return d * np.float32(q - (8 if kind == "q4_0" else 16))
    if kind == "q2_k":
        q, s = int(block["qs"][32 * h + l]) >> 2 * (j % 4) & 3, int(block["scales"][k])
        return (d * np.float32(s & 15)) * np.float32(q) - np.float32(block["dmin"]) * np.float32(s >> 4)
    if kind == "q3_k":
        q = (int(block["qs"][32 * h + l]) >> 2 * (j % 4) & 3) | (int(block["hmask"][l]) >> j & 1) << 2
        s = int(block["scales"][k % 8]) >> (0 if k < 8 else 4) & 15
        s |= (int(block["scales"][8 + k % 4]) >> 2 * (k // 4) & 3) << 4
        return (d * np.float32(s - 32)) * np.float32(q - 4)
    if kind == "q6_k":
        q = int(block["ql"][64 * h + 32 * (j % 2) + l]) >> (0 if j % 4 < 2 else 4) & 15
        q |= (int(block["qh"][32 * h + l]) >> 2 * (j % 4) & 3) << 4
        return (d * np.float32(block["scales"][k])) * np.float32(q - 32)
    q = int(block["qs"][32 * (j // 2) + l]) >> (0 if j % 2 == 0 else 4) & 15
    if kind == "q5_k":
        q |= (int(block["qh"][l]) >> j & 1) << 4
    scales = [int(byte) for byte in block["scales"]]
    if j < 4:
        scale, low = scales[j] & 63, scales[j + 4] & 63
    else:
        scale = scales[j + 4] & 15 | (scales[j - 4] >> 6) << 4
        low = scales[j + 4] >> 4 | (scales[j] >> 6) << 4
    return (d * np.float32(scale)) * np.float32(q) - np.float32(block["dmin"]) * np.float32(low)


@pytest.mark.parametrize("kind", QUANTIZED)
def test_values_by_the_table_of_layouts(kind):
    form = FORMATS[kind]
    blocks = np.random.default_rng(3).integers(0, 256, (6, 512 // form.columns * form.block_bytes), dtype=np.uint8)
    expected = np.empty((6, 512), np.float32)
    with np.errstate(all="ignore"):
        for row, stored in enumerate(blocks.view(form.block)):
            for i in range(512):
                expected[row, i] = _value(stored[i // form.columns], kind, i % form.columns)
    bits_equal(dequantize(blocks, kind, 512), expected)


# Largest error over the block's largest magnitude: half a step, and for k-quants what their searches give up.
_BOUNDS = {"q4_0": 0.13, "q4_1": 0.07, "q5_0": 0.065, "q5_1": 0.034, "q8_0": 0.0045,
           "q2_k": 0.6, "q3_k": 0.35, "q4_k": 0.15, "q5_k": 0.08, "q6_k": 0.035}  # fmt: skip


@pytest.mark.parametrize("kind", QUANTIZED)
def test_error_is_bounded_by_the_step(kind):
    rows = CASES["bell"]
    blocks = rows.reshape(-1, FORMATS[kind].columns)
    error = np.abs(dequantize(quantize(rows, kind), kind, 512).reshape(blocks.shape) - blocks)
    assert (error.max(axis=1) / np.abs(blocks).max(axis=1)).max() < _BOUNDS[kind]


@settings(max_examples=60, deadline=None)
@given(
    rows=hnp.arrays(np.float32, (2, 256), elements=st.floats(-65504, 65504, width=32)),
    kind=st.sampled_from(QUANTIZED),
)
def test_a_block_depends_on_itself_alone(rows, kind):
    """One row, many rows, the other way round: the same bytes; and float16's range always comes back finite."""
    together = quantize(rows, kind)
    np.testing.assert_array_equal(together[:1], quantize(rows[:1], kind))
    np.testing.assert_array_equal(together[::-1], quantize(rows[::-1], kind))
    assert np.isfinite(dequantize(together, kind, 256)).all()


def test_chunks_change_nothing(monkeypatch):
    rows = CASES["mixed sizes"]
    whole = {kind: quantize(rows, kind) for kind in FORMATS}
    monkeypatch.setattr("whisperlite.quant.codec._CHUNK", 768)
    for kind, packed in whole.items():
        np.testing.assert_array_equal(quantize(rows, kind), packed)
        bits_equal(dequantize(packed, kind, 512), dequantize(whole[kind], kind, 512))


def test_float32_and_float16_are_copies():
    rows = CASES["float16"]
    for kind, dtype in (("f32", np.float32), ("f16", np.float16)):
        packed = quantize(rows, kind)
        np.testing.assert_array_equal(packed, rows.astype(dtype).view(np.uint8))
        bits_equal(dequantize(packed, kind, 512), rows)
    np.testing.assert_array_equal(quantize(rows.astype(np.float16), "q5_0"), quantize(rows, "q5_0"))


@pytest.mark.parametrize("evil", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", FORMATS)
def test_only_finite_weights(kind, evil):
    rows = CASES["bell"].copy()
    rows[3, 77] = evil
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        quantize(rows, kind)


def test_refusals():
    rows = CASES["bell"]
    with pytest.raises(OptionError, match="q9_0"):
        quantize(rows, "q9_0")
    with pytest.raises(OptionError, match=r"rows of 384 .* q4_0, q5_0 or q8_0"):
        quantize(rows[:, :384], "q4_k")
    with pytest.raises(OptionError, match=r"rows of 40 .* Take f16"):
        quantize(rows[:, :40], "q4_0")
    with pytest.raises(OptionError, match="two axes"):
        quantize(rows[0], "q4_0")
    with pytest.raises(OptionError, match="float64"):
        quantize(rows.astype(np.float64), "q4_0")
    with pytest.raises(OptionError, match="rows of 512 q4_0 have 288 bytes"):
        dequantize(np.zeros((2, 287), np.uint8), "q4_0", 512)


def test_ids_are_ggmls():
    """ref: ggml.h; a tensor's type and a file's are different numbers."""
    types = {"f32": (0, 0), "f16": (1, 1), "q4_0": (2, 2), "q4_1": (3, 3), "q5_0": (6, 8), "q5_1": (7, 9),
             "q8_0": (8, 7), "q2_k": (10, 10), "q3_k": (11, 11), "q4_k": (12, 12), "q5_k": (13, 13),
             "q6_k": (14, 14)}  # fmt: skip
    assert {name: (form.ggml_type, form.ftype) for name, form in FORMATS.items()} == types
    assert BY_GGML_TYPE[8] is BY_FTYPE[7] is format_of("q8_0")
    sizes = {"q4_0": 18, "q4_1": 20, "q5_0": 22, "q5_1": 24, "q8_0": 34,
             "q2_k": 84, "q3_k": 110, "q4_k": 144, "q5_k": 176, "q6_k": 210}  # fmt: skip
    assert {name: FORMATS[name].block_bytes for name in QUANTIZED} == sizes


def test_empty_and_memory():
    assert quantize(np.empty((0, 256), np.float32), "q4_k").shape == (0, 144)
    assert dequantize(np.empty((0, 144), np.uint8), "q4_k", 256).shape == (0, 256)
    rows = np.tile(CASES["bell"], (64, 1)).astype(np.float16)  # 2 M weights
    tracemalloc.start()
    quantize(rows, "q5_k")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24e6  # chunks: far below the 8 MB of float32 times a dozen temporaries
