"""Scalars and bytes at addresses, for kernels written as plain Numba functions.

In: addresses, numbers. Out: what lies there, or numbers written there.
Knows nothing of: vectors, other threads.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.simd import F32, I8, I32, I64, call, load, load_f16, store

# Numbers to pass to compiled functions: for a literal 0 or 1 Numba compiles the function once more.
NOTHING, SINGLE = np.int64(0), np.int64(1)


@intrinsic
def load_f32(typingctx, address):
    return types.float32(types.int64), lambda context, b, signature, args: load(b, args[0], F32)


@intrinsic
def load_half(typingctx, address):
    """The float16 at ``address``, as float32."""

    def emit(context, b, signature, args):
        return b.extract_element(load_f16(b, args[0], 1), ir.Constant(I32, 0))

    return types.float32(types.int64), emit


@intrinsic
def store_f32(typingctx, address, value):
    def emit(context, b, signature, args):
        store(b, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), emit


@intrinsic
def load_i32(typingctx, address):
    """int32 at ``address``, widened to int64."""
    return types.int64(types.int64), lambda context, b, signature, args: b.sext(load(b, args[0], I32), I64)


@intrinsic
def load_i32_unaligned(typingctx, address):
    """The four bytes at any ``address``, widened to int64."""
    return types.int64(types.int64), lambda context, b, signature, args: b.sext(load(b, args[0], I32, 1), I64)


@intrinsic
def store_i32(typingctx, address, value):
    """Write the low four bytes of ``value``."""

    def emit(context, b, signature, args):
        store(b, b.trunc(args[1], I32), args[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def load_i64(typingctx, address):
    return types.int64(types.int64), lambda context, b, signature, args: load(b, args[0], I64, 8)


@intrinsic
def store_i64(typingctx, address, value):
    def emit(context, b, signature, args):
        store(b, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def to_f32(typingctx, value):
    return types.float32(types.int64), lambda context, b, signature, args: b.sitofp(args[0], F32)


@intrinsic
def reciprocal_sqrt(typingctx, value):
    def emit(context, b, signature, args):
        root = call(b, "llvm.sqrt.f32", F32, [args[0]])
        return b.fdiv(ir.Constant(F32, 1.0), root)

    return types.float32(types.float32), emit


@intrinsic
def fill_zero(typingctx, address, n_bytes):
    """Write ``n_bytes`` zero bytes at ``address``."""

    def emit(context, b, signature, args):
        from numba.core import cgutils

        cgutils.memset(b, b.inttoptr(args[0], I8.as_pointer()), args[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def copy_bytes(typingctx, target, source, n_bytes):
    """Copy ``n_bytes`` from ``source`` to ``target``; the two do not overlap."""

    def emit(context, b, signature, args):
        from numba.core import cgutils

        pointer = I8.as_pointer()
        cgutils.raw_memcpy(b, b.inttoptr(args[0], pointer), b.inttoptr(args[1], pointer), args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit
