"""LSTM, magnitude, ReLU and sigmoid against float64, with guards around every buffer, and as graph ops."""

from __future__ import annotations

import graph_oracle
import numpy as np
import pytest
from kernel_memory import Guarded, round_up, rows

from whisperlite.graph import FLOAT32, Fact, Graph, make_plan, optimize
from whisperlite.kernels import lstm as kernels
from whisperlite.kernels.packing import pack_weight_f32
from whisperlite.runtime.executor import Program, Workspace
from whisperlite.runtime.weights import Weights

COLUMNS = [1, 15, 16, 33, 129, 384]


@pytest.mark.parametrize("n_cols", COLUMNS)
@pytest.mark.parametrize("name", ["relu", "sigmoid", "magnitude"])
def test_rows(name, n_cols):
    rng = np.random.default_rng(n_cols)
    x = rng.standard_normal((11, n_cols * (2 if name == "magnitude" else 1))) * 40
    x[0] = 0
    source, out = rows(x), Guarded((11, round_up(n_cols, 32)))
    getattr(kernels, f"{name}_f32")(
        x=source.address, ldx=source.array.strides[0], n_rows=11, n_cols=n_cols, out=out.address,
        ldo=out.array.strides[0],
    )  # fmt: skip
    out.check()
    x = x.astype(np.float32).astype(np.float64)
    want = graph_oracle.OPS[name]({}, x)
    np.testing.assert_allclose(out.array[:, :n_cols], want, rtol=1e-6, atol=1e-37)
    assert np.isnan(out.array[:, n_cols:]).all()


def test_sigmoid_far_out():
    x = np.array([[-1e4, -120, -88, 88, 120, 1e4]], np.float32)
    source, out = rows(x), Guarded((1, 32))
    kernels.sigmoid_f32(x=source.address, ldx=128, n_rows=1, n_cols=6, out=out.address, ldo=128)
    np.testing.assert_allclose(out.array[0, :6], [0, 0, 0, 1, 1, 1], atol=1e-37)


@pytest.mark.parametrize("n_hidden", [1, 3, 8, 33, 128])
@pytest.mark.parametrize(("n_steps", "n_batch"), [(1, 1), (7, 1), (5, 3)])
def test_lstm(n_steps, n_batch, n_hidden):
    rng = np.random.default_rng(n_hidden)
    gates = rng.standard_normal((n_steps, n_batch, 4 * n_hidden)).astype(np.float32) * 3
    weight = (rng.standard_normal((4 * n_hidden, n_hidden)) * n_hidden**-0.5).astype(np.float32)
    state = rng.standard_normal((n_batch, 2 * n_hidden)).astype(np.float32)
    panels = Guarded((-(-4 * n_hidden // 32), n_hidden, 32))
    pack_weight_f32(
        source=weight.ctypes.data,
        lds=weight.strides[0],
        n_rows=4 * n_hidden,
        n_in=n_hidden,
        panels=panels.address,
        is_half=0,
        scratch=0,
        scratch_bytes=0,
    )
    given, initial = rows(gates), rows(state)
    out = Guarded((n_steps, n_batch, round_up(2 * n_hidden, 32)))
    scratch = Guarded((kernels.lstm_scratch_bytes(n_hidden) // 4,))
    kernels.lstm_f32(
        gates=given.address, gates_step=given.array.strides[0], ldg=given.array.strides[1], n_steps=n_steps,
        n_batch=n_batch, n_hidden=n_hidden, panels=panels.address, state=initial.address,
        lds=initial.array.strides[0], out=out.address, out_step=out.array.strides[0], ldo=out.array.strides[1],
        scratch=scratch.address, scratch_bytes=scratch.array.nbytes,
    )  # fmt: skip
    out.check(), scratch.check()
    want = graph_oracle.OPS["lstm"]({}, *(a.astype(np.float64) for a in (gates, weight, state)))
    np.testing.assert_allclose(out.array[..., : 2 * n_hidden], want, atol=3e-6)


class Tensors:
    def __init__(self, tensors):
        self.tensors = tensors

    def read(self, name):
        return self.tensors[name].astype(np.float32)

    def release(self):
        pass


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("threads", [1, 2])
def test_ops_in_a_graph(backend, threads, monkeypatch):
    graph = Graph()
    x = graph.input("x", Fact(FLOAT32, (6, 2, 14)))
    state = graph.input("state", Fact(FLOAT32, (2, 10)))
    gates = graph.add(
        "linear",
        [graph.add("relu", [graph.add("magnitude", [x])]), graph.weight("in", Fact(FLOAT32, (20, 7)))],
    )
    states = graph.add("lstm", [gates, graph.weight("again", Fact(FLOAT32, (20, 5))), state])
    graph.output("states", states)
    graph.output("speech", graph.add("sigmoid", [graph.add("columns", [states], start=0, stop=5)]))
    graph = optimize(graph)
    tensors = graph_oracle.random_tensors(graph, {})
    inputs = graph_oracle.random_inputs(graph, {}, {})
    expected = graph_oracle.evaluate_graph(graph, {}, inputs, tensors)
    program = Program(make_plan(graph, {}), Weights(Tensors(tensors)), Workspace(), backend, threads)
    single = {name: value.astype(np.float32) for name, value in inputs.items()}
    for check in ("0", "1"):
        monkeypatch.setenv("WHISPERLITE_CHECK", check)
        found = program.run(single)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=2e-5)
