"""Debug lines, word of what is being compiled, and per-op records.

In: names and durations. Out: lines on stderr (by ``WHISPERLITE_DEBUG``), calls of a listener, ``OpRecord`` rows.
Knows nothing of: graphs, kernels, models.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from whisperlite import knobs


def debug(level: int, message: str) -> None:
    """Print ``message`` on stderr, a line in one piece, when ``WHISPERLITE_DEBUG`` is at least ``level``."""
    if knobs.DEBUG.get() >= level:
        print(f"whisperlite: {message}\n", end="", file=sys.stderr)  # the end of the line in the same write


CompileListener = Callable[[str, float | None], None]
_compile_listeners: list[CompileListener] = []


@contextlib.contextmanager
def compile_listener(listener: CompileListener) -> Iterator[None]:
    """While this lasts, ``listener(name, None)`` is called before a kernel is compiled, and with seconds after.

    Kernels that come from the cache are not told of. Of several listeners only the innermost one is called.
    """
    _compile_listeners.append(listener)
    try:
        yield
    finally:
        _compile_listeners.remove(listener)


def compiling(name: str, seconds: float | None = None) -> None:
    """A kernel is about to be compiled, or has been, in so many seconds."""
    if _compile_listeners:
        _compile_listeners[-1](name, seconds)


@dataclass(frozen=True)
class OpRecord:
    """What one op cost over a number of calls: a row of the profile.

    ``flops`` and ``n_bytes`` are totals over all calls; ``seconds`` likewise.
    """

    op: str
    calls: int
    seconds: float
    flops: int
    n_bytes: int

    @property
    def gflops_per_second(self) -> float:
        return self.flops / self.seconds / 1e9 if self.seconds > 0 else 0.0

    @property
    def gbytes_per_second(self) -> float:
        return self.n_bytes / self.seconds / 1e9 if self.seconds > 0 else 0.0
