"""A team of threads that runs program tables.

In: a table of kernel calls, or one. Out: the calls done. Knows nothing of: graphs, plans, what kernels compute.

The caller is member 0. Workers stay inside one native call that holds no GIL; they spin for about a millisecond
after a job, then sleep until the next one. One lock serves all teams of the process: calls from several Python
threads run one after another instead of fighting for the cores.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from whisperlite.kernels import interpreter
from whisperlite.kernels.registry import SYNC_WORDS, Kernel, compile_entry

IDLE_SPINS = 20_000  # rounds of a worker without a job before it sleeps: about a millisecond

_teams: dict[int, Team] = {}
_run_lock = threading.RLock()
_entries_lock = threading.Lock()


@cache
def _entries():
    """The native entry points ``run_table``, ``publish`` and ``serve``; calling one releases the GIL."""
    with _entries_lock:  # two threads that ask at once get the same ones, loaded once
        return _load_entries()


@cache
def _load_entries():
    run, publish, serve = (compile_entry(*interpreter.ENTRIES[name]) for name in ("run_table", "publish", "serve"))
    word = ctypes.c_int64
    return (
        ctypes.CFUNCTYPE(None, *[word] * 6)(run.address),
        ctypes.CFUNCTYPE(word, word, word)(publish.address),
        ctypes.CFUNCTYPE(word, *[word] * 6)(serve.address),
        (run, publish, serve),  # keeps the machine code alive
    )


def _aligned_words(n: int) -> np.ndarray:
    raw = np.zeros(n + 8, np.int64)
    start = (-raw.ctypes.data % 64) // 8
    return raw[start : start + n]


class Team:
    """``n_threads`` members; get one with ``team_of``."""

    def __init__(self, n_threads: int):
        self.n_threads = n_threads
        self._sync = _aligned_words(SYNC_WORDS)
        self._job = _aligned_words((interpreter.SLEEPING + 64 * n_threads) // 8)
        self._sync_address, self._job_address = self._sync.ctypes.data, self._job.ctypes.data
        self._sleeping = [(interpreter.SLEEPING + 64 * i) // 8 for i in range(n_threads)]
        self._wake = [threading.Semaphore(0) for _ in range(n_threads)]
        for index in range(1, n_threads):
            threading.Thread(target=self._work, args=(index,), name=f"whisperlite-{index}", daemon=True).start()

    def _work(self, index: int) -> None:
        _, _, serve, _ = _entries()
        last = 0
        while True:
            last = serve(self._job_address, self._sync_address, index, self.n_threads, last, IDLE_SPINS)
            self._wake[index].acquire()
            self._job[self._sleeping[index]] = 0

    def run(self, table: int, n_rows: int, row_bytes: int) -> None:
        """Run ``n_rows`` rows of ``row_bytes`` bytes at address ``table``; returns when all are done."""
        run, publish, _, _ = _entries()
        with _run_lock:
            if self.n_threads > 1:
                job = self._job
                job[interpreter.JOB_TABLE // 8] = table
                job[interpreter.JOB_ROWS // 8] = n_rows
                job[interpreter.JOB_ROW_BYTES // 8] = row_bytes
                if publish(self._job_address, self.n_threads):
                    for index in range(1, self.n_threads):
                        if job[self._sleeping[index]]:
                            self._wake[index].release()
            run(table, n_rows, row_bytes, self._sync_address, 0, self.n_threads)


def team_of(n_threads: int) -> Team:
    """The process's team of ``n_threads``, made at the first call."""
    with _run_lock:
        if n_threads not in _teams:
            _teams[n_threads] = Team(n_threads)
        return _teams[n_threads]


def run_kernel(kernel: Kernel, n_threads: int, **arguments: int) -> None:
    """Run one kernel on the team of ``n_threads``; arguments by name, addresses and sizes as int."""
    run_kernels([(kernel, arguments)], n_threads)


def run_kernels(calls: Sequence[tuple[Kernel, Mapping[str, int]]], n_threads: int) -> None:
    """Run kernels one after the other on the team of ``n_threads``, which is woken once."""
    if n_threads == 1:
        for kernel, arguments in calls:
            kernel(**arguments)
        return
    table = table_of(calls)
    team_of(n_threads).run(table.ctypes.data, len(table), table.strides[0])


def table_of(calls: Sequence[tuple[Kernel, Mapping[str, int]]]) -> np.ndarray:
    """A program table, int64 (calls, words): of each kernel the address and the arguments."""
    table = np.zeros((len(calls), 1 + max(len(kernel.params) for kernel, _ in calls)), np.int64)
    for row, (kernel, arguments) in zip(table, calls, strict=True):
        row[: 1 + len(kernel.params)] = kernel.address(), *kernel.words(arguments)
    return table


def run_alone(table: np.ndarray) -> None:
    """Run a table on the calling thread, whatever teams do meanwhile; the GIL is released until it is done."""
    sync = _aligned_words(SYNC_WORDS)
    _entries()[0](table.ctypes.data, len(table), table.strides[0], sync.ctypes.data, 0, 1)


def _forget_teams() -> None:
    """A forked child has none of its parent's threads."""
    global _run_lock
    _run_lock = threading.RLock()
    _teams.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_teams)
