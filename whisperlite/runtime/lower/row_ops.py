"""Ops on rows and frames: norms, activations, sums, padding, gathers, LSTM.

In: a node, its buffers and attributes. Out: calls. Knows nothing of: matmuls, attention.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whisperlite.graph import NodeId
from whisperlite.kernels import lstm, rows
from whisperlite.kernels.registry import Kernel
from whisperlite.runtime.lower.call import SCRATCH, Call, Lower, Lowering, Ref, float_bits, n_rows_of


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


def lower_rows(kernel: Kernel) -> Lower:
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


def lower_select_rows(low: Lowering, node: NodeId, attrs: dict[str, Any]) -> list[Call]:
    x, positions = low.plan.graph[node].inputs
    source, target = low.buffer(x), low.buffer(node)
    arguments: dict[str, int | Ref] = {
        "x": low.pointer(x),
        "x_batch": source.strides[0],
        "ldx": source.strides[1],
        "n_batch": source.shape[0],
        "positions": low.pointer(positions),
        "n_positions": target.shape[1],
        "n_cols": target.shape[2],
        "out": low.pointer(node),
        "ldo": low.stride(node),
    }
    return [Call(node, rows.select_rows_f32, arguments, 0, 8 * int(np.prod(target.shape)))]
