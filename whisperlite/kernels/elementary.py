"""Elementary functions of float32 vectors: exponentials, logarithm, GELU.

In: an ``IRBuilder`` (``b``) and a vector of any number of lanes. Out: the function of each lane, as emitted
instructions; its docstring states the error.
Knows nothing of: rows, kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from llvmlite import ir

from whisperlite.kernels import simd
from whisperlite.kernels.simd import (
    F32,
    I16,
    I32,
    Builder,
    Value,
    const,
    const_int,
    fabs,
    fma,
    fmax,
    fmin,
    rint,
    vector,
)


def exp(b: Builder, x: Value, lowest: float = -87.0) -> Value:
    """e**x for x <= 88; below ``lowest`` the result is that of ``lowest`` (1.6e-38 for -87). Relative error 2e-7.

    ref: Cephes expf: range reduction by ln 2 in two parts, polynomial of degree 5, exponent by bit shift.
    """
    n = x.type.count
    x = fmax(b, x, const(lowest, n))
    k = rint(b, b.fmul(x, const(1.44269504088896341, n)))
    r = fma(b, k, const(-0.693359375, n), x)
    r = fma(b, k, const(2.12194440e-4, n), r)
    p = const(1.9875691500e-4, n)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = fma(b, p, r, const(c, n))
    p = fma(b, p, b.fmul(r, r), b.fadd(r, const(1.0, n)))
    power = b.shl(b.add(b.fptosi(k, vector(I32, n)), const_int(127, n)), const_int(23, n))
    return b.fmul(p, b.bitcast(power, vector(F32, n)))


def exp2(b: Builder, x: Value) -> Value:
    """2**x for x <= 0; below -126 the result is that of -126. Relative error 1e-7 plus the rounding of x."""
    n = x.type.count
    x = fmax(b, x, const(-126.0, n))
    shifted = b.fadd(x, const(1.5 * 2.0**23, n))  # the integer nearest to x lands in the lowest bits
    f = b.fsub(x, b.fsub(shifted, const(1.5 * 2.0**23, n)))
    p = const(0.00132764724655, n)
    for c in (0.00967554135108, 0.0555071327258, 0.240221197235, 0.693146967064, 1.00000007165):
        p = fma(b, p, f, const(c, n))
    power = b.shl(b.bitcast(shifted, vector(I32, n)), const_int(23, n))
    return b.bitcast(b.add(b.bitcast(p, vector(I32, n)), power), vector(F32, n))


def gelu_fast(b: Builder, x: Value) -> Value:
    """GELU without exponential or division, absolute error 8e-6 for abs(x) < 4.5 and 6e-6 * abs(x) beyond.

    The normal distribution function less one half, over x, as a polynomial in x squared.
    """
    n = x.type.count
    z = fmin(b, fmax(b, x, const(-4.5, n)), const(4.5, n))
    t = fma(b, b.fmul(z, z), const(2 / 4.5**2, n), const(-1.0, n))
    q = const(-0.00156566725, n)
    for c in (
        0.00465532035, -0.00668284901, 0.0101404609, -0.0181592179, 0.0286239675, -0.0402957891, 0.054671851,
        -0.0771833699, 0.156905301,
    ):  # fmt: skip
        q = fma(b, q, t, const(c, n))
    return b.fmul(x, fma(b, z, q, const(0.5, n)))


def gelu_rough(b: Builder, x: Value) -> Value:
    """GELU for what becomes bytes next, absolute error 4e-4 for abs(x) < 3.6 and 1e-4 * abs(x) beyond.

    As ``gelu_fast``, of lower degree and in x squared itself.
    """
    n = x.type.count
    z = fmin(b, fmax(b, x, const(-3.6, n)), const(3.6, n))
    square = b.fmul(z, z)
    q = const(-5.56598908e-07, n)
    for c in (2.93328095e-05, -0.00065045081, 0.00804724112, -0.0630993803, 0.396891673):
        q = fma(b, q, square, const(c, n))
    return b.fmul(x, fma(b, z, q, const(0.5, n)))


LINE = 0.175  # of x; twice as much from LINES_TURN on, where GELU bends less
LINES_TURN = 7 * LINE
FIRST_LINE, LAST_LINE = -25, 6
LINES_END = (0.49 - FIRST_LINE) * LINE - LINES_TURN  # within the outermost lines, on both sides of 0
LINES_LOWEST = -0.171


@cache
def gelu_lines() -> tuple[list[float], list[float]]:
    """Slopes and offsets of the 32 straight lines of ``gelu_on_lines``, line i of -25 to 6 at i modulo 32.

    Each is the nearest in quadratic mean, but the outermost have slopes 0 and 1 and go on for ever.
    """
    slopes, offsets = [0.0] * 32, [0.0] * 32
    for i in range(FIRST_LINE, LAST_LINE + 1):
        start = LINES_TURN + (2 * i - 1 if i > 0 else i - 0.5) * LINE
        end = LINES_TURN + (2 * i + 1 if i >= 0 else i + 0.5) * LINE
        if i in (FIRST_LINE, LAST_LINE):
            inner = min(abs(start), abs(end))
            slope, offset = float(i == LAST_LINE), -inner * math.erfc(inner / math.sqrt(2)) / 4
        else:
            middle, span = (start + end) / 2, end - start
            xs = [middle + (step / 64 - 0.5) * span for step in range(65)]
            ys = [x * math.erfc(-x / math.sqrt(2)) / 2 for x in xs]
            products = [(x - middle) * y for x, y in zip(xs, ys, strict=True)]
            slope = sum(products) / sum((x - middle) ** 2 for x in xs)
            offset = sum(ys) / len(ys) - slope * middle
        slopes[i % 32], offsets[i % 32] = slope, offset
    return slopes, offsets


def gelu_tables() -> tuple[list[Value], list[Value]]:
    """The slopes and the offsets of ``gelu_lines`` as two vectors of 16 lanes each."""
    slopes, offsets = (
        [ir.Constant(vector(F32, 16), [float(np.float32(x)) for x in values[at : at + 16]]) for at in (0, 16)]
        for values in gelu_lines()
    )
    return slopes, offsets


def gelu_on_lines(b: Builder, x: Value, slopes: Sequence[Value], offsets: Sequence[Value]) -> Value:
    """``slope * x + offset`` of the line at x, for 16 lanes and tables made of ``gelu_tables``; with AVX-512 DQ.

    With those tables themselves it is GELU: absolute error 2.1e-3, 6e-4 in quadratic mean for normal x; nowhere
    below LINES_LOWEST, and above the largest value of GELU so far by 1.3e-3 at most.

    In five instructions. Below 2**23 floats are half as far apart as above: to x as a number that is 2**23 at
    LINES_TURN, the rounding of the sum itself gives an index of short and of long lines in the lowest bits.
    """
    kind, words = vector(F32, 16), vector(I32, 16)
    nearer_to_0 = ir.Constant(I32, 2)  # the one of smaller magnitude, with the sign of the first
    limits = [const(LINES_END, 16), nearer_to_0, ir.Constant(kind, None), ir.Constant(I16, -1), ir.Constant(I32, 4)]
    inside = simd.call(b, "llvm.x86.avx512.mask.range.ps.512", kind, [x, *limits])
    place = fma(b, inside, const(0.5 / LINE, 16), const(2.0**23 - LINES_TURN / LINE / 2, 16))
    index = b.bitcast(place, words)

    def entry(table: Sequence[Value]) -> Value:
        return simd.call(b, "llvm.x86.avx512.vpermi2var.ps.512", kind, [table[0], index, table[1]])

    return fma(b, x, entry(slopes), entry(offsets))


def gelu(b: Builder, x: Value) -> Value:
    """``x * (1 + erf(x / sqrt 2)) / 2``, absolute error 3e-7.

    ref: Abramowitz and Stegun 7.1.26 for erfc.
    """
    n = x.type.count
    magnitude = fabs(b, x)
    z = b.fmul(magnitude, const(1 / math.sqrt(2), n))
    t = b.fdiv(const(1.0, n), fma(b, z, const(0.3275911, n), const(1.0, n)))
    p = const(1.061405429, n)
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        p = fma(b, p, t, const(c, n))
    # Not below e**-75: products with it would be subnormal, which a CPU computes a hundred times slower.
    erfc = b.fmul(b.fmul(p, t), exp(b, b.fneg(b.fmul(z, z)), -75.0))
    return b.fsub(fmax(b, x, const(0.0, n)), b.fmul(b.fmul(magnitude, const(0.5, n)), erfc))


def log10(b: Builder, x: Value) -> Value:
    """Base-10 logarithm of normal positive x; below -37 for zero. Absolute error 1e-7 plus rounding.

    Polynomial of degree 7 in the mantissa less 1.5, fitted for the least largest error.
    """
    n = x.type.count
    words = vector(I32, n)
    bits = b.bitcast(x, words)
    exponent = b.sitofp(b.sub(b.lshr(bits, const_int(23, n)), const_int(127, n)), vector(F32, n))
    mantissa = b.or_(b.and_(bits, const_int(0x7FFFFF, n)), const_int(0x3F800000, n))  # 1 to 2
    f = b.fsub(b.bitcast(mantissa, vector(F32, n)), const(1.5, n))
    p = const(0.004553128965198994, n)
    for c in (
        -0.007562890648841858, 0.011231842450797558, -0.021249590441584587, 0.042910415679216385,
        -0.09651995450258255, 0.2895292639732361, 0.17609134316444397,
    ):  # fmt: skip
        p = fma(b, p, f, const(c, n))
    return fma(b, exponent, const(math.log10(2), n), p)
