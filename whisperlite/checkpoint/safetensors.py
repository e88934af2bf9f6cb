"""Headers of ``.safetensors`` files.

In: a mapped file. Out: ``TensorSource`` by name.
Knows nothing of: Whisper, other formats.

The header is parsed here, as the package's NumPy front end knows no bfloat16 and copies every tensor.
Format: 8 bytes little-endian length, that many bytes of JSON, then the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any

from whisperlite.checkpoint.source import ITEMSIZE, MAX_AXES, MappedFile, TensorSource
from whisperlite.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own library

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def looks_like_safetensors(head: bytes) -> bool:
    """Whether the first 9 or more bytes of a file can be a safetensors header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES


def safetensors_sources(file: MappedFile) -> dict[str, TensorSource]:
    """Every tensor of a ``.safetensors`` file.

    Raises
    ------
    CheckpointError
        The header is damaged, or a tensor lies outside the file.
    """
    header, data_start = _header(file)
    n_data_bytes = file.n_bytes - data_start
    sources = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        what = f"{file.path.name}: {name[:80]!r}"
        dtype, shape, start, stop = _entry(what, entry)
        if stop > n_data_bytes:
            raise CheckpointError(f"{what} ends at byte {stop}; the file has {n_data_bytes}. It is cut short.")
        if dtype is None:
            continue  # a dtype of other models: no weight of ours can be behind it
        if prod(shape) * ITEMSIZE[dtype] != stop - start:
            raise CheckpointError(f"{what} is {dtype} {shape} in {stop - start} bytes; the header is damaged.")
        sources[name] = TensorSource(file, dtype, shape, data_start + start)
    return sources


def _header(file: MappedFile) -> tuple[dict[str, Any], int]:
    path = file.path
    n_bytes = int.from_bytes(file.bytes_at(0, 8), "little")
    if n_bytes > min(MAX_HEADER_BYTES, file.n_bytes - 8):
        raise CheckpointError(
            f"{path} says its header has {n_bytes} bytes; the file has {file.n_bytes}. It is cut short."
        )
    try:
        header = json.loads(file.bytes_at(8, 8 + n_bytes))
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path} has a damaged safetensors header; fetch the file again.") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} has a damaged safetensors header; fetch the file again.")
    return header, 8 + n_bytes


def _entry(what: str, entry: object) -> tuple[str | None, tuple[int, ...], int, int]:
    if isinstance(entry, Mapping):
        shape: Any = entry.get("shape")
        offsets: Any = entry.get("data_offsets")
        if _counts(shape) and len(shape) <= MAX_AXES and _counts(offsets) and len(offsets) == 2:
            start, stop = offsets
            if start <= stop and isinstance(entry.get("dtype"), str):
                return _DTYPES.get(entry["dtype"]), tuple(shape), start, stop
    raise CheckpointError(f"{what} has a damaged header entry; fetch the file again.")


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 60 for value in values)
