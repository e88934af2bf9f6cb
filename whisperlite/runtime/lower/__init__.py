"""From steps of a plan to kernel calls: one function per op.

In: a plan, weights. Out: ``Call``: a kernel and its arguments by name.
Knows nothing of: threads, memory addresses of external tensors (a ``Ref`` stands for one).

Choosing a kernel by dtype happens in this room and nowhere else.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from whisperlite.errors import BackendError
from whisperlite.graph import Plan
from whisperlite.kernels import lstm, packing, packing_int8, rows
from whisperlite.runtime.lower.attention_ops import (
    lower_attention_packed,
    lower_cache_append,
    lower_cached_attention,
    lower_cross_scores,
    lower_pack,
)
from whisperlite.runtime.lower.call import Call, Lower, Lowering, Ref
from whisperlite.runtime.lower.matmul_ops import lower_embed, lower_linear, lower_mlp, lower_norm_linear
from whisperlite.runtime.lower.row_ops import (
    lower_add,
    lower_layer_norm,
    lower_lstm,
    lower_pad_frames,
    lower_rows,
    lower_select_rows,
    lower_transpose_frames,
)
from whisperlite.runtime.weights import Weights

PACK_KEYS = {
    "float32": packing.pack_keys_f32,
    "float16": packing.pack_keys_f16,
    "int8": packing_int8.pack_keys_int8,
}
PACK_VALUES = {
    "float32": packing.pack_values_f32,
    "float16": packing.pack_values_f16,
    "int8": packing_int8.pack_values_int8,
}
LOWER: dict[str, Lower] = {
    "linear": lower_linear,
    "layer_norm": lower_layer_norm,
    "norm_linear": lower_norm_linear,
    "mlp": lower_mlp,
    "gelu": lower_rows(rows.gelu_f32),
    "relu": lower_rows(lstm.relu_f32),
    "sigmoid": lower_rows(lstm.sigmoid_f32),
    "magnitude": lower_rows(lstm.magnitude_f32),
    "lstm": lower_lstm,
    "add": lower_add,
    "pad_frames": lower_pad_frames,
    "transpose_frames": lower_transpose_frames,
    "pack_keys": lower_pack(PACK_KEYS, "k"),
    "pack_values": lower_pack(PACK_VALUES, "v"),
    "attention_packed": lower_attention_packed,
    "cross_scores": lower_cross_scores,
    "embed": lower_embed,
    "cache_append": lower_cache_append,
    "cached_attention": lower_cached_attention,
    "select_rows": lower_select_rows,
}


def lower(plan: Plan, weights: Weights, measure: bool = True) -> tuple[list[Call], list[NDArray[Any]]]:
    """Kernel calls of all steps in order, and arrays that must live as long as the program.

    With ``measure`` False nothing is measured: a call whose kernel is not chosen yet names its rivals.

    Raises
    ------
    BackendError
        An op has no kernel for the dtypes of its inputs.
    """
    low = Lowering(plan, weights, measure)
    calls: list[Call] = []
    for node in plan.steps:
        op = plan.graph[node].op
        if op not in LOWER:
            raise BackendError(f"op '{op}' has no compiled kernel; run graph.optimize first")
        calls.extend(LOWER[op](low, node, plan.attrs(node)))
    return calls, low.kept


__all__ = ["LOWER", "Call", "Ref", "lower"]
