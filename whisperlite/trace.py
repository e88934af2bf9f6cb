"""Debug lines and per-op records.

In: names and durations. Out: lines on stderr (by ``WHISPERLITE_DEBUG``) and ``OpRecord`` rows.
Knows nothing of: graphs, kernels, models.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from whisperlite import knobs


def debug(level: int, message: str) -> None:
    """Print ``message`` on stderr when ``WHISPERLITE_DEBUG`` is at least ``level``."""
    if knobs.DEBUG.get() >= level:
        print(f"whisperlite: {message}", file=sys.stderr)


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
