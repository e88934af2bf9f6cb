"""Activation and residual as epilogues of the linear before them.

In: a graph with `gelu` and `add` after linears. Out: the same value with fewer ops.
Knows nothing of: how a kernel applies an epilogue.
"""

from __future__ import annotations

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.passes.rewrite import Rewriter, rewrite


def fuse_epilogues(graph: Graph) -> Graph:
    """Join `gelu`, then `add`, to the linear whose result they alone read.

    The other operand of the add becomes the residual, which may lack leading axes. Of two linears that could take
    the add, the later one does, as the other operand is there by then.
    """
    return rewrite(graph, _visit)


def _visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
    if node.op == "gelu" and _is_open(rewriter, node.inputs[0]):
        linear = rewriter.new[rewriter.made[node.inputs[0]]]
        if linear.attrs["activation"] == "none":
            return rewriter.new.add("linear", linear.inputs, linear.name, **{**linear.attrs, "activation": "gelu"})
    if node.op == "add":
        for source in sorted(node.inputs, reverse=True):
            if _is_open(rewriter, source) and rewriter.old[source].fact == node.fact:
                linear = rewriter.new[rewriter.made[source]]
                x, y = node.inputs
                residual = rewriter.made[y if source == x else x]
                inputs = [*linear.inputs, residual]
                return rewriter.new.add("linear", inputs, linear.name, **{**linear.attrs, "has_residual": True})
    return rewriter.copy(node)


def _is_open(rewriter: Rewriter, source: NodeId) -> bool:
    """Whether an old node is now a linear that can take an epilogue; padding comes after any epilogue."""
    made = rewriter.new[rewriter.made[source]]
    is_plain = made.op == "linear" and not made.attrs["has_residual"] and not made.attrs["pad"]
    return is_plain and rewriter.can_absorb(source)
