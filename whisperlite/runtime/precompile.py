"""Compile what a model needs in several processes at once, before it is loaded for the first time.

In: plans, a number of processes. Out: machine code in the cache folder.
Knows nothing of: what kernels compute; parameters.

Numba compiles one function at a time in a process. Kernels are kept as object files, so other processes can make
them: each is told one name after another on its standard input, and tells how long it took.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whisperlite import knobs, trace
from whisperlite.folders import cache_root
from whisperlite.graph import Plan
from whisperlite.kernels import interpreter, registry
from whisperlite.kernels.registry import Kernel
from whisperlite.runtime.lower import lower
from whisperlite.runtime.panels import aligned, pack_kernels
from whisperlite.runtime.weights import PANEL, Parts, Weights

BYTES_PER_PROCESS = 400 << 20  # of a compiler at work
# What takes longest begins first: the last to end decides.
LONG = ("attention_packed", "matmul", "pack_weight", "cached_attention", "log_mel")


class _NoWeights(Weights):
    """Stands in for parameters that are not read yet; notes in which dtypes they would be packed."""

    def __init__(self) -> None:
        self.dtypes: set[str] = set()
        self._panel = aligned((PANEL,))

    def panels(self, parts: Parts, shape: tuple[int, ...], dtype: str = "float32") -> NDArray:
        self.dtypes.add(dtype)
        return self._panel

    def table(self, parts: Parts, shape: tuple[int, ...]) -> NDArray:
        return np.empty((*shape[:-1], -(-shape[-1] // PANEL) * PANEL), np.float32)  # never touched


def kernels_of(plans: Iterable[Plan]) -> list[Kernel]:
    """The kernels that programs of these plans call, or may after a measurement, and those that pack parameters."""
    weights = _NoWeights()
    calls = [call for plan in plans for call in lower(plan, weights, measure=False)[0]]
    found = dict.fromkeys(kernel for call in calls for kernel in (call.kernel, *call.rivals))
    for dtype in sorted(weights.dtypes):
        found.update(dict.fromkeys(pack_kernels(dtype)))
    return list(found)


@contextlib.contextmanager
def together(kernels: Callable[[], Iterable[Kernel]], n_processes: int) -> Iterator[None]:
    """While this lasts, the first kernel missing from the cache brings all of ``kernels()`` there.

    Nothing happens where no other process can be started, or only one would be; then each is compiled here when its
    turn comes, and so is what another process failed at.
    """
    with registry.when_missing(lambda: compile_missing(kernels(), n_processes)):
        yield


def compile_missing(kernels: Iterable[Kernel], n_processes: int) -> None:
    """Bring kernels and the entries of the thread team to the cache folder, in up to ``n_processes`` processes."""
    names = [f"{k.function.__module__}:{k.name}" for k in kernels if not registry.is_cached(k.function)]
    for name, (function, _) in interpreter.ENTRIES.items():
        if not registry.is_cached(function):
            names.append(f"{interpreter.__name__}:{name}")
    names.sort(key=lambda name: next((i for i, word in enumerate(LONG) if word in name), len(LONG)))
    n_processes = min(n_processes, len(names), max(1, _free_memory() // BYTES_PER_PROCESS))
    if n_processes < 2 or not _can_start_python():
        return
    trace.debug(1, f"compiling {len(names)} kernels in {n_processes} processes")
    left = deque(names)
    threads = [threading.Thread(target=_feed, args=(left,), daemon=True) for _ in range(n_processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _feed(left: deque[str]) -> None:
    """Let one process compile names from the queue until it is empty or the process ends."""
    package = str(Path(__file__).parent.parent.parent)
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "WHISPERLITE_CACHE_DIR": str(cache_root())}
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if knobs.DEBUG.get() else subprocess.DEVNULL,
            env=environment,
            text=True,
        )
    except OSError as error:
        trace.debug(1, f"no process to compile in: {error}")
        return
    assert process.stdin is not None and process.stdout is not None
    with process:
        try:
            while left:
                name = left.popleft()
                trace.compiling(name.rpartition(":")[2])
                process.stdin.write(name + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if not answer:
                    break
                trace.compiling(name.rpartition(":")[2], float(answer))
        except (IndexError, OSError, ValueError) as error:  # taken by another; the process is gone; not an answer
            trace.debug(1, f"a compiling process ended: {error!r}")
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()


def _free_memory() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 4 << 30


def _can_start_python() -> bool:
    name = Path(sys.executable or "").name
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


def serve() -> None:
    """Compile each ``module:name`` of standard input into the cache folder; print the seconds it took."""
    for line in sys.stdin:
        module, _, name = line.strip().partition(":")
        started = time.perf_counter()
        if module == interpreter.__name__:
            registry.compile_entry(*interpreter.ENTRIES[name])
        else:
            getattr(import_module(module), name).address()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    serve()
