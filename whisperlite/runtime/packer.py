"""Packing weights while other work goes on: a model's graphs are made while its first weights are packed.

In: packings: a kernel, its arguments and the arrays they point into. Out: those arrays, filled.
Knows nothing of: dtypes, layouts, where weights come from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from whisperlite.kernels.registry import Kernel

BATCH_BYTES = 16 << 20  # of rows that wait before they are packed: a mapped file keeps their pages until then


@dataclass(frozen=True)
class Packing:
    """One call of a kernel that packs.

    Attributes
    ----------
    kernel : Kernel
        Takes ``scratch`` and ``scratch_bytes`` beside the arguments, where it has them.
    arguments : mapping of str to int
    source : array
        What is packed.
    packed : array
        Where it goes.
    scratch_bytes : int
        That each thread needs.
    """

    kernel: Kernel
    arguments: Mapping[str, int]
    source: NDArray[Any]
    packed: NDArray[Any]
    scratch_bytes: int = 0


def run_packings(packings: Sequence[Packing], threads: int) -> None:
    """Run packings one after the other, each shared by ``threads``."""
    from whisperlite.runtime.team import run_kernels

    calls, _scratch = _calls(packings, threads)
    run_kernels(calls, threads)


def _calls(packings: Sequence[Packing], threads: int) -> tuple[list[tuple[Kernel, dict[str, int]]], NDArray[Any]]:
    """Kernels with all of their arguments, and the scratch that these point into."""
    scratch = np.empty(threads * max(packing.scratch_bytes for packing in packings), np.uint8)
    calls = []
    for packing in packings:
        arguments = dict(packing.arguments)
        if "scratch" in packing.kernel.params:
            arguments |= {"scratch": scratch.ctypes.data, "scratch_bytes": packing.scratch_bytes}
        calls.append((packing.kernel, arguments))
    return calls, scratch


class Packer:
    """Packings that wait, and the thread that works on some of them. Callers on several threads take turns.

    Parameters
    ----------
    threads : int
        Members of the team. With one there is no other thread.
    release : callable
        Called by either thread when rows that were packed are needed no more.
    """

    def __init__(self, threads: int, release: Callable[[], None]):
        self._threads = threads
        self._release = release
        self._waiting: list[Packing] = []
        self._waiting_bytes = 0
        self._beside: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._lock = threading.RLock()  # held until all is packed: a second ``finish`` waits for the first

    def add(self, packings: Sequence[Packing]) -> None:
        """Pack these soon: ``finish`` says when it is done. Each may read what the one before has made."""
        with self._lock:
            self._waiting += packings
            self._waiting_bytes += sum(packing.source.nbytes for packing in packings)
            if self._waiting_bytes >= BATCH_BYTES:
                self.start()
            if self._waiting_bytes >= 4 * BATCH_BYTES:
                self.finish()

    def start(self) -> None:
        """Let another thread pack what waits while the caller goes on. Nothing happens while it is at work."""
        with self._lock:
            if self._threads == 1 or not self._waiting or self._is_busy():
                return
            from whisperlite.runtime.team import table_of

            work = []
            for batch in _batches(self._taken()):
                calls, scratch = _calls(batch, 1)
                work.append((table_of(calls), batch, scratch))
            self._beside = threading.Thread(
                target=self._pack_beside, args=(work,), name="whisperlite-pack", daemon=True
            )
            self._beside.start()

    def finish(self) -> None:
        """Pack all that waits, and wait for what is being packed; raises what stopped the other thread."""
        with self._lock:
            while self._waiting and self._is_busy():  # one by one: a whole team would be a thread too many
                run_packings([self._waiting.pop(0)], 1)
                self._release()
            if self._beside is not None:
                self._beside.join()
                self._beside = None
            if self._failure is not None:
                raise self._failure
            for batch in _batches(self._taken()):
                run_packings(batch, self._threads)
                self._release()

    def _pack_beside(self, work: Sequence[tuple[NDArray[Any], list[Packing], NDArray[Any]]]) -> None:
        """Run tables, each with what it points into. The interpreter is needed between two tables only."""
        from whisperlite.runtime.team import run_alone

        try:
            for table, _batch, _scratch in work:
                run_alone(table)
                self._release()
        except BaseException as error:
            self._failure = error

    def _is_busy(self) -> bool:
        return self._beside is not None and self._beside.is_alive()

    def _taken(self) -> list[Packing]:
        taken, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return taken


def _batches(packings: Sequence[Packing]) -> Iterator[list[Packing]]:
    """Packings in their order, ``BATCH_BYTES`` of rows or one packing at a time."""
    batch: list[Packing] = []
    n_bytes = 0
    for packing in packings:
        if batch and n_bytes + packing.source.nbytes > BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
        batch.append(packing)
        n_bytes += packing.source.nbytes
    if batch:
        yield batch
