"""Declaring kernels, compiling them when first needed, and their cache on disk.

In: functions decorated with ``@kernel``. Out: native addresses, or direct calls.
Knows nothing of: graphs, plans, thread teams.

A kernel is a function ``kernel(args, sync, thread, n_threads)``:

args : address of its int64 arguments, in the order of the decorator's names; read one with ``arg(args, i)``.
sync : address of the synchronisation block; ``claim(sync)`` gives the next work item (0, 1, 2, ...).
thread, n_threads : which member of the team runs it; for scratch memory of its own.

It allocates nothing and holds no GIL. All threads of a team run the same kernel at once and share its work by
claiming items until they are past the last one, so a result must not depend on who computes an item.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import platform
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from whisperlite import trace
from whisperlite.folders import cache_root, mark_used, remove_unused
from whisperlite.kernels import compiler, cpu, objects
from whisperlite.kernels.atomics import fetch_add
from whisperlite.kernels.compiler import njit
from whisperlite.kernels.scalars import load_i64

SIGNATURE = "void(int64, int64, int64, int64)"
UNUSED_DAYS = 30  # after which kernels of other sources, compilers and CPUs are removed
KEEPS_OBJECTS = sys.platform.startswith("linux") and sys.maxsize > 2**32 and sys.byteorder == "little"
SYNC_WORDS = 32  # int64 words: arrivals, generation and claims, each on cache lines of its own
ARRIVALS, GENERATION, CLAIMS = 0, 64, 128  # byte offsets in the block

_compile_lock = threading.RLock()
_when_missing: list[Callable[[], None]] = []


@njit(inline="always")
def arg(args, i):
    """The i-th int64 argument."""
    return load_i64(args + 8 * i)


@njit(inline="always")
def claim(sync):
    """The next work item that no thread has taken, from 0."""
    return fetch_add(sync + CLAIMS, 1)


class Kernel:
    """One kernel: its name, its arguments' names, and its machine code once asked for."""

    def __init__(self, function: Callable[[Any, Any, Any, Any], None], params: tuple[str, ...]):
        self.name = function.__name__
        self.params = params
        self.function = function
        compiler.uses(function)
        self._address = 0
        self._entry: Callable[[int, int, int, int], None] | None = None
        self._compiled: Any = None

    def address(self) -> int:
        """Address of the compiled kernel; compiles it, or loads it from the cache, at the first call."""
        with _compile_lock:
            if not self._address:
                self._compiled = compile_entry(self.function, SIGNATURE)
                self._address = self._compiled.address
        return self._address

    def __call__(self, **arguments: int) -> None:
        """Run on this thread alone; arguments by name, addresses and sizes as int."""
        words = self.words(arguments)
        if self._entry is None:
            entry_type = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
            self._entry = entry_type(self.address())
        sync = np.zeros(SYNC_WORDS, np.int64)
        self._entry(words.ctypes.data, sync.ctypes.data, 0, 1)

    def words(self, arguments: Mapping[str, int]) -> np.ndarray:
        """The arguments in the kernel's order, int64 (n,); TypeError for a missing or an unknown one."""
        if set(arguments) != set(self.params):
            raise TypeError(f"{self.name} takes {self.params}, given {tuple(arguments)}")
        return np.array([arguments[name] for name in self.params], np.int64)

    def __repr__(self) -> str:
        return f"Kernel({self.name})"


def kernel(*params: str) -> Callable[[Callable[[Any, Any, Any, Any], None]], Kernel]:
    """Decorator: declare a kernel and name its arguments."""
    return lambda function: Kernel(function, params)


def compile_entry(function: Callable[..., Any], signature: str) -> Any:
    """Compile ``function`` as a C-callable (GIL-free) entry, through the cache where there is one."""
    with _compile_lock:
        started = time.perf_counter()
        entry = _from_objects(function)
        if entry is None:
            return _compile(function, signature)
        trace.debug(1, f"loaded {function.__name__} in {time.perf_counter() - started:.3f} s")
        return entry


