"""A model file, opened: sizes, names, tensors.

In: ``TensorSource`` by name, ``Dims``, configs. Out: ``Checkpoint``, complete and of the right shapes.
Knows nothing of: file formats, kernels, what a tensor is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from whisperlite.checkpoint.dims import Dims
from whisperlite.checkpoint.names import POSITIONAL, TIED, TOKEN_EMBEDDING, block_of, expected_shapes, sinusoids
from whisperlite.checkpoint.published import Heads, alignment_heads_for
from whisperlite.checkpoint.source import MappedFile, TensorSource
from whisperlite.errors import CheckpointError, OptionError
from whisperlite.trace import debug

_TOKENIZER_FILES = (
    "tokenizer.json", "multilingual.tiktoken", "gpt2.tiktoken", "vocabulary.json", "vocabulary.txt",
)  # fmt: skip


class Checkpoint:
    """Tensors of a Whisper model in OpenAI's names; a context manager.

    Attributes
    ----------
    path : Path
        The file or folder that was opened.
    dims : Dims
        Sizes; every tensor has been checked against them.
    alignment_heads : tuple of (int, int)
        Cross-attention heads, (decoder layer, head), for word times: from the generation config, else as published
        for this size, else all of the last half of the layers.
    config, generation_config : dict
        Contents of the JSON files beside the tensors; empty where there are none.
    tokenizer_files : tuple of Path
        Vocabulary files beside the tensors, the best source first.
    tokens : tuple of bytes, or None
        Text tokens by id, where the model file itself has them.
    """

    def __init__(
        self,
        path: Path,
        dims: Dims,
        sources: Mapping[str, TensorSource],
        files: Sequence[MappedFile],
        configs: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
    ) -> None:
        self.path = path
        self.dims = dims
        self.tokens: tuple[bytes, ...] | None = None
        self.config, self.generation_config = configs
        self.alignment_heads = _alignment_heads(dims, self.generation_config, path)
        folder = path if path.is_dir() else path.parent
        self.tokenizer_files = tuple(folder / name for name in _TOKENIZER_FILES if (folder / name).is_file())
        self._sources = _checked(path, dims, sources)
        self._files = tuple(files)
        self._closed = False

    def names(self) -> tuple[str, ...]:
        """Every tensor of the model, in the order of the data."""
        return tuple(expected_shapes(self.dims))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor.

        Raises
        ------
        CheckpointError
            The model has no tensor of that name.
        """
        return self._named(name)[0]

    def dtype(self, name: str) -> str:
        """``float32``, ``float16``, ``bfloat16`` or ``float64``: as stored, not as read.

        Raises
        ------
        CheckpointError
            The model has no tensor of that name.
        """
        source = self._named(name)[1]
        return "float32" if source is None else source.dtype

    def read(self, name: str) -> np.ndarray:
        """A tensor, float32 or float16, C order, read-only when it is a view of the mapped file.

        bfloat16 (exactly) and float64 become float32. A view keeps the mapping alive after ``close``.

        Raises
        ------
        CheckpointError
            The model has no tensor of that name, or the checkpoint is closed.
        """
        shape, source = self._named(name)
        if self._closed:
            raise CheckpointError(f"{self.path} is closed; open the checkpoint again to read {name!r}.")
        return sinusoids(*shape) if source is None else source.read(name)

    def release(self) -> None:
        """Drop the pages read so far from this process's memory; whoever has packed a tensor needs them no more."""
        for file in self._files:
            file.release()

    def close(self) -> None:
        """Release the mapped files; arrays that are views of them stay valid. Closing twice is fine."""
        self._closed = True
        for file in self._files:
            file.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, {self.dims})"

    def _named(self, name: str) -> tuple[tuple[int, ...], TensorSource | None]:
        if name in self._sources:
            source = self._sources[name]
            return source.shape, source
        if name == POSITIONAL:
            return (self.dims.n_audio_ctx, self.dims.n_audio_state), None
        raise CheckpointError(f"{name[:80]!r} is not a tensor of this model; names() lists them.")


def _checked(path: Path, dims: Dims, sources: Mapping[str, TensorSource]) -> dict[str, TensorSource]:
    """The model's own tensors, each of the shape that dims say."""
    expected = expected_shapes(dims)
    missing = [name for name in expected if name not in sources and name != POSITIONAL]
    if missing:
        some = ", ".join(missing[:3]) + (" and more" if len(missing) > 3 else "")
        raise CheckpointError(f"{path} lacks {len(missing)} of {len(expected)} tensors: {some}.")
    for name, shape in expected.items():
        source = sources.get(name)
        if source is None:
            debug(1, f"{path} has no {name}; sinusoids are computed")
        elif source.shape != shape:
            raise CheckpointError(f"{name!r} is {source.shape}; dims say {shape}.")
        elif not source.is_float:
            raise CheckpointError(f"{name!r} is {source.dtype}; weights are float32, float16 or bfloat16.")
    for name in sources:
        if name in expected:
            continue
        block = block_of(name)
        if block is not None:
            side, layer = block
            n_layer = dims.n_audio_layer if side == "encoder" else dims.n_text_layer
            if layer >= n_layer:
                raise CheckpointError(f"{name[:80]!r} is in {path}; dims say {n_layer} {side} layers.")
        debug(1, f"{path}: tensor {name[:80]} is not part of the model, ignored")
    _check_tied(path, sources)
    return {name: sources[name] for name in expected if name in sources}


def _check_tied(path: Path, sources: Mapping[str, TensorSource]) -> None:
    """Refuse an output projection of its own: Whisper's is the token embedding."""
    tied, embedding = sources.get(TIED), sources[TOKEN_EMBEDDING]
    if tied is None or (tied.file, tied.offset) == (embedding.file, embedding.offset):
        return
    if tied.shape == embedding.shape and tied.is_float:
        every = max(1, embedding.shape[0] // 256)  # a sample of rows: the whole may be 250 MB
        if np.array_equal(tied.read(TIED, every), embedding.read(TOKEN_EMBEDDING, every)):
            return
    raise CheckpointError(f"{path} has a {TIED} unlike its token embedding; Whisper ties the two.")


def _alignment_heads(dims: Dims, generation_config: Mapping[str, Any], path: Path) -> Heads:
    given = generation_config.get("alignment_heads")
    if given is None:
        return alignment_heads_for(dims, path.name)
    if isinstance(given, list) and given and all(_is_head(pair, dims) for pair in given):
        return tuple((layer, head) for layer, head in given)
    # Distilled models carry their teacher's heads, in layers they do not have.
    debug(1, f"{path}: alignment_heads of generation_config.json are not heads of this model, ignored")
    return alignment_heads_for(dims, path.name)


def checked_heads(dims: Dims, heads: Heads) -> Heads:
    """Heads that a caller gives in place of the model's.

    Raises
    ------
    OptionError
        There are none, or one is not of this model.
    """
    for layer, head in heads:
        if not (0 <= layer < dims.n_text_layer and 0 <= head < dims.n_text_head):
            raise OptionError(
                f"alignment head {(layer, head)} is not of {dims.n_text_layer} layers of {dims.n_text_head} heads."
            )
    if not heads:
        raise OptionError(
            "alignment_heads is empty; give (layer, head) pairs, or leave it out for the model's own."
        )
    return tuple((int(layer), int(head)) for layer, head in heads)


def _is_head(pair: object, dims: Dims) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(index) is int for index in pair)
        and 0 <= pair[0] < dims.n_text_layer
        and 0 <= pair[1] < dims.n_text_head
    )
