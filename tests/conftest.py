"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"
FIXTURES = Path(__file__).parent / "fixtures"

# Compiled kernels are kept between runs, apart from the user's own.
os.environ.setdefault("WHISPERLITE_CACHE_DIR", str(REPOSITORY / ".cache" / "kernels"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with human recordings and all golden results, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: human recordings and full goldens are not committed")
    return SHARED
