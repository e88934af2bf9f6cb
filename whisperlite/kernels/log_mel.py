"""Log-mel power of overlapping frames, before any floor that depends on the whole input.

In: samples, window, mel bands. Out: log10 of the mel power of each frame, at least -10.
Knows nothing of: padding, the global maximum, audio formats.

A frame is a real Fourier transform of 400 = 16 x 25 points. As many frames as a register has lanes are transformed
side by side, one per lane, so that no step needs a horizontal operation. With n = 25*n1 + n2 and k = k1 + 16*k2:

    X[k1 + 16*k2] = sum over n2 of W25**(n2*k2) * W400**(n2*k1) * (sum over n1 of W16**(n1*k1) * x[25*n1 + n2])

The input is real, so k1 = 0 .. 8 give all bins up to the sign of their imaginary part, which power does not see.
"""

from __future__ import annotations

import cmath
import math
from functools import cache

import numpy as np
from numba import types
from numba.extending import intrinsic

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.simd import F32, Builder, Value, const, copy_bytes, int64, load_i64, vector

N_FFT, HOP, N_BINS = 400, 160, 201
RADIX_REAL, RADIX_COMPLEX = 16, 25
N_REAL_BINS = RADIX_REAL // 2 + 1
MIN_POWER = 1e-10

LANES = cpu.vector_width()
ROW_BYTES = 4 * LANES
SPECTRA_AT = N_FFT * ROW_BYTES  # scratch: windowed samples, half-done spectra, power, a partial output
POWER_AT = SPECTRA_AT + N_REAL_BINS * RADIX_COMPLEX * 2 * ROW_BYTES
PARTIAL_AT = POWER_AT + N_BINS * ROW_BYTES
SCRATCH_BYTES = (PARTIAL_AT + ROW_BYTES + 63) // 64 * 64

Complex = tuple[Value, Value | None]  # real and imaginary vectors; None is zero


def _times(b: Builder, x: Complex, w: complex) -> Complex:
    """x times a number known now."""
    re, im = x
    if abs(w - 1) < 1e-12:
        return x
    if abs(w + 1j) < 1e-12:  # -i
        return (const(0.0, LANES) if im is None else im), b.fneg(re)
    wr, wi = const(w.real, LANES), const(w.imag, LANES)
    if im is None:
        return b.fmul(re, wr), b.fmul(re, wi)
    return _times_value(b, (re, im), wr, wi)


def _times_value(b: Builder, x: Complex, wr: Value, wi: Value) -> Complex:
    re, im = x
    if im is None:
        return b.fmul(re, wr), b.fmul(re, wi)
    return simd.fma(b, re, wr, b.fneg(b.fmul(im, wi))), simd.fma(b, re, wi, b.fmul(im, wr))


def _sum(b: Builder, x: Complex, y: Complex) -> Complex:
    im = x[1] if y[1] is None else y[1] if x[1] is None else b.fadd(x[1], y[1])
    return b.fadd(x[0], y[0]), im


def _difference(b: Builder, x: Complex, y: Complex) -> Complex:
    im = x[1] if y[1] is None else b.fneg(y[1]) if x[1] is None else b.fsub(x[1], y[1])
    return b.fsub(x[0], y[0]), im


def _conjugate(b: Builder, x: Complex) -> Complex:
    return x[0], None if x[1] is None else b.fneg(x[1])


