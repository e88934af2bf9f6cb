"""Linears that share their input become one.

In: a graph with several `linear`s of one value. Out: one `linear` with stacked weights, a `columns` view for each.
Knows nothing of: attention, what the linears are for.
"""

from __future__ import annotations

from whisperlite.graph.arena import Graph, Node, NodeId
from whisperlite.graph.facts import FLOAT32, Fact
from whisperlite.graph.passes.rewrite import Rewriter, rewrite


def merge_linears(graph: Graph, max_columns: int | None = None) -> Graph:
    """Merge plain linears of one input: weights and biases stacked along axis 0, zeros for a bias not there.

    A linear is plain when it has no activation, residual, taps, stride or padding, its weight and bias are weights,
    and it is no output of the graph, as an output owns its bytes.

    Parameters
    ----------
    max_columns : int, optional
        Widest merged result. The default merges all: for the cross keys and values of a whole decoder that is one
        buffer of ``2 * n_text_layer * D`` columns for each audio position.
    """
    groups = _groups(graph, max_columns)
    merged: dict[tuple[NodeId, ...], NodeId] = {}

    def visit(rewriter: Rewriter, i: NodeId, node: Node) -> NodeId:
        group = groups.get(i)
        if group is None:
            return rewriter.copy(node)
        if group not in merged:
            merged[group] = _emit(rewriter, group)
        start = sum(_width(graph, j) for j in group[: group.index(i)])
        stop = start + _width(graph, i)
        return rewriter.new.add("columns", [merged[group]], node.name, start=start, stop=stop)

    return rewrite(graph, visit)


def _groups(graph: Graph, max_columns: int | None) -> dict[NodeId, tuple[NodeId, ...]]:
    """For each linear to merge, all linears that it is merged with, in order."""
    outputs = set(graph.outputs.values())
    alike: dict[tuple[NodeId, str], list[list[NodeId]]] = {}
    for i, node in graph:
        if i in outputs or not _is_plain(graph, node):
            continue
        runs = alike.setdefault((node.inputs[0], graph[node.inputs[1]].fact.dtype), [[]])
        total = sum(_width(graph, j) for j in runs[-1]) + _width(graph, i)
        if runs[-1] and max_columns is not None and total > max_columns:
            runs.append([])
        runs[-1].append(i)
    groups = [tuple(run) for runs in alike.values() for run in runs if len(run) > 1]
    return {i: group for group in groups for i in group}


def _is_plain(graph: Graph, node: Node) -> bool:
    if node.op != "linear":
        return False
    attrs = node.attrs
    has_extras = attrs["has_residual"] or attrs["pad"] or attrs["taps"] > 1 or attrs["stride"] > 1
    if has_extras or attrs["activation"] != "none":
        return False
    parameters = [graph[i] for i in node.inputs[1:]]
    return all(p.op == "weight" for p in parameters) and isinstance(parameters[0].fact.shape[0], int)


def _width(graph: Graph, i: NodeId) -> int:
    width = graph[i].fact.shape[-1]
    assert isinstance(width, int)
    return width


def _emit(rewriter: Rewriter, group: tuple[NodeId, ...]) -> NodeId:
    """The merged linear of a group."""
    old, new = rewriter.old, rewriter.new
    members = [old[i] for i in group]
    weights = [old[node.inputs[1]] for node in members]
    name = f"{members[0].name} +{len(members) - 1}".strip()
    n_columns = sum(_width(old, i) for i in group)
    parts = [part for weight in weights for part in weight.attrs["parts"]]
    fact = Fact(weights[0].fact.dtype, (n_columns, weights[0].fact.shape[1]))
    inputs = [rewriter.made[members[0].inputs[0]], new.weight(parts, fact, f"{name} weight")]
    has_bias = any(node.attrs["has_bias"] for node in members)
    if has_bias:
        bias: list[str | int] = []
        for i, node in zip(group, members, strict=True):
            bias += old[node.inputs[2]].attrs["parts"] if node.attrs["has_bias"] else (_width(old, i),)
        inputs.append(new.weight(bias, Fact(FLOAT32, (n_columns,)), f"{name} bias"))
    return new.add("linear", inputs, name, has_bias=has_bias)
