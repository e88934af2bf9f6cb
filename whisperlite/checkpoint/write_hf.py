"""Write Hugging Face folders.

In: ``Checkpoint``, vocabulary data. Out: ``model.safetensors`` with its configs and tokenizer.
Knows nothing of: where a vocabulary comes from.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from whisperlite.checkpoint.checkpoint import Checkpoint
from whisperlite.checkpoint.names import expected_shapes, hf_name
from whisperlite.checkpoint.write import Progress, replaced_folder
from whisperlite.checkpoint.write_ggml import to_float16
from whisperlite.errors import OptionError

KINDS = {"f32": ("F32", "float32"), "f16": ("F16", "float16")}
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json")


def write_hf(
    checkpoint: Checkpoint,
    folder: str | Path,
    kind: str,
    special_tokens: Mapping[str, int] | None = None,
    tokenizer_json: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a model as a folder that transformers, faster-whisper's converter and whisperlite read.

    Configs are the checkpoint's own where it has them, otherwise made from its sizes and special tokens.

    Parameters
    ----------
    folder
        New, empty, or a model written before: an old one is replaced at once when the new one is whole.
    kind
        ``f32`` or ``f16``: every tensor's dtype.
    special_tokens
        Ids by name, ``"<|endoftext|>"`` and on; without them a generation config is not made.
    tokenizer_json
        Contents of that file; without them it is not written.

    Raises
    ------
    OptionError
        There is no such dtype, or the folder has files that are not a model's.
    CheckpointError
        A weight is not finite in float16, or a file cannot be written.
    """
    folder = Path(folder)
    if kind not in KINDS:
        raise OptionError(f"type {kind!r} is not one of an HF folder's: {', '.join(KINDS)}. ggml has the others.")
    if folder.exists():
        others = [p.name for p in folder.iterdir() if p.name not in FILES] if folder.is_dir() else [folder.name]
        if others:
            raise OptionError(f"{folder} has {others[0]!r}, which is no model file; give a new folder.")
    with replaced_folder(folder) as temporary:
        _write_safetensors(temporary / "model.safetensors", checkpoint, kind, progress)
        _write_json(temporary / "config.json", _config(checkpoint, kind))
        generation_config = _generation_config(checkpoint, special_tokens)
        if generation_config:
            _write_json(temporary / "generation_config.json", generation_config)
        _write_json(temporary / "preprocessor_config.json", _preprocessor_config(checkpoint))
        if tokenizer_json is not None:
            (temporary / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    return folder


def _write_safetensors(path: Path, checkpoint: Checkpoint, kind: str, progress: Progress | None) -> None:
    """One tensor at a time: the package's own writer holds a copy of all of them."""
    stored, dtype = KINDS[kind]
    shapes = expected_shapes(checkpoint.dims)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        header[hf_name(name)] = {"dtype": stored, "shape": list(shape), "data_offsets": [at, at + n_bytes]}
        at += n_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "xb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for done, name in enumerate(shapes, 1):
            values = checkpoint.read(name)
            data = to_float16(values, name) if kind == "f16" else np.ascontiguousarray(values, "<f4")
            file.write(data.data.cast("B"))
            if progress is not None:
                progress(name, done, len(shapes))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _config(checkpoint: Checkpoint, kind: str) -> dict[str, Any]:
    dtype = KINDS[kind][1]
    if checkpoint.config:
        return {**checkpoint.config, "torch_dtype": dtype}
    dims = checkpoint.dims
    eot = dims.n_vocab - 1501 - 8 - dims.num_languages
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "activation_function": "gelu",
        "d_model": dims.n_text_state,
        "encoder_layers": dims.n_audio_layer,
        "encoder_attention_heads": dims.n_audio_head,
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "decoder_layers": dims.n_text_layer,
        "decoder_attention_heads": dims.n_text_head,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "num_hidden_layers": dims.n_audio_layer,
        "num_mel_bins": dims.n_mels,
        "max_source_positions": dims.n_audio_ctx,
        "max_target_positions": dims.n_text_ctx,
        "vocab_size": dims.n_vocab,
        "bos_token_id": eot,
        "eos_token_id": eot,
        "pad_token_id": eot,
        "decoder_start_token_id": eot + 1,
        "begin_suppress_tokens": [220, eot],
        "is_encoder_decoder": True,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "torch_dtype": dtype,
        "use_cache": True,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
    }


def _generation_config(checkpoint: Checkpoint, special_tokens: Mapping[str, int] | None) -> dict[str, Any]:
    heads = [list(pair) for pair in checkpoint.alignment_heads]
    if checkpoint.config and checkpoint.generation_config:
        return {**checkpoint.generation_config, "alignment_heads": heads}
    if special_tokens is None:
        return {}
    eot, sot = special_tokens["<|endoftext|>"], special_tokens["<|startoftranscript|>"]
    content: dict[str, Any] = {
        "alignment_heads": heads,
        "bos_token_id": eot,
        "eos_token_id": eot,
        "pad_token_id": eot,
        "decoder_start_token_id": sot,
        "max_length": checkpoint.dims.n_text_ctx,
        "max_initial_timestamp_index": 50,
        "no_timestamps_token_id": special_tokens["<|notimestamps|>"],
        "prev_sot_token_id": special_tokens["<|startofprev|>"],
        "return_timestamps": False,
        "begin_suppress_tokens": [220, eot],
        "is_multilingual": checkpoint.dims.is_multilingual,
    }
    if checkpoint.dims.is_multilingual:
        translate, transcribe = special_tokens["<|translate|>"], special_tokens["<|transcribe|>"]
        content["lang_to_id"] = {name: id for name, id in special_tokens.items() if sot < id < translate}
        content["task_to_id"] = {"transcribe": transcribe, "translate": translate}
    return content


def _preprocessor_config(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": checkpoint.dims.n_mels,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": 16000,
    }
