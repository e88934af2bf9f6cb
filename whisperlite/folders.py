"""Where whisperlite keeps what it can make again.

In: environment, platform. Out: a path; notes written below it. Knows nothing of: what they say.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from whisperlite import knobs, trace
from whisperlite.replace import replacement


def cache_root() -> Path:
    """``WHISPERLITE_CACHE_DIR``, ``NUMBA_CACHE_DIR`` or the user's cache folder."""
    named = knobs.CACHE_DIR.get() or os.environ.get("NUMBA_CACHE_DIR", "")
    if named:
        return Path(named).absolute()
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
    elif sys.platform == "darwin":
        root = os.path.expanduser("~/Library/Caches")
    else:
        root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "whisperlite"


def keep_note(path: Path, text: str) -> None:
    """Write a small file, whole or not at all; where that fails, a later process finds out anew what it says."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacement(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        trace.debug(1, f"{path.name} is not kept: {error}")