def _from_objects(function: Callable[..., Any]) -> Any:
    """Machine code that is in the cache, or is there once ``when_missing`` has been asked; else None."""
    folder = cache_folder()
    if folder is None or not KEEPS_OBJECTS:
        return None
    path = _object_path(folder, function)
    loaded = objects.load(path)
    if loaded is None and _when_missing:
        _when_missing.pop()()
        loaded = objects.load(path)
    return loaded


def _compile(function: Callable[..., Any], signature: str) -> Any:
    """Compile, or load from Numba's cache; says that a function is compiled when the first pass over it begins."""
    compiler.load()
    from numba.core import event

    class FirstPass(event.Listener):
        seen = False

        def on_start(self, started: Any) -> None:
            if not self.seen:
                self.seen = True
                trace.compiling(function.__name__)

        def on_end(self, ended: Any) -> None:
            pass

    first_pass = FirstPass()
    started = time.perf_counter()
    with event.install_listener("numba:run_pass", first_pass):
        compiled = _through_numba(function, signature)
    seconds = time.perf_counter() - started
    trace.debug(1, f"{'compiled' if first_pass.seen else 'loaded'} {function.__name__} in {seconds:.2f} s")
    if first_pass.seen:
        trace.compiling(function.__name__, seconds)
        _once_after_a_compilation()
    return compiled


def _through_numba(function: Callable[..., Any], signature: str) -> Any:
    folder = cache_folder()
    if folder is None:
        return compiler.entry(function, signature)
    if not KEEPS_OBJECTS:
        return _through_numba_cache(function, signature, folder)
    compiled = compiler.entry(function, signature)
    try:
        code = compiled._library._get_compiled_object()
        objects.save(_object_path(folder, function), compiled.native_name, code)
    except OSError as error:
        trace.debug(1, f"{function.__name__} is not cached: {error}")
    return compiled


def _object_path(folder: Path, function: Callable[..., Any]) -> Path:
    return folder / f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}.o"


def is_cached(function: Callable[..., Any]) -> bool:
    """Whether object code of a kernel's function, or of an entry, lies in the cache folder."""
    folder = cache_folder()
    return folder is not None and KEEPS_OBJECTS and _object_path(folder, function).exists()


@contextlib.contextmanager
def when_missing(fetch: Callable[[], None]) -> Iterator[None]:
    """While this lasts, ``fetch`` is called once before the first kernel that is not in the cache is compiled."""
    with _compile_lock:
        _when_missing.append(fetch)
    try:
        yield
    finally:
        with _compile_lock:
            if fetch in _when_missing:
                _when_missing.remove(fetch)


def _through_numba_cache(function: Callable[..., Any], signature: str, folder: Path) -> Any:
    from numba.core import config

    # Numba reads its cache folder from a global when a function is decorated.
    saved, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        return compiler.entry(function, signature, cache=True)
    except Exception as error:  # a damaged file fails in many ways; a fault of ours comes back below
        trace.debug(1, f"cached {function.__name__} cannot be used, compiling anew: {error!r}")
        for path in folder.rglob(f"{Path(function.__code__.co_filename).stem}.{function.__name__}-*"):
            path.unlink(missing_ok=True)
        return compiler.entry(function, signature, cache=True)
    finally:
        config.CACHE_DIR = saved


@cache
def cache_folder() -> Path | None:
    """Folder of compiled kernels, or None where none can be written.

    Its name holds a hash of all that machine code depends on: every kernel source, the compiler, the CPU.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update(f"{sys.version} {platform.machine()} {cpu.target()}".encode())
    folder = cache_root() / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        trace.debug(1, f"no kernel cache: {error}")
        return None
    mark_used(folder)
    return folder


@cache
def _once_after_a_compilation() -> None:
    _remove_unused_folders()


def _remove_unused_folders() -> None:
    """Remove kernels that no process has asked for in ``UNUSED_DAYS``; not this process's."""
    current = cache_folder()
    if current is None:
        return
    with contextlib.suppress(OSError):
        named = [path for path in current.parent.iterdir() if re.fullmatch("kernels-[0-9a-f]{16}", path.name)]
        remove_unused([path for path in named if path != current], UNUSED_DAYS)
