"""LLVM vector IR building blocks for kernels.

In: an llvmlite ``IRBuilder`` (``b``) and values. Out: emitted instructions.
Knows nothing of: models, layouts, work splitting.

Numba's plain loops reach a fifth of a CPU's peak. Kernels therefore emit their inner loops as LLVM vector
instructions through ``numba.extending.intrinsic``. Addresses are int64 values; every vector function takes its
lane count from its arguments' type, so one definition serves AVX-512, AVX2, NEON and single lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from whisperlite.kernels import cpu

I8, I16, I32, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
F16, F32 = ir.HalfType(), ir.FloatType()

Builder = Any  # llvmlite.ir.IRBuilder
Value = Any  # llvmlite.ir.Value


def vector(element: ir.Type, lanes: int) -> ir.Type:
    return ir.VectorType(element, lanes)


def int64(value: int) -> Value:
    return ir.Constant(I64, value)


def const(value: float, lanes: int) -> Value:
    """Float32 vector with ``value`` in every lane."""
    return ir.Constant(vector(F32, lanes), [float(np.float32(value))] * lanes)


def const_int(value: int, lanes: int) -> Value:
    return ir.Constant(vector(I32, lanes), [value] * lanes)


def offset(b: Builder, address: Value, n_bytes: int | Value) -> Value:
    return b.add(address, int64(n_bytes) if isinstance(n_bytes, int) else n_bytes)


def load(b: Builder, address: Value, value_type: ir.Type, align: int = 4) -> Value:
    instruction = b.load(b.inttoptr(address, value_type.as_pointer()))
    instruction.align = align
    return instruction


def store(b: Builder, value: Value, address: Value, align: int = 4) -> None:
    b.store(value, b.inttoptr(address, value.type.as_pointer())).align = align


LINE_BYTES = 64  # of the cache
AHEAD_BYTES = 8192


def prefetch_ahead(b: Builder, address: Value, n_bytes: int) -> None:
    """Ask for the bytes that lie AHEAD_BYTES behind these, which need not exist.

    Weights that come from memory arrive while others are multiplied; a CPU alone looks ahead too little for that
    where several rows share them.
    """
    for at in range(0, n_bytes, LINE_BYTES):
        pointer = b.inttoptr(offset(b, address, AHEAD_BYTES + at), I8.as_pointer())
        hints = [ir.Constant(I32, hint) for hint in (0, 3, 1)]  # to read, near, data
        call(b, "llvm.prefetch.p0i8", ir.VoidType(), [pointer, *hints])


def splat(b: Builder, scalar: Value, lanes: int) -> Value:
    one = b.insert_element(ir.Constant(vector(scalar.type, lanes), ir.Undefined), scalar, ir.Constant(I32, 0))
    if lanes == 1:
        return one
    return b.shuffle_vector(one, ir.Constant(one.type, ir.Undefined), ir.Constant(vector(I32, lanes), [0] * lanes))


def opaque(b: Builder, x: Value) -> Value:
    """An int64 as it is, of which LLVM knows nothing: it will not be computed from other values again."""
    return b.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [x], False)


def call(b: Builder, name: str, return_type: ir.Type, arguments: Sequence[Value]) -> Value:
    from numba.core import cgutils

    signature = ir.FunctionType(return_type, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, signature, name), arguments)


def fma(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """``x*y + z``; ``fmuladd`` and not ``fma``, which is a library call where the CPU has no such instruction."""
    return call(b, f"llvm.fmuladd.v{x.type.count}f32", x.type, [x, y, z])


def expand_bf16(b: Builder, pairs: Value) -> tuple[Value, Value]:
    """Vectors of 32-bit words holding two bf16 each, to float32: the low halves and the high halves."""
    lanes = pairs.type.count
    kind = vector(F32, lanes)
    low = b.bitcast(b.shl(pairs, const_int(16, lanes)), kind)
    return low, b.bitcast(b.and_(pairs, const_int(-65536, lanes)), kind)


def load_f16(b: Builder, address: Value, lanes: int) -> Value:
    """Float16 at ``address``, widened to a float32 vector of ``lanes``."""
    if cpu.has_float16():
        return b.fpext(load(b, address, vector(F16, lanes), 2), vector(F32, lanes))
    # Without such an instruction LLVM would call a library: shift exponent and mantissa into place and scale by
    # 2**112, which does subnormals too (not infinity and NaN).
    words, kind = vector(I32, lanes), vector(F32, lanes)
    raw = b.zext(load(b, address, vector(I16, lanes), 2), words)
    magnitude = b.bitcast(b.shl(b.and_(raw, const_int(0x7FFF, lanes)), const_int(13, lanes)), kind)
    scaled = b.bitcast(b.fmul(magnitude, const(2.0**112, lanes)), words)
    sign = b.shl(b.and_(raw, const_int(0x8000, lanes)), const_int(16, lanes))
    return b.bitcast(b.or_(scaled, sign), kind)


class _BFloatType(type(F32)):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite does not know."""

    null = "0.0"
    intrinsic_name = "bf16"

    def __str__(self) -> str:
        return "bfloat"


