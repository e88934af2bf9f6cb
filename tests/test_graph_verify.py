"""Each rule of the verifier refuses, in one line that names node, slot, expected and given fact."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import graph_models
import pytest

from whisperlite.errors import GraphError
from whisperlite.graph import FLOAT32, INT32, OPS, Fact, Graph, NodeId, ceil_div, optimize, symbol, verify
from whisperlite.graph.passes import conv_as_matmul, fuse_mlp, fuse_norms

B, T = symbol("B"), symbol("T")


class Bench:
    """A graph with inputs to build wrong nodes from."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.made: dict[str, NodeId] = {}

    def f32(self, *shape: object, mutable: bool = False) -> NodeId:
        return self.graph.input(f"in{len(self.graph)}", Fact(FLOAT32, shape), mutable)  # type: ignore[arg-type]

    def i32(self, *shape: object) -> NodeId:
        return self.graph.input(f"in{len(self.graph)}", Fact(INT32, shape))  # type: ignore[arg-type]

    def add(self, op: str, *inputs: NodeId, **attrs: object) -> NodeId:
        return self.graph.add(op, inputs, name="bad", **attrs)

    def append(self, cache: NodeId) -> NodeId:
        return self.graph.add("cache_append", [self.f32(B, 1, 4), cache, self.i32(B), self.i32(B)])


