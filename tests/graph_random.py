"""Random graphs for the property tests of the graph room.

In: hypothesis. Out: valid graphs over the ops that take and give (B, F, D) frames, and caches.
Knows nothing of: passes, plans.
"""

from __future__ import annotations

from hypothesis import strategies as st

from whisperlite.graph import FLOAT32, INT32, Fact, Graph, NodeId, symbol

B, F = symbol("B"), symbol("F")
WIDTHS = (4, 8, 12)
N_CTX, N_ROWS, N_NEW = 5, 3, 2
SIZES = {"B": 2, "F": 9}
OPS = (
    "linear",
    "linear",
    "linear",
    "gelu",
    "gelu",
    "add",
    "add",
    "layer_norm",
    "conv1d",
    "pad_frames",
    "attention",
)


@st.composite
def graphs(draw: st.DrawFn, max_ops: int = 14) -> Graph:
    """Graphs of frames whose values all passes may meet: shared inputs, dead ends, epilogues that may not fuse."""
    graph = Graph()
    frames = [graph.input("x", Fact(FLOAT32, (B, F, draw(st.sampled_from(WIDTHS)))))]
    for k in range(draw(st.integers(1, max_ops))):
        op = draw(st.sampled_from((*OPS, "cache")))
        x = draw(st.sampled_from(frames[-4:]))
        made = _cache(graph, k, x) if op == "cache" else _op(draw, graph, f"n{k}", op, x, frames)
        frames.append(made)
    ends = draw(st.lists(st.sampled_from(frames), min_size=1, max_size=3, unique=True))
    chosen = [i for i in (*ends, frames[-1]) if not graph[i].is_leaf] or [graph.add("gelu", [frames[0]])]
    for k, i in enumerate(dict.fromkeys(chosen)):
        graph.output(f"out{k}", i)
    return graph


def _op(draw: st.DrawFn, graph: Graph, name: str, op: str, x: NodeId, frames: list[NodeId]) -> NodeId:
    shape = graph[x].fact.shape
    width = shape[2]
    if op == "linear":
        n_out, has_bias = draw(st.sampled_from(WIDTHS)), draw(st.booleans())
        inputs = [x, graph.weight(f"{name}.weight", Fact(FLOAT32, (n_out, width)))]
        inputs += [graph.weight(f"{name}.bias", Fact(FLOAT32, (n_out,)))] if has_bias else []
        return graph.add(op, inputs, name, has_bias=has_bias)
    if op == "conv1d":
        taps, stride = draw(st.sampled_from((1, 2, 3))), draw(st.sampled_from((1, 2)))
        n_out = draw(st.sampled_from(WIDTHS))
        weight = graph.weight(f"{name}.weight", Fact(FLOAT32, (n_out, width, taps)))
        return graph.add(
            op, [x, weight, graph.weight(f"{name}.bias", Fact(FLOAT32, (n_out,)))], name, stride=stride
        )
    if op == "add":
        same = [i for i in frames if graph[i].fact.shape == shape]
        other = draw(st.sampled_from([*same, None]))
        if other is None:
            other = graph.weight(f"{name}.y", Fact(FLOAT32, shape[draw(st.integers(1, 2)) :]))
            return graph.add(op, [x, other], name)
        return graph.add(op, draw(st.permutations([x, other])), name)
    if op == "layer_norm":
        return graph.add(op, [x, *(graph.weight(f"{name}.{part}", Fact(FLOAT32, (width,))) for part in "gb")], name)
    if op == "pad_frames":
        return graph.add(op, [x], name, pad=draw(st.integers(1, 2)))
    if op == "attention":
        others = [i for i in frames if graph[i].fact.shape == shape]
        return graph.add(op, [x, draw(st.sampled_from(others)), draw(st.sampled_from(others))], name, n_head=2)
    return graph.add(op, [x], name)


def _cache(graph: Graph, k: int, x: NodeId) -> NodeId:
    """Read a fresh mutable input, write it, attend to it, each to an output; `x` stays the frames."""
    width = graph[x].fact.shape[2]
    names = ("past", "own_rows", "cache_rows", "rows")
    shapes = ((B,), (B,), (B, N_CTX), (N_NEW,))
    for name, shape in zip(names, shapes, strict=True):
        if name not in graph.inputs:
            graph.input(name, Fact(INT32, shape))
    past, own_rows, cache_rows, _ = (graph.inputs[name] for name in names)
    new = graph.input(f"new{k}", Fact(FLOAT32, (B, N_NEW, width)))
    cache = graph.input(f"cache{k}", Fact(FLOAT32, (N_ROWS, N_CTX, width)), mutable=True)
    before = graph.add("linear", [cache, graph.weight(f"c{k}.weight", Fact(FLOAT32, (width, width)))])
    written = graph.add("cache_append", [new, cache, past, own_rows])
    graph.output(f"activated{k}", graph.add("gelu", [before]))
    attended = graph.add("cached_attention", [new, written, written, past, own_rows, cache_rows], n_head=2)
    selected = graph.add("select_rows", [attended, graph.inputs["rows"]])
    last = graph.add("linear", [selected, graph.weight(f"s{k}.weight", Fact(FLOAT32, (width, width)))])
    graph.output(f"selected{k}", last)
    return x