_BFloatType._create_instance()
BFLOAT = _BFloatType()


def to_bf16(b: Builder, x: Value) -> Value:
    """Float32 to bf16, to nearest even. NaN may become infinity where the CPU has no such instruction."""
    lanes = x.type.count
    if "avx512bf16" in cpu.features() and lanes > 1:
        return b.fptrunc(x, vector(BFLOAT, lanes))
    bits = b.bitcast(x, vector(I32, lanes))
    odd = b.and_(b.lshr(bits, const_int(16, lanes)), const_int(1, lanes))
    rounded = b.add(b.add(bits, const_int(0x7FFF, lanes)), odd)
    return b.trunc(b.lshr(rounded, const_int(16, lanes)), vector(I16, lanes))


def round_saturated(b: Builder, x: Value) -> Value:
    """Float32 to the nearest int32; what is too large for one, or not a number, becomes the lowest."""
    n = x.type.count
    words = vector(I32, n)
    if n == 16:
        zero, all_lanes, nearest = ir.Constant(words, None), ir.Constant(I16, -1), ir.Constant(I32, 4)
        return call(b, "llvm.x86.avx512.mask.cvtps2dq.512", words, [x, zero, all_lanes, nearest])
    if cpu.is_x86():
        return call(b, {8: "llvm.x86.avx.cvt.ps2dq.256", 4: "llvm.x86.sse2.cvtps2dq"}[n], words, [x])
    fits = b.fcmp_ordered("<", fabs(b, x), const(2.0**31, n))
    return b.select(fits, b.fptosi(rint(b, b.select(fits, x, const(0.0, n))), words), const_int(-(2**31), n))


_PACK_INSTRUCTIONS = {
    (32, 16): "llvm.x86.avx512.packssdw.512",
    (32, 8): "llvm.x86.avx2.packssdw",
    (32, 4): "llvm.x86.sse2.packssdw.128",
    (16, 32): "llvm.x86.avx512.pack{}swb.512",
    (16, 16): "llvm.x86.avx2.pack{}swb",
    (16, 8): "llvm.x86.sse2.pack{}swb.128",
}


