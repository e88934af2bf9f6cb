"""Convolution as matmul: frames with zero rows at both ends, and a linear whose rows are windows of frames.

In: a graph with `conv1d`. Out: one with `pad_frames` and `linear` with taps.
Knows nothing of: how a kernel reads overlapping rows.
"""

from __future__ import annotations

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.passes.rewrite import Rewriter, rewrite


def conv_as_matmul(graph: Graph) -> Graph:
    """Turn each `conv1d` with two or more taps into `pad_frames` and `linear`; the weight stays (D, N, taps)."""
    return rewrite(graph, _visit, "conv1d")


def _visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
    inputs = rewriter.inputs(node)
    taps = rewriter.new[inputs[1]].fact.shape[2] if node.op == "conv1d" else 1
    if not isinstance(taps, int) or taps < 2:
        return rewriter.copy(node)
    x, weight, bias = inputs
    padded = rewriter.new.add("pad_frames", [x], pad=taps // 2)
    return rewriter.new.add(
        "linear", [padded, weight, bias], node.name, taps=taps, stride=node.attrs["stride"], has_bias=True
    )
