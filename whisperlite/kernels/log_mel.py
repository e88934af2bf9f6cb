"""Log-mel power of overlapping frames, before any floor that depends on the whole input.

In: samples, window, mel bands. Out: log10 of the mel power of each frame, at least -10; the largest of them.
Knows nothing of: padding, audio formats.

A frame is a real Fourier transform of 400 points. As many frames as a register has lanes are transformed side by
side, one per lane, so that no step needs a horizontal operation. 16 and 25 have no common factor, so with
n = 25*n1 + 16*n2 (modulo 400), k1 = k modulo 16 and k2 = k modulo 25 the transform has two dimensions, with nothing
to multiply by between them:

    X[k] = sum over n2 of W25**(n2*k2) * (sum over n1 of W16**(n1*k1) * x[n])

ref: Good 1958; Thomas 1963 (prime-factor algorithm)

The input is real, so k1 = 0 .. 8 give all bins up to the sign of their imaginary part, which power does not see.
For k1 = 0 and 8 the inner sum is real: they go through the outer one together, as one complex sequence.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from whisperlite.kernels import cpu, elementary, simd
from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.registry import claim, kernel
from whisperlite.kernels.scalars import copy_bytes, fill_zero
from whisperlite.kernels.simd import F32, I64, Builder, Value, const, int64, vector

N_FFT, HOP, N_BINS = 400, 160, 201
RADIX_REAL, RADIX_COMPLEX = 16, 25
N_ROWS = RADIX_REAL // 2  # sequences of the outer sum: k1 = 0 with 8, then 1 .. 7
MIN_LOG_POWER = -10.0

LANES = cpu.vector_width()
ROW_BYTES = 4 * LANES
COMPLEX_BYTES = 2 * ROW_BYTES
PLACE_BYTES = N_ROWS * COMPLEX_BYTES
# Scratch: columns, which power replaces, and spectra, which give room to the samples before and to the logarithms
# behind them: the less of it, the more stays in the first-level cache. Columns: sample 160*j + t, counted from the
# first frame's, at row t and lane j, of which there are LANES + 2, in rows a little wider.
COLUMNS_AT = POWER_AT = 0
COLUMN_BYTES = ROW_BYTES + 16
SPECTRA_AT = (max(HOP * COLUMN_BYTES, (N_BINS + 1) * ROW_BYTES) + 63) // 64 * 64
SCRATCH_BYTES = (SPECTRA_AT + max(N_ROWS * RADIX_COMPLEX * COMPLEX_BYTES, (LANES + 2) * HOP * 4) + 63) // 64 * 64

CLAIMED_FRAMES = 64  # by a thread at once: threads that write to the same cache lines wait for each other
BANDS_AT_ONCE = 4  # chains of sums that do not wait for each other
BAND_WORDS = 2 + 2 * BANDS_AT_ONCE

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


def _at(b: Builder, address: Value, i: Value, n_bytes: int) -> Value:
    return b.add(address, b.mul(i, int64(n_bytes)))


@intrinsic
def gather_columns(typingctx, samples, scratch):
    """Write the samples of LANES frames to scratch, 160 of each of LANES columns in a row, and 240 behind them."""

    def emit(context, b, signature, args):
        samples, scratch = args
        columns = simd.offset(b, scratch, COLUMNS_AT)
        half, both = LANES // 2, simd.ir.Constant(vector(simd.I32, LANES), list(range(LANES)))

        def square(b, i, _):
            source, target = _at(b, samples, i, ROW_BYTES), _at(b, columns, i, LANES * COLUMN_BYTES)
            rows = []
            for at in (0, ROW_BYTES // 2):
                for j in range(half):  # put together by loads: shuffles are what this waits for
                    places = [simd.offset(b, source, 4 * HOP * column + at) for column in (j, j + half)]
                    parts = [simd.load(b, place, vector(F32, half)) for place in places]
                    rows.append(b.shuffle_vector(*parts, both))
            for t, row in enumerate(simd.transpose(b, rows, True)):  # (column, time) -> (time, column)
                simd.store(b, row, simd.offset(b, target, t * COLUMN_BYTES))
            for column, n in ((LANES, LANES), (LANES + 1, LANES // 2)):  # of the last one only 80 are there
                source, target = _at(b, samples, i, 4 * n), _at(b, columns, i, n * COLUMN_BYTES)
                for t in range(n):
                    value = simd.load(b, simd.offset(b, source, 4 * (HOP * column + t)), F32)
                    simd.store(b, value, simd.offset(b, target, t * COLUMN_BYTES + 4 * column))
            return []

        simd.loop(b, int64(HOP // LANES), [], square)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def power_spectra(typingctx, scratch, window, tables):
    """Transform the frames in scratch; write their power (201, LANES)."""

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
            entry, weights = _at(b, sources, n2, 8 * RADIX_REAL), _at(b, window, n2, 4 * RADIX_REAL)
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
            target = _at(b, spectra, n2, PLACE_BYTES)
            for row, value in enumerate(_real_transform16(b, total, difference)):
                _store_complex(b, value, simd.offset(b, target, row * COMPLEX_BYTES))
            return []

        def over_part_of_n2(b, i):
            at = _at(b, spectra, i, COMPLEX_BYTES)
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
            at = _at(b, factors, k, 4 * N_FACTORS)
            values = [simd.load(b, simd.offset(b, at, 4 * i), F32) for i in range(N_FACTORS)]
            splats = [simd.splat(b, value, LANES) for value in values]
            start, entries = _at(b, spectra, k, 5 * PLACE_BYTES), _at(b, targets, k, 8 * 5 * N_ROWS)

            def body(b, row, _):
                at, entry = _at(b, start, row, COMPLEX_BYTES), _at(b, entries, row, 8 * 5)
                places = [simd.offset(b, at, i * PLACE_BYTES) for i in range(5)]
                found = _transform5(b, [_load_complex(b, place) for place in places], splats, True)
                for i, (re, im) in enumerate(found):
                    target = b.add(power, simd.load(b, simd.offset(b, entry, 8 * i), I64, 8))
                    simd.store(b, simd.fma(b, re, re, b.fmul(im, im)), target)
                    _store_complex(b, (re, im), places[i])
                return []

            return simd.loop(b, int64(N_ROWS), [], body)

        def part(b, i, _):
            at = [simd.load(b, simd.offset(b, _at(b, pairs, i, 32), 8 * j), I64, 8) for j in range(4)]
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


@intrinsic
def log_bands(typingctx, power, bands, weights, n_mels, n_valid, maximum, out, ldo):
    """Rows of log10 of the bands, at least -10. ``maximum`` (LANES,) grows with what lies in ``n_valid`` lanes."""

    def emit(context, b, signature, args):
        power, bands, weights, n_mels, n_valid, maximum, out, ldo = args
        kind = vector(F32, LANES)

        def body(b, i, largest):
            entry = _at(b, bands, i, 8 * BAND_WORDS)
            words = [simd.load(b, simd.offset(b, entry, 8 * word), I64, 8) for word in range(BAND_WORDS)]
            n_bins, taps = words[0], b.add(weights, words[1])
            starts, rows = [b.add(power, at) for at in words[2::2]], words[3::2]

            def tap(b, k, totals):
                weight_at, power_at = _at(b, taps, k, 4 * BANDS_AT_ONCE), b.mul(k, int64(ROW_BYTES))
                new = []
                for j, (start, total) in enumerate(zip(starts, totals, strict=True)):
                    weight = simd.splat(b, simd.load(b, simd.offset(b, weight_at, 4 * j), F32), LANES)
                    new.append(simd.fma(b, simd.load(b, b.add(start, power_at), kind), weight, total))
                return new

            (largest,) = largest
            for row, total in zip(
                rows, simd.loop(b, n_bins, [const(0.0, LANES)] * BANDS_AT_ONCE, tap), strict=True
            ):
                log = simd.fmax(b, elementary.log10(b, total), const(MIN_LOG_POWER, LANES))
                simd.store(b, log, b.add(out, b.mul(row, ldo)))
                largest = simd.fmax(b, log, largest)
            return [largest]

        n_together = b.sdiv(b.add(n_mels, int64(BANDS_AT_ONCE - 1)), int64(BANDS_AT_ONCE))
        (largest,) = simd.loop(b, n_together, [const(MIN_LOG_POWER, LANES)], body)
        lanes = simd.splat(b, n_valid, LANES)
        inside = b.icmp_signed("<", simd.ir.Constant(lanes.type, list(range(LANES))), lanes)
        largest = b.select(inside, largest, const(MIN_LOG_POWER, LANES))
        simd.store(b, simd.fmax(b, largest, simd.load(b, maximum, kind)), maximum)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), emit


def _first_words(n: int):
    """An intrinsic that gives a kernel's first n arguments: ``arg`` for each takes longer to compile."""

    @intrinsic
    def words(typingctx, args):
        kind = types.UniTuple(types.int64, n)

        def emit(context, b, signature, args):
            values = [simd.load(b, simd.offset(b, args[0], 8 * i), I64, 8) for i in range(n)]
            return context.make_tuple(b, kind, values)

        return kind(types.int64), emit

    return words


