"""Peaks of a row of logits on both backends against float64; nothing is read or written outside the row."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_memory import Guarded

from whisperlite.decode.choose import row_peaks_for
from whisperlite.kernels import logits as kernels
from whisperlite.kernels.reference import logits as reference

SIZES = [1, 2, 15, 31, 33, 500, kernels.BLOCK - 1, kernels.BLOCK, kernels.BLOCK + 1, 3 * kernels.BLOCK + 17, 51865]


@pytest.fixture(params=["numba", "numpy"])
def row_peaks(request):
    return row_peaks_for(request.param)


def log_sum64(x: np.ndarray) -> float:
    x = x.astype(np.float64)
    top = x.max(initial=-np.inf)
    return top + np.log(np.exp(x - top).sum()) if top > -np.inf else -np.inf


def check(found, x: np.ndarray, begin: int) -> None:
    assert found.before == x[:begin].max(initial=-np.inf)
    assert found.top == x[begin:].max(initial=-np.inf)
    assert found.log_sum == pytest.approx(log_sum64(x[begin:]), abs=4e-6, rel=1e-7)
    assert found.top_index == (begin + int(x[begin:].argmax()) if found.top > -np.inf else begin)


@pytest.mark.parametrize("n", SIZES)
def test_against_float64(row_peaks, n):
    rng = np.random.default_rng(n)
    for scale, offset in ((4, -5), (30, 0), (0.01, 20), (1, -80)):
        x = (rng.standard_normal(n) * scale + offset).astype(np.float32)
        x[rng.random(n) < 0.1] = -np.inf
        for begin in {0, n // 2, max(n - 1501, 0), n - 1, n}:
            # NaN around the row would show what is read outside it.
            guarded = Guarded((n + 128,))
            guarded.array[64 : 64 + n] = x
            check(row_peaks(guarded.array[64 : 64 + n], begin), x, begin)
            guarded.check()


@pytest.mark.parametrize("n", [40, 51865])
def test_masked_rows(row_peaks, n):
    x = np.full(n, -np.inf, np.float32)
    assert row_peaks(x, 0) == (-np.inf, -np.inf, -np.inf, 0)
    assert row_peaks(x, 30) == (-np.inf, -np.inf, -np.inf, 30)
    x[n - 1] = -3.5  # the only one left has all of the probability
    assert row_peaks(x, 0) == (-np.inf, -3.5, pytest.approx(-3.5, abs=4e-7), n - 1)
    assert row_peaks(x, n) == (-3.5, -np.inf, -np.inf, n)


def test_first_of_equals(row_peaks):
    x = np.zeros(3 * kernels.BLOCK, np.float32)
    places = [kernels.BLOCK + 5, kernels.BLOCK + 70, 2 * kernels.BLOCK + 1]
    x[places] = 2.5
    assert row_peaks(x, 0).top_index == places[0]
    assert row_peaks(x, places[0] + 1).top_index == places[1]
    assert row_peaks(x, places[1] + 1).top_index == places[2]


def test_a_rising_row_keeps_its_sum(row_peaks):
    """Every block has a larger top than the one before, some by more than float32 can hold the exponential of."""
    for slope in (1e-4, 1e-2, 1.0):
        x = np.arange(5 * kernels.BLOCK, dtype=np.float32) * np.float32(slope)
        check(row_peaks(x, 0), x, 0)


def test_rows_that_cannot_be_read():
    row_peaks = kernels.RowPeaks()
    for wrong in (np.zeros(9), np.zeros(18, np.float32)[::2], np.zeros((2, 9), np.float32)):
        with pytest.raises(ValueError, match="give float32, contiguous"):
            row_peaks(wrong, 0)
    for begin in (-1, 10):
        with pytest.raises(ValueError, match="in a row of 9"):
            row_peaks(np.zeros(9, np.float32), begin)


def test_backends():
    assert row_peaks_for("numpy") is reference.row_peaks
    assert isinstance(row_peaks_for("numba"), kernels.RowPeaks)
