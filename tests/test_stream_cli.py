"""The command ``stream`` as a process: lines, JSON, pipes, a terminal, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from cli_each import cli_call, cli_each

import whisperlite
from whisperlite import load_audio

LINE = re.compile(r"\[(\d\d:)?\d\d:\d\d\.\d{3} --> (\d\d:)?\d\d:\d\d\.\d{3}\] .*\S")
COMMAND = [sys.executable, "-m", "whisperlite", "stream", "--model", "nano", "--language", "en"]


def cli(*arguments: object, **settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=600, **settings)


@pytest.fixture(scope="module")
def demo() -> str:
    return whisperlite.demo_audio()


@pytest.fixture(scope="module")
def demo_pcm(demo) -> bytes:
    return np.round(load_audio(demo) * 32767).astype("<i2").tobytes()


def test_each_segment_is_a_line(demo):
    done = cli(demo)
    assert done.returncode == 0 and "error" not in done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(LINE.fullmatch(line) for line in lines)
    assert lines[0].endswith(" Hotel one left three kilo.")
    assert (
        cli_call(*COMMAND[3:], demo, "--policy", "align-att", "--chunk_seconds", 1)
        .stdout.splitlines()[1]
        .endswith(" Tango.")
    )


def test_a_pipe_of_raw_samples(demo, demo_pcm):
    done = subprocess.run([*COMMAND, "-", "--raw", "s16le"], input=demo_pcm, capture_output=True, timeout=600)
    assert done.returncode == 0 and b"Hotel one left three kilo." in done.stdout


def test_a_container_on_standard_input(demo):
    with open(demo, "rb") as audio:
        done = cli("-", stdin=audio)
    assert done.returncode == 0 and "Tango." in done.stdout


def test_events_as_json(demo):
    events = [json.loads(line) for line in cli_call(*COMMAND[3:], demo, "--json-lines").stdout.splitlines()]
    assert {"level", "speech start", "tentative", "committed", "segment closed", "speech end"} == {
        event["event"] for event in events
    }
    text = "".join(word["word"] for event in events if event["event"] == "committed" for word in event["words"])
    assert text == "".join(event["segment"]["text"] for event in events if event["event"] == "segment closed")


WRONG = {
    "no source": ([], "give one source"),
    "two sources": (["x.wav", "--mic"], "give one source"),
    "device of a file": (["x.wav", "--device", "1"], "--device '1' is for --mic"),
    "raw file": (["x.wav", "--raw", "s16le"], "is for standard input"),
    "encoding": (["-", "--raw", "mp3"], "s16le or f32le"),
    "policy": (["x.wav", "--policy", "guess"], "local-agreement or align-att"),
    "other policy's option": (["x.wav", "--frame-threshold", "3"], "not an option of policy"),
    "rate of a file": (["x.wav", "--rate", "8000"], "--rate and --channels are for --raw"),
    "vad": (["x.wav", "--no-vad", "--vad-threshold", "0.4"], "--vad-threshold has no effect"),
    "audio_ctx": (["x.wav", "--audio-ctx", "some"], "auto, full or a number"),
}


@pytest.fixture(scope="module")
def wrong_calls():
    return cli_each({name: [*COMMAND[3:], *arguments] for name, (arguments, _) in WRONG.items()})


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls(name, wrong_calls):
    done, message = wrong_calls[name], WRONG[name][1]
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


def test_a_missing_file_and_a_missing_microphone():
    done = cli_call(*COMMAND[3:], "none.wav")
    assert done.returncode == 1 and "does not exist" in done.stderr
    without = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import sys; sys.modules['sounddevice'] = None; from whisperlite.cli import main; sys.exit(main())"
    for arguments in (["stream", "--mic"], ["stream", "--list-devices"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=without)
        assert done.returncode == 1 and 'pip install "whisperlite[mic]"' in done.stderr


def first_word(process) -> list[dict]:
    """Events up to the first committed words."""
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "committed":
            return events
    raise AssertionError(f"nothing was committed: {process.stderr.read()}")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("source", ["file", "pipe"])
def test_ctrl_c_writes_everything_said_so_far(audio_file, demo_pcm, source, tmp_path):
    recording, minutes = tmp_path / "minutes.wav", np.tile(load_audio(audio_file("words_tts_b")), 12)
    soundfile.write(recording, minutes, 16000)
    arguments = [str(recording), "--real-time"] if source == "file" else ["-", "--raw", "s16le"]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--json-lines"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        if source == "pipe":  # which stays open: somebody who may go on speaking
            process.stdin.write(demo_pcm[: 2 * 16000 * 2])
            process.stdin.flush()
        events = first_word(process)
        process.send_signal(signal.SIGINT)
        events += [json.loads(line) for line in process.stdout]
        assert process.wait(600) == 130
        assert b"error" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
    text = "".join(word["word"] for event in events if event["event"] == "committed" for word in event["words"])
    closed = "".join(event["segment"]["text"] for event in events if event["event"] == "segment closed")
    assert text == closed and len(text) > 3
    assert max(event["at"] for event in events) < len(minutes) / 16000 - 3  # not to its end


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_shows_words_while_they_are_heard(demo):
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen([*COMMAND, demo], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        shown += data
    assert process.wait(600) == 0
    text = shown.decode()
    assert "\x1b[2m" in text and "\x1b[1m" in text  # tentative words dim, committed ones bold
    assert "real-time factor" in text and " dB" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "] Hotel one left three kilo." in plain and "] Tango." in plain
