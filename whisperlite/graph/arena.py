"""The arena of nodes. Building a node verifies it.

In: facts, parameter names, ops with attributes. Out: `Graph`, `Node`, `NodeId`.
Knows nothing of: passes, storage, kernels, where parameters come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NewType, cast

from whisperlite.errors import GraphError
from whisperlite.graph.facts import Fact
from whisperlite.graph.infer import complete_attrs, infer_fact
from whisperlite.graph.ops import LEAVES, OPS

NodeId = NewType("NodeId", int)
_VIEWS = frozenset(name for name, op in OPS.items() if op.view)
_IN_PLACE = {name: op.in_place for name, op in OPS.items() if op.in_place is not None}


@dataclass(frozen=True)
class Node:
    """One value and how it comes about.

    Parameters
    ----------
    op : str
        A key of `OPS`, or ``input`` or ``weight``.
    attrs : mapping
        Read-only. An ``input`` has ``mutable``; a ``weight`` has ``parts``.
    name : str
        External name of an ``input``; elsewhere for people only.
    """

    op: str
    inputs: tuple[NodeId, ...]
    attrs: Mapping[str, Any]
    fact: Fact
    name: str = ""

    @property
    def is_leaf(self) -> bool:
        """Whether the value comes from outside: an input or a weight."""
        return self.op in LEAVES

    @property
    def is_view(self) -> bool:
        """Whether the value is a part of its first input's bytes."""
        return self.op in _VIEWS

    @property
    def in_place(self) -> NodeId | None:
        """The input that the op overwrites, or None."""
        index = _IN_PLACE.get(self.op)
        return None if index is None else self.inputs[index]


