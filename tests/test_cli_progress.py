"""Progress bars, in a pseudo-terminal and out of one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import whisperlite
from whisperlite.cli.progress import clock, left, speed

pytestmark = pytest.mark.usefixtures("compiled_kernels")

REPOSITORY = Path(__file__).parent.parent
ENVIRONMENT = {
    **os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_CONFIG_HOME": "/nowhere", "APPDATA": "/nowhere",
    "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30",
}  # fmt: skip
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_a_terminal(*arguments: str, piped_stdout: bool = False) -> tuple[str, str]:
    """What a terminal is sent, escapes taken out, and what goes into a pipe at stdout where there is one."""
    pty = pytest.importorskip("pty", reason="pseudo-terminals are a matter of POSIX systems")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "whisperlite", *arguments],
        stdin=theirs,
        stdout=subprocess.PIPE if piped_stdout else theirs,
        stderr=theirs,
        env=ENVIRONMENT,
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        received += part
    piped = process.stdout.read().decode() if process.stdout is not None else ""
    assert process.wait(timeout=600) == 0
    os.close(ours)
    return ESCAPES.sub("", received.decode()).replace("\r", "\n"), piped


ARGUMENTS = ["transcribe", whisperlite.demo_audio(), "--model", "nano", "--language", "en"]
STATE = re.compile(r"0:06/0:06 +\d+\.\dx +ETA 0:00")


def test_a_bar_with_audio_time_speed_and_what_is_left():
    shown, _ = in_a_terminal(*ARGUMENTS)
    assert "demo.flac" in shown and STATE.search(shown)
    assert "[00:00.280 --> 00:02.840]  Hotel one left three kilo." in shown.splitlines()


def test_text_in_a_pipe_is_free_of_the_bar():
    shown, piped = in_a_terminal(*ARGUMENTS, piped_stdout=True)
    assert STATE.search(shown) and "Hotel" not in shown
    assert piped.splitlines()[0] == "[00:00.280 --> 00:02.840]  Hotel one left three kilo." and "\x1b" not in piped


def test_files_of_a_batch_are_counted(tmp_path):
    copy = tmp_path / "copy.flac"
    copy.write_bytes(Path(whisperlite.demo_audio()).read_bytes())
    shown, _ = in_a_terminal(*ARGUMENTS, str(copy), "--batch-size", "2", "--quiet")
    assert "2/2 files" in shown and "2 done of 2 files" in shown


def test_no_bar_where_none_is_wanted():
    assert "ETA" not in in_a_terminal(*ARGUMENTS, "--no-progress")[0]


def test_warmup_has_a_bar():
    assert "times of words" in in_a_terminal("warmup")[0]


def test_figures():
    assert [clock(seconds) for seconds in (0, 65.4, 3600 + 65)] == ["0:00", "1:05", "1:01:05"]
    assert speed(60, 4) == "15.0x" and speed(60, 0) == "0.0x"
    assert left(30, 90, 10) == 20 and left(0, 90, 10) == 0
