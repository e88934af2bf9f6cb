"""Matmuls and token embeddings: the ops whose weights come in many dtypes.

In: a node, its buffers and attributes. Out: calls of the kernels for the dtype its weight is kept in.
Knows nothing of: how weights are packed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from whisperlite.errors import BackendError
from whisperlite.graph import NodeId
from whisperlite.kernels import blocks, halves, matmul, matmul_bf16, matmul_int8, mlp_int8, rows
from whisperlite.kernels.registry import Kernel
from whisperlite.runtime.lower.bf16 import takes_dot_products
from whisperlite.runtime.lower.call import (
    PANEL,
    SCRATCH,
    WEIGHT_BYTES,
    Call,
    Lowering,
    Ref,
    batch_stride,
    float_bits,
    kernel_for,
    n_rows_of,
)  # fmt: skip
from whisperlite.runtime.panels import BYTE_CHUNKS, int8_chunk
from whisperlite.runtime.weights import panel_shape

MATMUL = {"float32": matmul.matmul_f32, "float16": matmul.matmul_f16, "bfloat16": matmul.matmul_bf16}


EMBED = {"float32": rows.embed_f32, "float16": halves.embed_f16, "bfloat16": halves.embed_bf16}


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
    if dtype in WEIGHT_BYTES or dtype in BYTE_CHUNKS:
        return None
    bits, size, zero = panel_shape(dtype)
    kernels = BLOCKS.get((bits, size, zero is None))
    if kernels is None:
        return None
    heads = 2 if zero is None else 1
    return BlockWeight(*kernels, size, 1 if zero is None else -zero, bits / 8 + 2 * heads / size)


def lower_linear(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    inputs = list(low.plan.graph[node].inputs)
    x, weight = inputs[:2]
    rest = inputs[2:]
    bias = rest.pop(0) if attrs["has_bias"] else None
    residual = rest.pop(0) if attrs["has_residual"] else None
    source, target, dtype = low.buffer(x), low.buffer(node), low.buffer(weight).dtype
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
    packed = block_weight(dtype)
    if packed is not None:
        if framed or n_batch > 1:
            raise BackendError(f"op 'linear' has no kernel for frames and {dtype} weights")
        return [_block_linear(low, node, attrs, packed)]
    arguments = _matmul_arguments(low, node, x, weight, bias, n_rows, taps)
    arguments |= {"n_batch": n_batch, "a_batch": a_batch, "c": low.pointer(node, pad * ldc), "c_batch": c_batch}
    arguments |= {"residual": residual_address, "residual_batch": residual_batch, "ldr": ldr}
    arguments["activation"] = int(attrs["activation"] == "gelu")
    with_dot: bool | None = False
    if dtype == "bfloat16" and n_rows > matmul.SKINNY_ROWS and attrs["may_round"]:
        with_dot = takes_dot_products(low.measure)
    rivals = (matmul_bf16.matmul_bf16_dot,) if with_dot is None else ()
    scratch = 0
    if dtype in BYTE_CHUNKS:
        kernel, item_bytes = matmul_int8.matmul_int8, 1.0
        more, scratch = _int8_arguments(low, x, dtype, n_rows, n_out, taps, stride)
        arguments |= more
    elif with_dot:
        kernel, item_bytes = matmul_bf16.matmul_bf16_dot, WEIGHT_BYTES[dtype]
        scratch = matmul_bf16.dot_scratch_bytes(n_in, taps, stride)
        arguments |= {"ldf": lda, "stride": stride}
        arguments |= {"item_rows": matmul_bf16.dot_rows(n_in, stride), "pitch": matmul_bf16.dot_pitch(n_in)}
        arguments |= {"scratch": Ref((SCRATCH, ""), 0), "scratch_bytes": scratch}
    else:
        kernel, item_bytes = kernel_for(MATMUL, low, node, weight), WEIGHT_BYTES[dtype]
        arguments |= {"lda": lda * stride, "tap_stride": lda}
    n_weights = taps * n_in * n_out
    flops = 2 * n_batch * n_rows * n_weights
    n_bytes = int(item_bytes * n_weights) + 4 * n_batch * n_rows * (n_in + n_out)
    call = Call(node, kernel, arguments, flops, n_bytes, scratch, bool(with_dot), rivals)
    return [*_zero_pad(low, node, pad, n_batch, c_batch), call]


def lower_norm_linear(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    x, gamma, beta, weight, bias = low.plan.graph[node].inputs
    dtype, n_rows = low.buffer(weight).dtype, n_rows_of(low.buffer(x).shape)
    n_in, n_out = low.buffer(x).shape[-1], low.buffer(node).shape[-1]
    if dtype not in BYTE_CHUNKS:
        raise BackendError(f"op 'norm_linear' has no kernel for {dtype} weights")
    more, scratch = _int8_arguments(low, x, dtype, n_rows, n_out)
    arguments = _matmul_arguments(low, node, x, weight, bias, n_rows) | more
    arguments |= {"gamma": low.table(gamma).ctypes.data, "beta": low.table(beta).ctypes.data}
    arguments["eps_bits"] = float_bits(attrs["eps"])
    n_bytes = n_in * n_out + 4 * n_rows * (n_in + n_out)
    return [Call(node, matmul_int8.matmul_int8, arguments, 2 * n_rows * n_in * n_out, n_bytes, scratch)]


def _matmul_arguments(
    low: Lowering, node: NodeId, x: NodeId, weight: NodeId, bias: NodeId | None, n_rows: int, taps: int = 1
) -> dict[str, int | Ref]:
    """What every matmul kernel is told, of one batch of plain rows with nothing after them but a bias."""
    return {
        "a": low.pointer(x),
        "a_batch": 0,
        "n_batch": 1,
        "n_rows": n_rows,
        "taps": taps,
        "n_in": low.buffer(x).shape[-1],
        "panels": low.panels(weight),
        "n_panels": -(-low.buffer(node).shape[-1] // PANEL),
        "c": low.pointer(node),
        "c_batch": 0,
        "ldc": low.stride(node),
        "bias": 0 if bias is None else low.table(bias).ctypes.data,
        "residual": 0,
        "residual_batch": 0,
        "ldr": 0,
        "activation": 0,
    }


def _int8_arguments(
    low: Lowering, x: NodeId, dtype: str, n_rows: int, n_out: int, taps: int = 1, stride: int = 1
) -> tuple[dict[str, int | Ref], int]:
    """What ``matmul_int8`` is told beside, without a norm, and the bytes of scratch of a thread."""
    n_in = low.buffer(x).shape[-1]
    chunk, is_fine = int8_chunk(n_in, dtype), matmul_int8.rounds_to_two_bytes(n_rows, taps * n_in * n_out)
    scratch = matmul_int8.int8_scratch_bytes(n_rows, n_in, taps, stride, chunk, is_fine)
    arguments: dict[str, int | Ref] = {
        "ldf": low.stride(x),
        "stride": stride,
        "chunk": chunk,
        "is_fine": int(is_fine),
        "gamma": 0,
        "beta": 0,
        "eps_bits": 0,
        "scratch": Ref((SCRATCH, ""), 0),
        "scratch_bytes": scratch,
    }
    return arguments, scratch


def lower_mlp(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    x, gamma, beta, weight, bias, output_weight, output_bias = low.plan.graph[node].inputs
    shape = low.buffer(node).shape
    dtype = low.buffer(weight).dtype
    if dtype not in BYTE_CHUNKS or low.buffer(output_weight).dtype != dtype or shape[-1] % PANEL:
        raise BackendError(f"op 'mlp' has a kernel for int8 weights and multiples of {PANEL} columns only")
    n_rows, n_state, n_hidden = n_rows_of(shape), shape[-1], low.buffer(weight).shape[0]
    chunks = int8_chunk(n_state, dtype), int8_chunk(n_hidden, dtype)
    is_fine = matmul_int8.rounds_to_two_bytes(n_rows, n_state * n_hidden)
    scratch = mlp_int8.mlp_scratch_bytes(n_state, n_hidden, *chunks, is_fine)
    arguments: dict[str, int | Ref] = {
        "x": low.pointer(x),
        "ldx": low.stride(x),
        "n_rows": n_rows,
        "gamma": low.table(gamma).ctypes.data,
        "beta": low.table(beta).ctypes.data,
        "eps_bits": float_bits(attrs["eps"]),
        "n_state": n_state,
        "n_hidden": n_hidden,
        "chunk": chunks[0],
        "hidden_chunk": chunks[1],
        "panels": low.panels(weight),
        "bias": low.table(bias).ctypes.data,
        "output_panels": low.panels(output_weight),
        "output_bias": low.table(output_bias).ctypes.data,
        "out": low.pointer(node),
        "ldo": low.stride(node),
        "is_fine": int(is_fine),
        "scratch": Ref((SCRATCH, ""), 0),
        "scratch_bytes": scratch,
    }
    n_weights = 2 * n_state * n_hidden
    n_bytes = n_weights + 8 * n_rows * n_state
    return [Call(node, mlp_int8.mlp_int8, arguments, 2 * n_rows * n_weights, n_bytes, scratch)]


def _zero_pad(low: Lowering, node: NodeId, pad: int, n_batch: int, c_batch: int) -> list[Call]:
    """The rows of zeros around a result's frames."""
    if not pad:
        return []
    arguments: dict[str, int | Ref] = {
        "out": low.pointer(node),
        "batch_stride": c_batch,
        "n_batch": n_batch,
        "n_rows": low.buffer(node).shape[-2] - 2 * pad,
        "row_bytes": low.stride(node),
        "pad": pad,
    }
    return [Call(node, rows.zero_pad_rows, arguments)]


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
    if low.buffer(token_embedding).dtype in BYTE_CHUNKS:
        chunk = int8_chunk(n_state, low.buffer(token_embedding).dtype)
        return [Call(node, matmul_int8.embed_int8, {**arguments, "chunk": chunk}, 0, 9 * n_batch * n_new * n_state)]
    if packed is not None:
        return [Call(node, packed.embed, {**arguments, "zero": packed.zero}, 0, 12 * n_batch * n_new * n_state)]
    return [Call(node, kernel_for(EMBED, low, node, token_embedding), arguments, 0, 12 * n_batch * n_new * n_state)]