class Graph:
    """Nodes in one list, each after its inputs, and named outputs.

    A value that an in-place op has overwritten cannot be read any more; the op's result is its next version.
    """

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._inputs: dict[str, NodeId] = {}
        self._outputs: dict[str, NodeId] = {}
        self._overwritten: dict[NodeId, NodeId] = {}
        self._verified = (-1, -1)  # nodes and outputs there were when `verify` found no fault

    def input(self, name: str, fact: Fact, mutable: bool = False) -> NodeId:
        """Add an external tensor, dense, bound at each run; ``mutable`` lets in-place ops write it."""
        if not name or name in self._inputs:
            raise GraphError(f"input '{name}': a graph's inputs need names, each used once")
        self._inputs[name] = self._append(Node("input", (), MappingProxyType({"mutable": mutable}), fact, name))
        return self._inputs[name]

    def weight(self, parts: str | Sequence[str | int], fact: Fact, name: str = "") -> NodeId:
        """Add a parameter.

        Parameters
        ----------
        parts : str or sequence of str and int
            Stacked along axis 0: a tensor's name, or a number of zero rows.
        fact : Fact
            Of the whole. Convolution weights keep their shape (D, N, taps) here and in a `linear`; packing them in
            (tap, n) order is up to the binder.

        Raises
        ------
        GraphError
            There is no part, or a part is neither a name nor a positive number of rows.
        """
        parts = (parts,) if isinstance(parts, str) else tuple(parts)
        label = name or "+".join(map(str, parts))
        named = sum(isinstance(part, str) for part in parts)
        if not named or any(isinstance(part, int) and part < 1 for part in parts) or not all(parts):
            raise GraphError(f"weight '{label}': parts {parts!r}; expected tensor names or numbers of zero rows")
        return self._append(Node("weight", (), MappingProxyType({"parts": parts}), fact, label))

    def add(self, op: str, inputs: Sequence[NodeId], name: str = "", **attrs: Any) -> NodeId:
        """Add an op of the table and infer its result's fact.

        Raises
        ------
        GraphError
            The op or an attribute is unknown, an input comes later or was overwritten, or a fact does not fit; the
            message names node, slot, expected and given fact.
        """
        inputs = tuple(inputs)
        label = self._next_label(name)
        completed = complete_attrs(label, op, attrs)
        self._check_readable(name, op, inputs)
        fact = infer_fact(label, op, completed, [self[source].fact for source in inputs])
        return self._append(Node(op, inputs, completed, fact, name))

    def output(self, name: str, node: NodeId) -> None:
        """Name a value that a run hands out; raises GraphError for a taken name or an unreadable node."""
        if not name or name in self._outputs:
            raise GraphError(f"output '{name}': a graph's outputs need names, each used once")
        self._check_readable(name, "output", (node,))
        self._outputs[name] = node

    def copy_node(self, node: Node, inputs: Sequence[NodeId], old: Graph | None = None) -> NodeId:
        """Add a node of another graph, reading `inputs` of this one.

        With that graph, ``old``, given, a node is taken over as it is where its inputs have the same facts: what
        was inferred from them is known. Elsewhere its fact is inferred anew; its attributes are known to be right.
        """
        if node.op == "input":
            return self.input(node.name, node.fact, node.attrs["mutable"])
        if old is None:
            if node.op == "weight":
                return self.weight(node.attrs["parts"], node.fact, node.name)
            return self.add(node.op, inputs, node.name, **node.attrs)
        inputs = tuple(inputs)
        self._check_readable(node.name, node.op, inputs)
        mine, its = self._nodes, old._nodes
        for new, was in zip(inputs, node.inputs, strict=True):
            if mine[new].fact is not its[was].fact:
                facts = [mine[source].fact for source in inputs]
                fact = infer_fact(self._next_label(node.name), node.op, node.attrs, facts)
                return self._append(Node(node.op, inputs, node.attrs, fact, node.name))
        if inputs != node.inputs:
            node = Node(node.op, inputs, node.attrs, node.fact, node.name)
        return self._append(node)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, in order; a `NodeId` is an index."""
        return tuple(self._nodes)

    @property
    def inputs(self) -> dict[str, NodeId]:
        """External tensors by name."""
        return dict(self._inputs)

    @property
    def outputs(self) -> dict[str, NodeId]:
        """Named results."""
        return dict(self._outputs)

    def __getitem__(self, node: NodeId) -> Node:
        return self._nodes[node]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[tuple[NodeId, Node]]:
        """Pairs of id and node, in order."""
        return cast("Iterator[tuple[NodeId, Node]]", enumerate(self._nodes))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return self._nodes == other._nodes and self._outputs == other._outputs

    __hash__ = None  # type: ignore[assignment]

    def label(self, node: NodeId) -> str:
        """``%12 'encoder.conv1'``."""
        name = self._nodes[node].name
        return f"%{node} '{name}'" if name else f"%{node}"

    def users(self) -> list[list[NodeId]]:
        """For each node the nodes that read it, in order; one that reads it twice is there twice."""
        users: list[list[NodeId]] = [[] for _ in self._nodes]
        for i, node in self:
            for source in node.inputs:
                users[source].append(i)
        return users

    def version(self, node: NodeId) -> NodeId:
        """The value whose bytes a view shows; any other node is its own."""
        while self._nodes[node].op in _VIEWS:
            node = self._nodes[node].inputs[0]
        return node

    def root(self, node: NodeId) -> NodeId:
        """The node that owns the bytes, found through views and in-place ops."""
        while True:
            node = self.version(node)
            target = self._nodes[node].in_place
            if target is None:
                return node
            node = target

    def is_mutable(self, node: NodeId) -> bool:
        """Whether the bytes are those of a mutable input, which in-place ops may write."""
        owner = self._nodes[self.root(node)]
        return owner.op == "input" and owner.attrs["mutable"]

    def _append(self, node: Node) -> NodeId:
        if node.op in _IN_PLACE:
            self._check_writable(self._next_label(node.name), node)
        self._nodes.append(node)
        return NodeId(len(self._nodes) - 1)

    def _next_label(self, name: str) -> str:
        return f"%{len(self._nodes)} '{name}'" if name else f"%{len(self._nodes)}"

    def _check_readable(self, name: str, op: str, inputs: Sequence[NodeId]) -> None:
        """Refuse a reader, a node to be or an ``output``, of values that do not exist or were overwritten."""
        n_nodes, overwritten = len(self._nodes), self._overwritten
        for source in inputs:
            exists = 0 <= source < n_nodes
            if exists and not overwritten:
                continue
            writer = self._overwritten.get(self.version(source)) if exists else None
            if exists and writer is None:
                continue
            reader = f"output '{name}'" if op == "output" else f"node {self._next_label(name)} ({op})"
            if writer is None:
                raise GraphError(
                    f"{reader}: expected inputs among the {len(self._nodes)} nodes before it, given %{source}"
                )
            raise GraphError(
                f"{reader}: reads {self.label(source)}, which {self.label(writer)} has overwritten; "
                f"read the result of %{writer}"
            )

    def _check_writable(self, label: str, node: Node) -> None:
        target, index = node.in_place, OPS[node.op].in_place
        assert target is not None and index is not None
        slot = OPS[node.op].slots[index].name
        where = f"node {label} ({node.op}), slot '{slot}'"
        if self._nodes[target].is_view or not self.is_mutable(target):
            raise GraphError(
                f"{where}: expected a mutable input or an in-place result of one, "
                f"given {self.label(target)} ({self._nodes[target].op})"
            )
        root = self.root(target)
        if sum(self.root(source) == root for source in node.inputs) > 1:
            raise GraphError(f"{where}: expected to be read once, given {self.label(target)} in two slots")
        self._overwritten[target] = NodeId(len(self._nodes))


def verify(graph: Graph) -> None:
    """Check a whole graph by building it again.

    Raises
    ------
    GraphError
        A node breaks a rule of `Graph.add`, has a fact other than the table gives, an output reads an overwritten
        value, or nothing comes out of the graph: no output and no in-place op.
    """
    state = (len(graph), len(graph.outputs))
    if graph._verified == state:  # nodes never change, and none is ever taken away
        return
    replay = Graph()
    for i, node in graph:
        replay.copy_node(node, node.inputs)
        if replay[i] != node:
            raise GraphError(
                f"node {graph.label(i)} ({node.op}), slot 'result': expected {replay[i].fact}, given {node.fact}"
            )
    for name, node_id in graph.outputs.items():
        replay.output(name, node_id)
    if not graph.outputs and all(node.in_place is None for _, node in graph):
        raise GraphError("graph: expected an output or an in-place op, given none; name one with Graph.output")
    graph._verified = state
