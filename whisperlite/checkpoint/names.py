"""Names and shapes of a Whisper model's tensors.

In: ``Dims``, and names in Hugging Face's or OpenAI's way. Out: OpenAI's names; the shape each must have.
Knows nothing of: files and formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from whisperlite.checkpoint.dims import Dims

POSITIONAL = "encoder.positional_embedding"
TOKEN_EMBEDDING = "decoder.token_embedding.weight"
TIED = "proj_out.weight"

_HF_MODULE = {
    "self_attn": "attn",
    "encoder_attn": "cross_attn",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
}
_HF_PROJECTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
_HF_TOP = {
    "encoder.embed_positions.weight": POSITIONAL,
    "decoder.embed_positions.weight": "decoder.positional_embedding",
    "decoder.embed_tokens.weight": TOKEN_EMBEDDING,
    "encoder.layer_norm.weight": "encoder.ln_post.weight",
    "encoder.layer_norm.bias": "encoder.ln_post.bias",
    "decoder.layer_norm.weight": "decoder.ln.weight",
    "decoder.layer_norm.bias": "decoder.ln.bias",
}
_HF_LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d{1,4})\.(\w+)(?:\.(\w+_proj))?\.(weight|bias)")
_OPENAI_LAYER = re.compile(
    r"(encoder|decoder)\.blocks\.(\d{1,4})\.(mlp\.[02]|\w+?)(?:\.(query|key|value|out))?\.(weight|bias)"
)
_BLOCK = re.compile(r"(encoder|decoder)\.blocks\.(\d{1,4})\.")


def openai_name(name: str) -> str:
    """OpenAI's name of a tensor named in Hugging Face's way, with or without the ``model.`` prefix.

    A name of neither kind, or OpenAI's own, comes back without the prefix and otherwise unchanged.
    """
    name = name.removeprefix("model.")
    if name in _HF_TOP:
        return _HF_TOP[name]
    match = _HF_LAYER.fullmatch(name)
    if match is None:
        return name
    side, layer, module, projection, kind = match.groups()
    ours = _HF_MODULE.get(module, module)
    if projection is not None:
        ours += "." + _HF_PROJECTION.get(projection, projection)
    return f"{side}.blocks.{int(layer)}.{ours}.{kind}"


def hf_name(name: str) -> str:
    """Hugging Face's name of a tensor named in OpenAI's way: the inverse of ``openai_name``."""
    for theirs, ours in _HF_TOP.items():
        if name == ours:
            return f"model.{theirs}"
    match = _OPENAI_LAYER.fullmatch(name)
    if match is None:
        return f"model.{name}"
    side, layer, module, projection, kind = match.groups()
    theirs = next((hf for hf, ours in _HF_MODULE.items() if ours == module), module)
    if projection is not None:
        theirs += "." + next(hf for hf, ours in _HF_PROJECTION.items() if ours == projection)
    return f"model.{side}.layers.{layer}.{theirs}.{kind}"


def block_of(name: str) -> tuple[str, int] | None:
    """``("encoder", 3)`` for a tensor of ``encoder.blocks.3``; None for one outside the blocks."""
    match = _BLOCK.match(name)
    return (match[1], int(match[2])) if match else None


def expected_shapes(dims: Dims) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a model, in the order of the data, in OpenAI's names.

    ref: openai/whisper model.py (the keys query.bias and value.bias exist, key.bias does not)
    """
    state, vocab = dims.n_text_state, dims.n_vocab
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (state, dims.n_mels, 3),
        "encoder.conv1.bias": (state,),
        "encoder.conv2.weight": (state, state, 3),
        "encoder.conv2.bias": (state,),
        POSITIONAL: (dims.n_audio_ctx, state),
    }
    for layer in range(dims.n_audio_layer):
        shapes.update(_block_shapes(f"encoder.blocks.{layer}", state, cross=False))
    shapes.update(_layer_norm("encoder.ln_post", state))
    shapes[TOKEN_EMBEDDING] = (vocab, state)
    shapes["decoder.positional_embedding"] = (dims.n_text_ctx, state)
    for layer in range(dims.n_text_layer):
        shapes.update(_block_shapes(f"decoder.blocks.{layer}", state, cross=True))
    shapes.update(_layer_norm("decoder.ln", state))
    return shapes


def _block_shapes(block: str, state: int, cross: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    for attention in ("attn", "cross_attn") if cross else ("attn",):
        yield from _layer_norm(f"{block}.{attention}_ln", state)
        for projection in ("query", "key", "value", "out"):
            yield f"{block}.{attention}.{projection}.weight", (state, state)
            if projection != "key":
                yield f"{block}.{attention}.{projection}.bias", (state,)
    yield from _layer_norm(f"{block}.mlp_ln", state)
    yield f"{block}.mlp.0.weight", (4 * state, state)
    yield f"{block}.mlp.0.bias", (4 * state,)
    yield f"{block}.mlp.2.weight", (state, 4 * state)
    yield f"{block}.mlp.2.bias", (state,)


def _layer_norm(name: str, state: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (state,)
    yield f"{name}.bias", (state,)


def sinusoids(length: int, channels: int, max_timescale: float = 10000.0) -> np.ndarray:
    """The encoder's positional embedding, (length, channels) float32: sines, then cosines.

    ref: openai/whisper model.py sinusoids
    """
    half = channels // 2
    step = np.float32(np.log(max_timescale) / max(half - 1, 1))
    rates = np.exp(-step * np.arange(half, dtype=np.float32))  # (half,) float32
    angles = np.arange(length, dtype=np.float32)[:, None] * rates[None, :]  # (length, half)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)  # (length, channels)
