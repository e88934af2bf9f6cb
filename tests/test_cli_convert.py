"""Commands that write models: exit codes, one-line errors, targets that are whole or not there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_each import cli_call, cli_each

from whisperlite.checkpoint import open_checkpoint, resolve
from whisperlite.checkpoint.ggml import read_ggml_header


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "whisperlite", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_convert_and_back(tmp_path):
    target, folder = tmp_path / "nano.bin", tmp_path / "nano-hf"
    done = cli("convert", "nano", target)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{target}\n", "")
    assert cli_call("convert", target, folder, "--alignment-heads", "2:0,3:1").returncode == 0
    with open_checkpoint(resolve("nano")) as nano, open_checkpoint(folder) as back:
        assert back.alignment_heads == ((2, 0), (3, 1))
        for name in nano.names():
            if len(nano.shape(name)) == 2:  # vectors are float32 in ggml
                np.testing.assert_array_equal(
                    nano.read(name).astype(np.float32), back.read(name).astype(np.float32)
                )


def test_quantize(tmp_path):
    target = tmp_path / "q.bin"
    assert cli("quantize", "nano", target, "--type", "q5_0").returncode == 0
    assert read_ggml_header(target).kind == "q5_0"


REFUSED = [
    (("quantize", "nano", "{}/x.bin", "--type", "f16"), 2, "give one of q4_0"),
    (("quantize", "nano", "{}/x.bin", "--type", "q4_k"), 2, "rows of 128 do not fill"),
    (("convert", "nano", "{}/x.bin", "--type", "q9"), 2, "q9"),
    (("convert", "nano", "{}/x", "--format", "onnx"), 2, "format 'onnx' is not written"),
    (("convert", "nano", "{}/x", "--alignment-heads", "9:9"), 2, "alignment head (9, 9)"),
    (("convert", "nano", "{}/x", "--alignment-heads", "all"), 2, "as 2:0,3:1"),
    (("convert", "{}/none.pt", "{}/x.bin"), 1, "none.pt does not exist"),
    (("convert", "nano", "{}/no/such/folder/x.bin"), 1, "cannot be written"),
    (("info", "{}/none.bin"), 1, "none.bin does not exist"),
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """What each call says, and the folder it was to write to."""
    folders = {words: tmp_path_factory.mktemp("refused") for _, _, words in REFUSED}
    calls = {words: [text.format(folders[words]) for text in arguments] for arguments, _, words in REFUSED}
    return {words: (done, folders[words]) for words, done in cli_each(calls).items()}


@pytest.mark.parametrize(("code", "words"), [case[1:] for case in REFUSED])
def test_refusals(refused, code, words):
    done, folder = refused[words]
    assert done.returncode == code, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and words in line
    assert list(folder.iterdir()) == []


KILLED = """
import sys
from whisperlite.checkpoint import resolve
from whisperlite.checkpoint.convert import convert
from whisperlite.conversion import companions
def show(name, done, total):
    if done == 60:
        print("there", flush=True)
        sys.stdin.read()  # until killed, or nobody is there to do it
convert(resolve("nano"), sys.argv[1], sys.argv[2], sys.argv[3], companions, progress=show)
"""


@pytest.mark.parametrize("format, type", [("ggml", "q8_0"), ("hf", "f32")])
@pytest.mark.parametrize("existing", [False, True])
def test_a_killed_convert_leaves_the_old_target_or_none(tmp_path, format, type, existing):
    target = tmp_path / "model"
    if existing:
        assert cli_call("convert", "nano", target, "--format", format).returncode == 0
    before = contents(target)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, target, format, type],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert contents(target) == before
    assert target.exists() == existing
    assert (
        cli_call("convert", "nano", target, "--format", format).returncode == 0
    )  # what is left behind is in nobody's way
    open_checkpoint(target).close()


def contents(target: Path) -> dict[str, bytes]:
    files = [target] if target.is_file() else sorted(target.iterdir()) if target.is_dir() else []
    return {path.name: path.read_bytes() for path in files}
