"""What a graph means: an evaluator of the op table in float64 NumPy.

In: a graph, sizes, arrays. Out: output values and the last content of mutable inputs.
Knows nothing of: plans, kernels, passes. It reads nodes only and shares no code with the op table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import erf

from whisperlite.graph import Graph, evaluate

Arrays = Mapping[str, np.ndarray]


def random_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float64 values that depend on the name and shape alone."""
    seed = int.from_bytes(hashlib.sha256(f"{name}{shape}".encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(shape)


def random_inputs(graph: Graph, sizes: Mapping[str, int], given: Arrays) -> dict[str, np.ndarray]:
    """An array for each input of a graph; int32 inputs must be among `given`."""
    inputs = dict(given)
    for name, i in graph.inputs.items():
        shape = tuple(evaluate(size, sizes) for size in graph[i].fact.shape)
        if name not in inputs:
            assert graph[i].fact.dtype == "float32", name
            inputs[name] = random_array(name, shape)
        assert inputs[name].shape == shape, name
    return inputs


def random_tensors(graph: Graph, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """An array for each parameter of a graph whose weights have one part each."""
    tensors = {}
    for _, node in graph:
        if node.op == "weight":
            [name] = node.attrs["parts"]
            tensors[name] = random_array(name, node.fact.evaluate(sizes)) * 0.4
    return tensors


def evaluate_graph(
    graph: Graph, sizes: Mapping[str, int], inputs: Arrays, tensors: Arrays
) -> dict[str, np.ndarray]:
    """Outputs by name; what a mutable input holds at the end is under ``'input NAME'``."""
    values: list[np.ndarray] = []
    owner: dict[int, str] = {}
    results: dict[str, np.ndarray] = {}
    for i, node in graph:
        arguments = [values[source] for source in node.inputs]
        attrs = {k: v if isinstance(v, str | tuple) else _number(v, sizes) for k, v in node.attrs.items()}
        if node.op == "input":
            values.append(inputs[node.name])
            if attrs["mutable"]:
                owner[i] = f"input {node.name}"
        elif node.op == "weight":
            tail = tuple(evaluate(size, sizes) for size in node.fact.shape[1:])
            parts = [np.zeros((p, *tail)) if isinstance(p, int) else tensors[p] for p in attrs["parts"]]
            values.append(np.concatenate(parts))
        else:
            values.append(OPS[node.op](attrs, *arguments))
            if node.op == "cache_append":
                owner[i] = owner[node.inputs[1]]
        assert values[-1].shape == tuple(evaluate(size, sizes) for size in node.fact.shape), graph.label(i)
        if i in owner:
            results[owner[i]] = values[-1]
    results.update({name: values[i] for name, i in graph.outputs.items()})
    return results


def _number(value: Any, sizes: Mapping[str, int]) -> Any:
    return value if isinstance(value, bool | float) else evaluate(value, sizes)


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def _pad(x: np.ndarray, pad: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (pad, pad), (0, 0)))


def _windows(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    taps = weight.shape[2]
    rows = range(0, x.shape[1] - taps + 1, stride)
    return np.stack([np.einsum("btn,dnt->bd", x[:, t : t + taps], weight) for t in rows], axis=1)


def _conv1d(attrs: dict, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return _windows(_pad(x, weight.shape[2] // 2), weight, attrs["stride"]) + bias


def _linear(attrs: dict, x: np.ndarray, weight: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    if attrs["taps"] > 1 or attrs["stride"] > 1:
        weight = weight.reshape(*weight.shape[:2], attrs["taps"])
        y = _windows(x, weight, attrs["stride"])
    else:
        y = x @ weight.T
    if attrs["has_bias"]:
        y = y + rest[0]
    if attrs["activation"] == "gelu":
        y = _gelu(y)
    if attrs["has_residual"]:
        y = y + rest[-1]
    return _pad(y, attrs["pad"]) if attrs["pad"] else y


def _layer_norm(attrs: dict, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + attrs["eps"]) * gamma + beta


def _norm_linear(attrs: dict, x: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
    gamma, beta, weight, bias = parameters
    return _layer_norm(attrs, x, gamma, beta) @ weight.T + bias


def _mlp(attrs: dict, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *weights: np.ndarray) -> np.ndarray:
    weight, bias, output_weight, output_bias = weights
    hidden = _gelu(_layer_norm(attrs, x, gamma, beta) @ weight.T + bias)
    return hidden @ output_weight.T + output_bias + x


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _magnitude(attrs: dict, x: np.ndarray) -> np.ndarray:
    real, imaginary = np.split(x, 2, axis=-1)
    return np.hypot(real, imaginary)


def _lstm(attrs: dict, gates: np.ndarray, weight: np.ndarray, state: np.ndarray) -> np.ndarray:
    hidden, cell = np.split(state, 2, axis=-1)
    states = []
    for step in gates:
        i, f, g, o = np.split(step + hidden @ weight.T, 4, axis=-1)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        hidden = _sigmoid(o) * np.tanh(cell)
        states.append(np.concatenate([hidden, cell], axis=-1))
    return np.stack(states)


def _softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _heads(x: np.ndarray, n_head: int) -> np.ndarray:
    return x.reshape(*x.shape[:2], n_head, -1).transpose(0, 2, 1, 3)  # (B, H, T, K)


def _joined(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)  # (B, T, D)


def _attention(attrs: dict, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    q, k, v = (_heads(x, attrs["n_head"]) for x in (q, k, v))
    return _joined(_softmax(q @ k.transpose(0, 1, 3, 2) * q.shape[-1] ** -0.5) @ v)


def _pack_keys(attrs: dict, k: np.ndarray) -> np.ndarray:
    k = _heads(k, attrs["n_head"])  # (A, H, T, K)
    k = np.pad(k, ((0, 0), (0, 0), (0, -k.shape[2] % 32), (0, 0)))
    return k.reshape(*k.shape[:2], -1, 32, k.shape[3]).transpose(0, 1, 2, 4, 3)


def _pack_values(attrs: dict, v: np.ndarray) -> np.ndarray:
    v = _heads(v, attrs["n_head"])
    v = np.pad(v, ((0, 0), (0, 0), (0, 0), (0, -v.shape[3] % 32)))
    return v.reshape(*v.shape[:3], -1, 32).transpose(0, 1, 3, 2, 4)


def _packed_scores(attrs: dict, q: np.ndarray, keys: np.ndarray, audio_rows: tuple) -> np.ndarray:
    q = _heads(q, attrs["n_head"])  # (B, H, U, K)
    k = keys.transpose(0, 1, 3, 2, 4).reshape(*keys.shape[:2], q.shape[-1], -1)[..., : attrs["n_ctx"]]
    return q @ k[_audio_of_row(q.shape[0], audio_rows)] * q.shape[-1] ** -0.5


def _audio_of_row(n_rows: int, audio_rows: tuple) -> np.ndarray:
    if not audio_rows:
        return np.arange(n_rows)
    return np.repeat(np.arange(len(audio_rows[0]) - 1), np.diff(audio_rows[0]))


def _attention_packed(
    attrs: dict, q: np.ndarray, keys: np.ndarray, values: np.ndarray, *audio_rows: np.ndarray
) -> np.ndarray:
    weights = _softmax(_packed_scores(attrs, q, keys, audio_rows))
    v = values.transpose(0, 1, 3, 2, 4).reshape(*values.shape[:2], attrs["n_ctx"], -1)
    v = v[..., : q.shape[-1] // attrs["n_head"]]
    return _joined(weights @ v[_audio_of_row(q.shape[0], audio_rows)])


def _cross_scores(attrs: dict, q: np.ndarray, keys: np.ndarray, *audio_rows: np.ndarray) -> np.ndarray:
    return _packed_scores(attrs, q, keys, audio_rows)[:, list(attrs["heads"])].transpose(0, 2, 1, 3)


def _embed(attrs: dict, tokens: np.ndarray, past: np.ndarray, table: np.ndarray, places: np.ndarray) -> np.ndarray:
    return table[tokens] + places[past[:, None] + np.arange(tokens.shape[1])]


def _cache_append(
    attrs: dict, new: np.ndarray, cache: np.ndarray, past: np.ndarray, own_rows: np.ndarray
) -> np.ndarray:
    cache = cache.copy()
    for b in range(len(new)):
        cache[own_rows[b], past[b] : past[b] + new.shape[1]] = new[b]
    return cache


def _cached_attention(
    attrs: dict,
    q: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    past: np.ndarray,
    own_rows: np.ndarray,
    cache_rows: np.ndarray,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    out = np.empty_like(q)
    for b in range(q.shape[0]):
        for r in range(q.shape[1]):
            u = r if positions is None else positions[r]
            rows = [cache_rows[b, p] if p < past[b] else own_rows[b] for p in range(past[b] + u + 1)]
            k, v = (cache[rows, range(len(rows))][None] for cache in (keys, values))
            out[b, r] = _attention(attrs, q[b : b + 1, r : r + 1], k, v)[0, 0]
    return out


OPS: dict[str, Callable[..., np.ndarray]] = {
    "columns": lambda attrs, x: x[..., attrs["start"] : attrs["stop"]],
    "transpose_frames": lambda attrs, x: _pad(x.transpose(0, 2, 1), attrs["pad"]),
    "pad_frames": lambda attrs, x: _pad(x, attrs["pad"]),
    "conv1d": _conv1d,
    "linear": _linear,
    "gelu": lambda attrs, x: _gelu(x),
    "relu": lambda attrs, x: np.maximum(x, 0),
    "sigmoid": lambda attrs, x: _sigmoid(x),
    "magnitude": _magnitude,
    "lstm": _lstm,
    "add": lambda attrs, x, y: x + y,
    "layer_norm": _layer_norm,
    "norm_linear": _norm_linear,
    "mlp": _mlp,
    "attention": _attention,
    "pack_keys": _pack_keys,
    "pack_values": _pack_values,
    "attention_packed": _attention_packed,
    "cross_scores": _cross_scores,
    "embed": _embed,
    "cache_append": _cache_append,
    "cached_attention": _cached_attention,
    "select_rows": lambda attrs, x, positions: x[:, positions],
}
