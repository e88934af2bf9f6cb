"""Attention: packing keys and values, attending to them, the decoder's cache.

In: a node, its buffers and attributes. Out: calls. Knows nothing of: layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whisperlite.graph import NodeId
from whisperlite.kernels import attention, attention_cached, attention_int8
from whisperlite.kernels.registry import Kernel
from whisperlite.runtime.lower.call import (
    PANEL,
    SCRATCH,
    Call,
    Lower,
    Lowering,
    Ref,
    float_bits,
    kernel_for,
)

ATTENTION = {
    "float32": attention.attention_packed_f32,
    "float16": attention.attention_packed_f16,
    "int8": attention_int8.attention_packed_int8,
}
SCORES = {
    "float32": attention.cross_scores_f32,
    "float16": attention.cross_scores_f16,
    "int8": attention_int8.cross_scores_int8,
}

# Query rows from which blocks of them are faster; fewer are added up as in a decode step.
BLOCKED_FROM = 16


def lower_pack(kernels: dict[str, Kernel], name: str) -> Lower:
    def lower(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
        (x,) = low.plan.graph[node].inputs
        source = low.buffer(x)
        arguments: dict[str, int | Ref] = {
            name: low.pointer(x),
            f"{name}_batch": source.strides[0],
            f"ld{name}": source.strides[1],
            "n_batch": source.shape[0],
            "n_ctx": source.shape[1],
            "n_head": attrs["n_head"],
            "head_size": source.shape[2] // attrs["n_head"],
            "panels": low.pointer(node),
        }
        kernel, scratch = kernels[attrs["dtype"]], 0
        if "scratch" in kernel.params:
            scratch = 4 * PANEL * source.shape[2] // attrs["n_head"]  # a float32 panel is the most that any needs
            arguments |= {"scratch": Ref((SCRATCH, ""), 0), "scratch_bytes": scratch}
        return [Call(node, kernel, arguments, 0, 8 * int(np.prod(source.shape)), scratch)]

    return lower


def _audio_arguments(low: Lowering, keys: NodeId, audio_rows: tuple[NodeId, ...]) -> dict[str, int | Ref]:
    return {
        "audio_rows": low.pointer(audio_rows[0]) if audio_rows else 0,
        "n_audio": low.buffer(keys).shape[0],
        "key_panels": low.pointer(keys),
    }


def lower_attention_packed(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    q, keys, values, *audio_rows = low.plan.graph[node].inputs
    source, target = low.buffer(q), low.buffer(node)
    n_batch, n_new, n_state = source.shape
    head_size = n_state // attrs["n_head"]
    scratch = attention.attention_scratch_bytes(head_size)
    arguments: dict[str, int | Ref] = {
        "q": low.pointer(q),
        "q_batch": source.strides[0],
        "ldq": source.strides[1],
        "n_new": n_new,
        **_audio_arguments(low, keys, tuple(audio_rows)),
        "value_panels": low.pointer(values),
        "n_ctx": attrs["n_ctx"],
        "n_head": attrs["n_head"],
        "head_size": head_size,
        "scale_bits": float_bits(head_size**-0.5),
        "out": low.pointer(node),
        "out_batch": target.strides[0],
        "ldo": target.strides[1],
        "scratch": Ref((SCRATCH, ""), 0),
        "scratch_bytes": scratch,
    }
    n_scores = n_batch * n_new * attrs["n_head"] * attrs["n_ctx"]
    n_bytes = low.buffer(keys).n_bytes + low.buffer(values).n_bytes + 8 * n_batch * n_new * n_state
    return [
        Call(node, kernel_for(ATTENTION, low, node, keys), arguments, 4 * n_scores * head_size, n_bytes, scratch)
    ]


def lower_cross_scores(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    q, keys, *audio_rows = low.plan.graph[node].inputs
    source, target = low.buffer(q), low.buffer(node)
    n_batch, n_new, n_state = source.shape
    head_size = n_state // attrs["n_head"]
    heads = np.array(attrs["heads"], np.int32)
    scratch = attention.attention_scratch_bytes(head_size)
    arguments: dict[str, int | Ref] = {
        "q": low.pointer(q),
        "q_batch": source.strides[0],
        "ldq": source.strides[1],
        "n_batch": n_batch,
        "n_new": n_new,
        **_audio_arguments(low, keys, tuple(audio_rows)),
        "n_ctx": attrs["n_ctx"],
        "n_head": attrs["n_head"],
        "head_size": head_size,
        "scale_bits": float_bits(head_size**-0.5),
        "heads": low.constant(heads),
        "n_heads": len(heads),
        "out": low.pointer(node),
        "ldo": target.strides[2],
        "scratch": Ref((SCRATCH, ""), 0),
        "scratch_bytes": scratch,
    }
    flops = 2 * n_batch * n_new * len(heads) * attrs["n_ctx"] * head_size
    return [Call(node, kernel_for(SCORES, low, node, keys), arguments, flops, 0, scratch)]


def lower_cache_append(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    new, cache, past, own_rows = low.plan.graph[node].inputs
    source, target = low.buffer(new), low.buffer(cache)
    arguments: dict[str, int | Ref] = {
        "new": low.pointer(new),
        "new_batch": source.strides[0],
        "ldn": source.strides[1],
        "n_batch": source.shape[0],
        "n_new": source.shape[1],
        "past": low.pointer(past),
        "own_rows": low.pointer(own_rows),
        "n_state": source.shape[2],
        "cache": low.pointer(cache),
        "cache_row": target.strides[0],
        "ldc": target.strides[1],
    }
    return [Call(node, attention_cached.cache_append_f32, arguments, 0, 8 * int(np.prod(source.shape)))]


def lower_cached_attention(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    q, keys, values, past, own_rows, cache_rows, *positions = low.plan.graph[node].inputs
    source, cache, target = low.buffer(q), low.buffer(keys), low.buffer(node)
    n_batch, n_rows, n_state = source.shape
    head_size = n_state // attrs["n_head"]
    kernel = attention_cached.cached_attention_f32
    scratch = attention_cached.cached_scratch_bytes(cache.shape[1])
    if n_rows >= BLOCKED_FROM:
        kernel = attention_cached.cached_attention_blocks_f32
        scratch = attention_cached.cached_blocks_scratch_bytes(cache.shape[1], head_size)
    arguments: dict[str, int | Ref] = {
        "q": low.pointer(q),
        "q_batch": source.strides[0],
        "ldq": source.strides[1],
        "n_batch": n_batch,
        "n_rows": n_rows,
        "positions": low.pointer(positions[0]) if positions else 0,
        "past": low.pointer(past),
        "own_rows": low.pointer(own_rows),
        "cache_rows": low.pointer(cache_rows),
        "n_cache": cache.shape[1],
        "keys": low.pointer(keys),
        "values": low.pointer(values),
        "cache_row": cache.strides[0],
        "ldc": cache.strides[1],
        "n_head": attrs["n_head"],
        "head_size": head_size,
        "scale_bits": float_bits(head_size**-0.5),
        "out": low.pointer(node),
        "out_batch": target.strides[0],
        "ldo": target.strides[1],
        "scratch": Ref((SCRATCH, ""), 0),
        "scratch_bytes": scratch,
    }
    n_flops = 2 * n_batch * n_rows * (n_rows + 1) * n_state  # of new positions alone; the past is not known
    return [Call(node, kernel, arguments, n_flops, 0, scratch)]
