"""CTranslate2 folders: the models of faster-whisper.

In: a mapped ``model.bin`` and the ``config.json`` beside it. Out: ``CTranslate2Checkpoint``.
Knows nothing of: vocabularies, int8 arithmetic.

Format, all little-endian: uint32 version; name of the model's class; uint32 revision; uint32 count, then for each
variable its name, uint8 number of axes, uint32 sizes, uint8 type, uint32 bytes, data; uint32 count, then for each
alias its name and the name of a variable. A name is an uint16 length and that many bytes, the last of them 0.
Nothing is aligned. An int8 matrix has a variable ``weight_scale``: the values of a row are its codes divided by the
row's scale.
ref: OpenNMT/CTranslate2 python/ctranslate2/specs/model_spec.py, whisper_spec.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from whisperlite.checkpoint.checkpoint import Checkpoint
from whisperlite.checkpoint.cursor import Cursor
from whisperlite.checkpoint.dims import Dims
from whisperlite.checkpoint.names import POSITIONAL, TOKEN_EMBEDDING
from whisperlite.checkpoint.source import ITEMSIZE, MAX_AXES, MappedFile, TensorSource
from whisperlite.errors import CheckpointError

VERSION = 6
NAME = b"WhisperSpec\0"
TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")

_MAX_VARIABLES = 1 << 16
_MAX_LAYERS = 256


@dataclass(frozen=True)
class ScaledSource(TensorSource):
    """A tensor of int8 or int16 codes; ``scale`` has one number for each row, or one for all."""

    scale: TensorSource | None = None

    def codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes (rows, ...) as stored, a view, and scales (rows) float32: a value is code / scale."""
        assert self.scale is not None
        stored: np.ndarray = np.ndarray(self.shape, f"<i{ITEMSIZE[self.dtype]}", self.file.buffer, self.offset)
        return stored, np.broadcast_to(self.scale.read("scale").astype(np.float32), self.shape[:1])

    def read(self, name: str, every: int = 1) -> np.ndarray:
        """float32, unpacked."""
        codes, scale = self.codes()
        column = scale[::every].reshape(-1, *[1] * (len(self.shape) - 1))
        with np.errstate(all="ignore"):
            return codes[::every].astype(np.float32) / column

    @property
    def is_float(self) -> bool:
        return True


