"""Passes change how a graph is computed, never what it computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import graph_models
import graph_oracle
import graph_random
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from whisperlite.graph import FLOAT32, Fact, Graph, NodeId, make_plan, optimize, symbol, verify
from whisperlite.graph import passes as room

PASSES: dict[str, Callable[[Graph], Graph]] = {name: getattr(room, name) for name in room.__all__}
PASSES["store_weights"] = lambda graph: room.store_weights(graph, lambda name, shape: "float16")
PASSES["allow_rounding"] = lambda graph: room.allow_rounding(graph, FLOAT32)
PASSES["fuse_mlp"] = lambda graph: room.fuse_mlp(room.optimize(graph), FLOAT32)
PASSES["fuse_norms"] = lambda graph: room.fuse_norms(room.optimize(graph), FLOAT32)
PASSES["merge_linears by pairs"] = lambda graph: room.merge_linears(graph, max_columns=24)
RTOL = 1e-9

INDICES = {
    "tokens": np.array([[1, 10, 3], [0, 7, 7]], np.int32),
    "past": np.array([2, 3], np.int32),
    "own_rows": np.array([1, 0], np.int32),
    "cache_rows": np.array([[0, 1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0]], np.int32),
    "audio_rows": np.array([0, 2], np.int32),
    "wanted": np.array([2, 0, 1, 1], np.int32),
}
RANDOM_INDICES = {
    "past": np.array([2, 0], np.int32),
    "own_rows": np.array([2, 1], np.int32),
    "cache_rows": np.array([[0, 1, 0, 0, 0], [2, 2, 0, 0, 0]], np.int32),
    "rows": np.array([1, 0], np.int32),
}


def assert_same_value(before: Graph, after: Graph, sizes: dict[str, int], indices: dict[str, np.ndarray]) -> None:
    verify(after)
    assert list(after.outputs) == list(before.outputs)
    assert list(after.inputs) == list(before.inputs)
    tensors = graph_oracle.random_tensors(before, sizes)
    inputs = graph_oracle.random_inputs(before, sizes, {k: v for k, v in indices.items() if k in before.inputs})
    expected = graph_oracle.evaluate_graph(before, sizes, inputs, tensors)
    given = graph_oracle.evaluate_graph(after, sizes, inputs, tensors)
    assert expected.keys() == given.keys()
    for name in expected:
        np.testing.assert_allclose(given[name], expected[name], rtol=RTOL, atol=RTOL, err_msg=name)


@pytest.mark.parametrize("pass_name", PASSES)
@pytest.mark.parametrize("model", graph_models.MODELS)
def test_pass_keeps_the_value_of_a_model(model: str, pass_name: str) -> None:
    graph = graph_models.MODELS[model](2)
    assert_same_value(graph, PASSES[pass_name](graph), graph_models.SIZES, INDICES)


@pytest.mark.parametrize("pass_name", PASSES)
@given(graph=graph_random.graphs())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pass_keeps_the_value_of_random_graphs(graph: Graph, pass_name: str) -> None:
    assert_same_value(graph, PASSES[pass_name](graph), graph_random.SIZES, RANDOM_INDICES)


@given(graph=graph_random.graphs())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_optimize_is_idempotent_and_can_be_planned(graph: Graph) -> None:
    once = optimize(graph)
    assert optimize(once) == once
    make_plan(once, graph_random.SIZES)


@pytest.mark.parametrize("model", graph_models.MODELS)
@pytest.mark.parametrize("max_columns", [None, 24, 36])
def test_optimize_is_idempotent_on_models(model: str, max_columns: int | None) -> None:
    once = optimize(graph_models.MODELS[model](3), max_columns)
    assert optimize(once, max_columns) == once


def ops_of(graph: Graph) -> Counter[str]:
    return Counter(node.op for _, node in graph if not node.is_leaf)


def test_encoder_layer_after_optimize() -> None:
    graph = optimize(graph_models.encoder(1))
    assert ops_of(graph) == {
        "transpose_frames": 1,
        "linear": 6,  # conv1, conv2, Q/K/V, out, two of the MLP
        "layer_norm": 3,
        "columns": 3,
        "pack_keys": 1,
        "pack_values": 1,
        "attention_packed": 1,
    }
    linears = [node for _, node in graph if node.op == "linear"]
    assert [node.attrs["pad"] for node in linears] == [1, 0, 0, 0, 0, 0]
    assert [node.attrs["activation"] for node in linears] == ["gelu", "gelu", "none", "none", "gelu", "none"]
    assert [node.attrs["has_residual"] for node in linears] == [False, True, False, True, False, True]
    assert graph[linears[0].inputs[1]].fact.shape == (graph_models.D, graph_models.N_MELS, 3)
    bias = graph[linears[2].inputs[2]]
    assert bias.attrs["parts"] == ("blocks.0.attn.query.bias", graph_models.D, "blocks.0.attn.value.bias")


def test_an_mlp_becomes_one_op_where_its_weights_are_of_that_dtype() -> None:
    graph = optimize(graph_models.encoder(2))
    counts = ops_of(room.fuse_mlp(graph, FLOAT32))
    assert counts["mlp"] == 2 and counts["linear"] == 2 + 2 * 2 and counts["layer_norm"] == 3
    assert room.fuse_mlp(graph, "int8") == graph
    names = [node.name for _, node in room.fuse_mlp(graph, FLOAT32) if node.op == "mlp"]
    assert names == ["blocks.0.mlp", "blocks.1.mlp"]


def test_a_norm_that_one_linear_reads_becomes_one_op_with_it() -> None:
    graph = room.fuse_mlp(optimize(graph_models.encoder(2)), FLOAT32)
    fused = room.fuse_norms(graph, FLOAT32)
    counts = ops_of(fused)
    assert counts["norm_linear"] == 2 and counts["linear"] == 2 + 2 and counts["layer_norm"] == 1
    assert room.fuse_norms(graph, "int8") == graph
    names = [node.name for _, node in fused if node.op == "norm_linear"]
    assert names == [f"blocks.{i}.attn.query +2" for i in (0, 1)]


def test_a_norm_that_others_read_stays() -> None:
    graph = graph_models.encoder(1)
    graph.output("normal", next(i for i, node in graph if node.op == "layer_norm"))
    assert "norm_linear" not in ops_of(room.fuse_norms(optimize(graph), FLOAT32))


def test_an_mlp_whose_hidden_layer_others_read_stays() -> None:
    graph = graph_models.encoder(1)
    hidden = next(i for i, node in graph if node.op == "linear" and node.name == "blocks.0.mlp.0")
    graph.output("hidden", hidden)
    assert "mlp" not in ops_of(room.fuse_mlp(optimize(graph), FLOAT32))


def test_cross_keys_and_values_of_all_layers_become_one_linear() -> None:
    graph = optimize(graph_models.cross_kv(3))
    assert ops_of(graph) == {"linear": 1, "columns": 6, "pack_keys": 3, "pack_values": 3}
    assert optimize(graph_models.cross_kv(3), max_columns=2 * graph_models.D) != graph
    per_layer = optimize(graph_models.cross_kv(3), max_columns=2 * graph_models.D)
    assert ops_of(per_layer)["linear"] == 3


def test_decoder_layer_after_optimize() -> None:
    counts = ops_of(optimize(graph_models.decoder(1)))
    assert counts["linear"] == 7 and counts["cache_append"] == 2
    assert not {"gelu", "add"} & set(counts)


def frames_graph() -> tuple[Graph, NodeId, NodeId]:
    graph = Graph()
    x = graph.input("x", Fact(FLOAT32, (symbol("B"), symbol("F"), 4)))
    return graph, x, graph.add("linear", [x, graph.weight("w", Fact(FLOAT32, (4, 4)))])


def test_a_linear_that_others_read_keeps_its_result() -> None:
    graph, _, y = frames_graph()
    graph.output("gelu", graph.add("gelu", [y]))
    graph.output("padded", graph.add("pad_frames", [y], pad=1))
    assert ops_of(optimize(graph)) == {"linear": 1, "gelu": 1, "pad_frames": 1}


def test_a_linear_that_is_an_output_keeps_its_result() -> None:
    graph, x, y = frames_graph()
    graph.output("y", y)
    graph.output("z", graph.add("add", [graph.add("gelu", [y]), x]))
    other = graph.add("linear", [x, graph.weight("v", Fact(FLOAT32, (8, 4)))])
    graph.output("other", graph.add("layer_norm", [other, *(graph.weight(n, Fact(FLOAT32, (8,))) for n in "gb")]))
    assert ops_of(optimize(graph)) == {"linear": 2, "gelu": 1, "add": 1, "layer_norm": 1}


def test_an_activation_after_the_residual_is_not_fused() -> None:
    graph, x, y = frames_graph()
    graph.output("z", graph.add("gelu", [graph.add("add", [x, y])]))
    assert ops_of(optimize(graph)) == {"linear": 1, "gelu": 1}


def test_a_linear_smaller_than_the_sum_is_not_fused() -> None:
    graph = Graph()
    x = graph.input("x", Fact(FLOAT32, (2, 3, 4)))
    small = graph.input("small", Fact(FLOAT32, (3, 4)))
    y = graph.add("linear", [small, graph.weight("w", Fact(FLOAT32, (4, 4)))])
    graph.output("z", graph.add("add", [x, y]))
    assert ops_of(optimize(graph)) == {"linear": 1, "add": 1}


def test_drop_dead_keeps_inputs_and_writes() -> None:
    graph = graph_models.decoder(1)
    graph.add("gelu", [graph.outputs["logits"]])
    kept = room.drop_dead(graph)
    assert kept.inputs.keys() == graph.inputs.keys()
    assert ops_of(kept)["cache_append"] == 2 and ops_of(kept)["gelu"] == 1
