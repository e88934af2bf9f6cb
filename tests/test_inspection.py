"""Memory by compute type, against what a loaded model holds; the doctor names what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_checkpoint import ODD, RandomCheckpoint

from whisperlite.checkpoint import PUBLISHED, Dims, alignment_heads_for, open_checkpoint, resolve
from whisperlite.checkpoint.convert import convert
from whisperlite.conversion import companions
from whisperlite.inspection import findings, memory_needed
from whisperlite.model import COMPUTE_TYPES, Whisper


@pytest.fixture(scope="module")
def q5(tmp_path_factory):
    return convert(resolve("nano"), tmp_path_factory.mktemp("q5") / "nano.bin", "ggml", "q5_0", companions)


@pytest.mark.parametrize("compute_type", COMPUTE_TYPES)
@pytest.mark.parametrize("quantised", [False, True])
def test_memory_is_what_a_model_takes(q5, compute_type, quantised):
    path = q5 if quantised else resolve("nano")
    with open_checkpoint(path) as checkpoint:
        memory = memory_needed(checkpoint, compute_type)
    model = Whisper(open_checkpoint(path), compute_type=compute_type)
    assert memory.weights == pytest.approx(model.n_bytes, rel=0.01)
    cross = model.cross_kv(model.encode(np.zeros((1, 80, 3000), np.float32)))
    cache = model.new_cache(1)
    held = cross.n_bytes + sum(array.nbytes for array in (*cache.keys, *cache.values))
    assert memory.caches == pytest.approx(held, rel=0.02)
    model.prefill([[50258] * 224], cache, cross)
    assert memory.arena >= model._workspace.arena.nbytes
    assert memory.total == memory.weights + memory.caches + memory.arena


def fine_tune(folder, config=(), generation=(), tokenizer=None):
    shutil.copytree(resolve("nano"), folder)
    for name, changes in (("config.json", config), ("generation_config.json", generation)):
        path = folder / name
        values = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**values, **dict(changes)}))
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with open_checkpoint(folder) as checkpoint:
        return findings(checkpoint)


def test_nothing_is_wrong_with_nano(tmp_path):
    assert fine_tune(tmp_path / "model") == []


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"generation": {"alignment_heads": [[10, 2]]}}, "are not heads of a decoder of 4 layers of 2"),
        ({"generation": {"max_length": 225}}, "max_length of generation_config.json is 225"),
        ({"config": {"max_length": 225}}, "max_length of config.json is 225"),
        ({"generation": {"is_multilingual": False}}, "is_multilingual False; n_vocab 51865 says True"),
        ({"generation": {"no_timestamps_token_id": 50362}}, "no_timestamps_token_id 50362; n_vocab says 50363"),
        ({"generation": {"forced_decoder_ids": [[1, 50259]]}}, "forced_decoder_ids"),
        ({"tokenizer": {"model": {"type": "WordPiece", "vocab": {}, "merges": []}}}, "WordPiece tokenizer"),
        ({"tokenizer": {"model": {}}}, "is not a tokenizer.json"),
    ],
)
def test_a_fine_tune_with_one_fault(tmp_path, changes, words):
    found = fine_tune(tmp_path / "model", **changes)
    assert any(words in sentence for sentence in found), found


def findings_of(dims: Dims) -> str:
    checkpoint = RandomCheckpoint(ODD)
    checkpoint.dims, checkpoint.path = dims, Path("model.bin")
    checkpoint.alignment_heads = alignment_heads_for(dims)
    checkpoint.config, checkpoint.generation_config, checkpoint.tokenizer_files, checkpoint.tokens = (
        {},
        {},
        (),
        None,
    )
    return " ".join(findings(checkpoint))


def test_sizes_that_say_what_a_model_cannot():
    assert findings_of(PUBLISHED["base"].dims) == ""
    assert "turbo was not trained to translate" in findings_of(PUBLISHED["large-v3-turbo"].dims)
    distilled = findings_of(PUBLISHED["distil-large-v2"].dims)
    assert "a distilled decoder (2 of 32 layers)" in distilled and "nobody published alignment heads" in distilled
    assert "n_text_ctx is 37, not 448" in findings_of(ODD)
    assert "n_vocab is 51870" in findings_of(replace(PUBLISHED["base"].dims, n_vocab=51870))


def test_a_converter_that_took_max_length(tmp_path, q5):
    """The file does not open, as in whisper.cpp; info says why."""
    path = tmp_path / "cut.bin"
    raw = bytearray(q5.read_bytes())
    raw[4 + 4 * 5 : 4 + 4 * 6] = (225).to_bytes(4, "little")
    path.write_bytes(raw)
    done = subprocess.run([sys.executable, "-m", "whisperlite", "info", path], capture_output=True, text=True)
    assert done.returncode == 1 and "n_text_ctx      225" in done.stdout
    assert "n_text_ctx is 225, not 448: converters take it from max_length" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: 'decoder.positional_embedding' is")
