"""Names of models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from whisperlite.checkpoint import hub, open_checkpoint, resolve
from whisperlite.checkpoint.resolve import ASSETS
from whisperlite.errors import CheckpointError


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Repositories asked for, instead of a network."""
    names: list[str] = []

    def fetch(repo: str) -> Path:
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


def test_hub_errors_are_one_line(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*args, **kwargs):
        assert not any("fp32" in pattern or pattern == "*.safetensors" for pattern in kwargs["allow_patterns"])
        raise LocalEntryNotFoundError("long\nstory")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError) as caught:
        resolve("tiny")
    message = str(caught.value)
    assert "openai/whisper-tiny is not on this machine" in message and "nano" in message and "\n" not in message

    def broken(*args, **kwargs):
        raise OSError("disk full\nreally")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(CheckpointError, match="cannot be fetched: disk full; fetch it elsewhere"):
        resolve("tiny")


def test_nothing_heavy_is_imported():
    code = "import sys, whisperlite.checkpoint; print({'huggingface_hub', 'numba'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
