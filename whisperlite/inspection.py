"""What a model is, what memory it takes, and what is wrong with it.

In: an opened checkpoint. Out: records and sentences.
Knows nothing of: command lines, how a table is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from whisperlite.checkpoint import Checkpoint, Dims, alignment_heads_for, default_alignment_heads, published
from whisperlite.errors import TokenizerError
from whisperlite.graph import make_plan
from whisperlite.model.build import PARTS, graph_of
from whisperlite.model.dtypes import KeptDtypes
from whisperlite.quant import FORMATS, QUANTIZED
from whisperlite.runtime.panels import BYTE_CHUNKS, INT8_HEAD, PANEL, int8_chunk
from whisperlite.runtime.weights import panel_shape
from whisperlite.text import load_vocabulary

_ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "int16": 2}
_TEXT_CTX = 448  # of every published model


@dataclass(frozen=True)
class Memory:
    """Bytes that a compute type takes while one window is transcribed greedily; the interpreter is extra.

    Attributes
    ----------
    weights, caches, arena : int
        Packed parameters; keys and values of the audio and of past tokens; values between ops.
    """

    weights: int
    caches: int
    arena: int

    @property
    def total(self) -> int:
        return self.weights + self.caches + self.arena


def memory_needed(checkpoint: Checkpoint, compute_type: str) -> Memory:
    """Memory of a model under a compute type, from the plans of its three parts.

    Raises
    ------
    OptionError
        There is no such compute type.
    """
    dims = checkpoint.dims
    kept = KeptDtypes(compute_type, {name: checkpoint.dtype(name) for name in checkpoint.names()}, "numba")
    n_prompt = dims.n_text_ctx // 2
    sizes = {"A": 1, "B": 1, "N": 1, "R": 1, "T": dims.n_audio_ctx, "U": n_prompt}
    weights: dict[Any, int] = {}
    caches, arena = 0, 0
    for part in PARTS:
        graph = graph_of(part, dims, kept=kept)
        plan = make_plan(graph, sizes)
        for _, node in graph:
            if node.op == "weight":
                shape = node.fact.evaluate(sizes)
                weights[node.attrs["parts"], node.fact.dtype] = _packed_bytes(shape, node.fact.dtype)
        arena = max(arena, plan.arena_bytes)
        if part == "decoder":
            caches = sum(plan.buffers[node].n_bytes for node in plan.inputs.values())
    return Memory(sum(weights.values()), caches, arena)


def _packed_bytes(shape: tuple[int, ...], dtype: str) -> int:
    if dtype in BYTE_CHUNKS:
        n_in = prod(shape[1:])
        return -(-shape[0] // PANEL) * PANEL * (n_in + INT8_HEAD * n_in // int8_chunk(shape[1], dtype))
    if dtype in _ITEM_BYTES:
        axis = 0 if len(shape) > 1 else -1  # a matrix has panels of whole rows
        padded = prod(shape) // shape[axis] * (-(-shape[axis] // PANEL) * PANEL)
        return padded * _ITEM_BYTES[dtype]
    bits, size, zero = panel_shape(dtype)
    block_bytes = 2 * (1 if zero is not None else 2) + bits * size // 8
    return -(-shape[0] // PANEL) * PANEL * (shape[1] // size) * block_bytes


def stored_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor as it is stored."""
    if dtype in QUANTIZED:
        return prod(shape[:-1]) * FORMATS[dtype].row_bytes(shape[-1])
    return prod(shape) * _ITEM_BYTES[dtype]


def findings(checkpoint: Checkpoint) -> list[str]:
    """What is wrong or unusual about a model, one sentence each; empty where nothing is."""
    return [
        *_of_heads(checkpoint),
        *_of_lengths(checkpoint.dims, checkpoint.config, checkpoint.generation_config),
        *_of_tasks(checkpoint.dims),
        *_of_vocabulary(checkpoint),
        *_of_generation(checkpoint.dims, checkpoint.generation_config),
    ]


