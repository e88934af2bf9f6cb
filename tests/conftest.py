"""Fixtures shared by all tests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from whisperlite import WhisperModel
    from whisperlite.model import Whisper

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"
FIXTURES = Path(__file__).parent / "fixtures"
ASSETS = REPOSITORY / "whisperlite" / "assets"

# Tests give functions of the kernels to Numba themselves, so it must be there before the kernels' modules are. What
# is different without it is looked at in processes of their own.
with contextlib.suppress(ImportError):
    import numba  # noqa: F401

# Compiled kernels are kept between runs, apart from the user's own.
os.environ.setdefault("WHISPERLITE_CACHE_DIR", str(REPOSITORY / ".cache" / "kernels"))


# A build must not fail by chance: in CI the examples are the same each time. Elsewhere they wander and find faults.
# Nowhere does a slow machine make a failure.
settings.register_profile("wander", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("wander"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "wander")

# A shell may start what runs in the background with Ctrl-C ignored, and programs that tests interrupt inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Where pytest-xdist runs the files in several processes: in their order, with the kernels compiled before."""
    if getattr(config.option, "numprocesses", None):
        config.option.loadscopereorder = False  # by their number of tests, the slow files would come last
        warm_kernels()  # where it fails, so do the tests of what is at fault


def warm_kernels() -> subprocess.CompletedProcess[bytes]:
    """Compile what nano needs, in as many processes as there are CPUs; nothing where that was done before."""
    return subprocess.run([sys.executable, "-m", "whisperlite", "warmup"], cwd=REPOSITORY, capture_output=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with human recordings and all golden results, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: human recordings and full goldens are not committed")
    return SHARED


@pytest.fixture(scope="session")
def compiled_kernels():
    """For tests that look at what commands say: a command that compiles kernels would say so."""
    warm_kernels().check_returncode()


@pytest.fixture(scope="session")
def nano():
    """The built-in model, on the default backend."""
    from whisperlite import WhisperModel

    return WhisperModel("nano")


@pytest.fixture(scope="session")
def nano_numpy():
    """The built-in model, on the numpy backend."""
    from whisperlite import WhisperModel

    return WhisperModel("nano", backend="numpy")


@contextlib.contextmanager
def encoded_once(*models: WhisperModel) -> Iterator[None]:
    """While this lasts, these models and their drafts run the encoder once for each window they hear."""
    known: dict[tuple[int, bytes], np.ndarray] = {}

    def remembering(whisper: Whisper) -> Callable[[np.ndarray], np.ndarray]:
        encode = whisper.encode

        def encoded(mel: np.ndarray) -> np.ndarray:
            key = id(whisper), hashlib.sha256(repr(mel.shape).encode() + mel.tobytes()).digest()
            if key not in known:
                known[key] = encode(mel)
                known[key].flags.writeable = False  # for who changes them would change what others get
            return known[key]

        return encoded

    drafts = [model._draft.model for model in models if model._draft is not None]
    with pytest.MonkeyPatch.context() as patch:
        for whisper in {id(one): one for one in (*(model._model for model in models), *drafts)}.values():
            patch.setattr(whisper, "encode", remembering(whisper))
        yield


def golden_entries(kind: str) -> dict[str, dict]:
    """Results of openai-whisper by name, ``file/case``: of committed audio, and the rest where shared is there."""
    found: dict[str, dict] = {}
    for folder in (FIXTURES, SHARED / "goldens"):
        if (path := folder / "openai_whisper.json").is_file():
            found |= json.loads(path.read_text())[kind]
    return found


@pytest.fixture(scope="session")
def audio_file():
    """Path of a test recording by name; skips where only the shared folder has it."""

    def find(name: str) -> Path:
        for folder in (FIXTURES, ASSETS, SHARED / "audio"):
            if (path := folder / f"{name}.flac").is_file():
                return path
        pytest.skip(f"{name}.flac is a recording that is read from {SHARED}, which is not there")

    return find
