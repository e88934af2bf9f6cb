"""Tensors inside mapped files.

In: a file, and for each tensor its place in it. Out: NumPy arrays, views of the mapping where that is possible.
Knows nothing of: file formats, Whisper.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from whisperlite.errors import CheckpointError

ITEMSIZE = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
FLOATS = ("float64", "float32", "float16", "bfloat16")
MAX_AXES = 8


class MappedFile:
    """A file mapped read-only.

    Raises
    ------
    CheckpointError
        The file is missing, unreadable or empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                self.n_bytes = os.fstat(file.fileno()).st_size
                if self.n_bytes == 0:
                    raise CheckpointError(f"{path} is empty; fetch the model file again.")
                self._map: mmap.mmap | None = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
        # Views are made from this array: unlike the map itself, it keeps the pages while a view lives.
        self._bytes: np.ndarray | None = np.frombuffer(self._map, np.uint8)

    def bytes_at(self, start: int, stop: int) -> bytes:
        """Copy of bytes ``start:stop``; shorter where the file ends."""
        return self.buffer[start:stop].tobytes()

    @property
    def buffer(self) -> np.ndarray:
        if self._bytes is None:
            raise CheckpointError(f"{self.path} is closed; open the checkpoint again.")
        return self._bytes

    def release(self) -> None:
        """Drop the pages read so far from this process's memory; views stay valid and read them again."""
        mapping = self._map
        if mapping is not None and hasattr(mapping, "madvise"):
            with contextlib.suppress(ValueError):  # closed by another thread
                mapping.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Give the mapping up: at once, or when the last view of it is gone."""
        self._bytes = None
        mapping, self._map = self._map, None
        if mapping is not None:
            with contextlib.suppress(BufferError):  # a view is alive, and holds the mapping from now on
                mapping.close()


@dataclass(frozen=True)
class TensorSource:
    """Where a tensor lies. ``strides`` are in elements; None means C order. ``offset`` is in bytes.

    Whoever makes one has checked that every element lies inside the file.
    """

    file: MappedFile
    dtype: str
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...] | None = None

    def read(self, name: str, every: int = 1) -> np.ndarray:
        """float32 or float16 array: a read-only view of the file, or a copy where dtype or layout need one.

        bfloat16 and float64 become float32. ``every`` above 1 reads one row in so many.

        Raises
        ------
        CheckpointError
            The tensor is not of a floating type, or the file is closed.
        """
        if self.dtype not in FLOATS:
            raise CheckpointError(f"{name!r} is {self.dtype}; weights are {', '.join(FLOATS)}.")
        stored = np.dtype("uint16" if self.dtype == "bfloat16" else self.dtype).newbyteorder("<")
        strides = None if self.strides is None else tuple(stride * stored.itemsize for stride in self.strides)
        array: np.ndarray = np.ndarray(self.shape, stored, self.file.buffer, self.offset, strides)
        if every > 1:
            array = array[::every]
        if self.dtype == "bfloat16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        if self.dtype == "float64":
            return array.astype(np.float32)
        if not (array.flags.aligned and array.flags.c_contiguous and array.dtype.isnative):
            return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        return array

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS


def check_extent(
    what: str, dtype: str, shape: Sequence[int], strides: Sequence[int], first: int, limit: int
) -> None:
    """Refuse a tensor that would reach beyond ``limit`` elements; ``first`` is its first element.

    Raises
    ------
    CheckpointError
        A size is negative, there are too many axes, or an element lies outside.
    """
    if len(shape) > MAX_AXES or len(shape) != len(strides) or min((0, first, *shape, *strides)) < 0:
        raise CheckpointError(f"{what} has a shape that makes no sense; the file is damaged.")
    if prod(shape) == 0:
        return
    last = first + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= limit:
        raise CheckpointError(f"{what} needs {last + 1} {dtype} elements; the file has {limit}. It is cut short.")
