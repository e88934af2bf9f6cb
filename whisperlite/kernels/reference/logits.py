"""What a search wants to know of a row of logits, in NumPy.

In: a row of logits. Out: ``Peaks``: the largest, where it is, and the log of the sum of exponentials.
Knows nothing of: tokens, rules, how a token is chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Peaks(NamedTuple):
    """Of a row that is cut in two at ``begin``.

    Attributes
    ----------
    before : float
        Largest of the first part.
    top : float
        Largest of the second part.
    log_sum : float
        ``log(sum(exp(x)))`` of the second part.
    top_index : int
        Where ``top`` is in the row; the first such where several are as large. ``begin`` where ``top`` is ``-inf``.

    A part that is empty or all ``-inf`` has ``-inf`` for largest and sum.
    """

    before: float
    top: float
    log_sum: float
    top_index: int


def row_peaks(row: np.ndarray, begin: int = 0) -> Peaks:
    """Peaks of a row of logits.

    Parameters
    ----------
    row : ndarray (V,) float32
        Contiguous; masked ids are ``-inf``. No NaN, no ``inf``.
    begin : int
        0 .. V. With 0 the second part is the whole row.
    """
    before = float(row[:begin].max(initial=-np.inf))
    second = row[begin:]
    index = int(second.argmax()) if len(second) else 0
    top = second[index] if len(second) else np.float32(-np.inf)
    if top == -np.inf:
        return Peaks(before, -np.inf, -np.inf, begin)
    log_sum = float(top) + float(np.log(np.exp(second - top).sum(dtype=np.float32)))
    return Peaks(before, float(top), log_sum, begin + index)
