"""A norm and the matmul that alone reads it, as one op.

In: an optimized graph. Out: the same value, one op for each such pair whose weight is of one dtype.
Knows nothing of: which CPU gains by it, how many rows there are.
"""

from __future__ import annotations

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.passes.mlp import inner_values, is_plain_linear
from whisperlite.graph.passes.rewrite import Rewriter, rewrite


def fuse_norms(graph: Graph, dtype: str) -> Graph:
    """Join `layer_norm` and the one `linear` that reads it, on weights of ``dtype``: its rows stay in the cache."""
    if all(node.fact.dtype != dtype for _, node in graph):
        return graph
    inner = inner_values(graph)

    def visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
        if not is_plain_linear(graph, node, dtype, "none") or node.attrs["has_residual"]:
            return rewriter.copy(node)
        norm = graph[node.inputs[0]]
        if norm.op != "layer_norm" or node.inputs[0] not in inner:
            return rewriter.copy(node)
        inputs = [rewriter.made[j] for j in (*norm.inputs, *node.inputs[1:])]
        return rewriter.new.add("norm_linear", inputs, node.name, eps=norm.attrs["eps"])

    return rewrite(graph, visit)
