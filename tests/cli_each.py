"""Calls of the command line one after another in a process of their own: for those of which only the effect counts.

In: argument lists, a folder, environment variables. Out: exit code, stdout and stderr, as ``subprocess.run`` gives
them. Knows nothing of: commands.

A start of the interpreter with all that a command imports takes longer than most commands themselves.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
SCRIPT = """
import contextlib, io, json, os, sys
from whisperlite.cli import main
calls, sys.stdin = sys.stdin, open(os.devnull)
for line in calls:
    arguments, folder, environment = json.loads(line)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main(arguments)
    print(json.dumps([code, out.getvalue(), errors.getvalue()]), flush=True)
"""
# No config file of whoever runs the tests takes part.
NO_CONFIG = {"PYTHONPATH": str(REPOSITORY), "XDG_CONFIG_HOME": "/nowhere", "APPDATA": "/nowhere"}


class Caller:
    """The process; what is left of one call meets the next."""

    def __init__(self) -> None:
        # What is said past what Python redirects.
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
            env={**os.environ, **NO_CONFIG},
        )  # fmt: skip

    def call(
        self, arguments: Sequence[str], folder: str, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([arguments, folder, environment]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        self._said.seek(0)
        said = self._said.read()
        if not answer or said:
            self.close()
        assert answer and not said, f"whisperlite {' '.join(arguments)}: exit code {process.poll()}\n{said}"
        code, out, errors = json.loads(answer)
        return subprocess.CompletedProcess(arguments, code, out, errors)

    def close(self) -> None:
        """End the process; the next call gets another."""
        _callers.clear()
        self._process.kill()
        self._process.communicate()
        self._said.close()


_callers: list[Caller] = []


@atexit.register
def _close() -> None:
    for caller in list(_callers):
        caller.close()


def cli_call(
    *arguments: object, cwd: str | Path | None = None, **environment: object
) -> subprocess.CompletedProcess[str]:
    """One call, with environment variables besides those of this process."""
    if not _callers:
        _callers.append(Caller())
    env = {**os.environ, **NO_CONFIG, **{name: str(value) for name, value in environment.items()}}
    return _callers[0].call([str(item) for item in arguments], str(cwd or REPOSITORY), env)


def cli_each(
    calls: Mapping[str, Sequence[object]], alone: bool = False, **environment: object
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Several calls by name; ``alone``: in a process for them only, where what is read once must be new."""
    if alone:
        _close()
    done = {name: cli_call(*arguments, **environment) for name, arguments in calls.items()}
    if alone:
        _close()
    return done
