"""Every format opens to the same tensors; every kind of damage is a CheckpointError."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bounded import bounded, file_bytes
from fixtures import tiny_models as tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisperlite.checkpoint import Checkpoint, open_checkpoint, resolve
from whisperlite.errors import CheckpointError

SHARED = Path(__file__).parents[2] / "shared"
ARRAYS = tiny.tensors("float16")
SMALL = {name: array for name, array in ARRAYS.items() if array.size < 1000}
IN_PLACE = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def assert_same(checkpoint: Checkpoint, arrays: dict[str, np.ndarray]) -> None:
    assert set(checkpoint.names()) == set(arrays)
    for name, array in arrays.items():
        read = checkpoint.read(name)
        assert checkpoint.shape(name) == read.shape == array.shape
        np.testing.assert_array_equal(read, array, err_msg=name)


def refused(path: Path, words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path).close()
    assert words in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_hf_folder(tmp_path, dtype):
    arrays = tiny.tensors(dtype)
    with open_checkpoint(tiny.write_hf(tmp_path, arrays)) as checkpoint:
        assert checkpoint.dims == tiny.DIMS
        assert checkpoint.dtype("decoder.ln.weight") == dtype
        assert_same(checkpoint, arrays)
        view = checkpoint.read("decoder.token_embedding.weight")
        assert view.dtype == dtype and not view.flags.owndata and not view.flags.writeable


def test_single_safetensors_file_with_its_config(tmp_path):
    tiny.write_hf(tmp_path, ARRAYS)
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        assert_same(checkpoint, ARRAYS)
    (tmp_path / "config.json").unlink()
    refused(tmp_path / "model.safetensors", "has no config.json beside it")


def test_bfloat16_becomes_float32_exactly(tmp_path):
    arrays = {name: (a.view(np.uint32) >> 16 << 16).view(np.float32) for name, a in tiny.tensors().items()}
    tiny.write_hf(tmp_path, {})
    stored = {
        tiny.hf_name(name): ("BF16", a.shape, (a.view(np.uint32) >> 16).astype(np.uint16).tobytes())
        for name, a in arrays.items()
    }
    (tmp_path / "model.safetensors").write_bytes(tiny.safetensors_bytes(stored))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.dtype("decoder.ln.weight") == "bfloat16"
        assert checkpoint.read("decoder.ln.weight").dtype == np.float32
        assert_same(checkpoint, arrays)


def test_data_that_is_not_aligned_is_copied(tmp_path):
    tiny.write_hf(tmp_path, {})
    plain = tiny.as_safetensors({tiny.hf_name(name): array for name, array in tiny.tensors().items()})
    n_header = struct.unpack("<Q", plain[:8])[0]
    shifted = struct.pack("<Q", n_header + 1) + plain[8 : 8 + n_header] + b" " + plain[8 + n_header :]
    (tmp_path / "model.safetensors").write_bytes(shifted)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.read("decoder.token_embedding.weight").flags.aligned
        assert_same(checkpoint, tiny.tensors())


def write_shards(folder: Path, names: tuple[str, str]) -> None:
    tiny.write_hf(folder, {})
    (folder / "model.safetensors").unlink()
    ours = sorted(ARRAYS)
    halves = dict(zip(names, (ours[:20], ours[20:]), strict=True))
    weight_map = {}
    for shard, members in halves.items():
        data = tiny.as_safetensors({tiny.hf_name(name): ARRAYS[name] for name in members})
        (folder / Path(shard).name).write_bytes(data)
        weight_map.update(dict.fromkeys(map(tiny.hf_name, members), shard))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards(tmp_path):
    write_shards(tmp_path, ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"))
    with open_checkpoint(tmp_path) as checkpoint:
        assert_same(checkpoint, ARRAYS)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    refused(tmp_path, "model-00002-of-00002.safetensors is missing")


@pytest.mark.parametrize(
    "evil", ["../b.safetensors", "/b.safetensors", "x/../b.safetensors", "..", "", "a\\b", "a\0b"]
)
def test_shards_do_not_leave_the_folder(tmp_path, evil):
    write_shards(tmp_path, ("a.safetensors", "b.safetensors"))
    index = tmp_path / "model.safetensors.index.json"
    places = json.loads(index.read_text())
    places["weight_map"][next(iter(places["weight_map"]))] = evil
    index.write_text(json.dumps(places))
    refused(tmp_path, "a shard lies in the same folder")


def test_pt_file(tmp_path):
    with open_checkpoint(tiny.write_pt(tmp_path / "model.pt", ARRAYS)) as checkpoint:
        assert checkpoint.dims == tiny.DIMS and checkpoint.config == {}
        assert checkpoint.alignment_heads == ((1, 0), (1, 1))
        assert_same(checkpoint, ARRAYS)


def test_pt_tensor_that_is_a_view(tmp_path):
    """A transposed tensor, and one in the middle of another's storage."""
    arrays = dict(ARRAYS)
    names = list(arrays)
    turned, inner = "decoder.blocks.0.mlp.0.weight", "decoder.ln.weight"
    key = str(names.index(turned))
    pickle = tiny.pt_pickle(
        arrays,
        {
            turned: tiny.p_tensor(key, "HalfStorage", 256, (32, 8), (1, 32)),
            inner: tiny.p_tensor(key, "HalfStorage", 256, (8,), (3,), first=100),
        },
    )
    flat = arrays[turned].reshape(-1)
    with open_checkpoint(tiny.write_pt(tmp_path / "model.pt", arrays, pickle)) as checkpoint:
        expected = arrays | {turned: flat.reshape(8, 32).T, inner: flat[100 : 100 + 24 : 3]}
        assert_same(checkpoint, expected)
        assert checkpoint.read(turned).flags.c_contiguous


