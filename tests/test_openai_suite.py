"""openai-whisper's own tests through ``compat.openai``: for who has them.

``WHISPERLITE_OPENAI_TESTS=/path/to/whisper/tests`` names the ``tests`` folder of openai-whisper's repository or
sdist.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = os.environ.get("WHISPERLITE_OPENAI_TESTS")
NEEDS = {
    "test_audio": (),
    "test_tokenizer": (),
    "test_timing": ("torch",),
    "test_normalizer": ("whisper_normalizer",),
}


@pytest.mark.peer
@pytest.mark.skipif(
    FOLDER is None, reason="WHISPERLITE_OPENAI_TESTS is not set: openai-whisper's tests are not committed"
)
@pytest.mark.parametrize("name", NEEDS)
def test_openai_suite(name):
    if missing := [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "openai_alias",
        "-p",
        "no:cacheprovider",
        "-q",
        "-k",
        "not cuda",
    ]
    done = subprocess.run(
        [*command, str(Path(FOLDER) / f"{name}.py"), "--rootdir", FOLDER],
        cwd=FOLDER, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