def pack_pair(b: Builder, x: Value, y: Value, to_signed: bool = True) -> Value:
    """Two vectors of int32 or int16 as one of half as many bits, saturated; signed, or unsigned bytes.

    Of each 16 bytes of the result the first half is from x, the second from y.
    """
    bits, n = x.type.element.width, x.type.count
    packed = vector(ir.IntType(bits // 2), 2 * n)
    if cpu.is_x86() and (bits * n < 512 or "avx512bw" in cpu.features()):
        return call(b, _PACK_INSTRUCTIONS[bits, n].format("s" if to_signed else "u"), packed, [x, y])
    span = 2 ** (bits // 2)
    lowest = -span // 2 if to_signed else 0
    low, high = (ir.Constant(x.type, [limit] * n) for limit in (lowest, lowest + span - 1))
    parts = []
    for part in (x, y):
        part = b.select(b.icmp_signed("<", part, low), low, part)
        parts.append(b.trunc(b.select(b.icmp_signed(">", part, high), high, part), vector(packed.element, n)))
    each = 128 // bits
    order = [i + n * which for first in range(0, n, each) for which in (0, 1) for i in range(first, first + each)]
    return b.shuffle_vector(*parts, ir.Constant(vector(I32, 2 * n), order))


def pack_bytes(b: Builder, words: Sequence[Value], to_signed: bool) -> Value:
    """Four vectors, as two of int16 that ``pack_pair`` made, to bytes in the order of the lanes, as int32."""
    codes = pack_pair(b, *words, to_signed)
    n = codes.type.count // 16
    quads = b.bitcast(codes, vector(I32, 4 * n))
    order = [4 * lane + i for i in range(4) for lane in range(n)]
    return b.shuffle_vector(quads, ir.Constant(quads.type, ir.Undefined), ir.Constant(vector(I32, 4 * n), order))


def shift_right(b: Builder, x: Value, places: Value) -> Value:
    """Unsigned int16 shifted by other places in each lane; 0 from 16 places on."""
    n = x.type.count
    if n == 32 and "avx512bw" in cpu.features():  # which LLVM does not see in what stands below
        return call(b, "llvm.x86.avx512.psrlv.w.512", x.type, [x, places])
    inside = b.icmp_unsigned("<", places, ir.Constant(x.type, [16] * n))
    return b.select(inside, b.lshr(x, places), ir.Constant(x.type, None))


def has_look_up() -> bool:
    """Whether ``look_up`` is there: one instruction that takes 64 bytes from a table of 128."""
    return cpu.vector_width() == 16 and "avx512vbmi" in cpu.features()


def look_up(b: Builder, table: Sequence[int], places: Value) -> Value:
    """Bytes of a table of 128: for each of 64 bytes, in 32-bit words, the one of its low 7 bits."""
    codes = vector(I8, 64)
    first, second = (ir.Constant(codes, list(table[half : half + 64])) for half in (0, 64))
    found = call(b, "llvm.x86.avx512.vpermi2var.qi.512", codes, [first, b.bitcast(places, codes), second])
    return b.bitcast(found, places.type)


def dot_bf16(b: Builder, x: Value, y: Value, total: Value) -> Value:
    """``total`` plus the two products of each 32-bit word of x and y, which hold two bf16; with AVX-512 BF16."""
    # Words, as LLVM before 17 wants them; later ones translate such a call to vectors of bfloat.
    return call(b, "llvm.x86.avx512bf16.dpbf16ps.512", total.type, [total, x, y])


def fabs(b: Builder, x: Value) -> Value:
    return call(b, f"llvm.fabs.v{x.type.count}f32", x.type, [x])


def fmax(b: Builder, x: Value, y: Value) -> Value:
    return b.select(b.fcmp_ordered(">", x, y), x, y)


def fmin(b: Builder, x: Value, y: Value) -> Value:
    return b.select(b.fcmp_ordered("<", x, y), x, y)


def smin(b: Builder, x: Value, y: Value) -> Value:
    """The smaller of signed integers."""
    return b.select(b.icmp_signed("<", x, y), x, y)


def subtract_saturated(b: Builder, x: Value, y: Value) -> Value:
    """Difference of int16, the nearest that fits."""
    return call(b, f"llvm.ssub.sat.v{x.type.count}i16", x.type, [x, y])


def per(b: Builder, units: float, x: Value) -> Value:
    """``units / x`` of a number or vector, 0 where x is 0: what to multiply by so that x becomes ``units``."""
    zero, wanted = (ir.Constant(F32, v) if x.type == F32 else const(v, x.type.count) for v in (0.0, float(units)))
    return b.select(b.fcmp_ordered(">", x, zero), b.fdiv(wanted, x), zero)


def rint(b: Builder, x: Value) -> Value:
    return call(b, f"llvm.rint.v{x.type.count}f32", x.type, [x])


def reduce_lanes(b: Builder, x: Value, combine: Callable[[Builder, Value, Value], Value]) -> Value:
    """Combine all lanes (a power of two) into a scalar."""
    lanes = x.type.count
    while lanes > 1:
        half = lanes // 2
        undefined = ir.Constant(x.type, ir.Undefined)
        low = b.shuffle_vector(x, undefined, ir.Constant(vector(I32, half), list(range(half))))
        high = b.shuffle_vector(x, undefined, ir.Constant(vector(I32, half), list(range(half, lanes))))
        x = combine(b, low, high)
        lanes = half
    return b.extract_element(x, ir.Constant(I32, 0))


def reduce_each(b: Builder, rows: Sequence[Value], combine: Callable[[Builder, Value, Value], Value]) -> Value:
    """Combine the lanes of each of up to n vectors of n lanes (a power of two): lane i is that of vector i."""
    lanes = rows[0].type.count
    undefined = ir.Constant(rows[0].type, ir.Undefined)
    rows = [*rows, *[undefined] * (lanes - len(rows))]
    step = lanes // 2
    while step:
        near = [lane if not lane & step else lanes + (lane ^ step) for lane in range(lanes)]
        far = [(lane | step) if not lane & step else lanes + lane for lane in range(lanes)]
        halves = [ir.Constant(vector(I32, lanes), order) for order in (near, far)]
        rows = [
            undefined if x is undefined else combine(b, *[b.shuffle_vector(x, y, half) for half in halves])
            for x, y in zip(rows[:step], rows[step:], strict=True)
        ]
        step //= 2
    return rows[0]


def add(b: Builder, x: Value, y: Value) -> Value:
    return b.fadd(x, y)


def loop(
    b: Builder,
    count: Value,
    carried: Sequence[Value],
    body: Callable[[Builder, Value, list[Value]], Sequence[Value]],
    first: Value | None = None,
) -> list[Value]:
    """``for i in range(first or 0, count)`` with values carried from round to round; gives their last values."""
    first = int64(0) if first is None else first
    before = b.block
    head, after = b.append_basic_block("loop"), b.append_basic_block("after")
    b.cbranch(b.icmp_signed(">", count, first), head, after)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(first, before)
    phis = []
    for value in carried:
        phi = b.phi(value.type)
        phi.add_incoming(value, before)
        phis.append(phi)
    new = list(body(b, i, phis))
    following = b.add(i, int64(1))
    end = b.block
    i.add_incoming(following, end)
    for phi, value in zip(phis, new, strict=True):
        phi.add_incoming(value, end)
    b.cbranch(b.icmp_signed("<", following, count), head, after)
    b.position_at_end(after)
    results = []
    for value, last in zip(carried, new, strict=True):
        phi = b.phi(value.type)
        phi.add_incoming(value, before)
        phi.add_incoming(last, end)
        results.append(phi)
    return results


def row_lanes() -> int:
    """Lanes that row loops handle at once: two registers, to hide latency."""
    return 2 * cpu.vector_width()


def map_row(b: Builder, n: Value, body: Callable[[Builder, Value, int], None]) -> None:
    """Call ``body(b, byte_offset, lanes)`` over ``n`` float32 elements: whole vectors, then single lanes."""
    lanes = row_lanes()
    n_whole = b.sdiv(n, int64(lanes))

    def whole(b: Builder, i: Value, _: list[Value]) -> list[Value]:
        body(b, b.mul(i, int64(4 * lanes)), lanes)
        return []

    def single(b: Builder, i: Value, _: list[Value]) -> list[Value]:
        body(b, b.mul(b.add(b.mul(n_whole, int64(lanes)), i), int64(4)), 1)
        return []

    loop(b, n_whole, [], whole)
    loop(b, b.sub(n, b.mul(n_whole, int64(lanes))), [], single)


def reduce_row(
    b: Builder,
    n: Value,
    start: float,
    step: Callable[[Builder, Value, Value, int], Value],
    combine: Callable[[Builder, Value, Value], Value],
) -> Value:
    """Fold ``n`` float32 elements: ``acc = step(b, acc, byte_offset, lanes)``, then ``combine`` over lanes."""
    lanes = row_lanes()
    n_whole = b.sdiv(n, int64(lanes))
    (wide,) = loop(
        b,
        n_whole,
        [const(start, lanes)],
        lambda b, i, acc: [step(b, acc[0], b.mul(i, int64(4 * lanes)), lanes)],
    )
    (tail,) = loop(
        b,
        b.sub(n, b.mul(n_whole, int64(lanes))),
        [const(start, 1)],
        lambda b, i, acc: [step(b, acc[0], b.mul(b.add(b.mul(n_whole, int64(lanes)), i), int64(4)), 1)],
    )
    scalar = reduce_lanes(b, wide, combine)
    both = b.insert_element(ir.Constant(vector(F32, 1), ir.Undefined), scalar, ir.Constant(I32, 0))
    return b.extract_element(combine(b, both, tail), ir.Constant(I32, 0))


def transpose(b: Builder, rows: Sequence[Value], halves_in_place: bool = False) -> list[Value]:
    """Transpose a square of n vectors of n lanes (n a power of two).

    With ``halves_in_place`` vector i is the lower halves of rows i and i + n/2, vector i + n/2 the upper ones.
    """
    rows = list(rows)
    n = len(rows)
    step = n // 4 if halves_in_place else n // 2
    while step:
        low = [lane if not lane & step else n + (lane ^ step) for lane in range(n)]
        high = [(lane | step) if not lane & step else n + lane for lane in range(n)]
        new: list[Value] = [None] * n
        for i in range(n):
            if not i & step:
                x, y = rows[i], rows[i | step]
                new[i] = b.shuffle_vector(x, y, ir.Constant(vector(I32, n), low))
                new[i | step] = b.shuffle_vector(x, y, ir.Constant(vector(I32, n), high))
        rows = new
        step //= 2
    return rows
