"""The memory planner: an offset for each buffer of the arena.

In: sizes and lifetimes. Out: offsets.
Knows nothing of: what the buffers hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True)
class Request:
    """Bytes that must stay untouched from step `first` to step `last`, both included."""

    n_bytes: int
    first: int
    last: int

    def overlaps(self, other: Request) -> bool:
        """Whether both are live at one step. A step's result is live together with its inputs."""
        return self.first <= other.last and other.first <= self.last


def align(n_bytes: int) -> int:
    """`n_bytes` rounded up to a cache line."""
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def assign_offsets(requests: Sequence[Request]) -> tuple[list[int], int]:
    """Place buffers, the largest first, each in the smallest gap that holds it.

    Returns
    -------
    offsets : list of int
        In the order of `requests`, multiples of `ALIGNMENT`; buffers that overlap in time never share bytes.
    arena_bytes : int
        End of the highest buffer.
    """
    offsets = [0] * len(requests)
    placed: list[int] = []
    for i in sorted(range(len(requests)), key=lambda i: (-requests[i].n_bytes, requests[i].first, i)):
        busy = sorted(
            (offsets[j], offsets[j] + align(requests[j].n_bytes))
            for j in placed
            if requests[j].overlaps(requests[i])
        )
        offsets[i] = _best_gap(busy, align(requests[i].n_bytes))
        placed.append(i)
    ends = [offset + align(request.n_bytes) for offset, request in zip(offsets, requests, strict=True)]
    return offsets, max(ends, default=0)


def peak_bytes(requests: Sequence[Request]) -> int:
    """Most bytes live at one step: what no placement can go below."""
    steps = {request.first for request in requests}
    return max((sum(align(r.n_bytes) for r in requests if r.first <= step <= r.last) for step in steps), default=0)


def _best_gap(busy: list[tuple[int, int]], n_bytes: int) -> int:
    """Start of the smallest gap of `n_bytes` or more between busy ranges, or the end of the last range."""
    best: tuple[int, int] | None = None
    end = 0
    for start, stop in busy:
        gap = start - end
        if gap >= n_bytes and (best is None or gap < best[0]):
            best = (gap, end)
        end = max(end, stop)
    return end if best is None else best[1]
