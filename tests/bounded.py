"""What reading an untrusted file may cost: memory by the file's size, and an end.

In: the file's size. Out: a context that fails the test. Knows nothing of: formats.
"""

from __future__ import annotations

import contextlib
import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

PER_BYTE = 16  # bytes of memory for each byte of the file: a tensor as float32, names and records of tensors
FIXED = 300_000  # what Python itself keeps: messages, compiled patterns, modules imported at first use
HANG_SECONDS = 60  # no file of a test takes a hundredth of that


@contextlib.contextmanager
def bounded(n_bytes: int, per_byte: int = PER_BYTE, fixed: int = FIXED) -> Iterator[None]:
    """Fail when the block allocates more than ``per_byte * n_bytes + fixed`` bytes at once, or does not end.

    Mapped pages of the file are not counted; NumPy's arrays are.
    """
    with _no_hang():
        tracemalloc.start()
        try:
            yield
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    limit = per_byte * n_bytes + fixed
    assert peak <= limit, f"{peak} bytes at once for a file of {n_bytes}; the limit is {limit}"


def file_bytes(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else path.iterdir()
    return sum(file.stat().st_size for file in files)


@contextlib.contextmanager
def _no_hang() -> Iterator[None]:
    if not hasattr(signal, "SIGALRM"):  # Windows
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"not done after {HANG_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
