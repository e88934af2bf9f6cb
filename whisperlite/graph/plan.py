"""The plan: a graph with every size fixed and a place for each value.

In: a graph and a value for each symbol. Out: an immutable `Plan`.
Knows nothing of: kernels, addresses, how a weight is packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any

from whisperlite.errors import GraphError
from whisperlite.graph.arena import Graph, Node, NodeId, verify
from whisperlite.graph.facts import FLOAT32, Fact, item_bytes
from whisperlite.graph.memory import Request, assign_offsets, peak_bytes
from whisperlite.graph.ops import OPS, PANEL
from whisperlite.graph.sizes import Expr

CACHE_SET_BYTES = 2048
CACHE_SET_SKEW = 16


@dataclass(frozen=True)
class Buffer:
    """Where one value lies.

    Parameters
    ----------
    kind : str
        Storage: ``arena``, ``input``, ``output`` or ``weight``.
    key : str
        External name of the storage of an input or output; "" in the arena; the node's name for a weight.
    base : NodeId
        Node that owns the bytes; the value's own id unless it is a view or an in-place result.
    offset : int
        Bytes from the start of the storage.
    shape : tuple of int
    strides : tuple of int
        Bytes between neighbours along each axis; () for a weight in a block format.
    dtype : str
    n_bytes : int
        Bytes of the base's storage, padding of rows included; 0 for a weight in a block format.
    first, last : int
        Step that writes the value and last step that needs its bytes, views and in-place results counted. A leaf is
        there from -1; a leaf that no step reads ends there. An output lasts until ``len(steps)``.
    """

    kind: str
    key: str
    base: NodeId
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    n_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """A graph ready to be bound.

    Parameters
    ----------
    sizes : mapping of str to int
        Value of each symbol the graph uses.
    steps : tuple of NodeId
        Nodes that compute, in order; leaves and views are none of them.
    buffers : tuple of Buffer
        One for each node, indexed by NodeId.
    inputs, outputs : mapping of str to NodeId
        External tensors.
    arena_bytes : int
        Size of the arena.
    peak_bytes : int
        Most arena bytes live at one step; `arena_bytes` is never less.
    """

    graph: Graph
    sizes: Mapping[str, int]
    steps: tuple[NodeId, ...]
    buffers: tuple[Buffer, ...]
    inputs: Mapping[str, NodeId]
    outputs: Mapping[str, NodeId]
    arena_bytes: int
    peak_bytes: int

    def attrs(self, node: NodeId) -> dict[str, Any]:
        """Attributes of a node with sizes as integers."""
        attrs = self.graph[node].attrs
        return {k: v.evaluate(self.sizes) if isinstance(v, Expr) else v for k, v in attrs.items()}

    def __str__(self) -> str:
        sizes = " ".join(f"{name}={value}" for name, value in self.sizes.items())
        return (
            f"plan {sizes or 'without symbols'}: {len(self.steps)} steps, "
            f"arena {self.arena_bytes} bytes, peak {self.peak_bytes} bytes"
        )


def make_plan(graph: Graph, sizes: Mapping[str, int]) -> Plan:
    """Fix every symbol of a graph and place every value.

    Parameters
    ----------
    graph : Graph
        Verified once more.
    sizes : mapping of str to int
        A value for each symbol of the graph; values of other symbols are allowed and dropped.

    Raises
    ------
    GraphError
        The graph breaks a rule; a symbol has no value; an axis comes out below 1; an output is a leaf, a view, an
        in-place result or has two names.
    """
    verify(graph)
    used = _symbols(graph)
    missing = sorted(used - set(sizes))
    if missing:
        raise GraphError(f"plan: symbol '{missing[0]}' has no value; given {dict(sizes)}")
    sizes = MappingProxyType({name: int(sizes[name]) for name in sorted(used)})
    outputs = _output_names(graph)
    steps = tuple(i for i, node in graph if not node.is_leaf and not node.is_view)
    last = _last_uses(graph, steps, outputs)
    index = {step: k for k, step in enumerate(steps)}

    buffers: list[Buffer] = []
    shapes: dict[Fact, tuple[int, ...]] = {}
    for i, node in graph:
        shape = shapes.get(node.fact)
        if shape is None:
            shape = shapes[node.fact] = node.fact.evaluate(sizes)
        buffers.append(_layout(i, node, shape, buffers, outputs, index, last))
    arena = [i for i, buffer in enumerate(buffers) if buffer.kind == "arena" and buffer.base == i]
    requests = [Request(buffers[i].n_bytes, buffers[i].first, buffers[i].last) for i in arena]
    offsets, arena_bytes = assign_offsets(requests)
    start = dict(zip(arena, offsets, strict=True))
    placed = tuple(b if not start.get(b.base) else _moved(b, start[b.base]) for b in buffers)
    return Plan(
        graph,
        sizes,
        steps,
        placed,
        MappingProxyType(graph.inputs),
        MappingProxyType(graph.outputs),
        arena_bytes,
        peak_bytes(requests),
    )


def _moved(buffer: Buffer, n_bytes: int) -> Buffer:
    b = buffer
    return Buffer(
        b.kind, b.key, b.base, b.offset + n_bytes, b.shape, b.strides, b.dtype, b.n_bytes, b.first, b.last
    )  # fmt: skip


def _symbols(graph: Graph) -> set[str]:
    facts = {node.fact for _, node in graph}
    sizes = {size for fact in facts for size in fact.shape if isinstance(size, Expr)}
    sizes.update(value for _, node in graph for value in node.attrs.values() if isinstance(value, Expr))
    return {name for size in sizes for name in size.symbols()}


def _output_names(graph: Graph) -> dict[NodeId, str]:
    names: dict[NodeId, str] = {}
    for name, i in graph.outputs.items():
        node = graph[i]
        if node.is_leaf or node.is_view or node.in_place is not None:
            owner = graph.label(graph.root(i))
            raise GraphError(
                f"output '{name}': expected a computed value, given {graph.label(i)} ({node.op}), "
                f"whose bytes belong to {owner}; name that instead"
            )
        if i in names:
            raise GraphError(f"output '{name}': {graph.label(i)} is output '{names[i]}' already; use that name")
        names[i] = name
    return names


def _last_uses(graph: Graph, steps: tuple[NodeId, ...], outputs: Mapping[NodeId, str]) -> dict[NodeId, int]:
    """For each owner of bytes the last step that needs them."""
    last: dict[NodeId, int] = {}
    for k, step in enumerate(steps):
        for value in (step, *graph[step].inputs):
            last[graph.root(value)] = k
    last.update((i, len(steps)) for i in outputs)
    return last


def _layout(
    i: NodeId,
    node: Node,
    shape: tuple[int, ...],
    before: list[Buffer],
    outputs: Mapping[NodeId, str],
    index: Mapping[NodeId, int],
    last: Mapping[NodeId, int],
) -> Buffer:
    """The buffer of a node; arena offsets are still relative to the base's."""
    if node.is_view:
        whole = before[node.inputs[0]]
        skip = node.attrs["start"] * whole.strides[-1]
        return replace(whole, offset=whole.offset + skip, shape=shape)
    if node.in_place is not None:
        return replace(before[node.in_place], first=index[i])
    if node.is_leaf:
        kind, key, pitched = node.op, node.name, False
    else:
        kind = "output" if i in outputs else "arena"
        key = outputs.get(i, "")
        pitched = node.fact.dtype == FLOAT32 and not OPS[node.op].packed
    n_item = item_bytes(node.fact.dtype)
    first = index.get(i, -1)
    end = last.get(i, first)
    if n_item is None:
        return Buffer(kind, key, i, 0, shape, (), node.fact.dtype, 0, first, end)
    pitch = row_pitch(shape[-1], kind == "arena") if pitched else shape[-1]
    strides = dense_strides((*shape[:-1], pitch), n_item)
    return Buffer(kind, key, i, 0, shape, strides, node.fact.dtype, prod(shape[:-1]) * pitch * n_item, first, end)


def row_pitch(n_columns: int, in_arena: bool) -> int:
    """Elements from one float32 row to the next: whole panels, and in the arena off multiples of 2 KiB."""
    pitch = -(-n_columns // PANEL) * PANEL
    if in_arena and pitch * 4 % CACHE_SET_BYTES == 0:
        pitch += CACHE_SET_SKEW
    return pitch


def dense_strides(shape: tuple[int, ...], n_item: int) -> tuple[int, ...]:
    """Strides in bytes of a C-ordered array."""
    strides = [n_item]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return tuple(reversed(strides))