def _of_heads(checkpoint: Checkpoint) -> list[str]:
    dims, given = checkpoint.dims, checkpoint.generation_config.get("alignment_heads")
    if given is not None:
        if [list(pair) for pair in checkpoint.alignment_heads] == given:
            return []
        return [
            f"alignment_heads of its generation config are not heads of a decoder of {dims.n_text_layer} layers of "
            f"{dims.n_text_head} (a distilled model often keeps its teacher's); they are ignored for word times."
        ]
    if alignment_heads_for(dims, checkpoint.path.name) != default_alignment_heads(dims):
        return []
    return [
        "nobody published alignment heads for these sizes and the model names none: word times average every "
        "head of the last half of the decoder, and are rougher; give alignment_heads where you know them."
    ]


def _of_lengths(dims: Dims, config: Mapping[str, Any], generation: Mapping[str, Any]) -> list[str]:
    found = []
    if dims.n_text_ctx != _TEXT_CTX:
        found.append(text_ctx_finding(dims.n_text_ctx))
    for name, values in (("config.json", config), ("generation_config.json", generation)):
        length = values.get("max_length")
        if type(length) is int and 20 < length < dims.n_text_ctx:
            found.append(
                f"max_length of {name} is {length}: transformers ends a window there, and whisper.cpp's converter "
                f"takes it for n_text_ctx; whisperlite goes by max_target_positions, {dims.n_text_ctx}."
            )
    return found


def text_ctx_finding(n_text_ctx: int) -> str:
    """What a number of text positions that is not Whisper's comes from."""
    return (
        f"n_text_ctx is {n_text_ctx}, not {_TEXT_CTX}: converters take it from max_length of a fine-tune's config "
        "by mistake; convert the Hugging Face folder again, with whisperlite convert."
    )


def _of_tasks(dims: Dims) -> list[str]:
    turbo = published("large-v3-turbo")
    assert turbo is not None
    if dims == turbo.dims:
        return ["turbo was not trained to translate: task translate writes down the spoken language."]
    if dims.n_text_layer < dims.n_audio_layer and dims.is_multilingual:
        return [
            f"a distilled decoder ({dims.n_text_layer} of {dims.n_audio_layer} layers): such models were trained "
            "on English, without translation; other languages and task translate may give nonsense."
        ]
    return []


def _of_vocabulary(checkpoint: Checkpoint) -> list[str]:
    n_vocab, found = checkpoint.dims.n_vocab, []
    try:
        whole = load_vocabulary(n_vocab)
    except TokenizerError as error:
        return [f"{error} Tokens were added or removed; whisperlite cannot read its text."]
    if checkpoint.tokens is not None and len(checkpoint.tokens) < whole.eot - 1:
        found.append(f"the file has {len(checkpoint.tokens)} tokens; n_vocab {n_vocab} needs {whole.eot}.")
    for path in checkpoint.tokenizer_files:
        try:
            if load_vocabulary(n_vocab, [path], strict=True).token_bytes(1000) != whole.token_bytes(1000):
                found.append(f"{path.name} has other tokens than OpenAI's; they are used.")
        except TokenizerError as error:
            found.append(f"its tokenizer does not fit: {error}")
    try:
        load_vocabulary(n_vocab, checkpoint.tokenizer_files, checkpoint.tokens).non_speech_tokens  # noqa: B018
    except TokenizerError as error:
        found.append(f"its vocabulary: {error}")
    return found


def _of_generation(dims: Dims, generation: Mapping[str, Any]) -> list[str]:
    found = []
    said = generation.get("is_multilingual")
    if isinstance(said, bool) and said != dims.is_multilingual:
        found.append(
            f"its generation config says is_multilingual {said}; n_vocab {dims.n_vocab} says "
            f"{dims.is_multilingual}, and goes."
        )
    marker, wanted = generation.get("no_timestamps_token_id"), dims.n_vocab - 1502
    if type(marker) is int and marker != wanted:
        found.append(f"its generation config has no_timestamps_token_id {marker}; n_vocab says {wanted}, and goes.")
    if generation.get("forced_decoder_ids"):
        found.append("forced_decoder_ids of its generation config are ignored: give language and task.")
    return found
