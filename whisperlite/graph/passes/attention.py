"""Self-attention lowered to packed keys and values.

In: a graph with `attention`. Out: one with the ops that cross attention uses too.
Knows nothing of: what a panel looks like.
"""

from __future__ import annotations

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.passes.rewrite import Rewriter, rewrite


def lower_attention(graph: Graph) -> Graph:
    """Turn each `attention` into `pack_keys`, `pack_values` and `attention_packed`."""
    return rewrite(graph, _visit)


def _visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
    if node.op != "attention":
        return rewriter.copy(node)
    query, key, value = rewriter.inputs(node)
    n_head, n_ctx = node.attrs["n_head"], node.fact.shape[1]
    keys = rewriter.new.add("pack_keys", [key], node.name, n_head=n_head)
    values = rewriter.new.add("pack_values", [value], node.name, n_head=n_head)
    return rewriter.new.add("attention_packed", [query, keys, values], node.name, n_head=n_head, n_ctx=n_ctx)
