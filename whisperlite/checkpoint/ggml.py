"""whisper.cpp's ``.bin`` files.

In: a mapped file. Out: ``GgmlCheckpoint``; ``GgmlHeader`` for what stands before the tensors.
Knows nothing of: how blocks are computed with, what a token means.

Format, all little-endian: magic; eleven int32 sizes, the last of them the file type; mel filters (two int32 sizes,
float32 values); vocabulary (int32 count, then for each token an uint32 length and its bytes); then tensors to the
end of the file: int32 number of axes, length of the name and type, int32 sizes (the last axis first), name, data.
Nothing is aligned.
ref: whisper.cpp models/convert-pt-to-ggml.py, src/whisper.cpp whisper_model_load
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from whisperlite.checkpoint.checkpoint import Checkpoint
from whisperlite.checkpoint.cursor import Cursor
from whisperlite.checkpoint.dims import Dims
from whisperlite.checkpoint.names import expected_shapes
from whisperlite.checkpoint.source import MappedFile, TensorSource
from whisperlite.errors import CheckpointError, OptionError
from whisperlite.quant import BY_FTYPE, BY_GGML_TYPE, FORMATS, dequantize

MAGIC = b"lmgg"
SIZES = (
    "n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer",
    "n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels",
)  # fmt: skip
QUANT_VERSION = 2
VERSION_FACTOR = 1000  # a file type is the quantisation's version times this, plus the type
CONV_BIASES = ("encoder.conv1.bias", "encoder.conv2.bias")  # stored as columns, (D, 1)

_MAX_FILTERS = 1 << 20
_MAX_NAME_BYTES = 256
_DTYPES = {"f32": "float32", "f16": "float16"}


@dataclass(frozen=True)
class GgmlHeader:
    """What a ggml file holds before its tensors.

    Attributes
    ----------
    dims : Dims
    kind : str
        Format of the matrices, a name of ``quant.FORMATS``.
    mel_filters : (n_mels, n_fft // 2 + 1) float32
    tokens : tuple of bytes
        Text tokens by id.
    end : int
        Byte at which the tensors begin.
    """

    dims: Dims
    kind: str
    mel_filters: np.ndarray
    tokens: tuple[bytes, ...]
    end: int


@dataclass(frozen=True)
class BlockSource(TensorSource):
    """A tensor in quantised blocks; ``dtype`` is the name of their format."""

    def blocks(self, every: int = 1) -> np.ndarray:
        """(rows, row_bytes) uint8, a view of the file."""
        row_bytes = FORMATS[self.dtype].row_bytes(self.shape[-1])
        stored = self.file.buffer[self.offset : self.offset + prod(self.shape[:-1]) * row_bytes]
        return stored.reshape(-1, row_bytes)[::every]

    def read(self, name: str, every: int = 1) -> np.ndarray:
        """float32, unpacked."""
        values = dequantize(self.blocks(every), self.dtype, self.shape[-1])
        return values if every > 1 else values.reshape(self.shape)

    @property
    def is_float(self) -> bool:
        return True


class GgmlCheckpoint(Checkpoint):
    """A model in a ggml file: a ``Checkpoint`` that also has blocks, and a vocabulary of its own.

    Attributes
    ----------
    header : GgmlHeader
    tokens : tuple of bytes
        Text tokens by id, for ``Vocabulary.from_tokens``.
    """

    def __init__(
        self, path: Path, header: GgmlHeader, sources: dict[str, TensorSource], files: Sequence[MappedFile]
    ) -> None:
        super().__init__(path, header.dims, sources, files)
        self.header = header
        self.tokens = header.tokens

    def read_blocks(self, name: str) -> tuple[str, np.ndarray]:
        """Format and bytes of a tensor as they lie in the file.

        Returns
        -------
        kind : str
            A name of ``quant.FORMATS``; ``f32`` and ``f16`` are blocks of one column.
        blocks : (rows, row_bytes) uint8
            A read-only view of the mapped file, at any alignment; leading axes are joined into rows.

        Raises
        ------
        CheckpointError
            The model has no tensor of that name, or the checkpoint is closed.
        """
        shape, source = self._named(name)
        if isinstance(source, BlockSource) and not self._closed:
            return source.dtype, source.blocks()
        values = self.read(name)
        return ("f16" if values.dtype == np.float16 else "f32"), values.reshape(-1, shape[-1]).view(np.uint8)


def looks_like_ggml(head: bytes) -> bool:
    return head.startswith(MAGIC)


def open_ggml(path: Path, file: MappedFile) -> GgmlCheckpoint:
    """The model in a mapped ggml file.

    Raises
    ------
    CheckpointError
        The file is damaged, cut short, of a format that is not read, or has no tensors.
    """
    header = _header(file)
    sources = _tensors(file, header)
    if not sources:
        raise CheckpointError(
            f"{file.path} has a header and a vocabulary but no tensors, as whisper.cpp's files for tests; "
            "give a whole model."
        )
    return GgmlCheckpoint(path, header, sources, (file,))


def read_ggml_header(path: str | Path) -> GgmlHeader:
    """Sizes, mel filters and vocabulary of a ggml file, whether it has tensors or not.

    Raises
    ------
    CheckpointError
        The file is missing, is no ggml file, or is damaged.
    """
    file = MappedFile(Path(path))
    try:
        return _header(file)
    finally:
        file.close()


def _header(file: MappedFile) -> GgmlHeader:
    cursor = Cursor(file)
    if cursor.take(4, "its magic") != MAGIC:
        raise CheckpointError(f"{file.path} is not a ggml file of whisper.cpp; its first bytes are not 'lmgg'.")
    *sizes, file_type = cursor.ints(len(SIZES) + 1, "its sizes")
    try:
        dims = Dims.from_openai(dict(zip(SIZES, sizes, strict=True)))
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from None
    version, ftype = divmod(file_type, VERSION_FACTOR)
    if ftype not in BY_FTYPE:
        raise CheckpointError(
            f"{file.path} has file type {file_type}; whisperlite reads {', '.join(FORMATS)}. Convert it to one."
        )
    form = BY_FTYPE[ftype]
    if form.is_quantized and version != QUANT_VERSION:
        raise CheckpointError(
            f"{file.path} has blocks of version {version}; whisperlite reads {QUANT_VERSION}. Quantise it again."
        )
    n_mels, n_bins = cursor.ints(2, "its mel filters")
    if n_mels != dims.n_mels or not 1 <= n_bins <= _MAX_FILTERS:
        raise CheckpointError(
            f"{file.path} has mel filters of ({n_mels}, {n_bins}); its sizes say {dims.n_mels} mels. It is damaged."
        )
    filters = np.frombuffer(cursor.take(4 * n_mels * n_bins, "its mel filters"), "<f4").reshape(n_mels, n_bins)
    tokens = _tokens(cursor, dims)
    return GgmlHeader(dims, form.name, filters, tokens, cursor.at)


def _tokens(cursor: Cursor, dims: Dims) -> tuple[bytes, ...]:
    (n_tokens,) = cursor.ints(1, "its vocabulary")
    if not 0 <= n_tokens <= dims.n_vocab or 4 * n_tokens > cursor.left:
        raise CheckpointError(
            f"{cursor.file.path} says it has {n_tokens} tokens; n_vocab is {dims.n_vocab} and "
            f"{cursor.left} bytes are left. It is damaged."
        )
    tokens = []
    for index in range(n_tokens):
        n_bytes = cursor.count(4, "its vocabulary")
        tokens.append(cursor.take(n_bytes, f"token {index} of its vocabulary"))
    return tuple(tokens)


def _tensors(file: MappedFile, header: GgmlHeader) -> dict[str, TensorSource]:
    cursor = Cursor(file, header.end)
    sources: dict[str, TensorSource] = {}
    n_most = 2 * len(expected_shapes(header.dims))
    while cursor.left:
        name, source = _tensor(cursor)
        if name in sources:
            raise CheckpointError(f"{file.path} has {name[:80]!r} a second time; it is damaged.")
        if len(sources) == n_most:
            raise CheckpointError(f"{file.path} has more than {n_most} tensors; it is damaged.")
        sources[name] = source
    return sources


def _tensor(cursor: Cursor) -> tuple[str, TensorSource]:
    what = f"the header of the tensor at byte {cursor.at}"
    n_axes, n_name, ggml_type = cursor.ints(3, what)
    if not 1 <= n_axes <= 4 or not 1 <= n_name <= _MAX_NAME_BYTES:
        raise CheckpointError(f"{cursor.file.path}: {what} makes no sense; the file is damaged.")
    shape = cursor.ints(n_axes, what)[::-1]
    try:
        name = cursor.take(n_name, what).decode()
    except UnicodeDecodeError:
        raise CheckpointError(f"{cursor.file.path}: {what} has no readable name; the file is damaged.") from None
    if min(shape) < 1:
        raise CheckpointError(f"{cursor.file.path}: {name!r} is {shape}; the file is damaged.")
    if ggml_type not in BY_GGML_TYPE:
        raise CheckpointError(
            f"{cursor.file.path}: {name!r} has type {ggml_type}; whisperlite reads {', '.join(FORMATS)}."
        )
    form = BY_GGML_TYPE[ggml_type]
    try:
        n_bytes = prod(shape[:-1]) * form.row_bytes(shape[-1])
    except OptionError:
        raise CheckpointError(
            f"{cursor.file.path}: {name!r} has rows of {shape[-1]} in {form.name} blocks of {form.columns}; "
            "whisper.cpp does not load it either. Quantise it to q4_0, q5_0 or q8_0."
        ) from None
    start = cursor.skip(n_bytes, f"{name[:80]!r}")
    if name in CONV_BIASES and len(shape) == 2 and shape[1] == 1:
        shape = shape[:1]
    if form.is_quantized:
        return name, BlockSource(cursor.file, form.name, shape, start)
    return name, TensorSource(cursor.file, _DTYPES[form.name], shape, start)
