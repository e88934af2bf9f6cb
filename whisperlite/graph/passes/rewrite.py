"""How a pass makes a new graph: walk the old one, emit something for each node.

In: a graph and a function that emits nodes. Out: a new graph.
Knows nothing of: any single pass.
"""

from __future__ import annotations

from collections.abc import Callable

from whisperlite.graph.arena import Graph, Node, NodeId


class Rewriter:
    """An old graph, the new one so far, and which new node stands for which old one."""

    def __init__(self, old: Graph) -> None:
        self.old = old
        self.new = Graph()
        self.made: dict[NodeId, NodeId] = {}
        self.users = old.users()
        self.output_nodes = frozenset(old.outputs.values())

    def inputs(self, node: Node) -> list[NodeId]:
        """The new nodes that an old node's inputs became."""
        return [self.made[source] for source in node.inputs]

    def copy(self, node: Node) -> NodeId:
        """Emit an old node unchanged."""
        return self.new.copy_node(node, self.inputs(node), self.old)

    def can_absorb(self, source: NodeId) -> bool:
        """Whether the one user of an old node may compute it: nobody else needs it, and moving it is safe.

        The op moves to where its user is, so it must not read bytes that an in-place op may write in between.
        """
        if len(self.users[source]) != 1 or source in self.output_nodes:
            return False
        made = self.new[self.made[source]]
        return not any(self.new.is_mutable(value) for value in made.inputs)


def rewrite(graph: Graph, visit: Callable[[Rewriter, NodeId, Node], NodeId], op: str = "") -> Graph:
    """A new graph in which ``visit(rewriter, id, node)`` has emitted, and returned, what stands for each node.

    Nodes that nothing reads any more are dropped. A pass that names the ``op`` it is for copies no graph that has
    none.
    """
    if op and all(node.op != op for _, node in graph):
        return drop_dead(graph)
    rewriter = Rewriter(graph)
    for i, node in graph:
        rewriter.made[i] = visit(rewriter, i, node)
    for name, i in graph.outputs.items():
        rewriter.new.output(name, rewriter.made[i])
    return drop_dead(rewriter.new)


def drop_dead(graph: Graph) -> Graph:
    """Drop what no output depends on.

    In-place ops stay, as writing a mutable input is an effect; inputs stay, as they are the graph's interface.
    """
    alive = set(graph.outputs.values())
    for i, node in reversed(list(graph)):
        if i in alive or node.op == "input" or node.in_place is not None:
            alive.add(i)
            if node.inputs:
                alive.update(node.inputs)
    if len(alive) == len(graph):
        return graph
    kept = Graph()
    made: dict[NodeId, NodeId] = {}
    for i, node in graph:
        if i in alive:
            made[i] = kept.copy_node(node, [made[source] for source in node.inputs], graph)
    for name, i in graph.outputs.items():
        kept.output(name, made[i])
    return kept
