"""Names of models."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from whisperlite.checkpoint import hub, open_checkpoint, resolve
from whisperlite.checkpoint.resolve import ASSETS
from whisperlite.errors import CheckpointError


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Repositories asked for, instead of a network."""
    names: list[str] = []

    def fetch(repo: str, options=None) -> Path:
        names.append(repo)
        return Path("/fetched") / repo

    monkeypatch.setattr(hub, "fetch", fetch)
    return names


def test_nano_is_in_the_package(tmp_path, monkeypatch, asked):
    (tmp_path / "nano").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("nano") == ASSETS / "nano"
    assert resolve("./nano").samefile(tmp_path / "nano")
    with open_checkpoint(resolve("nano")) as checkpoint:
        assert checkpoint.dims.n_text_state == 128
    assert asked == []


def test_names_and_paths(tmp_path, asked):
    assert resolve(tmp_path) == resolve(str(tmp_path)) == tmp_path
    resolve("large")
    resolve("distil-small.en")
    resolve("someone/whisper-thing")
    resolve("ggerganov/whisper.cpp/ggml-tiny-q5_1.bin")
    last = asked.pop()
    assert last == "ggerganov/whisper.cpp/ggml-tiny-q5_1.bin"
    assert asked == ["openai/whisper-large-v3", "distil-whisper/distil-small.en", "someone/whisper-thing"]


@pytest.mark.parametrize(
    "text", ["nonesuch", "", "models/tiny.pt", "a/b/c", "../x", "./x", "a/", "/a", "-a/b", "a b/c"]
)
def test_what_is_neither(text, asked):
    with pytest.raises(CheckpointError):
        resolve(text) if text else open_checkpoint(resolve(Path("no such folder")))
    assert asked == []


def test_a_path_is_never_a_name(asked):
    with pytest.raises(CheckpointError, match="is no file"):
        resolve(Path("tiny-that-is-not-here"))
    with pytest.raises(CheckpointError, match="does not exist"):
        resolve(Path("openai/whisper-tiny"))
    assert asked == []


CT2 = ["config.json", "vocabulary.json", "tokenizer.json", "model.bin", "README.md"]
HF = ["config.json", "model.safetensors", "model.fp32.safetensors", "pytorch_model.bin", "flax_model.msgpack"]
SHARDS = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]


def test_only_the_needed_files_are_chosen():
    choose = partial(hub.choose_files, "a/b")
    assert choose(HF) == hub.Choice(("config.json",), ("model.safetensors",))
    assert choose(HF[3:]) == hub.Choice((), ("pytorch_model.bin",))
    index = "model.safetensors.index.json"
    assert choose([*SHARDS, index, "model.fp32-00001-of-00002.safetensors"]) == hub.Choice((index,), tuple(SHARDS))
    assert choose(CT2) == hub.Choice(("config.json", "tokenizer.json", "vocabulary.json"), ("model.bin",))
    assert choose(["ggml-model.bin", "training_args.bin", "README.md"]) == hub.Choice((), ("ggml-model.bin",), True)
    several = ["ggml-tiny.bin", "ggml-base.bin"]
    assert choose(several, "ggml-tiny.bin") == hub.Choice((), ("ggml-tiny.bin",), True)
    with pytest.raises(CheckpointError, match=r"give one, as a/b/ggml-base\.bin: ggml-base\.bin, ggml-tiny\.bin"):
        choose(several)
    with pytest.raises(CheckpointError, match=r"has no file 'x\.bin'; it has ggml-base\.bin"):
        choose(several, "x.bin")
    with pytest.raises(CheckpointError, match="no weights of a Whisper model; it has no files"):
        choose([])


def test_nothing_heavy_is_imported():
    code = "import sys, whisperlite.checkpoint; print({'huggingface_hub', 'numba'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
