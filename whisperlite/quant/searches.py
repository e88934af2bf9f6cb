"""Searches for the scale, or scale and minimum, of a short run of weights: the cores of k-quants.

In: float32 (n, N): N runs of n weights. Out: scales (N,), and the codes behind them.
Knows nothing of: block layouts.

Each is one of ggml's loops with all runs side by side. Sums go through the n weights one after the other, as
float32 sums depend on their order, and products associate as they do in C.
ref: ggml ggml-quants.c nearest_int, make_qx_quants, make_q3_quants, make_qkx2_quants
"""

from __future__ import annotations

import numpy as np

_EPS = np.float32(1e-15)  # GROUP_MAX_EPS
_MAGIC = np.float32(12582912)  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits
_MAX_INT = 4194303


def nearest_int(values: np.ndarray) -> np.ndarray:
    """Nearest integers, halves to even, as float32; beyond 2**22 what ggml's bit trick gives."""
    if values.size and values.min() >= -_MAX_INT and values.max() <= _MAX_INT:
        return np.rint(values)
    return (((values + _MAGIC).view(np.int32) & 0x7FFFFF) - 0x400000).astype(np.float32)


def largest(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value of largest magnitude over axis 0, the first of several, and its magnitude; 0 where all are 0."""
    value, magnitude = np.zeros_like(rows[0]), np.zeros_like(rows[0])
    for row in rows:
        size = np.abs(row)
        larger = size > magnitude
        np.copyto(magnitude, size, where=larger)
        np.copyto(value, row, where=larger)
    return value, magnitude


def running_sum(terms: np.ndarray) -> np.ndarray:
    """Sum over axis 0, first to last; NumPy's own sum may add in pairs."""
    total = np.zeros_like(terms[0])
    for term in terms:
        total += term
    return total


def search_scale_and_min(
    x: np.ndarray, weights: np.ndarray, max_code: int, steps: tuple[float, float, int], absolute: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale and minimum such that ``x = scale * code - minimum``, codes in 0 .. max_code.

    Parameters
    ----------
    x, weights
        float32 (n, N).
    steps
        rmin, rdelta, nstep: the scales tried are ``span / (rmin + rdelta * i + max_code)``, i = 0 .. nstep.
    absolute
        Compare absolute errors, otherwise squares.

    Returns
    -------
    scale, minimum : (N,)
        Of the smallest weighted error; ``minimum`` is of the opposite sign to the weights it stands for.
    codes : (n, N)
        What the search took as codes, as float32.

    ref: make_qkx2_quants
    """
    lowest = np.minimum(x.min(axis=0), np.float32(0))
    highest = x.max(axis=0)
    flat = highest == lowest
    sum_w, sum_x = running_sum(weights), running_sum(weights * x)

    def error(scale: np.ndarray, minimum: np.ndarray, codes: np.ndarray) -> np.ndarray:
        terms = scale * codes
        terms += minimum
        terms -= x
        terms = np.abs(terms, out=terms) if absolute else np.multiply(terms, terms, out=terms)
        terms *= weights
        return running_sum(terms)

    minimum, origin = lowest.copy(), lowest.copy()
    best_inverse = np.divide(np.float32(max_code), highest - lowest, out=np.zeros_like(lowest), where=~flat)
    scale = np.float32(1) / best_inverse
    best_error = error(scale, minimum, _codes(best_inverse * (x - lowest), 0, max_code))
    rmin, rdelta, n_steps = np.float32(steps[0]), np.float32(steps[1]), steps[2]
    for step in range(n_steps + 1):
        # The minimum found so far is where the next codes start: the reference reuses its variable.
        numerator = rmin + rdelta * np.float32(step) + np.float32(max_code)
        inverse = np.divide(numerator, highest - minimum, out=np.zeros_like(lowest), where=~flat)
        codes = x - minimum
        codes *= inverse
        codes = _codes(codes, 0, max_code)
        terms = weights * codes
        sum_l = running_sum(terms)
        sum_xl = running_sum(terms * x)
        terms *= codes
        sum_l2 = running_sum(terms)
        determinant = sum_w * sum_l2 - sum_l * sum_l
        this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
        this_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
        positive = this_min > 0
        this_min[positive] = 0
        np.divide(sum_xl, sum_l2, out=this_scale, where=positive)
        this_error = error(this_scale, this_min, codes)
        better = (determinant > 0) & (this_error < best_error) & ~flat
        if better.any():
            np.copyto(best_error, this_error, where=better)
            np.copyto(best_inverse, inverse, where=better)
            np.copyto(origin, minimum, where=better)
            np.copyto(scale, this_scale, where=better)
            np.copyto(minimum, this_min, where=better)
    scale[flat] = 0
    return scale, -minimum, _codes(best_inverse * (x - origin), 0, max_code)


def search_scale(x: np.ndarray, n_half: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale such that ``x = scale * (code - n_half)``, by trying 19 scales; weights are squares of x.

    Returns
    -------
    scale : (N,)
        0 for a run of zeros.
    codes : (n, N)
        float32, 0 .. 2 * n_half - 1; 0 for a run of zeros, which the scale makes good.

    ref: make_qx_quants with rmse_type 1
    """
    peak, magnitude = largest(x)
    nothing = magnitude < _EPS
    peak[nothing] = 1
    weights = x * x
    weighted = weights * x
    best_inverse = np.float32(-n_half) / peak
    sum_lx, sum_l2 = _moments(_codes(best_inverse * x, -n_half, n_half - 1), weights, weighted)
    scale = np.divide(sum_lx, sum_l2, out=np.zeros_like(sum_lx), where=sum_l2 != 0)
    best = scale * sum_lx
    for step in (*range(-9, 0), *range(1, 10)):
        inverse = -(np.float32(n_half) + np.float32(0.1) * np.float32(step)) / peak
        sum_lx, sum_l2 = _moments(_codes(inverse * x, -n_half, n_half - 1), weights, weighted)
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        np.copyto(best_inverse, inverse, where=better)
        np.divide(sum_lx, sum_l2, out=scale, where=better)
        np.multiply(scale, sum_lx, out=best, where=better)
    codes = _codes(best_inverse * x, -n_half, n_half - 1) + np.float32(n_half)
    scale[nothing] = 0
    codes[:, nothing] = 0
    return scale, codes


def refine_scale(x: np.ndarray, n_half: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale such that ``x = scale * (code - n_half)``, by moving one code after the other, five times over.

    Returns
    -------
    scale : (N,)
        0 for a run of zeros.
    codes : (n, N)
        float32, 0 .. 2 * n_half - 1; 0 for a run of zeros, which the scale makes good.

    ref: make_q3_quants with do_rmse
    """
    peak, magnitude = largest(x)
    nothing = magnitude < _EPS
    peak[nothing] = 1
    codes = _codes(np.float32(-n_half) / peak * x, -n_half, n_half - 1)
    weights = x * x
    weighted = weights * x
    sum_lx, sum_l2 = _moments(codes, weights, weighted)
    for _ in range(5):
        changed = False
        for row, weight, product, code in zip(x, weights, weighted, codes, strict=True):
            rest_lx = sum_lx - product * code
            rest_l2 = sum_l2 - weight * code * code
            usable = rest_lx > 0
            target = np.divide(row * rest_l2, rest_lx, out=np.zeros_like(row), where=usable)
            new = _codes(target, -n_half, n_half - 1)
            moved = usable & (new != code)
            rest_lx += product * new
            rest_l2 += weight * new * new
            moved &= (rest_l2 > 0) & (rest_lx * rest_lx * sum_l2 > sum_lx * sum_lx * rest_l2)
            if moved.any():
                changed = True
                for kept, value in ((code, new), (sum_lx, rest_lx), (sum_l2, rest_l2)):
                    np.copyto(kept, value, where=moved)
        if not changed:
            break
    scale = np.divide(sum_lx, sum_l2, out=np.zeros_like(sum_lx), where=sum_l2 > 0)
    codes += np.float32(n_half)
    scale[nothing] = 0
    codes[:, nothing] = 0
    return scale, codes


def _moments(codes: np.ndarray, weights: np.ndarray, weighted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of x * code and of code**2."""
    return running_sum(weighted * codes), running_sum(weights * codes * codes)


def _codes(values: np.ndarray, low: int, high: int) -> np.ndarray:
    codes = nearest_int(values)
    return np.clip(codes, np.float32(low), np.float32(high), out=codes)
