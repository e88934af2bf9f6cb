"""A transformer block's MLP as one op.

In: an optimized graph. Out: the same value, one op for each MLP whose weights are of one dtype.
Knows nothing of: which CPU gains by it, how many rows there are.
"""

from __future__ import annotations

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.passes.rewrite import Rewriter, rewrite


def fuse_mlp(graph: Graph, dtype: str) -> Graph:
    """Join `layer_norm`, `linear` with GELU and `linear` that adds the norm's input, on weights of ``dtype``.

    The hidden layer, four times as wide as its input, is then made and used a few rows at a time.
    """
    if all(node.fact.dtype != dtype for _, node in graph):
        return graph
    users, outputs = graph.users(), set(graph.outputs.values())

    def is_inner(i: NodeId) -> bool:
        return len(users[i]) == 1 and i not in outputs

    def visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
        if not _is_linear(graph, node, dtype, "none") or not node.attrs["has_residual"]:
            return rewriter.copy(node)
        x, weight, bias, residual = node.inputs
        hidden = graph[x]
        if not is_inner(x) or not _is_linear(graph, hidden, dtype, "gelu") or hidden.attrs["has_residual"]:
            return rewriter.copy(node)
        norm = graph[hidden.inputs[0]]
        if norm.op != "layer_norm" or not is_inner(hidden.inputs[0]) or norm.inputs[0] != residual:
            return rewriter.copy(node)
        inputs = [*norm.inputs, *hidden.inputs[1:], weight, bias]
        name = node.name.rpartition(".")[0]
        return rewriter.new.add("mlp", [rewriter.made[j] for j in inputs], name, eps=norm.attrs["eps"])

    return rewrite(graph, visit)


def _is_linear(graph: Graph, node: Node, dtype: str, activation: str) -> bool:
    """Whether this is a linear of plain rows with a bias."""
    if node.op != "linear" or node.attrs["activation"] != activation or not node.attrs["has_bias"]:
        return False
    is_framed = node.attrs["taps"] > 1 or node.attrs["stride"] > 1 or node.attrs["pad"]
    return not is_framed and graph[node.inputs[1]].fact.dtype == dtype