def test_pytorch_model_bin_with_config(tmp_path):
    tiny.write_hf(tmp_path, {})
    (tmp_path / "model.safetensors").unlink()
    state = {tiny.hf_name(name): tiny.p_array(str(i), array) for i, (name, array) in enumerate(ARRAYS.items())}
    metadata = tiny.p_dict({"_metadata": tiny.p_global("collections", "OrderedDict") + b")R"})
    ordered = tiny.p_global("collections", "OrderedDict") + b")R" + tiny.p_dict(state)[1:] + metadata + b"b"
    tiny.write_pt(tmp_path / "pytorch_model.bin", ARRAYS, tiny.p_whole(ordered))
    with open_checkpoint(tmp_path) as checkpoint:
        assert_same(checkpoint, ARRAYS)


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is not here")
def test_nano_is_the_same_in_both_formats():
    with open_checkpoint(resolve("nano")) as ours, open_checkpoint(SHARED / "nano" / "nano.pt") as theirs:
        assert ours.dims == theirs.dims
        assert ours.alignment_heads == theirs.alignment_heads == ((2, 0), (3, 1))
        assert_same(ours, {name: theirs.read(name) for name in theirs.names()})
        assert [path.name for path in ours.tokenizer_files] == ["tokenizer.json"]
        assert ours.generation_config["no_timestamps_token_id"] == 50363


def test_shape_mismatch_names_tensor_found_and_expected(tmp_path):
    name = "decoder.blocks.1.attn.key.weight"
    tiny.write_hf(tmp_path, ARRAYS | {name: np.zeros((9, 8), np.float16)})
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    assert str(caught.value) == f"'{name}' is (9, 8); dims say (8, 8)."


def test_missing_tensors_are_counted_and_named(tmp_path):
    arrays = {name: array for name, array in ARRAYS.items() if not name.startswith("decoder.blocks.1.mlp")}
    refused(tiny.write_hf(tmp_path, arrays), "lacks 6 of 74 tensors: decoder.blocks.1.mlp_ln.weight, ")


def test_extra_tensors(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WHISPERLITE_DEBUG", "1")
    extra = ARRAYS | {"decoder.mask": np.zeros((5, 5), np.float16), "steps": np.zeros((), np.int64)}
    with open_checkpoint(tiny.write_hf(tmp_path, extra)) as checkpoint:
        assert_same(checkpoint, ARRAYS)
        with pytest.raises(CheckpointError, match="'steps' is not a tensor of this model"):
            checkpoint.read("steps")
    assert "tensor steps is not part of the model, ignored" in capsys.readouterr().err
    more = ARRAYS | {"decoder.blocks.2.attn_ln.weight": np.zeros(8, np.float16)}
    refused(tiny.write_hf(tmp_path, more), "dims say 2 decoder layers")


def test_integers_are_not_weights(tmp_path):
    refused(
        tiny.write_hf(tmp_path, ARRAYS | {"decoder.ln.bias": np.zeros(8, np.int64)}),
        "'decoder.ln.bias' is int64; weights are float32",
    )


def test_missing_positional_embedding_is_computed(tmp_path):
    arrays = {name: array for name, array in ARRAYS.items() if name != "encoder.positional_embedding"}
    with open_checkpoint(tiny.write_hf(tmp_path, arrays)) as checkpoint:
        table = checkpoint.read("encoder.positional_embedding")
    assert table.dtype == np.float32
    rates = np.exp(-np.log(10000) / 3 * np.arange(4))
    angles = np.arange(6)[:, None] * rates
    np.testing.assert_allclose(table, np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=1e-6)


def test_sinusoids_are_nanos():
    with open_checkpoint(resolve("nano")) as checkpoint:
        stored = checkpoint.read("encoder.positional_embedding").astype(np.float32)
    from whisperlite.checkpoint.names import sinusoids

    np.testing.assert_allclose(sinusoids(1500, 128), stored, atol=4e-4)  # nano's are rounded to float16


def test_output_projection_is_the_embedding(tmp_path):
    embedding = ARRAYS["decoder.token_embedding.weight"]
    with open_checkpoint(tiny.write_hf(tmp_path / "a", ARRAYS | {"proj_out.weight": embedding})) as checkpoint:
        assert_same(checkpoint, ARRAYS)
    other = tiny.write_hf(tmp_path / "b", ARRAYS | {"proj_out.weight": embedding + 1})
    # hf_name gives it a prefix, which some savers do as well
    refused(other, "has a proj_out.weight unlike its token embedding")


@pytest.mark.parametrize("heads, expected", [([[1, 1]], ((1, 1),)), ([[7, 0]], None), ([], None), ("x", None)])
def test_alignment_heads_of_the_generation_config(tmp_path, heads, expected):
    tiny.write_hf(tmp_path, ARRAYS)
    (tmp_path / "generation_config.json").write_text(json.dumps({"alignment_heads": heads}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.alignment_heads == (expected or ((1, 0), (1, 1)))


def test_a_view_outlives_close():
    checkpoint = open_checkpoint(resolve("nano"))
    view = checkpoint.read("decoder.ln.weight")
    before = view.copy()
    checkpoint.close()
    checkpoint.close()
    np.testing.assert_array_equal(view, before)
    with pytest.raises(CheckpointError, match="is closed; open the checkpoint again"):
        checkpoint.read("decoder.ln.weight")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_close_releases_the_mapping(tmp_path):
    mapped = str(tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tiny.write_hf(tmp_path, ARRAYS))
    view = checkpoint.read("decoder.ln.weight")
    assert mapped in Path("/proc/self/maps").read_text()
    checkpoint.close()
    assert mapped in Path("/proc/self/maps").read_text()
    del view
    assert mapped not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"hello, this is text", "is not a model file"),
        (b"GGUF" + bytes(100), "is a ggml file, but not of whisper.cpp's kind"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "torch's format from before 1.6"),
        (b"PK\x03\x04" + bytes(50), "is a damaged zip archive"),
        (b"\xff\x00\x00\x00\x00\x00\x00\x00{}", "It is cut short"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "has no config.json beside it"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{]", "damaged safetensors header"),
    ],
)
def test_files_that_are_no_model(tmp_path, content, words):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    refused(path, words)


def test_folders_that_are_no_model(tmp_path):
    refused(tmp_path / "nowhere", "does not exist")
    refused(tmp_path, "has no model.safetensors")
    (tmp_path / "model.bin").write_bytes(b"hello, this is text")
    refused(tmp_path, "is not a model file")
    (tmp_path / "model.bin").unlink()
    tiny.write_hf(tmp_path, ARRAYS, {"model_type": "bert"})
    refused(tmp_path, "config.json has model_type 'bert'")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "is not valid JSON")
    (tmp_path / "config.json").write_text("[]")
    refused(tmp_path, "is not a JSON object")


