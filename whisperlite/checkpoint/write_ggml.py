"""Write whisper.cpp's ``.bin`` files.

In: ``Checkpoint``, mel filters, tokens. Out: a file, byte for byte that of whisper.cpp's convert-pt-to-ggml.py and
quantize.
Knows nothing of: where tokens and filters come from.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from whisperlite.checkpoint.checkpoint import Checkpoint
from whisperlite.checkpoint.dims import Dims
from whisperlite.checkpoint.ggml import CONV_BIASES, MAGIC, QUANT_VERSION, SIZES, VERSION_FACTOR, GgmlCheckpoint
from whisperlite.checkpoint.names import POSITIONAL, TOKEN_EMBEDDING, expected_shapes
from whisperlite.checkpoint.write import Progress, replaced_file
from whisperlite.errors import CheckpointError, OptionError
from whisperlite.quant import FORMATS, format_of, quantize

# ref: whisper.cpp models/convert-pt-to-ggml.py (what stays float32), examples/quantize/quantize.cpp (to_skip)
_ALWAYS_FLOAT32 = (*CONV_BIASES, POSITIONAL, "decoder.positional_embedding")


def write_ggml(
    checkpoint: Checkpoint,
    path: str | Path,
    kind: str,
    mel_filters: np.ndarray,
    tokens: Sequence[bytes],
    progress: Progress | None = None,
) -> Path:
    """Write a model as a ggml file.

    Matrices are stored as ``kind``; convolutions as float16 (float32 in a float32 file); vectors and positional
    embeddings as float32. Weights go through float16 before they are quantised, as they do in whisper.cpp's tools.
    A matrix that the checkpoint holds in blocks of this kind is copied.

    Parameters
    ----------
    path
        The file; an old one is replaced at once when the new one is whole.
    kind
        A name of ``quant.FORMATS``.
    mel_filters : (n_mels, n_fft // 2 + 1) float32
    tokens
        Text tokens by id.

    Raises
    ------
    OptionError
        There is no such format, or its blocks do not divide a matrix of this model (k-quants need sizes that are
        multiples of 256, which tiny's 384 is not).
    CheckpointError
        A weight is not finite in float16, or the file cannot be written.
    """
    path = Path(path)
    form = format_of(kind)
    dims = checkpoint.dims
    names = tuple(_file_order(dims))
    for name in names:
        n_cols = checkpoint.shape(name)[-1]
        if stored_kind(name, checkpoint.shape(name), kind) == kind and n_cols % form.columns:
            raise OptionError(f"{name!r} has {n_cols} columns. {_advice(kind, n_cols)}")
    if mel_filters.shape[:1] != (dims.n_mels,) or mel_filters.ndim != 2:
        raise OptionError(f"mel filters are {mel_filters.shape}; the model has {dims.n_mels} mels.")
    if len(tokens) > dims.n_vocab:
        raise OptionError(f"{len(tokens)} tokens were given; the model has {dims.n_vocab}.")
    with replaced_file(path) as file:
        _write_header(file, dims, kind, mel_filters, tokens)
        for done, name in enumerate(names, 1):
            _write_tensor(file, checkpoint, name, kind)
            if progress is not None:
                progress(name, done, len(names))
    return path


def stored_kind(name: str, shape: Sequence[int], kind: str) -> str:
    """Format of a tensor in a file of matrices of ``kind``."""
    if kind == "f32" or len(shape) < 2 or name in _ALWAYS_FLOAT32:
        return "f32"
    return kind if len(shape) == 2 else "f16"


def _advice(kind: str, n_cols: int) -> str:
    try:
        FORMATS[kind].row_bytes(n_cols)
    except OptionError as error:
        return str(error)
    return ""


def _write_header(file: BinaryIO, dims: Dims, kind: str, mel_filters: np.ndarray, tokens: Sequence[bytes]) -> None:
    form = FORMATS[kind]
    version = QUANT_VERSION * VERSION_FACTOR if form.is_quantized else 0
    file.write(MAGIC)
    file.write(struct.pack(f"<{len(SIZES)}i", *(getattr(dims, name) for name in SIZES)))
    file.write(struct.pack("<i", version + form.ftype))
    file.write(struct.pack("<2i", *mel_filters.shape))
    file.write(np.ascontiguousarray(mel_filters, "<f4").tobytes())
    file.write(struct.pack("<i", len(tokens)))
    for token in tokens:
        file.write(struct.pack("<I", len(token)) + token)


def _write_tensor(file: BinaryIO, checkpoint: Checkpoint, name: str, kind: str) -> None:
    shape = checkpoint.shape(name)
    stored = stored_kind(name, shape, kind)
    data = _data(checkpoint, name, stored)
    if name in CONV_BIASES:
        shape = (*shape, 1)
    encoded = name.encode()
    file.write(struct.pack("<3i", len(shape), len(encoded), FORMATS[stored].ggml_type))
    file.write(struct.pack(f"<{len(shape)}i", *reversed(shape)))
    file.write(encoded)
    file.write(data.data.cast("B"))


def _data(checkpoint: Checkpoint, name: str, stored: str) -> np.ndarray:
    """Contiguous array of a tensor's bytes."""
    if FORMATS[stored].is_quantized and isinstance(checkpoint, GgmlCheckpoint):
        kind, blocks = checkpoint.read_blocks(name)
        if kind == stored:
            return np.ascontiguousarray(blocks)
    values = checkpoint.read(name)
    if stored == "f32":
        return np.ascontiguousarray(values, "<f4")
    halves = to_float16(values, name)
    return halves if stored == "f16" else quantize(halves, stored)


def to_float16(values: np.ndarray, name: str) -> np.ndarray:
    """Contiguous float16 array.

    Raises
    ------
    CheckpointError
        A weight is not finite, or beyond float16.
    """
    with np.errstate(over="ignore"):
        halves = np.ascontiguousarray(values, "<f2")
    if not np.isfinite(halves).all():
        raise CheckpointError(f"{name!r} has a weight that is NaN or beyond float16's 65504; write f32 instead.")
    return halves


def _file_order(dims: Dims) -> Iterator[str]:
    """Names in the order of OpenAI's modules, which is that of whisper.cpp's files."""
    names = tuple(expected_shapes(dims))
    for side in ("encoder", "decoder"):
        first = (f"{side}.positional_embedding", TOKEN_EMBEDDING)
        ours = [name for name in names if name.startswith(f"{side}.")]
        yield from (name for name in first if name in ours)
        yield from (name for name in ours if "conv" in name)
        blocks = [name for name in ours if ".blocks." in name]
        # An attention's layer norm follows it there; here it comes first, as the data does.
        yield from sorted(blocks, key=_place_in_file)
        yield from (name for name in ours if ".ln" in name)


def _place_in_file(name: str) -> tuple[int, int]:
    _, _, layer, module, *_ = name.split(".")
    return int(layer), ("attn", "attn_ln", "cross_attn", "cross_attn_ln", "mlp", "mlp_ln").index(module)
