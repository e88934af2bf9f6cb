"""Where whisperlite keeps what it can make again.

In: environment, platform. Out: a path. Knows nothing of: what is kept there, whether it can be written.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from whisperlite import knobs


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
