"""Log-mel power of overlapping frames, before any floor that depends on the whole input.

In: samples, window, mel bands. Out: log10 of the mel power of each frame, at least -10; the largest of them.
Knows nothing of: padding, audio formats.

As many frames as a register has lanes are done side by side, one per lane (``kernels.fourier``).
"""

from __future__ import annotations

import numpy as np

from whisperlite.kernels import elementary, simd
from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.fourier import (
    COLUMN_BYTES,
    COLUMNS_AT,
    HOP,
    LANES,
    N_BINS,
    N_FFT,
    POWER_AT,
    ROW_BYTES,
    SPECTRA_AT,
    SPECTRA_BYTES,
    pack_tables,
    pack_window,
    power_spectra,
    row_at,
)
from whisperlite.kernels.registry import claim, kernel
from whisperlite.kernels.scalars import copy_bytes, fill_zero
from whisperlite.kernels.simd import F32, I64, const, int64, vector

MIN_LOG_POWER = -10.0
# Spectra give room to the samples before and to the logarithms behind them: the less scratch, the more stays in the
# first-level cache.
SCRATCH_BYTES = (SPECTRA_AT + max(SPECTRA_BYTES, (LANES + 2) * HOP * 4) + 63) // 64 * 64

CLAIMED_FRAMES = 64  # by a thread at once: threads that write to the same cache lines wait for each other
BANDS_AT_ONCE = 4  # chains of sums that do not wait for each other
BAND_WORDS = 2 + 2 * BANDS_AT_ONCE


@intrinsic
def gather_columns(typingctx, samples, scratch):
    """Write the samples of LANES frames to scratch, 160 of each of LANES columns in a row, and 240 behind them."""

    def emit(context, b, signature, args):
        samples, scratch = args
        columns = simd.offset(b, scratch, COLUMNS_AT)
        half, both = LANES // 2, simd.ir.Constant(vector(simd.I32, LANES), list(range(LANES)))

        def square(b, i, _):
            source, target = row_at(b, samples, i, ROW_BYTES), row_at(b, columns, i, LANES * COLUMN_BYTES)
            rows = []
            for at in (0, ROW_BYTES // 2):
                for j in range(half):  # put together by loads: shuffles are what this waits for
                    places = [simd.offset(b, source, 4 * HOP * column + at) for column in (j, j + half)]
                    parts = [simd.load(b, place, vector(F32, half)) for place in places]
                    rows.append(b.shuffle_vector(*parts, both))
            for t, row in enumerate(simd.transpose(b, rows, True)):  # (column, time) -> (time, column)
                simd.store(b, row, simd.offset(b, target, t * COLUMN_BYTES))
            for column, n in ((LANES, LANES), (LANES + 1, LANES // 2)):  # of the last one only 80 are there
                source, target = row_at(b, samples, i, 4 * n), row_at(b, columns, i, n * COLUMN_BYTES)
                for t in range(n):
                    value = simd.load(b, simd.offset(b, source, 4 * (HOP * column + t)), F32)
                    simd.store(b, value, simd.offset(b, target, t * COLUMN_BYTES + 4 * column))
            return []

        simd.loop(b, int64(HOP // LANES), [], square)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def log_bands(typingctx, power, bands, weights, n_mels, n_valid, maximum, out, ldo):
    """Rows of log10 of the bands, at least -10. ``maximum`` (LANES,) grows with what lies in ``n_valid`` lanes."""

    def emit(context, b, signature, args):
        power, bands, weights, n_mels, n_valid, maximum, out, ldo = args
        kind = vector(F32, LANES)

        def body(b, i, largest):
            entry = row_at(b, bands, i, 8 * BAND_WORDS)
            words = [simd.load(b, simd.offset(b, entry, 8 * word), I64, 8) for word in range(BAND_WORDS)]
            n_bins, taps = words[0], b.add(weights, words[1])
            starts, rows = [b.add(power, at) for at in words[2::2]], words[3::2]

            def tap(b, k, totals):
                weight_at, power_at = row_at(b, taps, k, 4 * BANDS_AT_ONCE), b.mul(k, int64(ROW_BYTES))
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

    window, tables, bands, weights: from ``pack_window``, ``pack_tables`` and ``pack_bands``. scratch: SCRATCH_BYTES
    for each thread. maxima: float32 (n_threads, LANES), in and out: no less than any value of ``out``.
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
            return [simd.fmax(b, simd.load(b, row_at(b, x, i, 4), kind), found[0])]

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
        arrays = {"window": pack_window(window), "tables": pack_tables(), "bands": bands, "weights": weights}
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
