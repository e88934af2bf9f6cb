"""CTranslate2 folders: fused and quantised tensors come apart again; every kind of damage is a CheckpointError."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from bounded import bounded, file_bytes
from fixtures import tiny_models as tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_checkpoint import EVEN, RandomCheckpoint

from whisperlite.checkpoint import open_checkpoint, resolve
from whisperlite.checkpoint.ctranslate2 import CTranslate2Checkpoint
from whisperlite.errors import CheckpointError
from whisperlite.model import Whisper
from whisperlite.runtime.panels import int8_chunk, pack_row_codes, unpack_int8

ARRAYS = {name: np.ascontiguousarray(a[:50]) for name, a in tiny.tensors("float16").items()}
TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
IN_PLACE = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def variables(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model as CTranslate2 names and joins it. ref: ctranslate2 converters/transformers.py WhisperLoader"""
    out: dict[str, np.ndarray] = {
        "encoder/num_heads": np.int16(2), "decoder/num_heads": np.int16(2), "decoder/pre_norm": np.int8(1),
        "encoder/position_encodings/encodings": arrays["encoder.positional_embedding"],
        "decoder/position_encodings/encodings": arrays["decoder.positional_embedding"],
        "decoder/embeddings/weight": arrays["decoder.token_embedding.weight"],
    }  # fmt: skip

    def norm(theirs: str, ours: str) -> None:
        out[f"{theirs}/gamma"], out[f"{theirs}/beta"] = arrays[f"{ours}.weight"], arrays[f"{ours}.bias"]

    def linear(theirs: str, *ours: str) -> None:
        weights = [arrays[f"{name}.weight"] for name in ours]
        biases = [
            arrays.get(f"{name}.bias", np.zeros(len(w), w.dtype)) for name, w in zip(ours, weights, strict=True)
        ]
        out[f"{theirs}/weight"], out[f"{theirs}/bias"] = np.concatenate(weights), np.concatenate(biases)

    for conv in ("conv1", "conv2"):
        linear(f"encoder/{conv}", f"encoder.{conv}")
    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    for side, layer in (("encoder", 0), ("decoder", 0), ("decoder", 1)):
        theirs, ours = f"{side}/layer_{layer}", f"{side}.blocks.{layer}"
        norm(f"{theirs}/self_attention/layer_norm", f"{ours}.attn_ln")
        linear(f"{theirs}/self_attention/linear_0", *(f"{ours}.attn.{x}" for x in ("query", "key", "value")))
        linear(f"{theirs}/self_attention/linear_1", f"{ours}.attn.out")
        if side == "decoder":
            norm(f"{theirs}/attention/layer_norm", f"{ours}.cross_attn_ln")
            linear(f"{theirs}/attention/linear_0", f"{ours}.cross_attn.query")
            linear(f"{theirs}/attention/linear_1", f"{ours}.cross_attn.key", f"{ours}.cross_attn.value")
            linear(f"{theirs}/attention/linear_2", f"{ours}.cross_attn.out")
        norm(f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln")
        linear(f"{theirs}/ffn/linear_0", f"{ours}.mlp.0")
        linear(f"{theirs}/ffn/linear_1", f"{ours}.mlp.2")
    return out


def quantised(values: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """ref: ctranslate2 specs/model_spec.py _quantize"""
    out = {}
    for name, value in values.items():
        if not name.endswith("/weight") or value.ndim < 2:
            out[name] = value
            continue
        wide = value.astype(np.float32)
        if kind == "int16":
            scale = np.float32(2**10 / np.abs(wide).max())
            column = scale
        else:
            scale = (127 / np.abs(wide.reshape(len(wide), -1)).max(axis=1)).astype(np.float32)
            column = scale.reshape(-1, *[1] * (wide.ndim - 1))
        out[name], out[f"{name}_scale"] = np.rint(wide * column).astype(kind), scale
    return out


def name_bytes(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def variable_bytes(name: str, value: np.ndarray, kind: int | None = None, n_bytes: int | None = None) -> bytes:
    value = np.asarray(value)
    shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
    kind = TYPES.index(value.dtype.name) if kind is None else kind
    n_bytes = value.nbytes if n_bytes is None else n_bytes
    return name_bytes(name) + shape + struct.pack("<BI", kind, n_bytes) + value.tobytes()


def pieces(values: dict[str, np.ndarray], aliases: dict[str, str] | None = None) -> list[bytes]:
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"} if aliases is None else aliases
    head = struct.pack("<I", 6) + name_bytes("WhisperSpec") + struct.pack("<II", 3, len(values))
    tail = struct.pack("<I", len(aliases)) + b"".join(name_bytes(x) for pair in aliases.items() for x in pair)
    return [head, *(variable_bytes(name, value) for name, value in values.items()), tail]


def write(folder: Path, parts: list[bytes], config: dict | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(b"".join(parts))
    (folder / "config.json").write_text(json.dumps({"lang_ids": [50259]} if config is None else config))
    return folder


def refused(folder: Path, parts: list[bytes], words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(write(folder, parts)).close()
    assert words in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_floats_come_apart_to_the_bit(tmp_path, dtype):
    arrays = {name: array.astype(dtype) for name, array in ARRAYS.items()}
    folder = write(tmp_path, pieces(variables(arrays)), {"alignment_heads": [[0, 1], [1, 1]]})
    for path in (folder, folder / "model.bin"):
        with open_checkpoint(path) as checkpoint:
            assert isinstance(checkpoint, CTranslate2Checkpoint)
            expected = vars(tiny.DIMS) | {"n_vocab": 50}
            assert vars(checkpoint.dims) == expected and checkpoint.alignment_heads == ((0, 1), (1, 1))
            assert checkpoint.config == {}
            for name, array in arrays.items():
                assert checkpoint.dtype(name) == dtype and checkpoint.read_codes(name) is None
                np.testing.assert_array_equal(checkpoint.read(name), array, err_msg=name)


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_codes_and_scales(tmp_path, kind):
    folder = write(tmp_path, pieces(quantised(variables(ARRAYS), kind)))
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.alignment_heads == ((1, 0), (1, 1))
        for name, array in ARRAYS.items():
            read, wide = checkpoint.read(name), array.astype(np.float32)
            if not name.endswith("weight") or array.ndim < 2:
                np.testing.assert_array_equal(read, array)
                continue
            assert checkpoint.dtype(name) == kind and read.dtype == np.float32 and read.shape == array.shape
            codes, scale = checkpoint.read_codes(name)
            assert codes.dtype == kind and scale.shape == array.shape[:1]
            column = scale.reshape(-1, *[1] * (array.ndim - 1))
            np.testing.assert_array_equal(codes, np.rint(wide * column))
            np.testing.assert_allclose(read, wide, rtol=0, atol=float(0.5 / scale.min()) * 1.001, err_msg=name)


def test_aliases_stand_for_equal_tensors(tmp_path):
    values = variables(ARRAYS)
    same = "decoder/layer_1/ffn/layer_norm/gamma"
    values[same] = values["decoder/layer_norm/gamma"]
    aliases = {same: "decoder/layer_norm/gamma"}
    rest = {name: value for name, value in values.items() if name != same}
    with open_checkpoint(write(tmp_path, pieces(rest, aliases))) as checkpoint:
        read = checkpoint.read("decoder.blocks.1.mlp_ln.weight")
        np.testing.assert_array_equal(read, ARRAYS["decoder.ln.weight"])
    refused(tmp_path, pieces(rest, {same: "nowhere"}), "has 'decoder/layer_1/ffn/layer_norm/gamma' for 'nowhere'")


def test_files_that_make_no_sense(tmp_path):
    values = variables(ARRAYS)
    head, *rest = pieces(values)
    refused(tmp_path, [struct.pack("<I", 5) + head[4:], *rest], "has version 5; whisperlite reads 6")
    other = struct.pack("<I", 6) + name_bytes("TransformerSpec")
    refused(tmp_path, [other, *rest], "is a CTranslate2 'TransformerSpec'")
    refused(tmp_path, [head[:-4] + struct.pack("<I", 1 << 31), *rest], "variables; the limit is")
    refused(tmp_path, [head[:-4] + struct.pack("<I", 1 << 16), *rest], "ends inside")
    refused(tmp_path, [head, rest[0], *rest[:-2], rest[-1]], "a second time")
    refused(tmp_path, [head, *rest[:-1], struct.pack("<I", 1 << 30)], "aliases; the limit is")
    refused(tmp_path, [head, *rest[:-1]], "ends inside its count of aliases")
    name, value = "decoder/layer_norm/beta", values["decoder/layer_norm/beta"]
    at = list(values).index(name)
    for wrong, words in (
        (variable_bytes(name, value, kind=6), "has type 6"),
        (variable_bytes(name, value, n_bytes=1 << 31), "ends inside"),
        (variable_bytes(name, value.astype(np.float32), kind=4), "in 32 bytes; it is damaged"),
        (name_bytes(name) + bytes([9]) + bytes(60), "has 9 axes"),
        (struct.pack("<H", 3) + b"abc", "makes no sense"),
        (struct.pack("<H", 0), "makes no sense"),
        (variable_bytes(name, value.astype(np.int32)), "is int32; weights are"),
        (variable_bytes(name, value[:7]), "dims say (8,)"),
        (variable_bytes(name, value.astype(np.int8)), "has no scale"),
        (variable_bytes("decoder/layer_norm/x", value), f"has no {name}"),
    ):
        refused(tmp_path, [head, *rest[:at], wrong, *rest[at + 1 :]], words)


def test_models_that_make_no_sense(tmp_path):
    def changed(**changes: np.ndarray | None) -> list[bytes]:
        values = variables(ARRAYS) | {key.replace("__", "/"): value for key, value in changes.items()}
        return pieces({name: value for name, value in values.items() if value is not None}, {})

    refused(tmp_path, changed(encoder__num_heads=None), "has no number encoder/num_heads")
    refused(tmp_path, changed(encoder__num_heads=np.int16(3)), "not a multiple of n_audio_head 3")
    refused(tmp_path, changed(decoder__num_heads=np.int8(-1)), "n_text_head is -1")
    refused(tmp_path, changed(decoder__embeddings__weight=None), "has no decoder/embeddings/weight of 2 axes")
    refused(tmp_path, changed(decoder__layer_0__ffn__linear_0__weight=None), "it is damaged")
    short = {"decoder__layer_0__attention__linear_1__weight": np.zeros((12, 8), np.float16)}
    refused(tmp_path, changed(**short), "is (12, 8); 16 rows are needed")
    values = quantised(variables(ARRAYS), "int8")
    values["decoder/layer_0/ffn/linear_0/weight_scale"] = np.ones(3, np.float32)
    refused(tmp_path, pieces(values), "weight_scale is (3,); 32 rows need one each")


def test_cut_anywhere(tmp_path):
    parts = pieces(quantised(variables(ARRAYS), "int8"))
    whole = b"".join(parts)
    edges = np.cumsum([0, *map(len, parts)])
    cuts = {*range(1, 40), *(edge + d for edge in edges for d in (-5, -1, 0, 1, 2, 10, 24, 30, 35, 40, 45))}
    folder = write(tmp_path, parts)
    for cut in sorted(cut for cut in cuts if 0 < cut < len(whole)):
        (folder / "model.bin").write_bytes(whole[:cut])
        with bounded(file_bytes(folder)), pytest.raises(CheckpointError):
            open_checkpoint(folder)


@IN_PLACE
@given(data=st.data())
def test_mutated_files_are_refused_or_read(tmp_path, data):
    parts = pieces(quantised(variables(ARRAYS), data.draw(st.sampled_from(["int8", "int16"]))))
    places = [0, *np.cumsum([len(part) for part in parts]).tolist()][:-1]
    whole = bytearray(b"".join(parts))
    for _ in range(data.draw(st.integers(1, 4))):
        at = min(data.draw(st.sampled_from(places)) + data.draw(st.integers(0, 70)), len(whole) - 4)
        extreme = st.sampled_from([0, 1, 255, 1 << 16, 1 << 24, (1 << 31) - 1, (1 << 32) - 1])
        word = data.draw(st.one_of(st.binary(min_size=1, max_size=4), extreme.map(lambda v: struct.pack("<I", v))))
        whole[at : at + len(word)] = word
    folder = write(tmp_path, [bytes(whole)])
    with bounded(file_bytes(folder)):
        try:
            with open_checkpoint(folder) as checkpoint:
                for name in checkpoint.names():
                    checkpoint.read(name)
        except CheckpointError as error:
            assert "\n" not in str(error)


@pytest.mark.peer
@pytest.mark.parametrize("kind, bound", [("float32", 0), ("float16", 0), ("int8", 5e-3), ("int16", 6e-4)])
def test_nano_by_ctranslate2_itself(tmp_path, kind, bound):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    converters = pytest.importorskip("ctranslate2.converters")
    converters.TransformersConverter(str(resolve("nano"))).convert(str(tmp_path / "ct2"), quantization=kind)
    with open_checkpoint(tmp_path / "ct2") as ours, open_checkpoint(resolve("nano")) as hf:
        assert ours.dims == hf.dims and ours.alignment_heads == hf.alignment_heads
        for name in hf.names():
            difference = np.abs(ours.read(name).astype(np.float32) - hf.read(name)).max()
            assert difference <= bound, name


# --- computing on the codes


class RowCodes(RandomCheckpoint):
    """Matrices as bytes with a scale for each row."""

    def __init__(self, dims):
        super().__init__(dims)
        self.codes = {}
        for name, values in self.tensors.items():
            if values.ndim > 1 and "positional" not in name:
                wide = values.astype(np.float32)
                scale = 127 / np.abs(wide).reshape(len(wide), -1).max(axis=1)
                column = scale.reshape(-1, *[1] * (wide.ndim - 1))
                self.codes[name] = np.rint(wide * column).astype(np.int8), scale.astype(np.float32)
                self.tensors[name] = self.codes[name][0] / column.astype(np.float32)

    def dtype(self, name):
        return "int8" if name in self.codes else super().dtype(name)

    def read_codes(self, name):
        return self.codes.get(name)


@pytest.mark.parametrize("shape", [(32, 32), (50, 384), (7, 96)])
def test_row_codes_become_panels_unchanged(shape):
    rng = np.random.default_rng(0)
    codes, scales = (
        rng.integers(-127, 128, shape).astype(np.int8),
        rng.uniform(20, 900, shape[0]).astype(np.float32),
    )
    back = unpack_int8(pack_row_codes(codes, scales, int8_chunk(shape[1])))
    np.testing.assert_allclose(back[: len(codes)], codes / scales[:, None], rtol=3e-7)
    np.testing.assert_array_equal(np.rint(back[: len(codes)] * scales[:, None]), codes)
    assert not back[len(codes) :].any()


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_bytes_stay_bytes_and_are_those_of_the_file(backend):
    model = Whisper(RowCodes(EVEN), threads=1, backend=backend)
    wide = Whisper(RowCodes(EVEN), "float32", threads=1, backend=backend)
    parts = ("decoder.token_embedding.weight",)
    codes, scales = RowCodes(EVEN).codes[parts[0]]
    kept = model._weights.array(parts, codes.shape, "int8")
    np.testing.assert_allclose(kept, codes / scales[:, None], rtol=3e-7)
    mel = np.random.default_rng(1).uniform(-1, 1, (1, EVEN.n_mels, 82)).astype(np.float32)
    results = []
    for whisper in (model, wide):
        features = whisper.encode(mel)
        logits = whisper.prefill([[1, 2, 3]], whisper.new_cache(1), whisper.cross_kv(features))
        results.append((features, logits))
    for bytes_, floats in zip(*results, strict=True):
        difference = np.abs(bytes_ - floats).max()
        assert difference <= 0.03 * np.abs(floats).max()
        assert difference > 0 or backend == "numpy"  # which does not round activations
    if backend == "numba":
        assert model.n_bytes < 0.45 * wide.n_bytes
