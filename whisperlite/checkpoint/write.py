"""Files and folders that are whole or not there.

In: a path, and a writer of its contents. Out: the path, replaced at once.
Knows nothing of: what is written.

A writer works in a temporary file or folder beside the target. It takes the target's name when all its bytes are on
the disk; an exception or a crash before that leaves the old target, or none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from whisperlite.errors import CheckpointError
from whisperlite.replace import beside, replacement

Progress = Callable[[str, int, int], None]
"""Called with the name of a tensor, how many are done and how many there are."""


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends without an exception.

    Raises
    ------
    CheckpointError
        The file cannot be written.
    """
    try:
        with replacement(path) as temporary, open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}.") from None


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``path`` when the block ends without an exception.

    An old folder is moved aside first, so that a crash between the two renames leaves it under a name that begins
    with a dot, and nothing at ``path``.

    Raises
    ------
    CheckpointError
        The folder cannot be written.
    """
    temporary, old = beside(path), beside(path)
    try:
        temporary.mkdir()
        yield temporary
        for name in temporary.iterdir():
            with open(name, "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(temporary)
        if path.exists():
            os.rename(path, old)
        try:
            os.rename(temporary, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def _sync_folder(path: Path) -> None:
    """Make a rename last through a power cut, where folders can be opened (not on Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
