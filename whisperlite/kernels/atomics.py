"""Atomic operations on int64 at addresses, for kernels written as plain Numba functions.

In: addresses that threads share, int64. Out: their words read or written, in one order that all threads see.
Knows nothing of: what the words mean.
"""

from __future__ import annotations

from llvmlite import ir

from whisperlite.kernels import cpu
from whisperlite.kernels.compiler import intrinsic, types
from whisperlite.kernels.simd import I64, call


@intrinsic
def fetch_add(typingctx, address, value):
    """Atomically add to the int64 at ``address``; gives the old value."""

    def emit(context, b, signature, args):
        return b.atomic_rmw("add", b.inttoptr(args[0], I64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), emit


@intrinsic
def exchange(typingctx, address, value):
    """Atomically replace the int64 at ``address``; gives the old value."""

    def emit(context, b, signature, args):
        return b.atomic_rmw("xchg", b.inttoptr(args[0], I64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), emit


@intrinsic
def load_acquire(typingctx, address):
    def emit(context, b, signature, args):
        return b.load_atomic(b.inttoptr(args[0], I64.as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), emit


@intrinsic
def store_release(typingctx, address, value):
    def emit(context, b, signature, args):
        b.store_atomic(args[1], b.inttoptr(args[0], I64.as_pointer()), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def pause(typingctx):
    """Tell the CPU that this is a spin loop."""

    def emit(context, b, signature, args):
        if cpu.is_x86():
            call(b, "llvm.x86.sse2.pause", ir.VoidType(), [])
        return context.get_dummy_value()

    return types.void(), emit
