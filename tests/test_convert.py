"""One model in another format: the same weights, and a target that is whole or not there."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from bounded import bounded
from fixtures import tiny_models as tiny

from whisperlite.checkpoint import open_checkpoint, resolve
from whisperlite.checkpoint.convert import Companions, convert
from whisperlite.checkpoint.write import replaced_file, replaced_folder
from whisperlite.checkpoint.write_tokenizer import tokenizer_json
from whisperlite.errors import CheckpointError, OptionError
from whisperlite.text import Vocabulary, load_vocabulary

TOOL = Path(__file__).parent.parent / "tools" / "convert_ggml.py"
SPECIALS = {"<|endoftext|>": 50257, "<|startoftranscript|>": 50258, "<|en|>": 50259, "<|translate|>": 50358,
            "<|transcribe|>": 50359, "<|startofprev|>": 50361, "<|notimestamps|>": 50363}  # fmt: skip


def _tool():
    spec = importlib.util.spec_from_file_location("convert_ggml", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = _tool()


def companions(checkpoint) -> Companions:
    filters = np.full((checkpoint.dims.n_mels, 201), 0.5, np.float32)
    return Companions((b"a", b"b", b""), SPECIALS, filters, lambda: '{"made": "here"}')


def same_bits(ours: Path, theirs: Path) -> None:
    with open_checkpoint(ours) as a, open_checkpoint(theirs) as b:
        assert a.dims == b.dims and a.names() == b.names()
        for name in a.names():
            left, right = a.read(name), b.read(name)
            np.testing.assert_array_equal(
                left.astype(np.float32).view(np.uint32), right.astype(np.float32).view(np.uint32), err_msg=name
            )


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_hf_to_ggml_to_hf_is_bit_identical(tmp_path):
    hf = tiny.write_hf(tmp_path / "hf", tiny.tensors("float16"))
    convert(hf, tmp_path / "model.bin", "ggml", "f16", companions)
    convert(tmp_path / "model.bin", tmp_path / "back", "hf", "f16", companions)
    same_bits(tmp_path / "model.bin", hf)
    same_bits(tmp_path / "back", hf)
    assert listing(tmp_path) == ["back", "hf", "model.bin"]
    with open_checkpoint(tmp_path / "back") as checkpoint:
        assert {checkpoint.dtype(name) for name in checkpoint.names()} == {"float16"}


def test_float32_stays_float32(tmp_path):
    hf = tiny.write_hf(tmp_path / "hf", tiny.tensors("float32"))
    convert(hf, tmp_path / "model.bin", "ggml", "f32", companions)
    convert(tmp_path / "model.bin", tmp_path / "back", "hf", "f32", companions)
    same_bits(tmp_path / "back", hf)


def test_pt_to_hf_and_ggml(tmp_path):
    pt = tiny.write_pt(tmp_path / "model.pt", tiny.tensors("float16"))
    convert(pt, tmp_path / "hf", "hf", "f16", companions)
    convert(pt, tmp_path / "model.bin", "ggml", "f16", companions)
    same_bits(tmp_path / "hf", pt)
    same_bits(tmp_path / "model.bin", pt)


def test_nano_pt_is_whisper_cpps_own_file(shared, tmp_path):
    """Whole files: convert-pt-to-ggml.py made ggml-nano.bin. Then the HF folder comes back, configs included."""
    reference = shared / "nano" / "ggml-nano.bin"
    assert tool.main([str(shared / "nano" / "nano.pt"), str(tmp_path / "a.bin")]) == 0
    assert tool.main(["nano", str(tmp_path / "b.bin")]) == 0
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes() == reference.read_bytes()
    assert tool.main([str(reference), str(tmp_path / "hf"), "--format", "hf"]) == 0
    same_bits(tmp_path / "hf", shared / "nano" / "hf")
    for name in ("config.json", "generation_config.json", "tokenizer.json", "preprocessor_config.json"):
        ours, theirs = (json.loads((at / name).read_text()) for at in (tmp_path / "hf", shared / "nano" / "hf"))
        assert ours == theirs, name


def test_the_safetensors_package_reads_what_is_written(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = tiny.tensors("float16")
    convert(tiny.write_pt(tmp_path / "model.pt", arrays), tmp_path / "hf", "hf", "f16")
    stored = numpy.load_file(tmp_path / "hf" / "model.safetensors")
    assert set(stored) == {tiny.hf_name(name) for name in arrays}
    for name, array in arrays.items():
        np.testing.assert_array_equal(stored[tiny.hf_name(name)], array)


def test_configs_of_a_source_without_any(tmp_path):
    pt = tiny.write_pt(tmp_path / "model.pt", tiny.tensors("float16"))
    convert(pt, tmp_path / "plain", "hf", "f16")
    assert listing(tmp_path / "plain") == ["config.json", "model.safetensors", "preprocessor_config.json"]
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert tiny.HF_CONFIG.items() <= config.items() and config["torch_dtype"] == "float16"
    assert (config["eos_token_id"], config["decoder_start_token_id"]) == (50257, 50258)
    convert(pt, tmp_path / "full", "hf", "f32", companions, alignment_heads=((0, 1), (1, 1)))
    assert (tmp_path / "full" / "tokenizer.json").read_text() == '{"made": "here"}'
    generation = json.loads((tmp_path / "full" / "generation_config.json").read_text())
    assert generation["lang_to_id"] == {"<|en|>": 50259} and generation["task_to_id"]["translate"] == 50358
    with open_checkpoint(tmp_path / "full") as checkpoint:
        assert checkpoint.alignment_heads == ((0, 1), (1, 1))


def test_configs_of_an_hf_source_are_kept(tmp_path):
    hf = tiny.write_hf(tmp_path / "hf", tiny.tensors("float32"), {**tiny.HF_CONFIG, "mine": 7})
    (hf / "generation_config.json").write_text(json.dumps({"alignment_heads": [[1, 0]], "no_speech": "x"}))
    (hf / "tokenizer.json").write_text('{"own": 1}')
    convert(hf, tmp_path / "new", "hf", "f16", companions)
    assert json.loads((tmp_path / "new" / "config.json").read_text())["mine"] == 7
    generation = json.loads((tmp_path / "new" / "generation_config.json").read_text())
    assert generation == {"alignment_heads": [[1, 0]], "no_speech": "x"}
    assert (tmp_path / "new" / "tokenizer.json").read_text() == '{"own": 1}'


def test_tokenizer_json_is_the_vocabulary(tmp_path):
    source = resolve("nano") / "tokenizer.json"
    content = json.loads(source.read_text())
    pieces = sorted(content["model"]["vocab"], key=content["model"]["vocab"].__getitem__)
    specials = load_vocabulary(51865).special_tokens
    written = tokenizer_json(pieces, [(a, b) for a, b in content["model"]["merges"]], specials)
    assert json.loads(written) == content
    (tmp_path / "tokenizer.json").write_text(written, encoding="utf-8")
    text = " Grüße, 世界 it's 3.5 <|en|>"
    ours = Vocabulary.from_tokenizer_json(tmp_path / "tokenizer.json", 51865)
    assert ours.encode(text) == load_vocabulary(51865, [source]).encode(text)


def test_refusals(tmp_path):
    pt = tiny.write_pt(tmp_path / "model.pt", tiny.tensors("float16"))
    target = tmp_path / "new"
    with pytest.raises(OptionError, match="ggml or hf"):
        convert(pt, target, "gguf")
    with pytest.raises(OptionError, match="holds no alignment heads"):
        convert(pt, target, "ggml", "f16", companions, alignment_heads=((1, 1),))
    with pytest.raises(OptionError, match=r"\(2, 0\) is not of 2 layers of 2 heads"):
        convert(pt, target, "hf", "f16", companions, alignment_heads=((2, 0),))
    with pytest.raises(OptionError, match="give companions"):
        convert(pt, target, "ggml")
    with pytest.raises(OptionError, match="f32, f16"):
        convert(pt, target, "hf", "q5_0")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(OptionError, match=r"'thesis.txt', which is no model file"):
        convert(pt, tmp_path / "mine", "hf")
    with pytest.raises(OptionError, match="no model file"):
        convert(pt, pt, "hf")
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(pt, tmp_path / "no" / "where" / "model.bin", "ggml", "f16", companions)
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(pt, tmp_path / "no" / "where", "hf")
    assert listing(tmp_path) == ["mine", "model.pt"]


@pytest.mark.parametrize("format", ["ggml", "hf"])
def test_a_damaged_source_leaves_a_whole_target_or_none(tmp_path, format):
    """Bytes changed anywhere in a ggml file: a CheckpointError and no target, or a target that opens."""
    source = convert(
        tiny.write_pt(tmp_path / "model.pt", tiny.tensors("float16")), tmp_path / "s.bin", "ggml", "f16", companions
    )
    whole, target = source.read_bytes(), tmp_path / "target"
    rng = np.random.default_rng(0)
    n_made = 0
    for _ in range(40):
        content = bytearray(whole)
        near = int(rng.choice([200, 2000, len(whole)]))
        for at in rng.integers(0, near - 4, 3):
            content[at : at + 4] = int(rng.choice([0, 1, 255, 1 << 16, (1 << 32) - 1])).to_bytes(4, "little")
        source.write_bytes(content)
        try:
            with bounded(len(whole)):
                convert(source, target, format, "f16", companions)
            open_checkpoint(target).close()
            n_made += 1
            target.unlink() if target.is_file() else shutil.rmtree(target)
        except CheckpointError as error:
            assert "\n" not in str(error)
        assert listing(tmp_path) == ["model.pt", "s.bin"]
    assert 0 < n_made < 40


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("format", ["ggml", "hf"])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("at", [1, 30, -1])
def test_an_interrupted_convert_leaves_the_old_or_none(tmp_path, format, old, at):
    pt = tiny.write_pt(tmp_path / "model.pt", tiny.tensors("float16"))
    other = tiny.write_pt(tmp_path / "other.pt", tiny.tensors("float16", seed=1))
    target = tmp_path / "target"
    if old:
        convert(other, target, format, "f16", companions)

    def stop(name: str, done: int, total: int) -> None:
        if done == at % (total + 1):
            raise Interrupted

    with pytest.raises(Interrupted):
        convert(pt, target, format, "f16", companions, progress=stop)
    assert listing(tmp_path) == ["model.pt", "other.pt"] + ["target"] * old
    if old:
        same_bits(target, other)
    convert(pt, target, format, "f16", companions)
    same_bits(target, pt)
    assert listing(tmp_path) == ["model.pt", "other.pt", "target"]


def test_a_folder_survives_a_rename_that_fails(tmp_path, monkeypatch):
    target = tmp_path / "target"
    with replaced_folder(target) as folder:
        (folder / "a").write_text("old")
    renames = []

    def rename(source, destination):
        renames.append((source, destination))
        if len(renames) == 2:
            raise PermissionError(13, "Permission denied")
        Path(source).replace(destination)

    monkeypatch.setattr("os.rename", rename)
    with pytest.raises(CheckpointError, match="Permission denied"), replaced_folder(target) as folder:
        (folder / "a").write_text("new")
    assert (target / "a").read_text() == "old" and listing(tmp_path) == ["target"]


def test_a_full_disk_is_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="No space left"), replaced_file(tmp_path / "model.bin"):
        raise OSError(28, "No space left on device")
    assert not listing(tmp_path)


def test_the_tool_says_what_is_wrong(tmp_path, capsys):
    assert tool.main(["nano", str(tmp_path / "x.bin"), "--type", "q4_k"]) == 1
    assert "q4_k packs 256 columns to a block; rows of 128" in capsys.readouterr().err
    assert tool.main(["nano", str(tmp_path / "x.bin"), "--type", "q5_0"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "x.bin")
    with open_checkpoint(tmp_path / "x.bin") as checkpoint:
        assert checkpoint.dtype("decoder.token_embedding.weight") == "q5_0"
        assert checkpoint.alignment_heads == ((2, 0), (3, 1))