def test_pt_archives_that_do_not_fit(tmp_path):
    path = tmp_path / "model.pt"
    refused(tiny.write_pt(path, SMALL, compression=zipfile.ZIP_DEFLATED), "has the compressed member")
    refused(tiny.write_pt(path, ARRAYS, extra={"byteorder": b"big"}), "is big-endian")
    refused(tiny.write_pt(path, ARRAYS, tiny.p_whole(b"]")), "holds no dims and no tensors")
    refused(
        tiny.write_pt(path, ARRAYS, tiny.p_whole(tiny.p_dict({"dims": tiny.p_dict({})}))), "no model_state_dict"
    )
    pickle = tiny.pt_pickle(ARRAYS, {"decoder.ln.weight": tiny.p_tensor("none", "HalfStorage", 8, (8,), (1,))})
    refused(tiny.write_pt(path, ARRAYS, pickle), "storage 'none' is not in the archive")
    pickle = tiny.pt_pickle(ARRAYS, {"decoder.ln.weight": tiny.p_tensor("0", "HalfStorage", 10**9, (8,), (1,))})
    refused(tiny.write_pt(path, ARRAYS, pickle), "says 1000000000 float16 elements")
    pickle = tiny.pt_pickle(ARRAYS, {"decoder.ln.weight": tiny.p_tensor("1", "HalfStorage", 8, (8,), (2,))})
    refused(tiny.write_pt(path, ARRAYS, pickle), "needs 15 float16 elements; the file has 8")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no model")
    refused(path, "was not written by torch.save")


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory) -> dict[str, bytes]:
    """A folder's and a .pt's bytes. Only the small tensors: both are refused at the latest for what they lack."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.write_hf(folder, SMALL)
    tiny.write_pt(folder / "model.pt", SMALL)
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "model.pt")}


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_any_truncation_is_refused(tmp_path, whole_files, name):
    (tmp_path / "config.json").write_text(json.dumps(tiny.HF_CONFIG))
    whole = whole_files[name]
    for size in [*range(0, 300, 7), *range(300, len(whole), 977), len(whole) - 1]:
        (tmp_path / name).write_bytes(whole[:size])
        with bounded(file_bytes(tmp_path)), pytest.raises(CheckpointError):
            open_checkpoint(tmp_path / name)


def test_a_member_without_a_name_is_refused(tmp_path, whole_files):
    whole = whole_files["model.pt"]
    last = whole.rindex(b"PK\x01\x02")
    (tmp_path / "model.pt").write_bytes(whole[: last + 28] + b"\0\0" + whole[last + 30 :])
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path / "model.pt")


@IN_PLACE
@given(st.sampled_from(["model.safetensors", "model.pt"]), st.data())
def test_any_mutation_is_refused_with_our_error(tmp_path, whole_files, name, data):
    (tmp_path / "config.json").write_text(json.dumps(tiny.HF_CONFIG))
    content = bytearray(whole_files[name])
    for _ in range(data.draw(st.integers(1, 4))):
        where = st.integers(0, len(content) - 1)
        # Headers are at the front of one format and at both ends of the other.
        at = data.draw(where | st.integers(0, 400) | st.integers(len(content) - 3000, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(content)
    with bounded(file_bytes(tmp_path)), pytest.raises(CheckpointError):
        open_checkpoint(tmp_path / name)


@IN_PLACE
@given(st.text(max_size=200) | st.recursive(
    st.none() | st.integers(-2**70, 2**70) | st.text(max_size=5) | st.sampled_from(["F32", "BF16", "XX"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4),
    max_leaves=30,
))  # fmt: skip
def test_any_safetensors_header_is_refused_with_our_error(tmp_path, header):
    (tmp_path / "config.json").write_text(json.dumps(tiny.HF_CONFIG))
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    text = text if text.startswith(b"{") else b'{"a": ' + text + b"}"
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    with bounded(file_bytes(tmp_path)), pytest.raises(CheckpointError):
        open_checkpoint(tmp_path)
