"""What this machine can do at most, measured now: float32 operations and bytes read in a second.

In: a number of threads. Out: GFLOP/s, GB/s. Knows nothing of: models.

Operations are fused multiply-adds in registers, on vectors as wide as the kernels use; bytes are read from memory
far larger than any cache that one thread fills.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from whisperlite.kernels import cpu, simd

CHAINS = 12  # multiply-adds in flight: latency 4 on two ports, and some
READ_BYTES = 256 << 20
ROUNDS = 5


@dataclass(frozen=True)
class Peaks:
    """Best of several rounds, over all threads together."""

    gflops: float
    gbytes: float
    threads: int

    def describe(self) -> str:
        return (
            f"measured peak on {self.threads} threads: {self.gflops:.0f} GFLOP/s (float32, registers), "
            f"{self.gbytes:.1f} GB/s (reading)"
        )


@intrinsic
def _multiply_add(typingctx, n, start):
    """Sum of CHAINS chains of ``n`` multiply-adds each on full vectors."""

    def emit(context, b, signature, args):
        count, seed = args
        lanes = cpu.vector_width()
        kind = simd.vector(simd.F32, lanes)
        x = simd.splat(b, seed, lanes)
        factor = simd.const(0.9999, lanes)
        chains = [b.fadd(x, simd.const(0.1 * i, lanes)) for i in range(CHAINS)]
        before = b.block
        body, after = b.append_basic_block("body"), b.append_basic_block("after")
        b.branch(body)
        b.position_at_end(body)
        index = b.phi(simd.I64)
        values = [b.phi(kind) for _ in range(CHAINS)]
        index.add_incoming(simd.int64(0), before)
        following = b.add(index, simd.int64(1))
        for value, chain in zip(values, chains, strict=True):
            value.add_incoming(chain, before)
            value.add_incoming(simd.fma(b, value, factor, x), body)
        index.add_incoming(following, body)
        b.cbranch(b.icmp_signed("<", following, count), body, after)
        b.position_at_end(after)
        total = values[0]
        for value in values[1:]:
            total = b.fadd(total, value)
        return b.extract_element(total, ir.Constant(simd.I32, 0))

    return types.float32(types.int64, types.float32), emit


@lru_cache(maxsize=1)
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    @njit("float32(int64, float32)", nogil=True)
    def compute(n, start):
        return _multiply_add(n, start)

    @njit("uint64(uint64[::1])", nogil=True)
    def read(words):
        total = np.uint64(0)
        for i in range(len(words)):
            total ^= words[i]
        return total

    return compute, read


def measure_peaks(threads: int) -> Peaks:
    """Measure now; about a second."""
    compute, read = _kernels()
    n = 4_000_000
    flops = 2.0 * CHAINS * cpu.vector_width() * n * threads
    memory = np.ones((threads, READ_BYTES // 8 // threads), np.uint64)
    seconds = _best(lambda i: compute(n, np.float32(0.5 + i)), threads)
    read_seconds = _best(lambda i: read(memory[i]), threads)
    return Peaks(flops / seconds / 1e9, memory.nbytes / read_seconds / 1e9, threads)


def _best(work: Callable[[int], object], threads: int) -> float:
    return min(_together(work, threads) for _ in range(ROUNDS))


def _together(work: Callable[[int], object], threads: int) -> float:
    """Seconds until every thread has done its part."""
    members = [threading.Thread(target=work, args=(i,)) for i in range(1, threads)]
    started = time.perf_counter()
    for member in members:
        member.start()
    work(0)
    for member in members:
        member.join()
    return time.perf_counter() - started
