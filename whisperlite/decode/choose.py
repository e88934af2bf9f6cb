"""Log-probabilities and choices from one row of masked logits.

In: a row (V,) float32 with ``-inf`` at masked ids. Out: largest, normaliser, top-k, a random id.
Knows nothing of: tokens sampled before, rules.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whisperlite.kernels.reference.logits import Peaks, row_peaks

RowPeaks = Callable[[np.ndarray, int], Peaks]

# Columns the vocabulary is folded into to find the best k without sorting it.
_FOLDED_ROWS = 64


def row_peaks_for(backend: str) -> RowPeaks:
    """``row_peaks(row, begin)`` of a backend, for one thread."""
    if backend != "numba":
        return row_peaks
    from whisperlite.kernels import logits

    return logits.RowPeaks()


def log_normaliser(row: np.ndarray) -> float:
    """``log(sum(exp(row)))``; ``-inf`` where everything is masked."""
    top = row.max()
    if top == -np.inf:
        return -np.inf
    return float(top) + float(np.log(np.exp(row - top).sum(dtype=np.float32)))


def probability(row: np.ndarray, token: int) -> float:
    """Softmax of the row at one id."""
    return float(np.exp(float(row[token]) - log_normaliser(row)))


def top_k(row: np.ndarray, k: int) -> list[int]:
    """Ids of the ``k`` largest values, largest first; the lower id first where values are equal."""
    n = len(row)
    width = n // _FOLDED_ROWS
    candidates = np.arange(n) if width <= k or k < 1 else None
    if candidates is None:
        # The k largest lie in the k columns with the largest maxima; of equal maxima all: the lower id comes first.
        maxima = row[: width * _FOLDED_ROWS].reshape(_FOLDED_ROWS, width).max(axis=0)
        columns = np.flatnonzero(maxima >= np.partition(maxima, width - k)[width - k])
        inside = (columns[None, :] + width * np.arange(_FOLDED_ROWS)[:, None]).ravel()
        candidates = np.concatenate([inside, np.arange(width * _FOLDED_ROWS, n)])
    values = row[candidates]
    order = np.lexsort((candidates, -values))[:k]
    return [int(token) for token in candidates[order]]


def sample(row: np.ndarray, temperature: float, random: np.random.Generator) -> int:
    """Draw an id from the softmax of ``row / temperature``."""
    scaled = (row - row.max()).astype(np.float64)
    scaled /= temperature
    cumulative = np.cumsum(np.exp(scaled, out=scaled), out=scaled)
    # Below the total, so that the search ends on an id with some probability.
    drawn = min(random.random() * cumulative[-1], np.nextafter(cumulative[-1], 0.0))
    return int(np.searchsorted(cumulative, drawn, side="right"))
