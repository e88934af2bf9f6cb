"""What is measured of each kernel: operands, cost, and the same in NumPy and torch.

In: a case's sizes. Out: calls without arguments, operations and bytes of one call.
Knows nothing of: clocks, tables.

whisperlite's side is a graph of one op, planned and bound as in a model, so that a call costs what it costs there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peaks import Peaks

Call = Callable[[], Any]
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 34 / 32}


@dataclass(frozen=True)
class Case:
    """A kernel at one size.

    Attributes
    ----------
    op : str
    sizes : tuple of int
        linear (rows, n_in, n_out); attention (rows, heads, head size); others (rows, columns); mel (samples,).
    dtype : str
        Of the weights.
    """

    op: str
    sizes: tuple[int, ...]
    dtype: str = "float32"

    @property
    def name(self) -> str:
        kind = f"_{self.dtype}" if self.op == "linear" else ""
        return f"{self.op}{kind}_{'x'.join(map(str, self.sizes))}"

    @property
    def flops(self) -> float:
        if self.op == "linear":
            return 2.0 * float(np.prod(self.sizes))
        if self.op == "attention":
            rows, heads, size = self.sizes
            return 4.0 * rows * rows * heads * size
        return 0.0

    @property
    def n_bytes(self) -> float:
        """Read and written once, if nothing had to be read twice."""
        if self.op == "linear":
            rows, n_in, n_out = self.sizes
            return 4.0 * rows * (n_in + n_out) + n_in * n_out * BYTES[self.dtype]
        if self.op == "attention":
            return 16.0 * float(np.prod(self.sizes))
        if self.op == "mel":
            return 4.0 * (self.sizes[0] + 80 * self.sizes[0] // 160)
        return 8.0 * float(np.prod(self.sizes))

    def rates(self, seconds: float, peaks: Peaks) -> dict[str, float]:
        """Rates and their share of the peaks."""
        gflops, gbytes = self.flops / seconds / 1e9, self.n_bytes / seconds / 1e9
        return {
            "gflops": gflops, "gbytes": gbytes, "of_peak_gflops": gflops / peaks.gflops,
            "of_peak_gbytes": gbytes / peaks.gbytes,
        }  # fmt: skip

    def prepare(self, by: str, threads: int) -> Call | None:
        """The call by ``whisperlite``, ``numpy`` or ``torch``; None where it has none."""
        if by == "torch" and importlib.util.find_spec("torch") is None:
            return None
        return {"whisperlite": _ours, "numpy": _numpy, "torch": _torch}[by](self, threads)


CASES = (
    *(Case("linear", (1500, 384, 1536), dtype) for dtype in ("float32", "float16", "bfloat16", "int8")),
    *(Case("linear", (1500, 768, 3072), dtype) for dtype in ("float32", "bfloat16", "int8")),
    *(Case("linear", (1, 512, 2048), dtype) for dtype in ("float32", "float16", "bfloat16", "int8")),
    *(Case("linear", (5, 512, 2048), dtype) for dtype in ("float32", "int8")),
    *(Case("linear", (1, 384, 51865), dtype) for dtype in ("float16", "int8")),
    Case("attention", (1500, 6, 64)),
    Case("softmax", (1500, 1500)),
    Case("gelu", (1500, 1536)),
    Case("layer_norm", (1500, 384)),
    Case("mel", (480000,)),
)


def _operands(case: Case) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    if case.op == "linear":
        rows, n_in, n_out = case.sizes
        shapes = [(rows, n_in), (n_out, n_in)]
    elif case.op == "attention":
        rows, heads, size = case.sizes
        shapes = [(1, rows, heads * size)] * 3
    else:
        shapes = [case.sizes]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


class _Source:
    """Weights of a graph of one op, as a checkpoint gives them."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = arrays

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def release(self) -> None:
        """Nothing is mapped."""


def _ours(case: Case, threads: int) -> Call | None:
    operands = _operands(case)
    if case.op == "mel":
        from whisperlite.audio import log_mel_spectrogram

        return lambda: log_mel_spectrogram(operands[0], 80)
    if case.op == "softmax":  # has no kernel of its own: attention computes it
        return None
    from whisperlite.graph import Fact, Graph, make_plan
    from whisperlite.graph.passes import optimize
    from whisperlite.runtime.executor import Program, Workspace
    from whisperlite.runtime.weights import Weights

    graph, arrays = Graph(), {}
    if case.op == "linear":
        x = graph.input("x", Fact("float32", operands[0].shape))
        arrays = {"w": operands[1]}
        w = graph.weight("w", Fact(case.dtype, operands[1].shape))
        y = graph.add("linear", [x, w], has_bias=False, may_round=case.dtype == "bfloat16")
        inputs = {"x": operands[0]}
    elif case.op == "attention":
        nodes = [graph.input(name, Fact("float32", operands[0].shape)) for name in "qkv"]
        y = graph.add("attention", nodes, n_head=case.sizes[1])
        inputs = dict(zip("qkv", operands, strict=True))
    else:
        n = case.sizes[1]
        x = graph.input("x", Fact("float32", operands[0].shape))
        arrays = {"gamma": np.ones(n, np.float32), "beta": np.zeros(n, np.float32)}
        norms = [graph.weight(name, Fact("float32", (n,))) for name in arrays]
        y = graph.add("gelu", [x]) if case.op == "gelu" else graph.add("layer_norm", [x, *norms])
        inputs = {"x": operands[0]}
    graph.output("y", y)
    plan = make_plan(optimize(graph), {})
    run = Program(plan, Weights(_Source(arrays)), Workspace(), "numba", threads).bind(inputs)
    return lambda: run.run()["y"]


def _numpy(case: Case, threads: int) -> Call | None:
    operands = _operands(case)
    if case.op == "linear" and case.dtype == "float32":
        x, w = operands
        return lambda: x @ w.T
    if case.op == "softmax":
        return lambda: _softmax(operands[0])
    if case.op == "gelu":
        from scipy.special import erf

        return lambda: operands[0] * (erf(operands[0] * np.float32(0.70710678)) + 1) / 2
    if case.op == "layer_norm":
        x = operands[0]
        return lambda: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    if case.op == "attention":
        rows, heads, size = case.sizes
        q, k, v = (part[0].reshape(rows, heads, size).swapaxes(0, 1).copy() for part in operands)
        return lambda: _softmax(q @ k.swapaxes(1, 2) * size**-0.5) @ v
    return None


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _torch(case: Case, threads: int) -> Call | None:
    import torch

    torch.set_num_threads(threads)
    operands = [torch.from_numpy(operand) for operand in _operands(case)]
    functional = torch.nn.functional
    if case.op == "linear" and case.dtype in ("float32", "bfloat16"):
        x, w = (operand.to(getattr(torch, case.dtype)) for operand in operands)
        return _quiet(lambda: functional.linear(x, w))
    if case.op == "attention":
        rows, heads, size = case.sizes
        q, k, v = (operand.reshape(1, rows, heads, size).transpose(1, 2).contiguous() for operand in operands)
        return _quiet(lambda: functional.scaled_dot_product_attention(q, k, v))
    if case.op == "mel":
        return None
    call = {
        "softmax": lambda: functional.softmax(operands[0], -1),
        "gelu": lambda: functional.gelu(operands[0]),
        "layer_norm": lambda: functional.layer_norm(operands[0], operands[0].shape[1:]),
    }.get(case.op)
    return _quiet(call) if call else None


def _quiet(call: Call) -> Call:
    """Without gradients; the result is of no use to who measures."""
    import torch

    def run() -> None:
        with torch.inference_mode():
            call()

    return run
