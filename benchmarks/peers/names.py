"""Weights of an HF folder by OpenAI's names, with NumPy and safetensors alone.

In: a folder. Out: float32 arrays by name. Knows nothing of: engines.

Peers' environments lack whisperlite, which would read more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

_RULES = (
    ("model.", ""),
    (".layers.", ".blocks."),
    (".self_attn_layer_norm.", ".attn_ln."),
    (".encoder_attn_layer_norm.", ".cross_attn_ln."),
    (".final_layer_norm.", ".mlp_ln."),
    (".self_attn.", ".attn."),
    (".encoder_attn.", ".cross_attn."),
    (".q_proj.", ".query."),
    (".k_proj.", ".key."),
    (".v_proj.", ".value."),
    (".out_proj.", ".out."),
    (".fc1.", ".mlp.0."),
    (".fc2.", ".mlp.2."),
    ("encoder.layer_norm.", "encoder.ln_post."),
    ("decoder.layer_norm.", "decoder.ln."),
    ("encoder.embed_positions.weight", "encoder.positional_embedding"),
    ("decoder.embed_positions.weight", "decoder.positional_embedding"),
    ("decoder.embed_tokens.", "decoder.token_embedding."),
)


def openai_name(name: str) -> str:
    """OpenAI's name of a tensor that Hugging Face calls ``name``."""
    for theirs, ours in _RULES:
        name = name.replace(theirs, ours)
    return name


def hf_weights(folder: Path) -> dict[str, np.ndarray]:
    """Float32 arrays by Hugging Face's names."""
    from safetensors.numpy import load_file

    return {name: value.astype(np.float32) for name, value in load_file(folder / "model.safetensors").items()}


def openai_weights(folder: Path) -> dict[str, np.ndarray]:
    """Float32 arrays by OpenAI's names."""
    return {openai_name(name): value for name, value in hf_weights(folder).items() if name != "proj_out.weight"}
