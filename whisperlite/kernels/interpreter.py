"""Running a table of kernel calls on a team of threads, without leaving native code.

In: a program table (int64 rows: kernel address, then its arguments) and a job block. Out: kernels called.
Knows nothing of: what the rows compute, how threads are made.

The table is walked by every member of the team; a spin barrier after each row keeps them together. Between jobs a
worker spins for a while, so that the steps of a decode loop find it awake, then goes to sleep in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from whisperlite.kernels.atomics import exchange, fetch_add, load_acquire, pause, store_release
from whisperlite.kernels.compiler import intrinsic, njit, types
from whisperlite.kernels.registry import ARRIVALS, CLAIMS, GENERATION
from whisperlite.kernels.scalars import load_i64
from whisperlite.kernels.simd import I64, call

# Job block: byte offsets of int64 words; a worker's sleeping flag has a cache line of its own.
JOB_NUMBER, JOB_TABLE, JOB_ROWS, JOB_ROW_BYTES = 0, 64, 72, 80
SLEEPING = 128  # + 64 * thread

SPINS_BEFORE_YIELD = 4096


@intrinsic
def call_kernel(typingctx, address, args, sync, thread, n_threads):
    """Call the kernel at ``address``."""

    def emit(context, b, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [I64] * 4).as_pointer()
        b.call(b.inttoptr(values[0], kind), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


@intrinsic
def yield_cpu(typingctx):
    """Let another thread of this core run: the member we wait for may be without one."""

    def emit(context, b, signature, args):
        from llvmlite import binding

        if binding.address_of_symbol("sched_yield"):
            call(b, "sched_yield", ir.IntType(32), [])
        return context.get_dummy_value()

    return types.void(), emit


@njit
def barrier(sync, n_threads):
    """Wait for all members; the last one to arrive clears the claims for the next row."""
    if n_threads == 1:
        store_release(sync + CLAIMS, 0)
        return
    generation = load_acquire(sync + GENERATION)
    if fetch_add(sync + ARRIVALS, 1) == n_threads - 1:
        store_release(sync + ARRIVALS, 0)
        store_release(sync + CLAIMS, 0)
        store_release(sync + GENERATION, generation + 1)
        return
    spins = 0
    while load_acquire(sync + GENERATION) == generation:
        pause()
        spins += 1
        if spins >= SPINS_BEFORE_YIELD:
            spins = 0
            yield_cpu()


def run_table(table, n_rows, row_bytes, sync, thread, n_threads):
    """Run all rows of a table as member ``thread`` of a team of ``n_threads``."""
    for i in range(n_rows):
        row = table + i * row_bytes
        call_kernel(load_i64(row), row + 8, sync, thread, n_threads)
        barrier(sync, n_threads)


_run_table = njit(run_table)


def publish(job, n_threads):
    """Announce the job written in the block; gives how many workers sleep and must be woken."""
    fetch_add(job + JOB_NUMBER, 1)
    sleepers = 0
    for thread in range(1, n_threads):
        sleepers += load_acquire(job + SLEEPING + 64 * thread)
    return sleepers


def serve(job, sync, thread, n_threads, last, spins):
    """Worker loop: run each new job; give the last job's number after ``spins`` idle rounds."""
    idle = 0
    while True:
        number = load_acquire(job + JOB_NUMBER)
        if number == last:
            pause()
            idle += 1
            if idle < spins:
                continue
            exchange(job + SLEEPING + 64 * thread, 1)
            # The caller adds to the number, then reads the flag; we set the flag, then read the number.
            if load_acquire(job + JOB_NUMBER) == last:
                return last
            exchange(job + SLEEPING + 64 * thread, 0)
            continue
        last, idle = number, 0
        table = load_i64(job + JOB_TABLE)
        _run_table(table, load_i64(job + JOB_ROWS), load_i64(job + JOB_ROW_BYTES), sync, thread, n_threads)


SIX_WORDS = ", ".join(["int64"] * 6)
# What is called from Python, by name: a function and its signature.
ENTRIES: dict[str, tuple[Callable[..., Any], str]] = {
    "run_table": (run_table, f"void({SIX_WORDS})"),
    "publish": (publish, "int64(int64, int64)"),
    "serve": (serve, f"int64({SIX_WORDS})"),
}
