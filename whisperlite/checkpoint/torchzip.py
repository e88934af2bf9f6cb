"""Archives written by ``torch.save``: a zip with a pickle and one uncompressed member per storage.

In: a mapped file. Out: its pickled values, with a ``TensorSource`` in the place of every tensor.
Knows nothing of: what the values mean.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import Any

from whisperlite.checkpoint.source import ITEMSIZE, MappedFile, TensorSource, check_extent
from whisperlite.checkpoint.unpickle import TensorRecord, unpickle
from whisperlite.errors import CheckpointError

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., name length, extra length
# What the standard library lets escape for a damaged archive.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, OSError, EOFError,
    ValueError, KeyError, IndexError, OverflowError, RuntimeError,
)  # fmt: skip


def looks_like_zip(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04")


def torch_values(file: MappedFile) -> Any:
    """What ``torch.save`` was given: dicts, lists, numbers, and a ``TensorSource`` for each tensor.

    Tensors are resolved in dictionaries down to two levels, which is where a checkpoint has them.

    Raises
    ------
    CheckpointError
        The archive is damaged, compressed, or its pickle asks for anything but tensors.
    """
    members = _members(file)
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"{file.path} is a zip without a data.pkl; it was not written by torch.save.")
    folder = pickles[0].removesuffix("data.pkl")
    start, n_bytes = members[pickles[0]]
    if f"{folder}byteorder" in members:
        at, size = members[f"{folder}byteorder"]
        if file.bytes_at(at, at + min(size, 16)) != b"little":
            raise CheckpointError(f"{file.path} is big-endian; save it again on a little-endian machine.")
    values = unpickle(file.bytes_at(start, start + n_bytes), str(file.path))
    return _resolve(values, file, members, folder, depth=2)


def _members(file: MappedFile) -> dict[str, tuple[int, int]]:
    """Byte offset of the contents and size of every member."""
    members = {}
    try:
        with zipfile.ZipFile(file.path) as archive:
            infos = archive.infolist()
    except _DAMAGE:
        raise CheckpointError(f"{file.path} is a damaged zip archive; fetch the file again.") from None
    for info in infos:
        if info.filename.endswith("/"):
            continue
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise CheckpointError(
                f"{file.path} has the compressed member {info.filename[:80]!r}; torch.save writes them plain."
            )
        header = file.bytes_at(info.header_offset, info.header_offset + _LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise CheckpointError(f"{file.path} is a damaged zip archive; fetch the file again.")
        _, n_name, n_extra = _LOCAL_HEADER.unpack(header)
        start = info.header_offset + _LOCAL_HEADER.size + n_name + n_extra
        if info.file_size != info.compress_size or start + info.file_size > file.n_bytes:
            raise CheckpointError(f"{file.path} ends inside its member {info.filename[:80]!r}; it is cut short.")
        members[info.filename] = (start, info.file_size)
    return members


def _resolve(value: Any, file: MappedFile, members: dict[str, tuple[int, int]], folder: str, depth: int) -> Any:
    if isinstance(value, TensorRecord):
        return _source(value, file, members, folder)
    if isinstance(value, dict) and depth:
        return {key: _resolve(item, file, members, folder, depth - 1) for key, item in value.items()}
    return value


def _source(
    tensor: TensorRecord, file: MappedFile, members: dict[str, tuple[int, int]], folder: str
) -> TensorSource:
    storage = tensor.storage
    what = f"{file.path.name}: storage {storage.key[:40]!r}"
    if f"{folder}data/{storage.key}" not in members:
        raise CheckpointError(f"{what} is not in the archive; fetch the file again.")
    start, n_bytes = members[f"{folder}data/{storage.key}"]
    itemsize = ITEMSIZE[storage.dtype]
    if storage.n_elements * itemsize > n_bytes:
        raise CheckpointError(
            f"{what} says {storage.n_elements} {storage.dtype} elements; the archive has {n_bytes} bytes of it."
        )
    check_extent(what, storage.dtype, tensor.shape, tensor.strides, tensor.first, storage.n_elements)
    return TensorSource(file, storage.dtype, tensor.shape, start + tensor.first * itemsize, tensor.strides)