first_words7, first_words11 = _first_words(7), _first_words(11)


@kernel(
    "samples", "n_frames", "window", "tables", "bands", "weights", "n_mels", "scratch", "maxima", "out", "ldo"
)  # fmt: skip
def log_mel_f32(args, sync, thread, n_threads):
    """Frame f reads samples ``160*f .. 160*f + 399``; out is (n_mels, n_frames) with rows ``ldo`` bytes apart.

    window, tables, bands, weights: from ``pack_window``, ``_tables`` and ``pack_bands``. scratch: SCRATCH_BYTES for
    each thread. maxima: float32 (n_threads, LANES), in and out: no less than any value of ``out``.
    """
    samples, n_frames, window, tables, bands, weights, n_mels, scratch, maximum, out, ldo = first_words11(args)
    scratch += thread * SCRATCH_BYTES
    maximum += thread * ROW_BYTES
    spare = scratch + SPECTRA_AT
    while True:
        start = claim(sync) * CLAIMED_FRAMES
        if start >= n_frames:
            break
        for first in range(start, min(start + CLAIMED_FRAMES, n_frames), LANES):
            n_valid = min(n_frames - first, LANES)
            source, target, pitch = samples + first * HOP * 4, out + first * 4, ldo
            if n_valid < LANES:
                n_bytes = 4 * (n_valid * HOP + N_FFT - HOP)
                copy_bytes(spare, source, n_bytes)
                fill_zero(spare + n_bytes, 4 * (LANES + 2) * HOP - n_bytes)
                source, target, pitch = spare, spare, ROW_BYTES
            gather_columns(source, scratch)
            power_spectra(scratch, window, tables)
            log_bands(scratch + POWER_AT, bands, weights, n_mels, n_valid, maximum, target, pitch)
            if n_valid < LANES:
                for m in range(n_mels):
                    copy_bytes(out + m * ldo + first * 4, spare + m * ROW_BYTES, 4 * n_valid)


