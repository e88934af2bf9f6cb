"""Several calls of the command line in one process of its own: for calls of which only what they say counts.

In: argument lists by name. Out: for each, exit code, stdout and stderr, as ``subprocess.run`` gives them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
SCRIPT = """
import contextlib, io, json, sys
from whisperlite.cli import main
for call in json.load(sys.stdin):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main(call)
    print(json.dumps([code, out.getvalue(), errors.getvalue()]), flush=True)
"""


def cli_each(
    calls: Mapping[str, Sequence[object]], **environment: object
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Run each call with no config file of whoever runs the tests; what is left of one call meets the next."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_CONFIG_HOME": "/nowhere", "APPDATA": "/nowhere"}
    env |= {name: str(value) for name, value in environment.items()}
    arguments = [[str(item) for item in call] for call in calls.values()]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(arguments), capture_output=True, text=True, timeout=600,
        env=env,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done
    results = map(json.loads, done.stdout.splitlines())
    return {
        name: subprocess.CompletedProcess(call, code, out, errors)
        for (name, call), (code, out, errors) in zip(calls.items(), results, strict=True)
    }
