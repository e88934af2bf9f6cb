"""Dynamic time warping and the running median: brute force, an independent float64 version, scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kernel_memory import Guarded
from scipy import ndimage

from whisperlite.kernels import dtw as kernels
from whisperlite.kernels.reference import dtw as reference

BOTH = pytest.mark.parametrize("dtw", [kernels.dtw, reference.dtw], ids=["numba", "numpy"])
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6))
# Of distinct powers of two no two sums are equal.
UNTIED = SHAPES.flatmap(
    lambda shape: st.permutations(range(30)).map(
        lambda order: 2.0 ** np.array(order[: shape[0] * shape[1]], np.float32).reshape(shape)
    )
)
TIED = SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=st.integers(-1, 1).map(float)))


def least_cost(x: np.ndarray, i: int = 0, j: int = 0) -> float:
    """Least cost from cell (i, j) to the last one, over every path."""
    n, m = x.shape
    steps = [(i + 1, j + 1), (i + 1, j), (i, j + 1)]
    ways = [least_cost(x, a, b) for a, b in steps if a < n and b < m]
    return float(x[i, j]) + (min(ways) if ways else 0.0)


def float64_path(x: np.ndarray) -> list[tuple[int, int]]:
    """Cell by cell: diagonal, then up, only where strictly cheapest; left on every tie."""
    n, m = x.shape
    cost = {(i, j): np.inf for i in range(-1, n) for j in range(-1, m)}
    cost[-1, -1] = 0.0
    came: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(n):
        for j in range(m):
            diagonal, up, left = (i - 1, j - 1), (i - 1, j), (i, j - 1)
            best = left
            if cost[diagonal] < min(cost[up], cost[left]):
                best = diagonal
            elif cost[up] < min(cost[diagonal], cost[left]):
                best = up
            came[i, j] = best
            cost[i, j] = float(x[i, j]) + cost[best]
    path = [(n - 1, m - 1)]
    while path[-1] != (0, 0):
        path.append(came[path[-1]])
    return path[::-1]


@BOTH
@given(x=UNTIED)
@settings(max_examples=60, deadline=None)
def test_path_is_the_cheapest_of_all(dtw, x):
    rows, columns = dtw(x)
    assert (rows[0], columns[0]) == (0, 0)
    assert (rows[-1], columns[-1]) == (x.shape[0] - 1, x.shape[1] - 1)
    steps = set(zip(np.diff(rows).tolist(), np.diff(columns).tolist(), strict=True))
    assert steps <= {(0, 1), (1, 0), (1, 1)}
    assert x[rows, columns].sum(dtype=np.float64) == least_cost(x)


@BOTH
@given(x=TIED)
@settings(max_examples=100, deadline=None)
def test_ties_go_left(dtw, x):
    assert list(zip(*dtw(x).tolist(), strict=True)) == float64_path(x)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 200), (97, 413)])
def test_large_matrices(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    want = float64_path(x)
    assert list(zip(*kernels.dtw(x).tolist(), strict=True)) == want
    assert list(zip(*reference.dtw(x).tolist(), strict=True)) == want


@BOTH
def test_costs_add_up_in_float64(dtw):
    # In float32 the small costs vanish beside the first one.
    x = np.array([[1e8, 1e8, 1e8], [1e8, 1.0, 0.5], [1e8, 0.5, 0.5]], np.float32)
    x[0, 0] = 1e9
    assert list(zip(*dtw(x).tolist(), strict=True)) == float64_path(x)


def test_kernel_stays_within_its_buffers():
    n, m = 9, 13
    rng = np.random.default_rng(0)
    x = Guarded.of(rng.standard_normal((n, m)).astype(np.float32))
    cost, trace = Guarded((m + 1, 2)), Guarded(((n * m + 3) // 4,))
    path, length = Guarded((n + m, 4)), Guarded((2,))
    kernels.dtw_f32(
        x=x.address, ldx=x.array.strides[0], n_rows=n, n_cols=m, cost=cost.address, trace=trace.address,
        path=path.address, length=length.address,
    )  # fmt: skip
    for buffer in (x, cost, trace, path, length):
        buffer.check()
    n_path = int(length.array.view(np.int64)[0])
    assert path.array.view(np.int64)[:n_path][::-1].T.tolist() == reference.dtw(x.array).tolist()


@given(st.integers(4, 90), st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_median_of_seven(n, n_rows, seed):
    x = np.random.default_rng(seed).integers(-5, 5, (2, n_rows, n)).astype(np.float32)
    want = ndimage.median_filter(x, (1, 1, 7), mode="mirror")
    np.testing.assert_array_equal(kernels.median7(x), want)
    np.testing.assert_array_equal(reference.median_filter(x, 7), want)


@pytest.mark.parametrize("width", [1, 3, 5, 9, 15])
def test_other_widths(width):
    x = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)
    want = ndimage.median_filter(x, (1, width), mode="mirror")
    np.testing.assert_array_equal(reference.median_filter(x, width), want)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_an_axis_that_cannot_be_mirrored_comes_back_as_it_is(n):
    x = np.random.default_rng(0).standard_normal((2, n)).astype(np.float32)
    np.testing.assert_array_equal(kernels.median7(x), x)
    np.testing.assert_array_equal(reference.median_filter(x, 7), x)


@pytest.mark.parametrize("n_cols", [1, 4, 31, 33, 100])
def test_median_writes_only_its_rows(n_cols):
    x = Guarded.of(np.random.default_rng(0).standard_normal((5, n_cols + 6)).astype(np.float32))
    out = Guarded((5, n_cols))
    kernels.median7_rows_f32(
        x=x.address, ldx=x.array.strides[0], n_rows=5, n_cols=n_cols, out=out.address, ldo=out.array.strides[0]
    )
    out.check()
    want = np.median(np.lib.stride_tricks.sliding_window_view(x.array, 7, axis=-1), axis=-1)
    np.testing.assert_array_equal(out.array, want)
