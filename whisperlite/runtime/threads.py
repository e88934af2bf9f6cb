"""How many threads a team has.

In: what the caller asks for, the knob, the process's CPUs. Out: a count. Knows nothing of: teams, Numba.
"""

from __future__ import annotations

import os

from whisperlite import knobs
from whisperlite.errors import OptionError

MAX_THREADS = 256


def default_threads() -> int:
    """``WHISPERLITE_THREADS``, or the number of CPUs this process may use."""
    asked = knobs.THREADS.get()
    if asked:
        return asked
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checked_threads(threads: int | None) -> int:
    """``threads`` or the default; raises OptionError outside 1 .. 256."""
    count = default_threads() if threads is None else threads
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_THREADS:
        raise OptionError(f"threads={threads!r}: give a whole number from 1 to {MAX_THREADS}")
    return count
