"""Reading forward through a binary header.

In: a mapped file. Out: bytes and numbers that are there, or an error that names what was cut.
Knows nothing of: file formats.
"""

from __future__ import annotations

import struct

from whisperlite.checkpoint.source import MappedFile
from whisperlite.errors import CheckpointError


class Cursor:
    """A place in a little-endian file; ``what`` of its methods is what the error calls the thing being read."""

    def __init__(self, file: MappedFile, at: int = 0) -> None:
        self.file = file
        self.at = at

    @property
    def left(self) -> int:
        """Bytes from here to the end."""
        return self.file.n_bytes - self.at

    def skip(self, n_bytes: int, what: str) -> int:
        """Move on; where the skipped bytes begin.

        Raises
        ------
        CheckpointError
            The file has fewer bytes.
        """
        if n_bytes > self.left:
            raise CheckpointError(
                f"{self.file.path} ends inside {what}: {n_bytes} bytes from byte {self.at}, {self.left} are left. "
                "It is cut short or damaged."
            )
        start = self.at
        self.at += n_bytes
        return start

    def take(self, n_bytes: int, what: str) -> bytes:
        """Copy of the next bytes; raises as ``skip``."""
        start = self.skip(n_bytes, what)
        return self.file.bytes_at(start, start + n_bytes)

    def count(self, n_bytes: int, what: str) -> int:
        """An unsigned number of so many bytes; raises as ``skip``."""
        return int.from_bytes(self.take(n_bytes, what), "little")

    def ints(self, n: int, what: str) -> tuple[int, ...]:
        """Signed numbers of four bytes; raises as ``skip``."""
        return struct.unpack(f"<{n}i", self.take(4 * n, what))
