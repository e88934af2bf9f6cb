"""Fourier transform of frames of 400 real samples, to power.

In: columns of samples in scratch memory, a window. Out: power of 201 bins in place of the columns.
Knows nothing of: where frames come from, mel bands.

As many frames as a register has lanes are transformed side by side, one per lane, so that no step needs a
horizontal operation. 16 and 25 have no common factor, so with n = 25*n1 + 16*n2 (modulo 400), k1 = k modulo 16 and
k2 = k modulo 25 the transform has two dimensions, with nothing to multiply by between them:

    X[k] = sum over n2 of W25**(n2*k2) * (sum over n1 of W16**(n1*k1) * x[n])

ref: Good 1958; Thomas 1963 (prime-factor algorithm)

The input is real, so k1 = 0 .. 8 give all bins up to the sign of their imaginary part, which power does not see.
For k1 = 0 and 8 the inner sum is real: they go through the outer one together, as one complex sequence.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.simd import F32, I64, Builder, Value, const, int64, vector

N_FFT, HOP, N_BINS = 400, 160, 201
RADIX_REAL, RADIX_COMPLEX = 16, 25
N_ROWS = RADIX_REAL // 2  # sequences of the outer sum: k1 = 0 with 8, then 1 .. 7

LANES = cpu.vector_width()
ROW_BYTES = 4 * LANES
COMPLEX_BYTES = 2 * ROW_BYTES
PLACE_BYTES = N_ROWS * COMPLEX_BYTES
# Scratch: columns, which power replaces, and spectra. Columns: sample 160*j + t, counted from the first frame's, at
# row t and lane j, of which there are LANES + 2, in rows a little wider.
COLUMNS_AT = POWER_AT = 0
COLUMN_BYTES = ROW_BYTES + 16
SPECTRA_AT = (max(HOP * COLUMN_BYTES, (N_BINS + 1) * ROW_BYTES) + 63) // 64 * 64
SPECTRA_BYTES = N_ROWS * RADIX_COMPLEX * COMPLEX_BYTES

TARGETS_AT = RADIX_COMPLEX * RADIX_REAL * 8
PAIRS_AT = TARGETS_AT + N_ROWS * RADIX_COMPLEX * 8
FACTORS_AT = PAIRS_AT + (RADIX_COMPLEX // 2 + 1) * 4 * 8
N_FACTORS = 16

Complex = tuple[Value, Value]  # real and imaginary vectors


def _fma(b: Builder, x: Value, factor: float, y: Value) -> Value:
    """``x * factor + y``, without a product for 1 and -1."""
    if abs(factor) == 1:
        return b.fadd(y, x) if factor > 0 else b.fsub(y, x)
    return simd.fma(b, x, const(factor, LANES), y)


def _real_transform16(b: Builder, total: list[Value], difference: list[Value]) -> list[Complex]:
    """Bins 0 and 8 as one pair, then 1 .. 7, of 16 real values x: given x[p] + x[p+8] and x[p] - x[p+8]."""
    half, tan, cos = math.sqrt(0.5), math.tan(math.pi / 8), math.cos(math.pi / 8)
    bins: list[Complex] = [(total[0], total[0])] * N_ROWS

    a = [b.fadd(total[p], total[p + 4]) for p in range(4)]
    c = [b.fsub(total[p], total[p + 4]) for p in range(4)]
    even, odd = b.fadd(a[0], a[2]), b.fadd(a[1], a[3])
    bins[0] = b.fadd(even, odd), b.fsub(even, odd)
    bins[4] = b.fsub(a[0], a[2]), b.fsub(a[3], a[1])
    minus, plus = b.fsub(c[1], c[3]), b.fadd(c[1], c[3])
    bins[2] = _fma(b, minus, half, c[0]), _fma(b, plus, -half, b.fneg(c[2]))
    bins[6] = _fma(b, minus, -half, c[0]), _fma(b, plus, -half, c[2])

    d = difference
    minus, plus = b.fsub(d[2], d[6]), b.fadd(d[2], d[6])
    near = _fma(b, minus, half, d[0]), _fma(b, plus, -half, b.fneg(d[4]))
    far = _fma(b, minus, -half, d[0]), _fma(b, plus, half, b.fneg(d[4]))
    first = _fma(b, d[5], -tan, d[1]), _fma(b, d[1], -tan, b.fneg(d[5]))  # over cos
    third = _fma(b, d[3], tan, b.fneg(d[7])), _fma(b, d[7], -tan, b.fneg(d[3]))
    total13 = b.fadd(first[0], third[0]), b.fadd(first[1], third[1])
    difference13 = b.fsub(first[0], third[0]), b.fsub(first[1], third[1])
    bins[1] = _fma(b, total13[0], cos, near[0]), _fma(b, total13[1], cos, near[1])
    bins[7] = _fma(b, total13[0], -cos, near[0]), _fma(b, total13[1], cos, b.fneg(near[1]))
    bins[5] = _fma(b, difference13[1], cos, far[0]), _fma(b, difference13[0], -cos, far[1])
    bins[3] = _fma(b, difference13[1], -cos, far[0]), _fma(b, difference13[0], -cos, b.fneg(far[1]))
    return bins


def _factors(k: int) -> list[float]:
    """What ``_transform5`` multiplies by where value j is first turned back by ``2 pi j k / 25``.

    A turn is a product with the angle's tangent and another with its cosine, which goes into factors that follow.
    """
    angles = [2 * math.pi * j * k / RADIX_COMPLEX for j in range(5)]
    cos = [math.cos(angle) for angle in angles]
    c1, c2 = math.cos(2 * math.pi / 5), math.cos(4 * math.pi / 5)
    s1, s2 = math.sin(2 * math.pi / 5), math.sin(4 * math.pi / 5)
    return [
        *[math.tan(angle) for angle in angles[1:]],
        cos[4] / cos[1], cos[3] / cos[2],
        cos[1], cos[2], c1 * cos[1], c2 * cos[2], c2 * cos[1], c1 * cos[2],
        s2 * cos[2] / (s1 * cos[1]), s1 * cos[2] / (s2 * cos[1]), s1 * cos[1], s2 * cos[1],
    ]  # fmt: skip


def _transform5(b: Builder, x: list[Complex], factors: list[Value], turned: bool) -> list[Complex]:
    """Bins of 5 complex values, or of 5 that are first ``turned``."""
    tangents, (ratio1, ratio2), factors = factors[:4], factors[4:6], factors[6:]
    first1, first2, near1, near2, far1, far2, odd_ratio1, odd_ratio2, odd1, odd2 = factors
    y = x[:1]
    for (re, im), tan in zip(x[1:], tangents, strict=True):
        y.append((simd.fma(b, im, tan, re), simd.fma(b, b.fneg(re), tan, im)) if turned else (re, im))
    bins: list[list[Value]] = [[], [], [], [], []]  # bin 0; what bins 1 and 4, 2 and 3 share; how they differ
    for i in (0, 1):
        x0, x1, x2, x3, x4 = [value[i] for value in y]
        total1, total2 = simd.fma(b, x4, ratio1, x1), simd.fma(b, x3, ratio2, x2)
        difference1, difference2 = simd.fma(b, b.fneg(x4), ratio1, x1), simd.fma(b, b.fneg(x3), ratio2, x2)
        for out, factor1, factor2 in zip(bins, (first1, near1, far1), (first2, near2, far2), strict=False):
            out.append(simd.fma(b, total2, factor2, simd.fma(b, total1, factor1, x0)))
        bins[3].append(simd.fma(b, difference2, odd_ratio1, difference1))
        bins[4].append(simd.fma(b, b.fneg(difference2), odd_ratio2, difference1))
    first, near, far, d1, d2 = bins
    return [
        (first[0], first[1]),
        (simd.fma(b, d1[1], odd1, near[0]), simd.fma(b, b.fneg(d1[0]), odd1, near[1])),
        (simd.fma(b, d2[1], odd2, far[0]), simd.fma(b, b.fneg(d2[0]), odd2, far[1])),
        (simd.fma(b, b.fneg(d2[1]), odd2, far[0]), simd.fma(b, d2[0], odd2, far[1])),
        (simd.fma(b, b.fneg(d1[1]), odd1, near[0]), simd.fma(b, d1[0], odd1, near[1])),
    ]


def _load_complex(b: Builder, address: Value) -> Complex:
    kind = vector(F32, LANES)
    return simd.load(b, address, kind), simd.load(b, simd.offset(b, address, ROW_BYTES), kind)


def _store_complex(b: Builder, x: Complex, address: Value) -> None:
    simd.store(b, x[0], address)
    simd.store(b, x[1], simd.offset(b, address, ROW_BYTES))


def row_at(b: Builder, address: Value, i: Value, n_bytes: int) -> Value:
    """Address of the i-th of rows that are ``n_bytes`` each."""
    return b.add(address, b.mul(i, int64(n_bytes)))


@intrinsic
def power_spectra(typingctx, scratch, window, tables):
    """Transform the frames in scratch; write their power (201, LANES).

    window, tables: from ``pack_window`` and ``pack_tables``.
    """

    def emit(context, b, signature, args):
        scratch, window, tables = args
        kind = vector(F32, LANES)
        columns, power = simd.offset(b, scratch, COLUMNS_AT), simd.offset(b, scratch, POWER_AT)
        spectra = simd.offset(b, scratch, SPECTRA_AT)
        sources, targets, pairs, factors = (
            simd.offset(b, tables, at) for at in (0, TARGETS_AT, PAIRS_AT, FACTORS_AT)
        )
        plain = [const(factor, LANES) for factor in _factors(0)]

        def over_n1(b, n2):
            entry, weights = row_at(b, sources, n2, 8 * RADIX_REAL), row_at(b, window, n2, 4 * RADIX_REAL)
            total, difference = [], []
            for p in range(0, RADIX_REAL, 2):
                parts = []
                for i in (p, p + 1):
                    at = b.add(columns, simd.load(b, simd.offset(b, entry, 8 * i), I64, 8))
                    weight = simd.splat(b, simd.load(b, simd.offset(b, weights, 4 * i), F32), LANES)
                    parts += [simd.load(b, at, kind), weight]
                x, x_weight, y, y_weight = parts
                y = b.fmul(y, y_weight)
                total.append(simd.fma(b, x, x_weight, y))
                difference.append(simd.fma(b, x, x_weight, b.fneg(y)))
            target = row_at(b, spectra, n2, PLACE_BYTES)
            for row, value in enumerate(_real_transform16(b, total, difference)):
                _store_complex(b, value, simd.offset(b, target, row * COMPLEX_BYTES))
            return []

        def over_part_of_n2(b, i):
            at = row_at(b, spectra, i, COMPLEX_BYTES)
            places = [simd.offset(b, at, 5 * j * PLACE_BYTES) for j in range(5)]
            found = _transform5(b, [_load_complex(b, place) for place in places], plain, False)
            for place, value in zip(places, found, strict=True):
                _store_complex(b, value, place)
            return []

        def inner(b, j, _):  # n2 = j, j + 5, .. j + 20, then the sums of 5 over them, while all is close by
            simd.loop(b, int64(5), [], lambda b, i, _: over_n1(b, b.add(j, b.mul(i, int64(5)))))
            first = b.mul(j, int64(N_ROWS))
            return simd.loop(b, int64(N_ROWS), [], lambda b, row, _: over_part_of_n2(b, b.add(first, row)))

        def outer(b, k, _):
            at = row_at(b, factors, k, 4 * N_FACTORS)
            values = [simd.load(b, simd.offset(b, at, 4 * i), F32) for i in range(N_FACTORS)]
            splats = [simd.splat(b, value, LANES) for value in values]
            start, entries = row_at(b, spectra, k, 5 * PLACE_BYTES), row_at(b, targets, k, 8 * 5 * N_ROWS)

            def body(b, row, _):
                at, entry = row_at(b, start, row, COMPLEX_BYTES), row_at(b, entries, row, 8 * 5)
                places = [simd.offset(b, at, i * PLACE_BYTES) for i in range(5)]
                found = _transform5(b, [_load_complex(b, place) for place in places], splats, True)
                for i, (re, im) in enumerate(found):
                    target = b.add(power, simd.load(b, simd.offset(b, entry, 8 * i), I64, 8))
                    simd.store(b, simd.fma(b, re, re, b.fmul(im, im)), target)
                    _store_complex(b, (re, im), places[i])
                return []

            return simd.loop(b, int64(N_ROWS), [], body)

        def part(b, i, _):
            at = [simd.load(b, simd.offset(b, row_at(b, pairs, i, 32), 8 * j), I64, 8) for j in range(4)]
            (zr, zi), (yr, yi) = (_load_complex(b, b.add(spectra, place)) for place in at[:2])
            quarter = const(0.25, LANES)
            for re, im, place in (
                (b.fadd(zr, yr), b.fsub(zi, yi), at[2]),
                (b.fsub(zr, yr), b.fadd(zi, yi), at[3]),
            ):
                value = simd.fma(b, re, re, b.fmul(im, im))
                simd.store(b, b.fmul(value, quarter), b.add(power, place))
            return []

        simd.loop(b, int64(5), [], inner)
        simd.loop(b, int64(5), [], outer)
        simd.loop(b, int64(RADIX_COMPLEX // 2 + 1), [], part)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


def _sample_order() -> np.ndarray:
    """Which sample of a frame the inner sums take, (25, 16): for each n2 the pairs n1 and n1 + 8."""
    n1 = np.arange(RADIX_REAL).reshape(2, -1).T.ravel()
    return (RADIX_COMPLEX * n1 + RADIX_REAL * np.arange(RADIX_COMPLEX)[:, None]) % N_FFT


def _bin(k1: int, k2: int) -> int:
    """The bin that is k1 modulo 16 and k2 modulo 25, or its mirror image below 201."""
    k = (225 * k1 + 176 * k2) % N_FFT
    return min(k, N_FFT - k)


@cache
def pack_tables() -> np.ndarray:
    """Byte offsets of samples in columns; of power, by k2 % 5, row of spectra and k2 // 5; of row 0's pairs and
    their power, all int64. Then ``_factors`` in float32.
    """
    n = _sample_order()
    sources = n % HOP * COLUMN_BYTES + n // HOP * 4
    targets = np.full((5, N_ROWS, 5), N_BINS)  # behind the last bin: what comes of row 0 at first
    for k1 in range(1, N_ROWS):
        for k2 in range(RADIX_COMPLEX):
            targets[k2 % 5, k1, k2 // 5] = _bin(k1, k2)
    places = [(5 * (k2 % 5) + k2 // 5) * PLACE_BYTES for k2 in range(RADIX_COMPLEX)]
    pairs = [
        (places[k2], places[-k2], _bin(0, k2) * ROW_BYTES, _bin(8, k2) * ROW_BYTES)
        for k2 in range(RADIX_COMPLEX // 2 + 1)
    ]
    factors = np.array([_factors(k) for k in range(5)], np.float32)
    offsets = [sources.ravel(), targets.ravel() * ROW_BYTES, np.ravel(pairs)]
    return np.concatenate([*offsets, factors.ravel().view(np.int64)]).astype(np.int64)


def pack_window(window: np.ndarray) -> np.ndarray:
    """The kernel's form of a window (400,): float32 (25, 16)."""
    return np.ascontiguousarray(window[_sample_order()], np.float32)
