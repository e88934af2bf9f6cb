"""Zero rows written by the op that makes the frames.

In: a graph with `pad_frames`. Out: the same value, padded by the `linear` or `transpose_frames` before.
Knows nothing of: convolutions.
"""

from __future__ import annotations

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.passes.rewrite import Rewriter, rewrite


def fuse_padding(graph: Graph) -> Graph:
    """Join `pad_frames` to the `linear` or `transpose_frames` whose result it alone reads."""
    return rewrite(graph, _visit, "pad_frames")


def _visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
    if node.op == "pad_frames" and rewriter.can_absorb(node.inputs[0]):
        producer = rewriter.new[rewriter.made[node.inputs[0]]]
        if producer.op in ("linear", "transpose_frames"):
            pad = producer.attrs["pad"] + node.attrs["pad"]
            return rewriter.new.add(producer.op, producer.inputs, producer.name, **{**producer.attrs, "pad": pad})
    return rewriter.copy(node)
