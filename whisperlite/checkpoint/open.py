"""Open a model by what it contains.

In: a path. Out: ``Checkpoint``.
Knows nothing of: names of published models, the hub, tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whisperlite.checkpoint.checkpoint import Checkpoint, checked_heads
from whisperlite.checkpoint.ctranslate2 import looks_like_ctranslate2, open_ctranslate2
from whisperlite.checkpoint.dims import Dims
from whisperlite.checkpoint.ggml import looks_like_ggml, open_ggml
from whisperlite.checkpoint.names import openai_name
from whisperlite.checkpoint.published import Heads
from whisperlite.checkpoint.safetensors import looks_like_safetensors, safetensors_sources
from whisperlite.checkpoint.source import MappedFile, TensorSource
from whisperlite.checkpoint.torchzip import looks_like_zip, torch_values
from whisperlite.errors import CheckpointError, OptionError
from whisperlite.trace import debug

Sources = dict[str, TensorSource]

_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_FORMATS = "an HF folder, a .safetensors file, an OpenAI .pt, a ggml .bin or a CTranslate2 folder"
_MAX_JSON_BYTES = 64 << 20
_OTHER_GGML_MAGICS = (b"GGUF", b"fmgg", b"tjgg", b"ggml")


def open_checkpoint(path: str | Path, alignment_heads: Heads | None = None) -> Checkpoint:
    """Open an HF folder, a ``.safetensors``, OpenAI ``.pt`` or ggml file, or a CTranslate2 folder, by content.

    Tensors are memory-mapped and read when asked for. Nothing in the file is executed.

    Parameters
    ----------
    path
        A folder with ``config.json`` and ``model.safetensors`` (or an index and shards) or CTranslate2's
        ``model.bin``, or a file.
    alignment_heads
        (layer, head) in place of those that the model names or its sizes suggest: a ggml file has none of its own.

    Raises
    ------
    OptionError
        A head is not of this model.
    CheckpointError
        The path is missing, damaged, of another format, or not a Whisper model.

    Examples
    --------
    >>> from whisperlite.checkpoint import open_checkpoint, resolve
    >>> with open_checkpoint(resolve("nano")) as checkpoint:
    ...     checkpoint.dims.n_text_layer, checkpoint.shape("decoder.token_embedding.weight")
    (4, (51865, 128))
    """
    checkpoint = _open(Path(path))
    if alignment_heads is not None:
        try:
            checkpoint.alignment_heads = checked_heads(checkpoint.dims, alignment_heads)
        except OptionError:
            checkpoint.close()
            raise
    return checkpoint


def _open(path: Path) -> Checkpoint:
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give {_FORMATS}.")
    paths = _weights_of_folder(path) if path.is_dir() else (path,)
    files: list[MappedFile] = []
    try:
        for shard in paths:
            files.append(MappedFile(shard))
        head = files[0].bytes_at(0, 32)
        if looks_like_ggml(head):
            return open_ggml(path, files[0])
        if looks_like_ctranslate2(head):
            config_path = files[0].path.parent / "config.json"
            return open_ctranslate2(path, files[0], _read_json(config_path) if config_path.is_file() else {})
        return _open_files(path, files)
    except BaseException:
        for file in files:
            file.close()
        raise


def _open_files(path: Path, files: Sequence[MappedFile]) -> Checkpoint:
    folder = path if path.is_dir() else path.parent
    sources: Sources = {}
    dims = None
    for file in files:
        found, found_dims = _read_file(file)
        dims = found_dims or dims
        for name, source in found.items():
            if sources.setdefault(openai_name(name), source) is not source:
                raise CheckpointError(f"{file.path} has {name[:80]!r} a second time.")
    if dims is not None:
        return Checkpoint(path, dims, sources, files)
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise CheckpointError(f"{path} has no config.json beside it; put the model's own there.")
    config = _read_json(config_path)
    generation_path = folder / "generation_config.json"
    generation_config = _read_json(generation_path) if generation_path.is_file() else {}
    try:
        dims = Dims.from_hf(config)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None
    return Checkpoint(path, dims, sources, files, (config, generation_config))


def _read_file(file: MappedFile) -> tuple[Sources, Dims | None]:
    """Tensors of one file, and the dims where the file itself has them."""
    head = file.bytes_at(0, 16)
    if looks_like_zip(head):
        return _read_torch(file)
    if looks_like_safetensors(head):
        return safetensors_sources(file), None
    if head[:4] in _OTHER_GGML_MAGICS:
        raise CheckpointError(f"{file.path} is a ggml file, but not of whisper.cpp's kind; give {_FORMATS}.")
    if head.startswith(b"\x80\x02\x8a\x0a"):
        raise CheckpointError(
            f"{file.path} is in torch's format from before 1.6; torch.load and torch.save it once with a newer one."
        )
    raise CheckpointError(f"{file.path} is not a model file; give {_FORMATS}.")


def _read_torch(file: MappedFile) -> tuple[Sources, Dims | None]:
    values = torch_values(file)
    if isinstance(values, dict) and isinstance(values.get("dims"), dict):
        tensors = values.get("model_state_dict")
        if not isinstance(tensors, dict):
            raise CheckpointError(f"{file.path} has dims but no model_state_dict; it is not an OpenAI checkpoint.")
        try:
            dims = Dims.from_openai(values["dims"])
        except CheckpointError as error:
            raise CheckpointError(f"{file.path}: {error}") from None
        return _only_tensors(tensors), dims
    found = _only_tensors(values) if isinstance(values, dict) else {}
    if not found:
        raise CheckpointError(f"{file.path} holds no dims and no tensors; it is not a Whisper checkpoint.")
    return found, None


def _only_tensors(values: Mapping[Any, Any]) -> Sources:
    return {
        name: value for name, value in values.items() if isinstance(name, str) and isinstance(value, TensorSource)
    }


def _weights_of_folder(folder: Path) -> tuple[Path, ...]:
    for name in _WEIGHT_FILES:
        if (folder / name).is_file():
            return (folder / name,)
        if (folder / f"{name}.index.json").is_file():
            return _shards(folder / f"{name}.index.json")
    if (folder / "model.bin").is_file():  # CTranslate2's
        return (folder / "model.bin",)
    debug(1, f"{folder} holds {sorted(entry.name for entry in folder.iterdir())[:20]}")
    raise CheckpointError(f"{folder} has no model.safetensors; give {_FORMATS}.")


def _shards(index: Path) -> tuple[Path, ...]:
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index} has no weight_map; fetch the model again.")
    names = sorted({name if isinstance(name, str) else "" for name in places.values()})
    for name in names:
        if not name or Path(name).name != name or "\\" in name or "\0" in name or name in (".", ".."):
            raise CheckpointError(f"{index} names the shard {name[:80]!r}; a shard lies in the same folder.")
        if not (index.parent / name).is_file():
            raise CheckpointError(
                f"{index.parent / name} is missing; {index.name} names it. Fetch the model again."
            )
    return tuple(index.parent / name for name in names)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes; the limit is {_MAX_JSON_BYTES}.")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path} is not valid JSON; fetch it again.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a JSON object; fetch it again.")
    return value