class CTranslate2Checkpoint(Checkpoint):
    """A model in a CTranslate2 folder."""

    def read_codes(self, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Codes (rows, ...) int8 or int16 and scales (rows) float32 of a quantised tensor: a value is code / scale.

        None for a tensor that is not quantised.

        Raises
        ------
        CheckpointError
            The model has no tensor of that name, or the checkpoint is closed.
        """
        source = self._named(name)[1]
        return source.codes() if isinstance(source, ScaledSource) else None


def looks_like_ctranslate2(head: bytes) -> bool:
    """Whether a file begins as CTranslate2's, of any model."""
    if len(head) < 8 or not 1 <= int.from_bytes(head[:4], "little") <= 64:
        return False
    n_name = int.from_bytes(head[4:6], "little")
    return 1 < n_name <= 64 and head[6:7].isalpha() and (len(head) < 6 + n_name or head[5 + n_name] == 0)


def open_ctranslate2(path: Path, file: MappedFile, config: Mapping[str, Any]) -> CTranslate2Checkpoint:
    """The model in a mapped ``model.bin``.

    Raises
    ------
    CheckpointError
        The file is damaged, cut short, of another version, or not a Whisper model.
    """
    variables = _variables(file)
    dims = _dims(file, variables)
    sources = _openai_sources(file, variables, dims)
    heads = {key: config[key] for key in ("alignment_heads",) if key in config}
    return CTranslate2Checkpoint(path, dims, sources, (file,), ({}, heads))


def _variables(file: MappedFile) -> dict[str, TensorSource]:
    cursor = Cursor(file)
    version = cursor.count(4, "its version")
    model = _name(cursor, "its model's name")
    if model != NAME[:-1].decode():
        raise CheckpointError(f"{file.path} is a CTranslate2 {model[:40]!r}; a Whisper model is a WhisperSpec.")
    if version != VERSION:
        raise CheckpointError(
            f"{file.path} has version {version}; whisperlite reads {VERSION}. "
            "Convert it again with a new ctranslate2."
        )
    cursor.count(4, "its revision")
    n_variables = cursor.count(4, "its count of variables")
    if n_variables > _MAX_VARIABLES:
        raise CheckpointError(f"{file.path} says it has {n_variables} variables; the limit is {_MAX_VARIABLES}.")
    variables: dict[str, TensorSource] = {}
    for _ in range(n_variables):
        name, source = _variable(cursor)
        if name in variables:
            raise CheckpointError(f"{file.path} has {name[:80]!r} a second time; it is damaged.")
        variables[name] = source
    n_aliases = cursor.count(4, "its count of aliases")
    if n_aliases > _MAX_VARIABLES:
        raise CheckpointError(f"{file.path} says it has {n_aliases} aliases; the limit is {_MAX_VARIABLES}.")
    for _ in range(n_aliases):
        alias, target = _name(cursor, "an alias"), _name(cursor, "an alias")
        if target not in variables:
            raise CheckpointError(f"{file.path} has {alias[:80]!r} for {target[:80]!r}, which is not there.")
        variables.setdefault(alias, variables[target])
    return variables


def _variable(cursor: Cursor) -> tuple[str, TensorSource]:
    name = _name(cursor, "the name of a variable")
    what = f"{name[:80]!r}"
    n_axes = cursor.count(1, what)
    if n_axes > MAX_AXES:
        raise CheckpointError(f"{cursor.file.path}: {what} has {n_axes} axes; the file is damaged.")
    shape = tuple(cursor.count(4, what) for _ in range(n_axes))
    kind, n_bytes = cursor.count(1, what), cursor.count(4, what)
    start = cursor.skip(n_bytes, what)
    if kind >= len(TYPES):
        raise CheckpointError(f"{cursor.file.path}: {what} has type {kind}; the file is damaged.")
    # The count of bytes has 32 bits in the file: a matrix beyond 4 GB is not possible.
    if prod(shape) * ITEMSIZE[TYPES[kind]] != n_bytes:
        raise CheckpointError(
            f"{cursor.file.path}: {what} is {TYPES[kind]} {shape} in {n_bytes} bytes; it is damaged."
        )
    return name, TensorSource(cursor.file, TYPES[kind], shape, start)


def _name(cursor: Cursor, what: str) -> str:
    text = cursor.take(cursor.count(2, what), what)
    if not text.endswith(b"\0") or not text.isascii():
        raise CheckpointError(
            f"{cursor.file.path}: {what} at byte {cursor.at} makes no sense; the file is damaged."
        )
    return text[:-1].decode("ascii")


def _dims(file: MappedFile, variables: Mapping[str, TensorSource]) -> Dims:
    conv = _shape(file, variables, "encoder/conv1/weight", 3)
    audio = _shape(file, variables, "encoder/position_encodings/encodings", 2)
    text = _shape(file, variables, "decoder/position_encodings/encodings", 2)
    embedding = _shape(file, variables, "decoder/embeddings/weight", 2)
    try:
        return Dims(
            n_mels=conv[1],
            n_audio_ctx=audio[0],
            n_audio_state=audio[1],
            n_audio_head=_heads(file, variables, "encoder"),
            n_audio_layer=_layers(variables, "encoder"),
            n_vocab=embedding[0],
            n_text_ctx=text[0],
            n_text_state=text[1],
            n_text_head=_heads(file, variables, "decoder"),
            n_text_layer=_layers(variables, "decoder"),
        )
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from None


def _shape(file: MappedFile, variables: Mapping[str, TensorSource], name: str, n_axes: int) -> tuple[int, ...]:
    if name not in variables or len(variables[name].shape) != n_axes:
        raise CheckpointError(f"{file.path} has no {name} of {n_axes} axes; it is damaged.")
    return variables[name].shape


def _heads(file: MappedFile, variables: Mapping[str, TensorSource], side: str) -> int:
    source = variables.get(f"{side}/num_heads")
    if source is None or source.shape not in ((), (1,)) or not source.dtype.startswith("int"):
        raise CheckpointError(f"{file.path} has no number {side}/num_heads; it is damaged.")
    end = source.offset + ITEMSIZE[source.dtype]
    return int.from_bytes(file.bytes_at(source.offset, end), "little", signed=True)


def _layers(variables: Mapping[str, TensorSource], side: str) -> int:
    present = (f"{side}/layer_{layer}/ffn/linear_0/weight" in variables for layer in range(_MAX_LAYERS + 1))
    return sum(present)


def _openai_sources(file: MappedFile, variables: Mapping[str, TensorSource], dims: Dims) -> dict[str, TensorSource]:
    state = dims.n_text_state
    sources: dict[str, TensorSource] = {}

    def take(name: str, theirs: str, rows: slice | None = None) -> None:
        source = variables.get(theirs)
        if source is None:
            raise CheckpointError(f"{file.path} has no {theirs}; it is damaged or not a Whisper model.")
        scale = variables.get(f"{theirs}_scale")
        if rows is not None:
            source = _rows(file, source, rows, theirs)
        if source.dtype in ("int8", "int16"):
            sources[name] = _scaled(file, source, scale, rows, theirs)
        else:
            sources[name] = source

    def layer_norm(name: str, theirs: str) -> None:
        take(f"{name}.weight", f"{theirs}/gamma")
        take(f"{name}.bias", f"{theirs}/beta")

    def linear(name: str, theirs: str, part: int | None = None, bias: bool = True) -> None:
        rows = None if part is None else slice(part * state, (part + 1) * state)
        take(f"{name}.weight", f"{theirs}/weight", rows)
        if bias:
            take(f"{name}.bias", f"{theirs}/bias", rows)

    for conv in ("conv1", "conv2"):
        take(f"encoder.{conv}.weight", f"encoder/{conv}/weight")
        take(f"encoder.{conv}.bias", f"encoder/{conv}/bias")
    take(POSITIONAL, "encoder/position_encodings/encodings")
    layer_norm("encoder.ln_post", "encoder/layer_norm")
    take(TOKEN_EMBEDDING, "decoder/embeddings/weight")
    take("decoder.positional_embedding", "decoder/position_encodings/encodings")
    layer_norm("decoder.ln", "decoder/layer_norm")
    for side, n_layer in (("encoder", dims.n_audio_layer), ("decoder", dims.n_text_layer)):
        for layer in range(n_layer):
            block, theirs = f"{side}.blocks.{layer}", f"{side}/layer_{layer}"
            layer_norm(f"{block}.attn_ln", f"{theirs}/self_attention/layer_norm")
            # Query, key and value are one matrix; the key's bias is zero, and would change nothing if it were not.
            for part, projection in enumerate(("query", "key", "value")):
                qkv = f"{theirs}/self_attention/linear_0"
                linear(f"{block}.attn.{projection}", qkv, part, bias=projection != "key")
            linear(f"{block}.attn.out", f"{theirs}/self_attention/linear_1")
            if side == "decoder":
                layer_norm(f"{block}.cross_attn_ln", f"{theirs}/attention/layer_norm")
                linear(f"{block}.cross_attn.query", f"{theirs}/attention/linear_0")
                linear(f"{block}.cross_attn.key", f"{theirs}/attention/linear_1", 0, bias=False)
                linear(f"{block}.cross_attn.value", f"{theirs}/attention/linear_1", 1)
                linear(f"{block}.cross_attn.out", f"{theirs}/attention/linear_2")
            layer_norm(f"{block}.mlp_ln", f"{theirs}/ffn/layer_norm")
            linear(f"{block}.mlp.0", f"{theirs}/ffn/linear_0")
            linear(f"{block}.mlp.2", f"{theirs}/ffn/linear_1")
    return sources


def _rows(file: MappedFile, source: TensorSource, rows: slice, theirs: str) -> TensorSource:
    """Rows of a tensor that joins several."""
    if not source.shape or source.shape[0] < rows.stop:
        raise CheckpointError(
            f"{file.path}: {theirs} is {source.shape}; {rows.stop} rows are needed. It is damaged."
        )
    row_bytes = prod(source.shape[1:]) * ITEMSIZE[source.dtype]
    shape = (rows.stop - rows.start, *source.shape[1:])
    return TensorSource(file, source.dtype, shape, source.offset + rows.start * row_bytes)


def _scaled(
    file: MappedFile, source: TensorSource, scale: TensorSource | None, rows: slice | None, theirs: str
) -> ScaledSource:
    if scale is None or not scale.is_float or not source.shape:
        raise CheckpointError(f"{file.path}: {theirs} is {source.dtype} and has no scale; it is damaged.")
    if scale.shape and rows is not None:
        scale = _rows(file, scale, rows, f"{theirs}_scale")
    if scale.shape not in ((), (1,), source.shape[:1]):
        raise CheckpointError(
            f"{file.path}: {theirs}_scale is {scale.shape}; {source.shape[0]} rows need one each. It is damaged."
        )
    return ScaledSource(file, source.dtype, source.shape, source.offset, None, scale)
