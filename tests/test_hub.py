"""Models of the hub, against a server of ours: what is fetched, what an error says, what counts as a model.

The hub's library reads ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` when it is imported, so each case is a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_each import cli_each
from hub_server import Hub
from test_vad_silero import file_bytes, random_tensors

from whisperlite.checkpoint import resolve

NANO = {path.name: path.read_bytes() for path in resolve("nano").iterdir() if path.is_file()}
EXTRA = {"README.md": b"hello", "flax_model.msgpack": b"x" * 100, "pytorch_model.bin": b"y" * 100}
GGML = {"ggml-tiny.bin": b"lmgg tiny", "ggml-base.bin": b"lmgg base", "README.md": b"hello"}
CT2 = {"config.json": b"{}", "model.bin": b"ct2", "vocabulary.json": b"[]", "README.md": b"hello"}

VAD = {f"ggml-silero-{v}.bin": file_bytes(random_tensors(i)) for i, v in enumerate(("v5.1.2", "v6.2.0"))}

# The hub's library waits up to half a minute between its tries; what it does after them is the same without.
IMPATIENT = """
import time
time.sleep = lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.01))
"""
WITHOUT_WAITING = """
import time
def sleep(seconds):
    raise SystemExit(f"waits {seconds} s")
time.sleep = sleep
"""
VAD_SCRIPT = (
    IMPATIENT
    + """
import json, sys
from whisperlite.checkpoint import HubOptions
from whisperlite.errors import CheckpointError
from whisperlite.transcribe import find_detector
name, options, _ = json.loads(sys.argv[1])
try:
    print(json.dumps(repr(find_detector(name, HubOptions(**options)))))
except CheckpointError as error:
    assert "\\n" not in str(error)
    print(json.dumps(str(error)))
"""
)
SCRIPT = (
    IMPATIENT
    + """
import json, sys
from whisperlite.checkpoint import HubOptions, resolve, open_checkpoint
from whisperlite.errors import CheckpointError
name, options, opened = json.loads(sys.argv[1])
try:
    path = resolve(name, HubOptions(**options))
    if opened:
        open_checkpoint(path).close()
    print(json.dumps([str(path), sorted(p.name for p in path.iterdir()) if path.is_dir() else []]))
except CheckpointError as error:
    assert "\\n" not in str(error)
    print(json.dumps(str(error)))
