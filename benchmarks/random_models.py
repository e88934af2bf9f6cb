"""Models of true size with random weights: for speed and numerics, where no weights can be downloaded.

In: a size name. Out: a Hugging Face folder (config, generation config, float16 safetensors) that any engine reads.
Knows nothing of: engines.

    python -m benchmarks.random_models tiny base --out models

Weights are normal with the spread of a trained model: 1/sqrt(fan-in), smaller for embeddings, norms around one.
Speed does not depend on the values; what such a model says means nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from whisperlite.checkpoint import PUBLISHED, Dims, published
from whisperlite.checkpoint.names import POSITIONAL, expected_shapes, hf_name, sinusoids


def random_tensor(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A float16 tensor with the spread that a trained one of this name has."""
    if name == POSITIONAL:
        return sinusoids(*shape).astype(np.float16)
    values = rng.standard_normal(shape, dtype=np.float32)
    if "_ln" in name or "ln_post" in name or name.startswith("decoder.ln"):
        values = values * np.float32(0.1) + np.float32(name.endswith("weight"))
    elif "embedding" in name or name.endswith("bias"):
        values *= np.float32(0.02)
    else:
        values /= np.sqrt(np.float32(np.prod(shape[1:])))
    return values.astype(np.float16)


def hf_config(dims: Dims) -> dict[str, object]:
    """``config.json`` of a model of these sizes."""
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "activation_function": "gelu",
        "d_model": dims.n_audio_state,
        "encoder_layers": dims.n_audio_layer,
        "encoder_attention_heads": dims.n_audio_head,
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "decoder_layers": dims.n_text_layer,
        "decoder_attention_heads": dims.n_text_head,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "num_mel_bins": dims.n_mels,
        "max_source_positions": dims.n_audio_ctx,
        "max_target_positions": dims.n_text_ctx,
        "vocab_size": dims.n_vocab,
        "bos_token_id": 50257,
        "eos_token_id": 50257,
        "pad_token_id": 50257,
        "decoder_start_token_id": 50258,
        "is_encoder_decoder": True,
        "num_hidden_layers": dims.n_audio_layer,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "use_cache": True,
    }


def write_random_model(folder: Path, dims: Dims, seed: int = 0) -> Path:
    """Write a random model of these sizes; gives the folder."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    tensors = {hf_name(name): random_tensor(name, shape, rng) for name, shape in expected_shapes(dims).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hf_config(dims), indent=1))
    return folder


def cached_random_model(size: str, root: Path | None = None) -> Path:
    """The folder of a random model of a published size, made at the first call under ``root``.

    Raises
    ------
    ValueError
        The size is not a published one.
    """
    row = published(size)
    if row is None:
        raise ValueError(f"{size!r} is not one of {', '.join(PUBLISHED)}")
    folder = (root or Path(".cache") / "random-models") / row.name
    if not (folder / "config.json").is_file():  # written last
        write_random_model(folder, row.dims)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Write models of true size with random weights.")
    parser.add_argument("sizes", nargs="+", help=", ".join(PUBLISHED))
    parser.add_argument("--out", type=Path, default=None, help="folder; default .cache/random-models")
    arguments = parser.parse_args()
    for size in arguments.sizes:
        print(cached_random_model(size, arguments.out))


if __name__ == "__main__":
    main()
