"""Where whisperlite keeps what it can make again.

In: environment, platform. Out: a path; notes written below it; folders below it removed once nothing uses them.
Knows nothing of: what notes say, what folders hold.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterable
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


def mark_used(folder: Path) -> None:
    """Note on a folder that it is used now: its time of change; nothing where that cannot be set."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def remove_unused(folders: Iterable[Path], days: float) -> None:
    """Remove those folders, with all they hold, that were neither marked nor changed in the last ``days``.

    Links and files stay, and so does what cannot be removed. Another process may use or remove a folder meanwhile:
    it must take a file that is gone for one that never was there.
    """
    oldest = time.time() - days * 24 * 3600
    for folder in folders:
        try:
            found = folder.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                trace.debug(1, f"removed {folder}, not used for {days:g} days")
