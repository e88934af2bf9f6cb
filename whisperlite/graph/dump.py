"""Show a graph or a plan.

In: `Graph`, `Plan`. Out: text for people, DOT for graphviz, JSON for programs.
Knows nothing of: terminals, files.
"""

from __future__ import annotations

import json
from typing import Any

from whisperlite.graph.arena import Graph, Node
from whisperlite.graph.facts import shape_text
from whisperlite.graph.ops import OPS, Attrs
from whisperlite.graph.plan import Plan
from whisperlite.graph.sizes import Expr


def to_text(graph: Graph) -> str:
    """A line for each node, such as ``%4 linear(%1, %2) taps=3 -> float32 (B, T, 384)  'conv1'``, then outputs."""
    lines = []
    for i, node in graph:
        inputs = ", ".join(f"%{source}" for source in node.inputs)
        attrs = "".join(f" {name}={_plain(value)}" for name, value in _telling_attrs(node).items())
        call = node.op if node.is_leaf else f"{node.op}({inputs})"
        name = f"  '{node.name}'" if node.name else ""
        lines.append(f"%{i} {call}{attrs} -> {node.fact}{name}")
    lines += [f"output '{name}' = %{i}" for name, i in graph.outputs.items()]
    return "\n".join(lines)


def to_dot(graph: Graph) -> str:
    """A ``digraph`` with a box for each node and an ellipse for each leaf and output."""
    lines = ["digraph graph_ {", "  node [fontname=monospace, shape=box];"]
    for i, node in graph:
        words = [f"%{i} {node.op}", *([node.name] if node.name else []), str(node.fact)]
        words += [f"{name}={_plain(value)}" for name, value in _telling_attrs(node).items() if name != "parts"]
        shape = ", shape=ellipse" if node.is_leaf else ", style=dashed" if node.is_view else ""
        lines.append(f"  n{i} [label={_quoted(words)}{shape}];")
        lines += [f"  n{source} -> n{i};" for source in node.inputs]
    for k, (name, i) in enumerate(graph.outputs.items()):
        lines.append(f"  output{k} [label={_quoted([name])}, shape=ellipse];")
        lines.append(f"  n{i} -> output{k};")
    return "\n".join([*lines, "}"])


def to_json(graph: Graph) -> str:
    """``{"nodes": [{"id", "op", "name", "inputs", "attrs", "dtype", "shape"}], "outputs": {name: id}}``.

    Sizes that depend on symbols are strings.
    """
    nodes = [
        {
            "id": i,
            "op": node.op,
            "name": node.name,
            "inputs": list(node.inputs),
            "attrs": {name: _plain(value) for name, value in node.attrs.items()},
            "dtype": node.fact.dtype,
            "shape": [_plain(size) for size in node.fact.shape],
        }
        for i, node in graph
    ]
    return json.dumps({"nodes": nodes, "outputs": graph.outputs}, indent=1)


def plan_to_text(plan: Plan) -> str:
    """A header, then one line for each step: its number, node, shape, storage, offset, bytes and lifetime."""
    rows = [("step", "node", "op", "name", "shape", "storage", "offset", "bytes", "live")]
    for k, i in enumerate(plan.steps):
        node, buffer = plan.graph[i], plan.buffers[i]
        storage = f"{buffer.kind} {buffer.key}".rstrip()
        rows.append(
            (
                str(k),
                f"%{i}",
                node.op,
                node.name,
                shape_text(buffer.shape),
                storage,
                str(buffer.offset),
                str(buffer.n_bytes),
                f"{buffer.first}..{buffer.last}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([str(plan), *table])


def _telling_attrs(node: Node) -> Attrs:
    """Attributes that differ from their defaults."""
    if node.is_leaf:
        return {name: value for name, value in node.attrs.items() if value is not False}
    schema = OPS[node.op].attrs
    return {name: value for name, value in node.attrs.items() if value != schema[name].default}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Expr) else value


def _quoted(words: list[str]) -> str:
    escaped = [word.replace("\\", "\\\\").replace('"', '\\"') for word in words]
    return '"' + "\\n".join(escaped) + '"'