REFUSALS: dict[str, Callable[[Bench], object]] = {
    r"op 'swish' is unknown; use one of columns": lambda b: b.add("swish", b.f32(2)),
    r"slot 'x': expected a last axis that is an even int, given 5": lambda b: b.add("magnitude", b.f32(B, 5)),
    r"slot 'weight': expected four rows for each of its H=4 columns": lambda b: b.add(
        "lstm", b.f32(T, B, 12), b.f32(12, 4), b.f32(B, 8)
    ),
    r"slot 'state': expected \(B, 8\), given float32 \(B, 4\)": lambda b: b.add(
        "lstm", b.f32(T, B, 16), b.f32(16, 4), b.f32(B, 4)
    ),
    r"\(gelu\), attribute 'exact': unknown; expected none": lambda b: b.add("gelu", b.f32(2), exact=True),
    r"attribute 'n_head': expected int, given none": lambda b: b.add("pack_keys", b.f32(B, T, 4)),
    r"attribute 'n_head': expected int of 1 or more, given 0": lambda b: b.add(
        "pack_keys", b.f32(B, T, 4), n_head=0
    ),
    r"attribute 'pad': expected int of 1 or more, given True": lambda b: b.add(
        "pad_frames", b.f32(B, T, 4), pad=True
    ),
    r"attribute 'eps': expected float.*given '1'": lambda b: b.add("layer_norm", b.f32(4), eps="1"),
    r"attribute 'activation': expected str among none, gelu, given 'relu'": lambda b: b.add(
        "linear", b.f32(B, 4), b.f32(4, 4), activation="relu"
    ),
    r"attribute 'heads': expected ints, given 3": lambda b: b.add("cross_scores", n_head=1, n_ctx=T, heads=3),
    r"attribute 'n_ctx': expected size.*given 1.5": lambda b: b.add("attention_packed", n_head=1, n_ctx=1.5),
    r"\(layer_norm\): expected 3 inputs \(x, gamma, beta\), given 1": lambda b: b.add("layer_norm", b.f32(4)),
    r"\(linear\): expected 3 inputs \(x, weight, bias\), given 2": lambda b: b.add(
        "linear", b.f32(B, 4), b.f32(4, 4), has_bias=True
    ),
    r"slot 'tokens': expected int32 \(B, U\), given float32 \(2, 1\)": lambda b: b.add(
        "embed", b.f32(2, 1), b.i32(2), b.f32(9, 4), b.f32(5, 4)
    ),
    r"slot 'x': expected float32 \(\.\., N\), given int32 \(B, 4\)": lambda b: b.add(
        "linear", b.i32(B, 4), b.f32(4, 4)
    ),
    r"slot 'weight': expected a weight dtype \(D, N=4\), given float32 \(3, 5\)": lambda b: b.add(
        "linear", b.f32(B, 4), b.f32(3, 5)
    ),
    r"slot 'weight': expected a weight dtype \(D, N=4, taps=3\), given float32 \(3, 4\)": lambda b: b.add(
        "linear", b.f32(B, T, 4), b.f32(3, 4), taps=3
    ),
    r"slot 'x': expected float32 \(B, F, N\), given float32 \(B, 4\)": lambda b: b.add(
        "linear", b.f32(B, 4), b.f32(3, 4), pad=1
    ),
    r"slot 'bias': expected float32 \(D=3\), given float32 \(4\)": lambda b: b.add(
        "linear", b.f32(B, 4), b.f32(3, 4), b.f32(4), has_bias=True
    ),
    r"slot 'residual': expected \(B, T-2, 3\) or its last axes, given float32 \(B, T, 3\)": lambda b: b.add(
        "linear", b.f32(B, T, 4), b.f32(3, 4, 3), b.f32(B, T, 3), taps=3, pad=1, has_residual=True
    ),
    r"slot 'y': expected \(B, T, 4\) or its last axes, given float32 \(B, 4\)": lambda b: b.add(
        "add", b.f32(B, T, 4), b.f32(B, 4)
    ),
    r"slot 'start:stop': expected a range within 0:4, given 2:5": lambda b: b.add(
        "columns", b.f32(4), start=2, stop=5
    ),
    r"slot 'x': expected a last axis that is an int, given float32 \(T\)": lambda b: b.add(
        "columns", b.f32(T), start=0, stop=1
    ),
    r"slot 'n_head': expected a divisor of D=4, given 3": lambda b: b.add("pack_values", b.f32(B, T, 4), n_head=3),
    r"\(attention\), slot 'n_head': expected a divisor": lambda b: b.add(
        "attention", *[b.f32(B, T, 4)] * 3, n_head=3
    ),
    r"\(cached_attention\), slot 'n_head': expected a divisor": lambda b: b.add(
        "cached_attention", b.f32(B, 1, 4), *[b.f32(2, 7, 4)] * 2, b.i32(B), b.i32(B), b.i32(B, 7), n_head=3
    ),
    r"slot 'k': expected float32 \(B, T, D=4\), given float32 \(B, T, 8\)": lambda b: b.add(
        "attention", b.f32(B, T, 4), b.f32(B, T, 8), b.f32(B, T, 4), n_head=1
    ),
    r"slot 'key panels': expected .* or int8 \(A, H=2, panels=ceil\(T/32\), K=2, 32\)": lambda b: b.add(
        "attention_packed", b.f32(B, 1, 4), b.f32(B, 2, T, 2, 32), b.f32(B, 2, 1, T, 32), n_head=2, n_ctx=T
    ),
    r"slot 'audio_rows': expected an input, as q has B=3 and keys have A=1, given none": lambda b: b.add(
        "attention_packed",
        b.f32(3, 1, 4),
        b.f32(1, 2, ceil_div(T, 32), 2, 32),
        b.f32(1, 2, 1, T, 32),
        n_head=2,
        n_ctx=T,
    ),
    r"slot 'audio_rows': expected int32 \(A\+1=2\), given int32 \(3\)": lambda b: b.add(
        "cross_scores", b.f32(3, 1, 4), b.f32(1, 2, 1, 2, 32), b.i32(3), n_head=2, n_ctx=9, heads=(0,)
    ),
    r"slot 'heads': expected one or more of 0\.\.1, given \(0, 2\)": lambda b: b.add(
        "cross_scores", b.f32(1, 1, 4), b.f32(1, 2, 1, 2, 32), n_head=2, n_ctx=9, heads=(0, 2)
    ),
    r"slot 'result': expected axes of 1 or more, given \(1, 0, 3\)": lambda b: b.add(
        "linear", b.f32(1, 2, 4), b.f32(3, 4, 3), taps=3
    ),
    r"expected inputs among the 0 nodes before it, given %7": lambda b: b.add("gelu", NodeId(7)),
    r"slot 'cache': expected a mutable input or an in-place result of one, given %0 'in0' \(input\)": lambda b: (
        b.append(b.f32(2, 7, 4))
    ),
    r"slot 'cache': expected a mutable input .* given %1 \(columns\)": lambda b: b.append(
        b.graph.add("columns", [b.f32(2, 7, 8, mutable=True)], start=0, stop=4)
    ),
    r"slot 'cache': expected to be read once, given %0 'in0' in two slots": lambda b: (
        lambda cache: b.add("cache_append", cache, cache, b.i32(2), b.i32(2))
    )(b.f32(2, 7, 4, mutable=True)),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_refusal(message: str) -> None:
    with pytest.raises(GraphError, match=message) as refused:
        REFUSALS[message](Bench())
    assert "\n" not in str(refused.value)
    assert re.match(r"node %\d+", str(refused.value))


def test_no_node_reads_an_overwritten_value() -> None:
    bench = Bench()
    cache = bench.f32(2, 7, 4, mutable=True)
    view = bench.graph.add("columns", [cache], start=0, stop=2)
    first = bench.append(cache)
    second = bench.append(first)
    for stale, writer in ((cache, first), (view, first), (first, second)):
        with pytest.raises(GraphError, match=f"reads %{stale}.*, which %{writer} has overwritten"):
            bench.add("gelu", stale)
        with pytest.raises(GraphError, match="output 'stale': reads"):
            bench.graph.output("stale", stale)
    with pytest.raises(GraphError, match="has overwritten"):
        bench.append(cache)
    bench.add("gelu", second)


def test_leaves_and_outputs_need_names_of_their_own() -> None:
    bench = Bench()
    x = bench.f32(2)
    bench.graph.output("y", bench.graph.add("gelu", [x]))
    with pytest.raises(GraphError, match="input 'in0'"):
        bench.graph.input("in0", Fact(FLOAT32, (1,)))
    with pytest.raises(GraphError, match="output 'y'"):
        bench.graph.output("y", x)
    with pytest.raises(GraphError, match="output 'z': expected inputs among"):
        bench.graph.output("z", NodeId(9))
    for parts in ((), (3,), ("w", 0), ("w", "")):
        with pytest.raises(GraphError, match="expected tensor names or numbers of zero rows"):
            bench.graph.weight(parts, Fact(FLOAT32, (3,)))


@pytest.mark.parametrize("model", graph_models.MODELS)
def test_models_are_valid(model: str) -> None:
    verify(graph_models.MODELS[model](2))


def test_verify_finds_a_node_that_was_tampered_with() -> None:
    graph = graph_models.encoder(1)
    last = graph.outputs["features"]
    graph._nodes[last] = replace(graph[last], fact=Fact(FLOAT32, (B, T, 7)))
    with pytest.raises(
        GraphError, match=rf"%{last} 'ln_post' .*expected float32 \(B, T, 12\), given .*\(B, T, 7\)"
    ):
        verify(graph)
    graph._nodes[last] = replace(graph[last], inputs=(last, *graph[last].inputs[1:]))
    with pytest.raises(GraphError, match="expected inputs among"):
        verify(graph)


def test_verify_finds_an_output_overwritten_later() -> None:
    bench = Bench()
    first = bench.append(bench.f32(2, 7, 4, mutable=True))
    bench.graph.output("old", first)
    bench.append(first)
    with pytest.raises(GraphError, match="output 'old': reads"):
        verify(bench.graph)


def test_a_graph_without_effect_is_refused() -> None:
    bench = Bench()
    bench.add("gelu", bench.f32(2))
    with pytest.raises(GraphError, match="expected an output or an in-place op, given none"):
        verify(bench.graph)


def test_every_op_of_the_table_is_built_by_a_model() -> None:
    graphs = [build(1) for build in graph_models.MODELS.values()]
    built = {node.op for graph in (*graphs, *map(optimize, graphs)) for _, node in graph}
    built |= {node.op for _, node in conv_as_matmul(graphs[0])}
    built |= {node.op for _, node in fuse_norms(fuse_mlp(optimize(graphs[0]), FLOAT32), FLOAT32)}
    assert built - {"input", "weight"} == set(OPS)
