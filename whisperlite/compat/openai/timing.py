"""``whisper.timing``: ``dtw``, ``dtw_cpu``, ``median_filter``.

In: arrays, or tensors that NumPy can read. Out: arrays. Knows nothing of: models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whisperlite.errors import OptionError
from whisperlite.kernels.dtw import dtw as _dtw
from whisperlite.kernels.reference.dtw import median_filter as _median_filter

__all__ = ["dtw", "dtw_cpu", "dtw_cuda", "median_filter"]


def median_filter(x: Any, filter_width: int) -> np.ndarray:
    """Running median along the last axis, ends mirrored."""
    return _median_filter(np.asarray(x), filter_width)


def dtw_cpu(x: np.ndarray) -> np.ndarray:
    """Cheapest path through a matrix of costs: (2, length)."""
    return _dtw(np.ascontiguousarray(x, np.float32))


def dtw(x: Any) -> np.ndarray:
    """As ``dtw_cpu``, of anything NumPy can read."""
    return dtw_cpu(np.asarray(x))


def dtw_cuda(x: Any) -> np.ndarray:
    """There is no GPU here: raises ``OptionError``."""
    raise OptionError("dtw_cuda: whisperlite runs on the CPU; call dtw_cpu")
