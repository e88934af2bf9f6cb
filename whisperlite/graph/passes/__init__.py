"""Passes: each makes a new graph of the same value.

In: a graph as the model builds it. Out: the graph that is planned.
Knows nothing of: sizes in integers, storage, kernels.
"""

from whisperlite.graph.arena import Graph, verify
from whisperlite.graph.facts import FLOAT32
from whisperlite.graph.passes.attention import lower_attention
from whisperlite.graph.passes.conv import conv_as_matmul
from whisperlite.graph.passes.epilogues import fuse_epilogues
from whisperlite.graph.passes.linears import merge_linears
from whisperlite.graph.passes.mlp import fuse_mlp
from whisperlite.graph.passes.norms import fuse_norms
from whisperlite.graph.passes.padding import fuse_padding
from whisperlite.graph.passes.rewrite import drop_dead
from whisperlite.graph.passes.rounding import allow_rounding
from whisperlite.graph.passes.storage import store_weights

__all__ = [
    "allow_rounding",
    "conv_as_matmul",
    "drop_dead",
    "fuse_epilogues",
    "fuse_mlp",
    "fuse_norms",
    "fuse_padding",
    "lower_attention",
    "merge_linears",
    "optimize",
    "store_weights",
]


def optimize(graph: Graph, max_columns: int | None = None, attention_dtype: str = FLOAT32) -> Graph:
    """All passes, in the one order that lets each find what the one before has made. Idempotent.

    Parameters
    ----------
    max_columns : int, optional
        For `merge_linears`.
    attention_dtype : str
        For `lower_attention`: what self-attention's keys and values are packed in.
    """
    graph = drop_dead(graph)
    graph = conv_as_matmul(graph)
    graph = fuse_epilogues(graph)
    graph = fuse_padding(graph)
    graph = merge_linears(graph, max_columns)
    graph = lower_attention(graph, attention_dtype)
    verify(graph)
    return graph
