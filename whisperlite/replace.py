"""Files that are whole or not there.

In: a path. Out: a temporary path beside it, which takes its name at the end.
Knows nothing of: what is written, or whether it must outlast a power cut.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A path to write a new file to, which takes the place of ``path`` when the block ends without an exception.

    After an exception the old file, or none, is there, and nothing beside it.

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    temporary = beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """A name in the same folder that nobody has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