"""
)


@pytest.fixture
def hub():
    server = Hub(
        {
            "openai/whisper-tiny": {"main": {**NANO, **EXTRA}, "other": {**NANO, "generation_config.json": b"{}"}},
            "someone/ggml": {"main": GGML},
            "someone/ct2": {"main": CT2},
            "ggml-org/whisper-vad": {"main": VAD},
            "someone/empty": {"main": {"README.md": b"hello"}},
        }
    )
    yield server
    server.close()


@pytest.fixture
def ask(hub, tmp_path):
    """Resolve a name in a new process: a path and the files in it, or the error's text."""

    def asked(name, opened=False, url=None, environment=(), script=SCRIPT, **options):
        settings = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        settings |= {
            "HF_ENDPOINT": url or hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DOWNLOAD_TIMEOUT": "60",
            "HF_HUB_ETAG_TIMEOUT": "60", "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        settings.pop("WHISPERLITE_VAD_MODEL", None)
        settings |= dict(environment)
        command = [sys.executable, "-c", script, json.dumps([name, options, opened])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=settings)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return asked


def test_only_the_needed_files_are_fetched(hub, ask):
    path, names = ask("tiny", opened=True)
    wanted = sorted(
        name
        for name in NANO
        if name in ("config.json", "generation_config.json", "tokenizer.json", "model.safetensors")
    )
    assert names == wanted == hub.fetched()
    hub.requests.clear()
    assert ask("tiny") == [path, names]
    assert hub.fetched() == []  # from the cache


def test_repositories_of_other_formats(hub, ask):
    path, names = ask("someone/ct2")
    assert names == ["config.json", "model.bin", "vocabulary.json"]
    path, _ = ask("someone/ggml/ggml-tiny.bin")
    assert path.endswith("ggml-tiny.bin") and "ggml-base.bin" not in hub.fetched()
    assert "several models; give one, as someone/ggml/ggml-base.bin" in ask("someone/ggml")
    assert "has no file 'ggml-x.bin'" in ask("someone/ggml/ggml-x.bin")
    assert "no weights of a Whisper model" in ask("someone/empty")


def test_revisions(hub, ask):
    assert "/bbbb" in ask("tiny", revision="other")[0]
    assert "has no revision 'none' on the hub" in ask("tiny", revision="none")
    assert "/bbbb" in ask("tiny", revision="other", local_files_only=True)[0]
    assert "is only in part, or in another revision, on this" in ask("tiny", local_files_only=True)


def test_what_is_not_there_or_not_open(hub, ask):
    message = ask("someone/none", token="good")
    assert "does not exist on the hub" in message and "--model nano" in message
    assert "does not exist on the hub, or needs a token" in ask("someone/none")
    hub.gated.add("openai/whisper-tiny")
    assert "accepted its terms" in ask("tiny")
    assert "accepted its terms" in ask("tiny", token="bad")
    assert ask("tiny", token="good")[1]
    assert ask("tiny", environment={"HF_TOKEN": "good"})[1]


@pytest.mark.parametrize("way", ["flag", "option", "no network"])
def test_offline(hub, ask, way):
    given = {
        "flag": {"environment": {"HF_HUB_OFFLINE": "1"}},
        "option": {"local_files_only": True},
        "no network": {"url": "http://127.0.0.1:9"},
    }[way]
    message = ask("base", **given)
    assert message.startswith("openai/whisper-base is not on this machine and ")
    assert "hf download openai/whisper-base" in message
    assert "--model nano ('nano'), which is in the package and knows digits and a few words" in message
    path, names = ask("tiny")
    hub.requests.clear()
    script = SCRIPT.replace(IMPATIENT, WITHOUT_WAITING)
    assert ask("tiny", opened=True, script=script, **given) == [path, names]
    assert hub.requests == []


def whole(path) -> None:
    """The weights in this folder are those of the hub, to the byte, and nothing unfinished is beside them."""
    assert (Path(path) / "model.safetensors").read_bytes() == NANO["model.safetensors"]
    blobs = Path(path).parents[1] / "blobs"
    assert blobs.is_dir() and not list(blobs.glob("*.incomplete"))


def ranges(hub) -> list[str | None]:
    """``Range`` of every request for the weights."""
    return [given for method, at, given in hub.requests if method == "GET" and at.endswith("model.safetensors")]


def test_a_download_that_breaks_off_is_no_model_and_goes_on_later(hub, ask):
    half = len(NANO["model.safetensors"]) // 2
    hub.cut["model.safetensors"] = half
    message = ask("tiny")
    assert message.startswith("openai/whisper-tiny is only in part, or in")
    assert "on this machine and cannot be fetched: " in message
    assert "only in part" in ask("tiny", local_files_only=True)
    hub.cut.clear()
    hub.requests.clear()
    path, names = ask("tiny", opened=True)
    assert "model.safetensors" in names
    assert ranges(hub) in ([f"bytes={half}-"], [None])  # by version of the hub's library
    whole(path)


def test_a_file_that_changed_after_half_of_it_was_fetched(hub, ask):
    """The half belongs to another file: nothing of it gets into the new one."""
    weights = NANO["model.safetensors"]
    old = bytes(len(weights))
    hub.repos["openai/whisper-tiny"]["main"]["model.safetensors"] = old
    hub.cut["model.safetensors"] = len(old) // 2
    assert "only in part" in ask("tiny")
    hub.cut.clear()
    hub.repos["openai/whisper-tiny"]["main"]["model.safetensors"] = weights
    hub.requests.clear()
    path, _ = ask("tiny", opened=True)
    assert ranges(hub) == [None]  # from the start
    assert (Path(path) / "model.safetensors").read_bytes() == weights


def test_an_etag_that_comes_late_or_not_at_all(hub, ask):
    hub.no_etag.add("model.safetensors")
    message = ask("tiny")
    assert "is only in part, or in another revision, on this machine and cannot be fetched: " in message
    hub.no_etag.clear()
    whole(ask("tiny", opened=True)[0])


def test_a_size_that_is_too_large(hub, ask):
    hub.false_size["model.safetensors"] = len(NANO["model.safetensors"]) + 1000
    assert "only in part" in ask("tiny")
    hub.false_size.clear()
    whole(ask("tiny", opened=True)[0])


def test_a_size_that_is_too_small(hub, ask, tmp_path):
    """Nobody can tell while it is fetched; the file itself does when it is opened, and can be freed."""
    hub.false_size["model.safetensors"] = len(NANO["model.safetensors"]) - 1000
    assert "cut short" in ask("tiny", opened=True)
    hub.false_size.clear()
    assert "cut short" in ask("tiny", opened=True)
    command = [sys.executable, "-m", "whisperlite", "models", "--free", "tiny"]
    subprocess.run(command, check=True, env={**os.environ, "HF_HOME": str(tmp_path / "home")}, capture_output=True)
    whole(ask("tiny", opened=True)[0])


def test_weights_of_a_voice_detector(hub, ask):
    found = ask("silero", script=VAD_SCRIPT)
    assert found.startswith("SileroDetector(") and "ggml-silero-v6.2.0.bin" in found
    assert hub.fetched() == ["ggml-silero-v6.2.0.bin"]
    hub.requests.clear()
    for given in ({}, {"local_files_only": True}, {"url": "http://127.0.0.1:9"}, {"revision": "other"}):
        assert ask("silero-v6.2.0", script=VAD_SCRIPT, **given) == found
    assert ask(None, script=VAD_SCRIPT, environment={"WHISPERLITE_VAD_MODEL": "silero"}) == found
    assert hub.requests == []  # what is there is taken
    assert "ggml-silero-v5.1.2.bin" in ask("silero-v5.1.2", script=VAD_SCRIPT)
    assert hub.fetched() == ["ggml-silero-v5.1.2.bin"]


@pytest.mark.parametrize("given", [{"local_files_only": True}, {"url": "http://127.0.0.1:9"}])
def test_no_weights_of_a_voice_detector(hub, ask, given):
    message = ask("silero", script=VAD_SCRIPT, **given)
    assert message.startswith("ggml-org/whisper-vad is not on this machine and ")
    assert "(hf download ggml-org/whisper-vad ggml-silero-v6.2.0.bin) and give the file's path, or " in message
    assert message.endswith("take 'energy', which needs no weights.") and "nano" not in message
    assert ask("energy", script=VAD_SCRIPT, **given) == "EnergyDetector()"


@pytest.mark.slow
def test_a_hub_that_is_down(hub, ask):
    path, names = ask("tiny")
    hub.fail_with = 500
    assert ask("tiny") == [path, names]
    assert "the hub answers 500" in ask("base")


def test_killed_in_the_middle(hub, ask, tmp_path):
    """SIGKILL while the weights come: the next process finds no model, and fetches it."""
    import signal
    import threading

    sent, stop = threading.Event(), threading.Event()
    original = hub._file

    def slow(request, name, data, commit, body):
        if name == "model.safetensors" and body and not stop.is_set():
            request.send_response(200)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data[: len(data) // 2])
            request.wfile.flush()
            sent.set()
            stop.wait(600)
            request.close_connection = True
        else:
            original(request, name, data, commit, body)

    hub._file = slow
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-c", SCRIPT, json.dumps(["tiny", {}, False])]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert sent.wait(600)
    while all(
        path.suffix == ".incomplete" for path in (tmp_path / "home").rglob("blobs/*")
    ):  # no file is whole yet
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    stop.set()
    assert "only in part" in ask("tiny", local_files_only=True)
    hub.requests.clear()
    path, _ = ask("tiny", opened=True)
    assert len(ranges(hub)) == 1
    assert (Path(path) / "model.safetensors").read_bytes() == NANO["model.safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
@pytest.mark.parametrize("terminal", [True, False])
def test_a_download_shows_progress_on_a_terminal_and_nothing_elsewhere(hub, tmp_path, terminal):
    import fcntl
    import pty
    import struct
    import termios

    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TQDM_"))}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1",
                    "TERM": "xterm"}  # fmt: skip
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 25, 100, 0, 0))
    command = [sys.executable, "-m", "whisperlite", "info", "tiny"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end of a terminal is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    table, _ = process.communicate(timeout=600)
    assert process.returncode == 0, shown
    assert b"n_audio_state" in table and b"%" not in table
    if terminal:
        text = shown.decode()
        assert "100%" in text and "17.7M" in text and "\r" in text
        assert "Traceback" not in text and "Warning" not in text
    else:
        assert shown == b""


def test_the_list_of_models_and_the_cache(hub, ask, tmp_path):
    def cli(*arguments):
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-m", "whisperlite", "models", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    def row_of(name):
        return next(line for line in cli().stdout.splitlines() if line.startswith(f"{name} "))

    assert row_of("tiny").count("MB") == 1  # its size as float16; nothing is cached
    hub.cut["model.safetensors"] = 12_000_000
    ask("tiny")
    assert "in part" in row_of("tiny")
    hub.cut.clear()
    ask("tiny")
    row = row_of("tiny")
    assert "MB" in row.split("MB", 1)[1] and "openai/whisper-tiny" in row and "in part" not in row
    calls = {"first": "tiny", "again": "tiny", "built in": "nano", "unknown": "nonesuch"}
    freed = cli_each(
        {call: ["models", "--free", name] for call, name in calls.items()}, alone=True, HF_HOME=tmp_path / "home"
    )
    assert freed["first"].stdout.startswith("freed ")
    again = freed["again"]
    assert again.returncode == 1 and again.stderr.startswith("error: openai/whisper-tiny is not in the cache")
    assert freed["built in"].returncode == freed["unknown"].returncode == 2
    assert "is not on this machine" in ask("tiny", local_files_only=True)
