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
    inner = inner_values(graph)

    def visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
        if not is_plain_linear(graph, node, dtype, "none") or not node.attrs["has_residual"]:
            return rewriter.copy(node)
        x, weight, bias, residual = node.inputs
        hidden = graph[x]
        if x not in inner or not is_plain_linear(graph, hidden, dtype, "gelu") or hidden.attrs["has_residual"]:
            return rewriter.copy(node)
        norm = graph[hidden.inputs[0]]
        if norm.op != "layer_norm" or hidden.inputs[0] not in inner or norm.inputs[0] != residual:
            return rewriter.copy(node)
        inputs = [*norm.inputs, *hidden.inputs[1:], weight, bias]
        name = node.name.rpartition(".")[0]
        return rewriter.new.add("mlp", [rewriter.made[j] for j in inputs], name, eps=norm.attrs["eps"])

    return rewrite(graph, visit)


def inner_values(graph: Graph) -> set[NodeId]:
    """Values that one node alone reads."""
    users, outputs = graph.users(), set(graph.outputs.values())
    return {i for i, _ in graph if len(users[i]) == 1 and i not in outputs}


def is_plain_linear(graph: Graph, node: Node, dtype: str, activation: str) -> bool:
    """Whether this is a linear of plain rows with a bias."""
    if node.op != "linear" or node.attrs["activation"] != activation or not node.attrs["has_bias"]:
        return False
    is_framed = node.attrs["taps"] > 1 or node.attrs["stride"] > 1 or node.attrs["pad"]
    return not is_framed and graph[node.inputs[1]].fact.dtype == dtype
