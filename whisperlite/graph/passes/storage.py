"""Dtypes of stored weights.

In: a graph as the model builds it, and a dtype for each tensor. Out: the same graph, its matmul weights stored so.
Knows nothing of: which CPU prefers what, how a dtype is packed.
"""

from __future__ import annotations

from collections.abc import Callable

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.facts import Fact
from whisperlite.graph.passes.rewrite import Rewriter, rewrite

_WEIGHT_SLOT = {"linear": 1, "conv1d": 1, "embed": 2}


def store_weights(graph: Graph, dtype_of: Callable[[str, tuple[int, ...]], str]) -> Graph:
    """Give the weight of each `linear`, `conv1d` and token embedding the dtype it is stored in.

    Run it before `merge_linears`, which joins weights of one dtype only. Results stay float32.

    Parameters
    ----------
    dtype_of : function of a tensor's name and shape
        Gives a weight dtype; asked for weights of one named part.
    """
    stored = {node.inputs[_WEIGHT_SLOT[node.op]] for _, node in graph if node.op in _WEIGHT_SLOT}

    def visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
        if i not in stored or node.op != "weight":
            return rewriter.copy(node)
        (part,) = node.attrs["parts"]
        shape = tuple(size for size in node.fact.shape if isinstance(size, int))
        return rewriter.new.weight(part, Fact(dtype_of(part, shape), node.fact.shape), node.name)

    return rewrite(graph, visit)
