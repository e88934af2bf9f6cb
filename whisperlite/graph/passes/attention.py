"""Self-attention lowered to packed keys and values.

In: a graph with `attention`. Out: one with the ops that cross attention uses too.
Knows nothing of: what a panel looks like.
"""

from __future__ import annotations

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.facts import FLOAT32
from whisperlite.graph.passes.rewrite import Rewriter, rewrite


def lower_attention(graph: Graph, dtype: str = FLOAT32) -> Graph:
    """Turn each `attention` into `pack_keys`, `pack_values` (both to ``dtype``) and `attention_packed`."""

    def visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
        if node.op != "attention":
            return rewriter.copy(node)
        query, key, value = rewriter.inputs(node)
        attrs = {"n_head": node.attrs["n_head"], "dtype": dtype}
        keys = rewriter.new.add("pack_keys", [key], node.name, **attrs)
        values = rewriter.new.add("pack_values", [value], node.name, **attrs)
        n_ctx = node.fact.shape[1]
        return rewriter.new.add("attention_packed", [query, keys, values], node.name, n_ctx=n_ctx, **attrs)

    return rewrite(graph, visit, "attention")
