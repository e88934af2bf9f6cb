"""Read Silero VAD from whisper.cpp's ggml file.

In: a path. Out: version and float32 tensors, of the one architecture that versions 5 and 6 share.
Knows nothing of: graphs, audio, other ggml files.

Layout, little-endian: magic; length and name of the model; version (3 ints); window and context in samples; number
of encoder layers, then channels in, channels out and taps of each; LSTM input and hidden size; channels of the last
layer; then tensors until the end: number of axes, length of the name, dtype, sizes (fastest first), name, data.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from whisperlite.errors import CheckpointError

# ref: whisper.cpp whisper_vad_init_with_params
MAGIC = 0x67676D6C
MODEL_TYPE = "silero-16k"
MAX_FILE_BYTES = 1 << 24  # the published files have 0.9 MB
MAX_NAME_BYTES = 256
DTYPES: Mapping[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}

HEADER = (
    512, 64,
    4, 129, 128, 3, 128, 64, 3, 64, 64, 3, 64, 128, 3,
    128, 128, 128, 1,
)  # fmt: skip
_ENCODER = {
    f"_model.encoder.{i}.reparam_conv.{part}": shape
    for i, (n_in, n_out) in enumerate(((129, 128), (128, 64), (64, 64), (64, 128)))
    for part, shape in (("weight", (n_out, n_in, 3)), ("bias", (n_out,)))
}
SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "_model.stft.forward_basis_buffer": (258, 1, 256),
        **_ENCODER,
        "_model.decoder.rnn.weight_ih": (512, 128),
        "_model.decoder.rnn.weight_hh": (512, 128),
        "_model.decoder.rnn.bias_ih": (512,),
        "_model.decoder.rnn.bias_hh": (512,),
        "_model.decoder.decoder.2.weight": (128,),
        "_model.decoder.decoder.2.bias": (1,),
    }
)


@dataclass(frozen=True)
class SileroFile:
    """Version, such as (6, 2, 0), and tensors by their names in the file, float32."""

    version: tuple[int, int, int]
    tensors: Mapping[str, np.ndarray]


def read_silero(path: str | os.PathLike[str]) -> SileroFile:
    """Read and check a whole file.

    Raises
    ------
    CheckpointError
        The file is missing, too large, cut short or damaged; it is another model, or another architecture.
    """
    name = f"'{os.fspath(path)}'"
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read as a Silero VAD model: {error.strerror or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise CheckpointError(f"{name} is larger than {MAX_FILE_BYTES} bytes; a Silero VAD model has about 0.9 MB")
    reader = _Reader(name, data)
    version = _read_header(reader)
    tensors: dict[str, np.ndarray] = {}
    while reader.at < len(data):
        key, values = _read_tensor(reader)
        if key in tensors:
            raise CheckpointError(f"{name}: tensor '{key}' is there twice; the file is damaged")
        tensors[key] = values
    missing = [key for key in SHAPES if key not in tensors]
    if missing:
        raise CheckpointError(f"{name}: tensor '{missing[0]}' is missing, of {len(SHAPES)}; the file is cut short")
    return SileroFile(version, MappingProxyType(tensors))


class _Reader:
    """A place in the data; nothing is read past the end."""

    def __init__(self, name: str, data: bytes):
        self.name, self.data, self.at = name, data, 0

    def take(self, n_bytes: int, what: str) -> bytes:
        left = len(self.data) - self.at
        if n_bytes > left:
            raise CheckpointError(
                f"{self.name} ends inside {what}: {n_bytes} bytes from byte {self.at}, {left} are left; "
                "it is cut short or damaged"
            )
        self.at += n_bytes
        return self.data[self.at - n_bytes : self.at]

    def ints(self, n: int, what: str) -> tuple[int, ...]:
        return struct.unpack(f"<{n}i", self.take(4 * n, what))

    def text(self, n_bytes: int, what: str) -> str:
        if not 0 < n_bytes <= MAX_NAME_BYTES:
            raise CheckpointError(
                f"{self.name}: {what} of {n_bytes} bytes before byte {self.at}; 1 to {MAX_NAME_BYTES} are allowed; "
                "the file is damaged"
            )
        return self.take(n_bytes, what).decode("utf-8", "replace")


def _read_header(reader: _Reader) -> tuple[int, int, int]:
    (magic,) = reader.ints(1, "its magic number")
    if magic != MAGIC:
        raise CheckpointError(
            f"{reader.name} is no ggml file: it begins with {magic & 0xFFFFFFFF:#x}; "
            "give whisper.cpp's ggml-silero-v6.2.0.bin or the like"
        )
    (length,) = reader.ints(1, "its model type")
    if not 0 < length <= MAX_NAME_BYTES:  # a Whisper model has its vocabulary size here
        raise CheckpointError(f"{reader.name} is a ggml file, but not of Silero VAD; give ggml-silero-v6.2.0.bin")
    kind = reader.text(length, "its model type")
    if kind != MODEL_TYPE:
        raise CheckpointError(f"{reader.name} holds model type {kind!r}; only {MODEL_TYPE!r} is supported")
    major, minor, patch = reader.ints(3, "its version")
    header = reader.ints(len(HEADER), "its header")
    if header != HEADER:
        raise CheckpointError(
            f"{reader.name}: Silero VAD {major}.{minor}.{patch} has sizes {header}; "
            f"only {HEADER} of versions 5 and 6 is supported"
        )
    return major, minor, patch


def _read_tensor(reader: _Reader) -> tuple[str, np.ndarray]:
    n_axes, length, dtype_code = reader.ints(3, "a tensor's header")
    if not 0 <= n_axes <= 4:
        raise CheckpointError(
            f"{reader.name}: a tensor of {n_axes} axes before byte {reader.at}; the file is damaged"
        )
    sizes = reader.ints(n_axes, "a tensor's sizes")
    key = reader.text(length, "a tensor's name")
    if key not in SHAPES:
        raise CheckpointError(
            f"{reader.name}: tensor {key!r} is not one of Silero VAD; the file is another model's"
        )
    shape = sizes[::-1] or (1,)
    if shape != SHAPES[key]:
        raise CheckpointError(f"{reader.name}: tensor '{key}' is {shape}; the header says {SHAPES[key]}")
    if dtype_code not in DTYPES:
        raise CheckpointError(f"{reader.name}: tensor '{key}' has dtype {dtype_code}; 0 (f32) and 1 (f16) are read")
    dtype = DTYPES[dtype_code]
    n_items = int(np.prod(shape))
    values = np.frombuffer(reader.take(n_items * dtype.itemsize, f"tensor '{key}'"), dtype)
    values = values.reshape(shape).astype(np.float32)
    if not np.isfinite(values).all():
        raise CheckpointError(f"{reader.name}: tensor '{key}' holds NaN or infinite values; the file is damaged")
    return key, values
