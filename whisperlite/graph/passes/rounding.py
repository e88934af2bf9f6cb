"""Which matmuls may round their rows.

In: an optimized graph. Out: the same graph, its linears on weights of one dtype marked.
Knows nothing of: which CPU gains by it, why a caller allows it.
"""

from __future__ import annotations

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.passes.rewrite import Rewriter, rewrite


def allow_rounding(graph: Graph, dtype: str) -> Graph:
    """Allow each `linear` on weights of ``dtype`` to round its rows to that dtype as well.

    Run it last: other passes keep the mark of a node but give none to what they make.
    """

    def visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
        if node.op != "linear" or graph[node.inputs[1]].fact.dtype != dtype:
            return rewriter.copy(node)
        return rewriter.new.add("linear", rewriter.inputs(node), node.name, **{**node.attrs, "may_round": True})

    return rewrite(graph, visit)
