"""From steps of a plan to kernel calls.

In: a node, its buffers and attributes. Out: ``Call``: a kernel and its arguments by name.
Knows nothing of: threads, memory addresses of external tensors (a ``Ref`` stands for one).

One function per op. Choosing a kernel by dtype happens here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisperlite.errors import BackendError
from whisperlite.graph import Buffer, NodeId, Plan
from whisperlite.kernels import attention, blocks, halves, lstm, matmul, packing, rows
from whisperlite.kernels.registry import Kernel
from whisperlite.runtime.weights import Weights, panel_shape

PANEL = 32
ARENA, SCRATCH = "arena", "scratch"


@dataclass(frozen=True)
class Ref:
    """An address known only when a program runs: a storage and bytes from its start."""

    storage: tuple[str, str]
    offset: int


@dataclass(frozen=True)
class Call:
    """One row of a program table."""

    node: NodeId
    kernel: Kernel
    arguments: dict[str, int | Ref]
    flops: int = 0
    n_bytes: int = 0
    scratch_bytes: int = 0


@dataclass
class Lowering:
    """What the functions below need to know of the plan, and constants they made."""

    plan: Plan
    weights: Weights
    kept: list[NDArray[Any]] = field(default_factory=list)

    def buffer(self, node: NodeId) -> Buffer:
        return self.plan.buffers[node]

    def pointer(self, node: NodeId, offset: int = 0) -> Ref | int:
        buffer = self.buffer(node)
        if buffer.kind == "weight":
            raise BackendError(f"weight '{buffer.key}' has no plain address; ask for its panels or table")
        key = "" if buffer.kind == ARENA else buffer.key
        return Ref((buffer.kind, key), buffer.offset + offset)

    def panels(self, node: NodeId) -> int:
        buffer = self.buffer(node)
        return self.weights.panels(self._parts(node), buffer.shape, buffer.dtype).ctypes.data

    def table(self, node: NodeId) -> NDArray[Any]:
        return self.weights.table(self._parts(node), self.buffer(node).shape)

    def rows_of(self, node: NodeId) -> tuple[Ref | int, int]:
        """Address and row stride of a value, be it computed or a parameter."""
        if self.buffer(node).kind == "weight":
            table = self.table(node)
            return table.ctypes.data, table.strides[-2] if table.ndim > 1 else 0
        return self.pointer(node), self.stride(node)

    def stride(self, node: NodeId) -> int:
        buffer = self.buffer(node)
        return buffer.strides[-2] if len(buffer.strides) > 1 else buffer.n_bytes

    def constant(self, values: NDArray[Any]) -> int:
        """Address of a small array kept as long as the program."""
        self.kept.append(values)
        return values.ctypes.data

    def _parts(self, node: NodeId) -> tuple[str | int, ...]:
        return self.plan.graph[node].attrs["parts"]


def float_bits(value: float) -> int:
    """A float32 as the low 32 bits of an argument word."""
    return int(np.float32(value).view(np.uint32))


def n_rows_of(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[:-1], dtype=np.int64))


def batch_stride(buffer: Buffer) -> int:
    """Bytes between batch entries of a (B, L, D) value; 0 for fewer axes."""
    return buffer.strides[-3] if len(buffer.strides) > 2 else 0


MATMUL = {"float32": matmul.matmul_f32, "float16": matmul.matmul_f16, "bfloat16": matmul.matmul_bf16}
EMBED = {"float32": rows.embed_f32, "float16": halves.embed_f16, "bfloat16": halves.embed_bf16}
ATTENTION = {"float32": attention.attention_packed_f32, "float16": attention.attention_packed_f16}
SCORES = {"float32": attention.cross_scores_f32, "float16": attention.cross_scores_f16}
WEIGHT_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}
# Kernels on quantised weights, by bits of a code, steps of K in a block, and whether it has minima.
BLOCKS = {
    (8, 32, False): (blocks.matmul_b8, blocks.embed_b8),
    (4, 32, False): (blocks.matmul_b4, blocks.embed_b4),
    (4, 32, True): (blocks.matmul_b4m, blocks.embed_b4m),
    (5, 32, False): (blocks.matmul_b5, blocks.embed_b5),
    (5, 32, True): (blocks.matmul_b5m, blocks.embed_b5m),
    (8, 16, False): (blocks.matmul_b8s, blocks.embed_b8s),
    (4, 16, False): (blocks.matmul_b4s, blocks.embed_b4s),
    (4, 16, True): (blocks.matmul_b4sm, blocks.embed_b4sm),
}


@dataclass(frozen=True)
class BlockWeight:
    """A quantised weight as its kernels see it."""

    matmul: Kernel
    embed: Kernel
    size: int
    zero: int  # the kernels' argument: minus the zero point, or 1 with minima
    bytes_per_weight: float


def block_weight(dtype: str) -> BlockWeight | None:
    """Kernels for a quantised dtype; None for a float one."""
    if dtype in WEIGHT_BYTES:
        return None
    bits, size, zero = panel_shape(dtype)
    kernels = BLOCKS.get((bits, size, zero is None))
    if kernels is None:
        return None
    heads = 2 if zero is None else 1
    return BlockWeight(*kernels, size, 1 if zero is None else -zero, bits / 8 + 2 * heads / size)


def kernel_for(kernels: dict[str, Kernel], low: Lowering, node: NodeId, stored: NodeId) -> Kernel:
    """The kernel for the dtype that a weight, or packed keys and values, are stored in.

    Raises
    ------
    BackendError
        There is none.
    """
    dtype = low.buffer(stored).dtype
    if dtype not in kernels:
        op = low.plan.graph[node].op
        raise BackendError(f"op '{op}' has no kernel for {dtype}; use one of {', '.join(kernels)}")
    return kernels[dtype]


def lower_linear(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    inputs = list(low.plan.graph[node].inputs)
    x, weight = inputs[:2]
    rest = inputs[2:]
    bias = rest.pop(0) if attrs["has_bias"] else None
    residual = rest.pop(0) if attrs["has_residual"] else None
    source, target = low.buffer(x), low.buffer(node)
    taps, stride, pad = attrs["taps"], attrs["stride"], attrs["pad"]
    n_in, n_out = source.shape[-1], target.shape[-1]
    lda, ldc = low.stride(x), low.stride(node)
    framed = taps > 1 or stride > 1 or pad > 0
    broadcast = residual is not None and len(low.buffer(residual).shape) != len(source.shape)
    if len(source.shape) == 3 and (framed or broadcast):
        n_batch, n_rows = target.shape[0], target.shape[1] - 2 * pad
        a_batch, c_batch = source.strides[0], target.strides[0]
    else:
        n_batch, n_rows, a_batch, c_batch = 1, n_rows_of(target.shape), 0, 0
    residual_address: Ref | int = 0
    residual_batch, ldr = 0, 0
    if residual is not None:
        residual_address, ldr = low.rows_of(residual)
        residual_batch = batch_stride(low.buffer(residual)) if n_batch > 1 and not broadcast else 0
    packed = block_weight(low.buffer(weight).dtype)
    if packed is not None:
        if framed or n_batch > 1:
            raise BackendError(f"op 'linear' has no kernel for frames and {low.buffer(weight).dtype} weights")
        return [_block_linear(low, node, attrs, packed)]
    calls = []
    if pad:
        calls.append(
            Call(
                node,
                rows.zero_pad_rows,
                {
                    "out": low.pointer(node),
                    "batch_stride": c_batch,
                    "n_batch": n_batch,
                    "n_rows": n_rows,
                    "row_bytes": ldc,
                    "pad": pad,
                },
            )
        )
    n_weights = taps * n_in * n_out
    calls.append(
        Call(
            node,
            kernel_for(MATMUL, low, node, weight),
            {
                "a": low.pointer(x),
                "a_batch": a_batch,
                "lda": lda * stride,
                "n_batch": n_batch,
                "n_rows": n_rows,
                "taps": taps,
                "tap_stride": lda,
                "n_in": n_in,
                "panels": low.panels(weight),
                "n_panels": -(-n_out // PANEL),
                "c": low.pointer(node, pad * ldc),
                "c_batch": c_batch,
                "ldc": ldc,
                "bias": 0 if bias is None else low.table(bias).ctypes.data,
                "residual": residual_address,
                "residual_batch": residual_batch,
                "ldr": ldr,
                "activation": int(attrs["activation"] == "gelu"),
            },
            flops=2 * n_batch * n_rows * n_weights,
            n_bytes=int(WEIGHT_BYTES[low.buffer(weight).dtype] * n_weights) + 4 * n_batch * n_rows * (n_in + n_out),
        )
    )
    return calls


def _block_linear(low: Lowering, node: NodeId, attrs: dict[str, Any], packed: BlockWeight) -> Call:
    inputs = list(low.plan.graph[node].inputs)
    x, weight = inputs[:2]
    rest = inputs[2:]
    bias = low.table(rest.pop(0)).ctypes.data if attrs["has_bias"] else 0
    residual, ldr = low.rows_of(rest.pop(0)) if attrs["has_residual"] else (0, 0)
    shape, n_in = low.buffer(node).shape, low.buffer(x).shape[-1]
    n_rows, n_out = n_rows_of(shape), shape[-1]
    scratch = blocks.block_scratch_bytes(n_in, packed.size)
    arguments: dict[str, int | Ref] = {
        "a": low.pointer(x),
        "lda": low.stride(x),
        "n_rows": n_rows,
        "n_in": n_in,
        "panels": low.panels(weight),
        "n_panels": -(-n_out // PANEL),
        "zero": packed.zero,
        "c": low.pointer(node),
        "ldc": low.stride(node),
        "bias": bias,
        "residual": residual,
        "ldr": ldr,
        "activation": int(attrs["activation"] == "gelu"),
        "scratch": Ref((SCRATCH, ""), 0),
        "scratch_bytes": scratch,
    }
    n_bytes = int(packed.bytes_per_weight * n_in * n_out) + 4 * n_rows * (n_in + n_out)
    return Call(node, packed.matmul, arguments, 2 * n_rows * n_in * n_out, n_bytes, scratch)


def lower_layer_norm(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    x, gamma, beta = low.plan.graph[node].inputs
    shape = low.buffer(node).shape
    n_rows = n_rows_of(shape)
    arguments: dict[str, int | Ref] = {
        "x": low.pointer(x),
        "ldx": low.stride(x),
        "gamma": low.table(gamma).ctypes.data,
        "beta": low.table(beta).ctypes.data,
        "n_rows": n_rows,
        "n_cols": shape[-1],
        "eps_bits": float_bits(attrs["eps"]),
        "out": low.pointer(node),
        "ldo": low.stride(node),
    }
    return [Call(node, rows.layer_norm_f32, arguments, 8 * n_rows * shape[-1], 8 * n_rows * shape[-1])]


def _lower_rows(kernel: Kernel) -> Callable[[Lowering, NodeId, dict[str, Any]], list[Call]]:
    """Ops that make a row of one row."""

    def lower(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
        (x,) = low.plan.graph[node].inputs
        shape = low.buffer(node).shape
        n_rows = n_rows_of(shape)
        arguments: dict[str, int | Ref] = {
            "x": low.pointer(x),
            "ldx": low.stride(x),
            "n_rows": n_rows,
            "n_cols": shape[-1],
            "out": low.pointer(node),
            "ldo": low.stride(node),
        }
        return [Call(node, kernel, arguments, 8 * n_rows * shape[-1], 8 * n_rows * shape[-1])]

    return lower


def lower_lstm(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    gates, weight, state = low.plan.graph[node].inputs
    given, target = low.buffer(gates), low.buffer(node)
    n_steps, n_batch, n_gates = given.shape
    scratch = lstm.lstm_scratch_bytes(n_gates // 4)
    arguments: dict[str, int | Ref] = {
        "gates": low.pointer(gates),
        "gates_step": given.strides[0],
        "ldg": given.strides[1],
        "n_steps": n_steps,
        "n_batch": n_batch,
        "n_hidden": n_gates // 4,
        "panels": low.panels(weight),
        "state": low.pointer(state),
        "lds": low.stride(state),
        "out": low.pointer(node),
        "out_step": target.strides[0],
        "ldo": target.strides[1],
        "scratch": Ref((SCRATCH, ""), 0),
        "scratch_bytes": scratch,
    }
    flops = n_steps * n_batch * n_gates * n_gates // 2
    return [Call(node, lstm.lstm_f32, arguments, flops, 2 * flops, scratch)]


def lower_add(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    x, y = low.plan.graph[node].inputs
    shape = low.buffer(node).shape
    n_rows = n_rows_of(shape)
    y_address, ldy = low.rows_of(y)
    arguments: dict[str, int | Ref] = {
        "x": low.pointer(x),
        "ldx": low.stride(x),
        "y": y_address,
        "ldy": ldy,
        "n_rows": n_rows,
        "n_rows_y": n_rows_of(low.buffer(y).shape),
        "n_cols": shape[-1],
        "out": low.pointer(node),
        "ldo": low.stride(node),
    }
    return [Call(node, rows.add_f32, arguments, n_rows * shape[-1], 12 * n_rows * shape[-1])]


def lower_pad_frames(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    (x,) = low.plan.graph[node].inputs
    source, target = low.buffer(x), low.buffer(node)
    arguments: dict[str, int | Ref] = {
        "x": low.pointer(x),
        "x_batch": source.strides[0],
        "ldx": source.strides[1],
        "n_batch": source.shape[0],
        "n_rows": source.shape[1],
        "n_cols": source.shape[2],
        "pad": attrs["pad"],
        "out": low.pointer(node),
        "out_batch": target.strides[0],
        "ldo": target.strides[1],
    }
    return [Call(node, rows.pad_frames_f32, arguments, 0, 8 * int(np.prod(target.shape)))]


def lower_transpose_frames(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    (mel,) = low.plan.graph[node].inputs
    source, target = low.buffer(mel), low.buffer(node)
    arguments: dict[str, int | Ref] = {
        "mel": low.pointer(mel),
        "mel_batch": source.strides[0],
        "ldm": source.strides[1],
        "n_batch": source.shape[0],
        "n_mels": source.shape[1],
        "n_frames": source.shape[2],
        "pad": attrs["pad"],
        "out": low.pointer(node),
        "out_batch": target.strides[0],
        "ldo": target.strides[1],
    }
    return [Call(node, rows.transpose_frames_f32, arguments, 0, 8 * int(np.prod(target.shape)))]


def _lower_pack(kernels: dict[str, Kernel], name: str) -> Callable[[Lowering, NodeId, dict[str, Any]], list[Call]]:
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
            scratch = 4 * PANEL * source.shape[2] // attrs["n_head"]
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
    scratch = attention.attention_scratch_bytes(attrs["n_ctx"], head_size)
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
    n_audio = low.buffer(keys).shape[0]
    panel_bytes = int(WEIGHT_BYTES[low.buffer(keys).dtype])
    n_bytes = 2 * panel_bytes * n_audio * attrs["n_ctx"] * n_state + 8 * n_batch * n_new * n_state
    return [
        Call(node, kernel_for(ATTENTION, low, node, keys), arguments, 4 * n_scores * head_size, n_bytes, scratch)
    ]


def lower_cross_scores(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    q, keys, *audio_rows = low.plan.graph[node].inputs
    source, target = low.buffer(q), low.buffer(node)
    n_batch, n_new, n_state = source.shape
    head_size = n_state // attrs["n_head"]
    heads = np.array(attrs["heads"], np.int32)
    scratch = attention.attention_scratch_bytes(attrs["n_ctx"], head_size)
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


def lower_embed(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    tokens, past, token_embedding, positional_embedding = low.plan.graph[node].inputs
    n_batch, n_new, n_state = low.buffer(node).shape
    positions = low.table(positional_embedding)
    arguments: dict[str, int | Ref] = {
        "tokens": low.pointer(tokens),
        "past": low.pointer(past),
        "panels": low.panels(token_embedding),
        "positions": positions.ctypes.data,
        "ldp": positions.strides[0],
        "n_batch": n_batch,
        "n_new": n_new,
        "n_state": n_state,
        "out": low.pointer(node),
        "ldo": low.stride(node),
    }
    packed = block_weight(low.buffer(token_embedding).dtype)
    if packed is not None:
        return [Call(node, packed.embed, {**arguments, "zero": packed.zero}, 0, 12 * n_batch * n_new * n_state)]
    return [Call(node, kernel_for(EMBED, low, node, token_embedding), arguments, 0, 12 * n_batch * n_new * n_state)]


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
    return [Call(node, attention.cache_append_f32, arguments, 0, 8 * int(np.prod(source.shape)))]


def lower_cached_attention(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    q, keys, values, past, own_rows, cache_rows = low.plan.graph[node].inputs
    source, cache, target = low.buffer(q), low.buffer(keys), low.buffer(node)
    n_batch, n_new, n_state = source.shape
    head_size = n_state // attrs["n_head"]
    scratch = 4 * cache.shape[1]
    arguments: dict[str, int | Ref] = {
        "q": low.pointer(q),
        "q_batch": source.strides[0],
        "ldq": source.strides[1],
        "n_batch": n_batch,
        "n_new": n_new,
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
    return [Call(node, attention.cached_attention_f32, arguments, 0, 0, scratch)]


def lower_select_rows(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    x, selected = low.plan.graph[node].inputs
    source, target = low.buffer(x), low.buffer(node)
    arguments: dict[str, int | Ref] = {
        "x": low.pointer(x),
        "x_batch": source.strides[0],
        "ldx": source.strides[1],
        "n_new": source.shape[1],
        "rows": low.pointer(selected),
        "n_rows": target.shape[0],
        "n_cols": target.shape[1],
        "out": low.pointer(node),
        "ldo": low.stride(node),
    }
    return [Call(node, rows.select_rows_f32, arguments, 0, 8 * int(np.prod(target.shape)))]


LOWER: dict[str, Callable[[Lowering, NodeId, dict[str, Any]], list[Call]]] = {
    "linear": lower_linear,
    "layer_norm": lower_layer_norm,
    "gelu": _lower_rows(rows.gelu_f32),
    "relu": _lower_rows(lstm.relu_f32),
    "sigmoid": _lower_rows(lstm.sigmoid_f32),
    "magnitude": _lower_rows(lstm.magnitude_f32),
    "lstm": lower_lstm,
    "add": lower_add,
    "pad_frames": lower_pad_frames,
    "transpose_frames": lower_transpose_frames,
    "pack_keys": _lower_pack({"float32": packing.pack_keys_f32, "float16": packing.pack_keys_f16}, "k"),
    "pack_values": _lower_pack({"float32": packing.pack_values_f32, "float16": packing.pack_values_f16}, "v"),
    "attention_packed": lower_attention_packed,
    "cross_scores": lower_cross_scores,
    "embed": lower_embed,
    "cache_append": lower_cache_append,
    "cached_attention": lower_cached_attention,
    "select_rows": lower_select_rows,
}


def lower(plan: Plan, weights: Weights) -> tuple[list[Call], list[NDArray[Any]]]:
    """Kernel calls of all steps in order, and arrays that must live as long as the program.

    Raises
    ------
    BackendError
        An op has no kernel for the dtypes of its inputs.
    """
    low = Lowering(plan, weights)
    calls: list[Call] = []
    for node in plan.steps:
        op = plan.graph[node].op
        if op not in LOWER:
            raise BackendError(f"op '{op}' has no compiled kernel; run graph.optimize first")
        calls.extend(LOWER[op](low, node, plan.attrs(node)))
    return calls, low.kept
