"""Kernels by themselves with pytest-benchmark: matmul by dtype and shape, attention, softmax, GELU, norm, mel.

In: shapes of the published models. Out: GFLOP/s, GB/s and percent of a peak measured in the same run, beside NumPy,
and torch where present.
Knows nothing of: whole models.

    python -m benchmarks kernels                        the table
    python -m pytest benchmarks/test_kernels.py         pytest-benchmark's own, with its options
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.kernel_cases import CASES, Case
from benchmarks.peaks import measure_peaks

pytest.importorskip("pytest_benchmark")
THREADS = int(os.environ.get("WHISPERLITE_THREADS", "2"))


@pytest.fixture(scope="session")
def peaks():
    return measure_peaks(THREADS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("by", ["whisperlite", "numpy", "torch"])
def test_kernel(benchmark, peaks, case: Case, by: str):
    call = case.prepare(by, THREADS)
    if call is None:
        pytest.skip(f"{case.name} is not measured with {by}, or {by} is not installed")
    benchmark.group = case.name
    result = benchmark(call)
    assert result is None or np.isfinite(np.asarray(result, np.float32)).all()
    if benchmark.stats is not None:  # --benchmark-disable runs each once without a clock
        seconds = benchmark.stats.stats.median
        benchmark.extra_info.update(case.rates(seconds, peaks))