TARGETS_AT = RADIX_COMPLEX * RADIX_REAL * 8
PAIRS_AT = TARGETS_AT + N_ROWS * RADIX_COMPLEX * 8
FACTORS_AT = PAIRS_AT + (RADIX_COMPLEX // 2 + 1) * 4 * 8
N_FACTORS = 16


def _sample_order() -> np.ndarray:
    """Which sample of a frame the inner sums take, (25, 16): for each n2 the pairs n1 and n1 + 8."""
    n1 = np.arange(RADIX_REAL).reshape(2, -1).T.ravel()
    return (RADIX_COMPLEX * n1 + RADIX_REAL * np.arange(RADIX_COMPLEX)[:, None]) % N_FFT


def _bin(k1: int, k2: int) -> int:
    """The bin that is k1 modulo 16 and k2 modulo 25, or its mirror image below 201."""
    k = (225 * k1 + 176 * k2) % N_FFT
    return min(k, N_FFT - k)


@cache
def _tables() -> np.ndarray:
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


def pack_bands(filters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sparse form of mel filters (n_mels, 201), BANDS_AT_ONCE of them together.

    Returns
    -------
    bands : ndarray (n, BAND_WORDS) int64
        Number of bins, byte offset of the first weight; then of each band the byte offset of its first bin's power
        and the row of ``out``. The last band is there again where the others leave room.
    weights : ndarray (n,) float32
        By bin, then by band.
    """
    spans = []
    for row in filters:
        used = np.flatnonzero(row)
        spans.append((used[0], used[-1] + 1) if len(used) else (0, 1))
    bands, weights = [], []
    at = 0
    for start in range(0, len(filters), BANDS_AT_ONCE):
        rows = [min(start + i, len(filters) - 1) for i in range(BANDS_AT_ONCE)]
        n_bins = max(spans[row][1] - spans[row][0] for row in rows)
        firsts = [min(spans[row][0], N_BINS - n_bins) for row in rows]
        weights += [filters[row, first + k] for k in range(n_bins) for row, first in zip(rows, firsts, strict=True)]
        bands.append([n_bins, at])
        for row, first in zip(rows, firsts, strict=True):
            bands[-1] += [first * ROW_BYTES, row]
        at += 4 * n_bins * BANDS_AT_ONCE
    return np.array(bands, np.int64), np.array(weights, np.float32)


@intrinsic
def largest(typingctx, x, n):
    """The largest of n float32."""

    def emit(context, b, signature, args):
        x, n = args
        kind = vector(F32, 1)

        def body(b, i, found):
            return [simd.fmax(b, simd.load(b, _at(b, x, i, 4), kind), found[0])]

        (found,) = simd.loop(b, n, [simd.load(b, x, kind)], body, int64(1))
        return b.extract_element(found, simd.ir.Constant(simd.I32, 0))

    return types.float32(types.int64, types.int64), emit


@intrinsic
def floor_scale(typingctx, row, n_bytes, maximum):
    """``(max(x, maximum - 8) + 4) / 4`` in place, over whole registers."""

    def emit(context, b, signature, args):
        row, n_bytes, maximum = args
        limit = b.fsub(simd.splat(b, maximum, LANES), const(8.0, LANES))

        def body(b, i, _):
            at = b.add(row, b.mul(i, int64(ROW_BYTES)))
            x = simd.fmax(b, simd.load(b, at, vector(F32, LANES)), limit)
            simd.store(b, b.fmul(b.fadd(x, const(4.0, LANES)), const(0.25, LANES)), at)
            return []

        simd.loop(b, b.sdiv(n_bytes, int64(ROW_BYTES)), [], body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), emit


@kernel("x", "ldx", "n_rows", "n_cols", "maxima", "n_maxima", "scratch")
def floor_and_scale_f32(args, sync, thread, n_threads):
    """Rows of log-mel, ``ldx`` bytes apart: ``(max(x, maximum - 8) + 4) / 4`` in place.

    maxima: float32 (n_maxima,), of which the largest counts. scratch: SCRATCH_BYTES for each thread.
    """
    x, ldx, n_rows, n_cols, maxima, n_maxima, scratch = first_words7(args)
    maximum, partial = largest(maxima, n_maxima), scratch + thread * SCRATCH_BYTES
    whole = n_cols // LANES * ROW_BYTES
    while True:
        row = claim(sync)
        if row >= n_rows:
            break
        floor_scale(x + row * ldx, whole, maximum)
        left = 4 * n_cols - whole
        if left:
            copy_bytes(partial, x + row * ldx + whole, left)
            floor_scale(partial, ROW_BYTES, maximum)
            copy_bytes(x + row * ldx + whole, partial, left)


class Constants:
    """What ``log_mel_f32`` reads besides samples.

    Parameters
    ----------
    window : ndarray (400,)
    filters : ndarray (n_mels, 201)

    Attributes
    ----------
    words : dict
        The kernel's arguments; they point into arrays that live as long as this object.
    """

    def __init__(self, window: np.ndarray, filters: np.ndarray):
        bands, weights = pack_bands(filters)
        arrays = {"window": pack_window(window), "tables": _tables(), "bands": bands, "weights": weights}
        self._arrays = arrays
        self.words = {name: array.ctypes.data for name, array in arrays.items()} | {"n_mels": len(filters)}


class Workspace:
    """What the kernels of ``n_threads`` write besides their results: scratch, and the largest value of each thread.

    Parameters
    ----------
    n_threads : int
    maximum : float
        What ``maximum`` is at first.

    Attributes
    ----------
    words : dict
        Arguments of both kernels; they point into arrays that live as long as this object.
    n_maxima : int
        Values from which ``maximum`` is found.
    """

    def __init__(self, n_threads: int, maximum: float = MIN_LOG_POWER):
        memory = np.empty(n_threads * (SCRATCH_BYTES + ROW_BYTES) + 64, np.uint8)
        # From a cache line on: unaligned vectors straddle two of them, at half the speed.
        memory = memory[-memory.ctypes.data % 64 :]
        self._scratch, maxima = memory[: n_threads * SCRATCH_BYTES], memory[n_threads * SCRATCH_BYTES :]
        self._maxima = maxima[: n_threads * ROW_BYTES].view(np.float32)
        self._maxima[:] = maximum
        self.n_maxima = len(self._maxima)
        self.words = {"scratch": self._scratch.ctypes.data, "maxima": self._maxima.ctypes.data}

    @property
    def maximum(self) -> float:
        """No less than any value that ``log_mel_f32`` wrote with this."""
        return float(self._maxima.max())


def log_mel_arguments(
    samples: np.ndarray, constants: Constants, out: np.ndarray, workspace: Workspace
) -> dict[str, int]:
    """Arguments of ``log_mel_f32``.

    Parameters
    ----------
    samples : ndarray (>= 160 * n_frames + 240,) float32, dense
    constants : Constants
    out : ndarray (n_mels, n_frames) float32, dense rows
        Written.
    workspace : Workspace
    """
    return {
        **constants.words,
        **workspace.words,
        "samples": samples.ctypes.data,
        "n_frames": out.shape[1],
        "out": out.ctypes.data,
        "ldo": out.strides[0],
    }


def floor_and_scale_arguments(log_mel: np.ndarray, workspace: Workspace) -> dict[str, int]:
    """Arguments of ``floor_and_scale_f32`` for (n_mels, n_frames) float32 with dense rows."""
    return {
        **workspace.words,
        "n_maxima": workspace.n_maxima,
        "x": log_mel.ctypes.data,
        "ldx": log_mel.strides[0],
        "n_rows": log_mel.shape[0],
        "n_cols": log_mel.shape[1],
    }


def log_mel_frames(samples: np.ndarray, window: np.ndarray, filters: np.ndarray, out: np.ndarray) -> float:
    """Run ``log_mel_f32`` on this thread; arrays as in ``Constants`` and ``log_mel_arguments``.

    Returns
    -------
    float
        The largest value of ``out``.
    """
    constants, workspace = Constants(window, filters), Workspace(1)
    log_mel_f32(**log_mel_arguments(samples, constants, out, workspace))
    return workspace.maximum