def _real_transform(b: Builder, x: list[Value]) -> list[Complex]:
    """Bins 0 .. n/2 of n real values, n a power of two."""
    n = len(x)
    if n == 2:
        return [(b.fadd(x[0], x[1]), None), (b.fsub(x[0], x[1]), None)]
    even, odd = _real_transform(b, x[0::2]), _real_transform(b, x[1::2])
    bins: list[Complex] = [even[0]] * (n // 2 + 1)
    for k in range(n // 4 + 1):
        turned = _times(b, odd[k], cmath.exp(-2j * math.pi * k / n))
        bins[k] = _sum(b, even[k], turned)
        if k != n // 4:
            bins[n // 2 - k] = _conjugate(b, _difference(b, even[k], turned))
    return bins


def _transform5(b: Builder, x: list[Complex]) -> list[Complex]:
    """Bins of 5 complex values; pairs x[j] and x[5-j] share their products."""
    c1, c2 = math.cos(2 * math.pi / 5), math.cos(4 * math.pi / 5)
    s1, s2 = math.sin(2 * math.pi / 5), math.sin(4 * math.pi / 5)
    sum1, sum2 = _sum(b, x[1], x[4]), _sum(b, x[2], x[3])
    dif1, dif2 = _difference(b, x[1], x[4]), _difference(b, x[2], x[3])

    def mixed(start: Complex, p: Complex, weight_p: float, q: Complex, weight_q: float) -> list[Value]:
        wp, wq = const(weight_p, LANES), const(weight_q, LANES)
        return [simd.fma(b, q[i], wq, simd.fma(b, p[i], wp, start[i])) for i in (0, 1)]

    def crossed(p: Complex, weight_p: float, q: Complex, weight_q: float) -> list[Value]:
        wp, wq = const(weight_p, LANES), const(weight_q, LANES)
        return [simd.fma(b, q[i], wq, b.fmul(p[i], wp)) for i in (0, 1)]

    even1, even2 = mixed(x[0], sum1, c1, sum2, c2), mixed(x[0], sum1, c2, sum2, c1)
    odd1, odd2 = crossed(dif1, s1, dif2, s2), crossed(dif1, s2, dif2, -s1)
    return [
        _sum(b, x[0], _sum(b, sum1, sum2)),
        (b.fadd(even1[0], odd1[1]), b.fsub(even1[1], odd1[0])),
        (b.fadd(even2[0], odd2[1]), b.fsub(even2[1], odd2[0])),
        (b.fsub(even2[0], odd2[1]), b.fadd(even2[1], odd2[0])),
        (b.fsub(even1[0], odd1[1]), b.fadd(even1[1], odd1[0])),
    ]


def _transform25(b: Builder, x: list[Complex]) -> list[Complex]:
    """Bins of 25 complex values, as 5 x 5."""
    inner = [_transform5(b, x[j::5]) for j in range(5)]
    bins: list[Complex] = [x[0]] * 25
    for k in range(5):
        turned = [_times(b, inner[j][k], cmath.exp(-2j * math.pi * j * k / 25)) for j in range(5)]
        bins[k::5] = _transform5(b, turned)
    return bins


@intrinsic
def gather_frames(typingctx, samples, n_valid, window, scratch):
    """Write windowed frames to scratch (400, LANES); lanes past ``n_valid`` repeat the last valid frame."""

    def emit(context, b, signature, args):
        samples, n_valid, window, scratch = args
        kind = vector(F32, LANES)
        last = b.sub(n_valid, int64(1))
        starts = []
        for j in range(LANES):
            frame = b.select(b.icmp_signed("<", int64(j), n_valid), int64(j), last)
            starts.append(b.add(samples, b.mul(frame, int64(4 * HOP))))

        def body(b, i, _):
            at = b.mul(i, int64(ROW_BYTES))
            weights = simd.load(b, b.add(window, at), kind)
            rows = [b.fmul(simd.load(b, b.add(start, at), kind), weights) for start in starts]
            target = b.add(scratch, b.mul(i, int64(LANES * ROW_BYTES)))
            for j, row in enumerate(simd.transpose(b, rows)):  # (frame, time) -> (time, frame)
                simd.store(b, row, simd.offset(b, target, j * ROW_BYTES))
            return []

        simd.loop(b, int64(N_FFT // LANES), [], body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), emit


@intrinsic
def power_spectra(typingctx, scratch, twiddles):
    """Transform the frames in scratch; write their power (201, LANES)."""

    def emit(context, b, signature, args):
        scratch, twiddles = args
        kind = vector(F32, LANES)
        spectra, power = simd.offset(b, scratch, SPECTRA_AT), simd.offset(b, scratch, POWER_AT)

        def over_n1(b, n2, _):
            column = b.add(scratch, b.mul(n2, int64(ROW_BYTES)))
            x = [
                simd.load(b, simd.offset(b, column, RADIX_COMPLEX * n1 * ROW_BYTES), kind)
                for n1 in range(RADIX_REAL)
            ]
            for k1, bin_k1 in enumerate(_real_transform(b, x)):
                at = simd.offset(b, twiddles, k1 * RADIX_COMPLEX * 8)
                at = b.add(at, b.mul(n2, int64(8)))
                wr = simd.splat(b, simd.load(b, at, F32), LANES)
                wi = simd.splat(b, simd.load(b, simd.offset(b, at, 4), F32), LANES)
                re, im = _times_value(b, bin_k1, wr, wi)
                target = simd.offset(b, spectra, k1 * RADIX_COMPLEX * 2 * ROW_BYTES)
                target = b.add(target, b.mul(n2, int64(2 * ROW_BYTES)))
                simd.store(b, re, target)
                simd.store(b, im, simd.offset(b, target, ROW_BYTES))
            return []

        def over_n2(b, k1, _):
            row = b.add(spectra, b.mul(k1, int64(RADIX_COMPLEX * 2 * ROW_BYTES)))
            x = []
            for n2 in range(RADIX_COMPLEX):
                at = simd.offset(b, row, n2 * 2 * ROW_BYTES)
                x.append((simd.load(b, at, kind), simd.load(b, simd.offset(b, at, ROW_BYTES), kind)))
            for k2, (re, im) in enumerate(_transform25(b, x)):
                k = RADIX_REAL * k2  # 12*16 + 8 is the last bin; what lies above mirrors one below
                k = b.add(int64(k), k1) if k2 <= 12 else b.sub(int64(N_FFT - k), k1)
                value = simd.fma(b, re, re, b.fmul(im, im))
                simd.store(b, value, b.add(power, b.mul(k, int64(ROW_BYTES))))
            return []

        simd.loop(b, int64(RADIX_COMPLEX), [], over_n1)
        simd.loop(b, int64(N_REAL_BINS), [], over_n2)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def log_band(typingctx, power, weights, n_bins, out):
    """``log10(max(sum of weights[k] * power[k], 1e-10))`` of every lane."""

    def emit(context, b, signature, args):
        power, weights, n_bins, out = args

        def body(b, k, total):
            row = simd.load(b, b.add(power, b.mul(k, int64(ROW_BYTES))), vector(F32, LANES))
            weight = simd.splat(b, simd.load(b, b.add(weights, b.mul(k, int64(4))), F32), LANES)
            return [simd.fma(b, row, weight, total[0])]

        (total,) = simd.loop(b, n_bins, [const(0.0, LANES)], body)
        log = simd.log2(b, simd.fmax(b, total, const(MIN_POWER, LANES)))
        simd.store(b, b.fmul(log, const(math.log10(2), LANES)), out)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), emit


@kernel("samples", "n_frames", "window", "twiddles", "bands", "weights", "n_mels", "scratch", "out", "ldo")
def log_mel_f32(args, sync, thread, n_threads):
    """Frame f reads samples ``160*f .. 160*f + 399``; out is (n_mels, n_frames) with rows ``ldo`` bytes apart.

    bands: int64 (n_mels, 3): first bin, number of bins, index of the first weight. twiddles: ``W400**(n2*k1)`` as
    float32 (9, 25, 2). scratch: SCRATCH_BYTES for each thread.
    """
    samples, n_frames, window, twiddles = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    bands, weights, n_mels = arg(args, 4), arg(args, 5), arg(args, 6)
    scratch, out, ldo = arg(args, 7) + thread * SCRATCH_BYTES, arg(args, 8), arg(args, 9)
    while True:
        first = claim(sync) * LANES
        if first >= n_frames:
            break
        n_valid = min(n_frames - first, LANES)
        gather_frames(samples + first * HOP * 4, n_valid, window, scratch)
        power_spectra(scratch, twiddles)
        for m in range(n_mels):
            band = bands + 24 * m
            power = scratch + POWER_AT + load_i64(band) * ROW_BYTES
            taps = weights + 4 * load_i64(band + 16)
            target = out + m * ldo + first * 4
            if n_valid == LANES:
                log_band(power, taps, load_i64(band + 8), target)
            else:
                log_band(power, taps, load_i64(band + 8), scratch + PARTIAL_AT)
                copy_bytes(target, scratch + PARTIAL_AT, 4 * n_valid)


@cache
def _twiddles() -> np.ndarray:
    turns = np.outer(np.arange(N_REAL_BINS), np.arange(RADIX_COMPLEX)) / N_FFT
    w = np.exp(-2j * np.pi * turns)
    return np.ascontiguousarray(np.stack([w.real, w.imag], axis=-1), np.float32)  # (9, 25, 2)


def pack_bands(filters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sparse form of mel filters (n_mels, 201): the kernel's ``bands`` and ``weights``."""
    bands = np.zeros((len(filters), 3), np.int64)
    weights = []
    at = 0
    for m, row in enumerate(filters):
        used = np.flatnonzero(row)
        if len(used):
            span = row[used[0] : used[-1] + 1]
            bands[m] = used[0], len(span), at
            weights.append(span)
            at += len(span)
    return bands, np.concatenate([*weights, np.zeros(1)]).astype(np.float32)


@intrinsic
def floor_scale(typingctx, row, n_bytes, floor):
    """``(max(x, floor) + 4) / 4`` in place, over whole registers."""

    def emit(context, b, signature, args):
        row, n_bytes, floor = args
        limit = simd.splat(b, floor, LANES)

        def body(b, i, _):
            at = b.add(row, b.mul(i, int64(ROW_BYTES)))
            x = simd.fmax(b, simd.load(b, at, vector(F32, LANES)), limit)
            simd.store(b, b.fmul(b.fadd(x, const(4.0, LANES)), const(0.25, LANES)), at)
            return []

        simd.loop(b, b.sdiv(n_bytes, int64(ROW_BYTES)), [], body)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), emit


@kernel("x", "ldx", "n_rows", "n_cols", "floor_bits", "scratch")
def floor_and_scale_f32(args, sync, thread, n_threads):
    """Rows of log-mel, ``ldx`` bytes apart: ``(max(x, floor) + 4) / 4`` in place. scratch: SCRATCH_BYTES each."""
    x, ldx, n_rows, n_cols = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    floor, partial = simd.load_f32(args + 32), arg(args, 5) + thread * SCRATCH_BYTES
    whole = n_cols // LANES * ROW_BYTES
    while True:
        row = claim(sync)
        if row >= n_rows:
            break
        floor_scale(x + row * ldx, whole, floor)
        left = 4 * n_cols - whole
        if left:
            copy_bytes(partial, x + row * ldx + whole, left)
            floor_scale(partial, ROW_BYTES, floor)
            copy_bytes(x + row * ldx + whole, partial, left)


def log_mel_arguments(
    samples: np.ndarray,
    window: np.ndarray,
    bands: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
    scratch: np.ndarray,
) -> dict[str, int]:
    """Arguments of ``log_mel_f32``.

    Parameters
    ----------
    samples : ndarray (>= 160 * n_frames + 240,) float32, dense
    window : ndarray (400,) float32
    bands, weights : ndarray
        From ``pack_bands``.
    out : ndarray (n_mels, n_frames) float32, dense rows
        Written.
    scratch : ndarray
        From ``scratch_for``.
    """
    n_mels, n_frames = out.shape
    return {
        "samples": samples.ctypes.data,
        "n_frames": n_frames,
        "window": window.ctypes.data,
        "twiddles": _twiddles().ctypes.data,
        "bands": bands.ctypes.data,
        "weights": weights.ctypes.data,
        "n_mels": n_mels,
        "scratch": scratch_address(scratch),
        "out": out.ctypes.data,
        "ldo": out.strides[0],
    }


def scratch_for(n_threads: int) -> np.ndarray:
    return np.empty(n_threads * SCRATCH_BYTES + 64, np.uint8)


def scratch_address(scratch: np.ndarray) -> int:
    """Its first cache line: unaligned vectors straddle two of them, at half the speed."""
    return (scratch.ctypes.data + 63) // 64 * 64


def log_mel_frames(
    samples: np.ndarray, window: np.ndarray, bands: np.ndarray, weights: np.ndarray, out: np.ndarray
) -> None:
    """Run ``log_mel_f32`` on this thread; parameters of ``log_mel_arguments``."""
    scratch = scratch_for(1)
    log_mel_f32(**log_mel_arguments(samples, window, bands, weights, out, scratch))
