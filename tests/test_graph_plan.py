"""Plans: order, lifetimes, layout and memory."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from itertools import pairwise

import graph_models
import graph_random
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisperlite.errors import GraphError
from whisperlite.graph import (
    FLOAT32,
    Fact,
    Graph,
    Plan,
    make_plan,
    optimize,
    plan_to_text,
    symbol,
    to_dot,
    to_json,
    to_text,
)
from whisperlite.graph.memory import ALIGNMENT, Request, assign_offsets, peak_bytes

REQUESTS = st.lists(
    st.builds(
        lambda n_bytes, first, length: Request(n_bytes, first, first + length),
        st.integers(1, 1000),
        st.integers(0, 20),
        st.integers(0, 8),
    ),
    max_size=30,
)
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(requests=REQUESTS)
def test_live_buffers_never_overlap(requests: list[Request]) -> None:
    offsets, arena_bytes = assign_offsets(requests)
    for i, (a, start) in enumerate(zip(requests, offsets, strict=True)):
        assert start >= 0 and start % ALIGNMENT == 0 and start + a.n_bytes <= arena_bytes
        for b, other in zip(requests[:i], offsets[:i], strict=True):
            if a.first <= b.last and b.first <= a.last:
                assert start + a.n_bytes <= other or other + b.n_bytes <= start
    assert peak_bytes(requests) <= arena_bytes


def test_a_chain_of_equal_buffers_takes_two() -> None:
    requests = [Request(100, step, step + 1) for step in range(10)]
    assert assign_offsets(requests)[1] == peak_bytes(requests) == 256


def assert_valid(plan: Plan) -> None:
    """What every plan promises, from the graph and the buffers alone."""
    graph = plan.graph
    position = {step: k for k, step in enumerate(plan.steps)}
    assert set(position) == {i for i, node in graph if not node.is_leaf and not node.is_view}
    live: dict[int, set[int]] = {}  # step -> bases of arena buffers in use
    for step, k in position.items():
        for value in (step, *graph[step].inputs):
            buffer = plan.buffers[value]
            source = graph.version(value)
            assert graph[source].is_leaf or position[source] <= k
            assert buffer.first <= k <= buffer.last
            if buffer.kind == "arena":
                live.setdefault(k, set()).add(buffer.base)
    for base in set().union(*live.values()) if live else ():
        used = [k for k in live if base in live[k]]
        for k in range(min(used), max(used) + 1):
            live.setdefault(k, set()).add(base)
    for bases in live.values():
        ends = sorted((plan.buffers[b].offset, plan.buffers[b].offset + plan.buffers[b].n_bytes) for b in bases)
        assert all(stop <= start for (_, stop), (start, _) in pairwise(ends))
        assert all(stop <= plan.arena_bytes for _, stop in ends)
    assert plan.peak_bytes <= plan.arena_bytes
    for buffer in plan.buffers:
        base = plan.buffers[buffer.base]
        reach = sum((n - 1) * stride for n, stride in zip(buffer.shape, buffer.strides, strict=True)) + 4
        assert base.offset <= buffer.offset and buffer.offset + reach <= base.offset + base.n_bytes


@given(graph=graph_random.graphs(), n_batch=st.integers(1, 3), n_frames=st.integers(9, 40))
@RELAXED
def test_plans_of_random_graphs(graph: Graph, n_batch: int, n_frames: int) -> None:
    sizes = {"B": n_batch, "F": n_frames}
    assert_valid(make_plan(graph, sizes))
    assert_valid(make_plan(optimize(graph), sizes))


@pytest.mark.parametrize("model", graph_models.MODELS)
def test_plans_of_models(model: str) -> None:
    graph = graph_models.MODELS[model](2)
    assert_valid(make_plan(graph, graph_models.SIZES))
    assert_valid(make_plan(optimize(graph), graph_models.SIZES))


def rows(width: int, kind: str) -> Graph:
    graph = Graph()
    x = graph.input("x", Fact(FLOAT32, (symbol("B"), 3, width)))
    y = graph.add("gelu", [x])
    graph.output("y", y if kind == "output" else graph.add("gelu", [y]))
    return graph


@pytest.mark.parametrize(
    ("kind", "width", "pitch"),
    [
        ("arena", 1, 32),
        ("arena", 33, 64),
        ("arena", 384, 384),
        ("arena", 512, 528),
        ("arena", 500, 528),
        ("output", 512, 512),
        ("output", 51865, 51872),
    ],
)
def test_row_pitch(kind: str, width: int, pitch: int) -> None:
    plan = make_plan(rows(width, kind), {"B": 2})
    buffer = plan.buffers[plan.steps[0]]
    assert (buffer.kind, buffer.strides) == (kind, (3 * pitch * 4, pitch * 4, 4))
    assert buffer.n_bytes == 2 * 3 * pitch * 4
    given = plan.buffers[plan.inputs["x"]]
    assert (given.kind, given.key, given.strides) == ("input", "x", (3 * width * 4, width * 4, 4))


def test_views_and_in_place_results_share_bytes() -> None:
    plan = make_plan(optimize(graph_models.decoder(1)), graph_models.SIZES)
    found = {node.op: i for i, node in plan.graph}
    view, written = plan.buffers[found["columns"]], plan.buffers[found["cache_append"]]
    whole = plan.buffers[plan.graph[found["columns"]].inputs[0]]
    assert view.base == plan.graph[found["columns"]].inputs[0]
    assert view.offset == whole.offset + 24 * 4 and view.strides == whole.strides
    cache = plan.buffers[plan.inputs["v.0"]]
    assert (written.kind, written.key, written.base) == ("input", "v.0", plan.inputs["v.0"])
    assert (written.strides, written.n_bytes, written.last) == (cache.strides, cache.n_bytes, cache.last)
    panels = plan.buffers[plan.inputs["keys.0"]]
    assert panels.shape == (1, 3, 2, 4, 32)


def test_panels_are_dense_in_the_arena_and_in_outputs() -> None:
    for model in ("encoder", "cross_kv"):
        plan = make_plan(optimize(graph_models.MODELS[model](1)), graph_models.SIZES)
        for i, node in plan.graph:
            if node.op == "pack_values":
                n_rows, n_ctx = plan.buffers[i].shape[0], 37
                assert plan.buffers[i].n_bytes == n_rows * 3 * n_ctx * 32 * 4


def test_weight_in_a_block_format_has_no_strides() -> None:
    graph = Graph()
    x = graph.input("x", Fact(FLOAT32, (1, 64)))
    w = graph.weight("w", Fact("q8_0", (32, 64)))
    graph.output("y", graph.add("linear", [x, w]))
    buffer = make_plan(graph, {}).buffers[w]
    assert (buffer.kind, buffer.key, buffer.strides, buffer.n_bytes) == ("weight", "w", (), 0)


def test_attrs_are_integers() -> None:
    plan = make_plan(optimize(graph_models.encoder(1)), graph_models.SIZES)
    [attended] = [i for i, node in plan.graph if node.op == "attention_packed"]
    assert plan.attrs(attended) == {"n_head": 3, "n_ctx": 37, "dtype": "float32"}


def test_plan_is_immutable() -> None:
    plan = make_plan(rows(4, "output"), {"B": 1})
    with pytest.raises(FrozenInstanceError):
        plan.arena_bytes = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        plan.sizes["B"] = 2  # type: ignore[index]


def test_refusals() -> None:
    with pytest.raises(GraphError, match="symbol 'B' has no value"):
        make_plan(rows(4, "output"), {"T": 1})
    with pytest.raises(GraphError, match="axis below 1"):
        make_plan(rows(4, "output"), {"B": 0})
    graph = rows(4, "arena")
    graph.output("again", graph.outputs["y"])
    with pytest.raises(GraphError, match=r"output 'again': .* is output 'y' already"):
        make_plan(graph, {"B": 1})


@pytest.mark.parametrize("op", ["input", "weight", "columns", "cache_append"])
def test_an_output_owns_its_bytes(op: str) -> None:
    graph = optimize(graph_models.decoder(1))
    graph.output("borrowed", next(i for i, node in graph if node.op == op))
    with pytest.raises(GraphError, match="output 'borrowed': expected a computed value, given %"):
        make_plan(graph, graph_models.SIZES)


@pytest.mark.parametrize("model", graph_models.MODELS)
def test_dumps_hold_every_node(model: str) -> None:
    graph = optimize(graph_models.MODELS[model](1))
    parsed = json.loads(to_json(graph))
    assert [(n["op"], n["inputs"]) for n in parsed["nodes"]] == [(n.op, list(n.inputs)) for n in graph.nodes]
    assert parsed["outputs"] == graph.outputs
    lines, dot = to_text(graph).splitlines(), to_dot(graph).splitlines()
    assert len(lines) == len(graph) + len(graph.outputs)
    for i, node in graph:
        assert lines[i].startswith(f"%{i} {node.op}")
        assert any(line.startswith(f"  n{i} [label=") for line in dot)
        assert sum(line.endswith(f"-> n{i};") for line in dot) == len(node.inputs)
    assert dot[0].startswith("digraph") and dot[-1] == "}"
    plan = make_plan(graph, graph_models.SIZES)
    table = plan_to_text(plan).splitlines()
    assert table[0] == str(plan) and len(table) == 2 + len(plan.steps)
    assert all(f"%{step} " in line for step, line in zip(plan.steps, table[2:], strict=True))
