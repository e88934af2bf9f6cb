"""AMX tiles: bf16 and int8 matrix products of Intel CPUs.

In: addresses of rows and of panels. Out: blocks of 32 x 32 sums. Knows nothing of: layers, epilogues.

Eight tile registers of 16 rows of 64 bytes. LLVM's fixed-number intrinsics need no tile type, so that tiles 0-3
hold sums, 4-5 rows of A and 6-7 columns of B. A panel row is 32 columns of 4 bytes (2 bf16 or 4 int8 steps), so
a B tile is 16 of its rows at a stride of 128 bytes.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from whisperlite.kernels import cpu
from whisperlite.kernels.simd import I8, I64, call, int64, loop, offset

ARCH_PRCTL = 158  # number of the system call on x86-64 Linux
ARCH_REQ_XCOMP_PERM = 0x1023
XTILEDATA = 18
TILE_ROWS = 16
BLOCK = 32  # rows and columns of one block: two tiles each way
BLOCK_BYTES = BLOCK * BLOCK * 4


@cache
def available() -> bool:
    """Whether this process may use bf16 and int8 tiles; asks the kernel for the tile state once."""
    if sys.platform != "linux" or not {"amx-tile", "amx-bf16", "amx-int8"} <= cpu.features():
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0


def _tile(number: int):
    return ir.Constant(I8, number)


@intrinsic
def configure_tiles(typingctx, scratch):
    """Give all eight tiles 16 rows of 64 bytes, on this thread; ``scratch`` is 64 writable bytes."""

    def emit(context, b, signature, args):
        (scratch,) = args
        pointer = I8.as_pointer()
        words = [0] * 8
        words[0] = 1  # palette 1
        words[2] = words[3] = 0x0040_0040_0040_0040  # bytes of a row, 16 bits for each tile
        words[6] = 0x1010_1010_1010_1010  # rows, 8 bits for each tile
        for i, word in enumerate(words):
            b.store(int64(word), b.inttoptr(offset(b, scratch, 8 * i), I64.as_pointer())).align = 1
        call(b, "llvm.x86.ldtilecfg", ir.VoidType(), [b.inttoptr(scratch, pointer)])
        return context.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def release_tiles(typingctx):
    """Give the tile state back, so that the system need not save it when it switches threads."""

    def emit(context, b, signature, args):
        call(b, "llvm.x86.tilerelease", ir.VoidType(), [])
        return context.get_dummy_value()

    return types.void(), emit


def _block(product: str):
    """Intrinsic: C[32, 32] = A[32 rows of 64*n_steps bytes] x panel[16*n_steps rows of 128 bytes]."""

    def emit(context, b, signature, args):
        a, lda, panel, n_steps, c, ldc = args
        pointer = I8.as_pointer()

        def load_tile(b, tile, address, stride):
            call(b, "llvm.x86.tileloadd64", ir.VoidType(), [_tile(tile), b.inttoptr(address, pointer), stride])

        def multiply(b, into, x, y):
            call(b, f"llvm.x86.{product}", ir.VoidType(), [_tile(into), _tile(x), _tile(y)])

        for i in range(4):
            call(b, "llvm.x86.tilezero", ir.VoidType(), [_tile(i)])
        below = b.mul(lda, int64(TILE_ROWS))

        def body(b, i, _):
            rows = b.add(a, b.mul(i, int64(64)))
            columns = b.add(panel, b.mul(i, int64(16 * 128)))
            load_tile(b, 6, columns, int64(128))
            load_tile(b, 4, rows, lda)
            multiply(b, 0, 4, 6)
            load_tile(b, 7, offset(b, columns, 64), int64(128))
            multiply(b, 1, 4, 7)
            load_tile(b, 5, b.add(rows, below), lda)
            multiply(b, 2, 5, 6)
            multiply(b, 3, 5, 7)
            return []

        loop(b, n_steps, [], body)
        for i in range(4):
            place = offset(b, b.add(c, b.mul(ldc, int64(TILE_ROWS * (i // 2)))), 64 * (i % 2))
            call(b, "llvm.x86.tilestored64", ir.VoidType(), [_tile(i), b.inttoptr(place, pointer), ldc])
        return context.get_dummy_value()

    return emit


@intrinsic
def block_bf16(typingctx, a, lda, panel, n_steps, c, ldc):
    """32 x 32 float32 sums of 32*n_steps bf16 products each."""
    return types.void(*[types.int64] * 6), _block("tdpbf16ps")


@intrinsic
def block_int8(typingctx, a, lda, panel, n_steps, c, ldc):
    """32 x 32 int32 sums of 64*n_steps products of signed bytes each."""
    return types.void(*[types.int64] * 6), _block("tdpbssd")
