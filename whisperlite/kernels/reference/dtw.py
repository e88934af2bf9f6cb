"""Dynamic time warping and running medians, in NumPy.

In: matrices. Out: the cheapest path through one, or its rows smoothed.
Knows nothing of: attention, tokens, times.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

DIAGONAL, UP, LEFT = 0, 1, 2


def median_filter(x: np.ndarray, width: int) -> np.ndarray:
    """Running median along the last axis, ends mirrored; an axis of at most ``width // 2`` comes back as it is.

    Parameters
    ----------
    x : ndarray (..., n)
    width : int
        Odd.
    """
    # ref: openai/whisper timing.py median_filter
    pad = width // 2
    if x.shape[-1] <= pad:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(pad, pad)], mode="reflect")
    windows = sliding_window_view(padded, width, axis=-1)  # (..., n, width)
    return np.partition(windows, pad, axis=-1)[..., pad]


def dtw(x: np.ndarray) -> np.ndarray:
    """Cheapest path through a matrix of costs: int64 (2, length), rows and columns of its cells in order.

    A step goes right, down or both. Where the ways from the diagonal and from above tie, the left one is taken
    even if it is dearer, as upstream.

    Parameters
    ----------
    x : ndarray (n, m) float32
    """
    # ref: openai/whisper timing.py dtw_cpu, backtrace
    x = np.ascontiguousarray(x, np.float32)
    n, m = x.shape
    cost = np.full((n + 1) * (m + 1), np.inf)  # float64, as upstream: near ties go another way in float32
    cost[0] = 0
    trace = np.empty((n, m), np.uint8)
    for d in range(n + m - 1):  # cells of an antidiagonal need only the two before it
        i = np.arange(max(0, d - m + 1), min(d, n - 1) + 1)
        j = d - i
        at = (i + 1) * (m + 1) + j + 1
        diagonal, up, left = cost[at - m - 2], cost[at - m - 1], cost[at - 1]
        is_diagonal = (diagonal < up) & (diagonal < left)
        is_up = ~is_diagonal & (up < diagonal) & (up < left)
        cost[at] = x[i, j] + np.where(is_diagonal, diagonal, np.where(is_up, up, left))
        trace[i, j] = np.where(is_diagonal, DIAGONAL, np.where(is_up, UP, LEFT))
    return _backtrace(trace)


def _backtrace(trace: np.ndarray) -> np.ndarray:
    trace[0, :] = LEFT
    trace[1:, 0] = UP
    i, j = trace.shape[0] - 1, trace.shape[1] - 1
    path = []
    while j >= 0:
        path.append((i, j))
        step = trace[i, j]
        i -= step != LEFT
        j -= step != UP
    return np.array(path[::-1], np.int64).T
