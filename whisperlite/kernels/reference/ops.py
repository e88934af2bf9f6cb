"""What each op of the graph means, in plain NumPy.

In: arrays and attributes. Out: results written into ``out``. Knows nothing of: addresses, panels of weights, plans.

These are the definition: the compiled kernels are compared with them, and the ``numpy`` backend runs them. Shapes
are those of ``docs/architecture.md``; weights come as matrices, whatever the compiled kernels make of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
PANEL = 32


def erf(x: Array) -> Array:
    """Error function; scipy's, imported when first needed."""
    from scipy.special import erf as scipy_erf

    return scipy_erf(x)


def gelu_of(x: Array) -> Array:
    """Exact GELU ``x * (1 + erf(x / sqrt 2)) / 2``."""
    return x * (erf(x * np.float32(0.7071067811865476)) + np.float32(1)) * np.float32(0.5)


def softmax(x: Array) -> Array:
    """Over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def linear(
    x: Array,
    weight: Array,
    *others: Array,
    out: Array,
    activation: str,
    taps: int,
    stride: int,
    pad: int,
    has_bias: bool,
    has_residual: bool,
    may_round: bool = False,
) -> None:
    """``activation(x W' + bias) + residual``; with taps a convolution over frames that are padded already.

    ``may_round`` allows what is not done here: x stays in float32.
    """
    rest = list(others)
    if taps > 1:
        windows = sliding_window_view(x, taps, axis=1)[:, ::stride]  # (B, F', N, taps)
        y = np.tensordot(windows, weight, axes=([2, 3], [1, 2]))
    elif stride > 1:
        y = x[:, ::stride] @ weight.T
    else:
        y = x @ weight.T
    if has_bias:
        y = y + rest.pop(0)
    if activation == "gelu":
        y = gelu_of(y)
    if has_residual:
        y = y + rest.pop(0)
    if pad:
        out[:, :pad] = 0
        out[:, -pad:] = 0
        out[:, pad:-pad] = y
    else:
        out[...] = y


def conv1d(x: Array, weight: Array, bias: Array, *, out: Array, stride: int) -> None:
    taps = weight.shape[2]
    padded = np.pad(x, ((0, 0), (taps // 2, taps // 2), (0, 0)))
    linear(
        padded, weight, bias, out=out, activation="none", taps=taps, stride=stride, pad=0,
        has_bias=True, has_residual=False,
    )  # fmt: skip


def pad_frames(x: Array, *, out: Array, pad: int) -> None:
    out[...] = np.pad(x, ((0, 0), (pad, pad), (0, 0)))


def transpose_frames(mel: Array, *, out: Array, pad: int) -> None:
    out[...] = np.pad(mel.swapaxes(1, 2), ((0, 0), (pad, pad), (0, 0)))


def gelu(x: Array, *, out: Array) -> None:
    out[...] = gelu_of(x)


def relu(x: Array, *, out: Array) -> None:
    np.maximum(x, 0, out=out)


def logistic(x: Array) -> Array:
    """``1 / (1 + e**-x)``."""
    return np.float32(1) / (np.float32(1) + np.exp(-np.maximum(x, np.float32(-88))))


def sigmoid(x: Array, *, out: Array) -> None:
    out[...] = logistic(x)


def magnitude(x: Array, *, out: Array) -> None:
    """Real parts, then as many imaginary ones."""
    half = x.shape[-1] // 2
    out[...] = np.sqrt(x[..., :half] ** 2 + x[..., half:] ** 2)


def lstm(gates: Array, weight: Array, state: Array, *, out: Array) -> None:
    """Hidden and cell state after each step; gates: what the input adds to input, forget, cell and output gate."""
    n_hidden = weight.shape[1]
    for t, given in enumerate(gates):
        hidden, cell = state[:, :n_hidden], state[:, n_hidden:]
        i, f, g, o = np.split(given + hidden @ weight.T, 4, axis=-1)  # (B, H) each
        cell = logistic(f) * cell + logistic(i) * np.tanh(g)
        out[t, :, :n_hidden] = logistic(o) * np.tanh(cell)
        out[t, :, n_hidden:] = cell
        state = out[t]


def add(x: Array, y: Array, *, out: Array) -> None:
    np.add(x, y, out=out)


def layer_norm(x: Array, gamma: Array, beta: Array, *, out: Array, eps: float) -> None:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    out[...] = centred / np.sqrt(variance + np.float32(eps)) * gamma + beta


def norm_linear(x: Array, gamma: Array, beta: Array, weight: Array, bias: Array, *, out: Array, eps: float) -> None:
    """``layer_norm(x) weight' + bias``."""
    normal = np.empty_like(x)
    layer_norm(x, gamma, beta, out=normal, eps=eps)
    out[...] = normal @ weight.T + bias


def mlp(
    x: Array,
    gamma: Array,
    beta: Array,
    weight: Array,
    bias: Array,
    output_weight: Array,
    output_bias: Array,
    *,
    out: Array,
    eps: float,
) -> None:
    """``x + gelu(layer_norm(x) weight' + bias) output_weight' + output_bias``."""
    normal = np.empty_like(x)
    layer_norm(x, gamma, beta, out=normal, eps=eps)
    out[...] = gelu_of(normal @ weight.T + bias) @ output_weight.T + output_bias + x


def split_heads(x: Array, n_head: int) -> Array:
    """(.., L, D) to (.., H, L, K)."""
    return x.reshape(*x.shape[:-1], n_head, -1).swapaxes(-2, -3)


def join_heads(x: Array) -> Array:
    """(.., H, L, K) to (.., L, D)."""
    joined = x.swapaxes(-2, -3)
    return joined.reshape(*joined.shape[:-2], -1)


def attention(q: Array, k: Array, v: Array, *, out: Array, n_head: int) -> None:
    q, k, v = (split_heads(x, n_head) for x in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) * np.float32(q.shape[-1] ** -0.5)
    out[...] = join_heads(softmax(scores) @ v)


def pack_keys(k: Array, *, out: Array, n_head: int, dtype: str) -> None:
    """(A, T, D) to (A, H, ceil(T/32), K, 32); in bytes, less the mean over T, with a scale for each position."""
    heads = split_heads(k, n_head)  # (A, H, T, K)
    if dtype == "int8":
        heads = heads - heads.mean(axis=2, keepdims=True)
    padded = np.pad(heads, ((0, 0), (0, 0), (0, -heads.shape[2] % PANEL), (0, 0)))
    panels = padded.reshape(*out.shape[:3], PANEL, heads.shape[3])
    if dtype != "int8":
        out[...] = panels.swapaxes(-1, -2)
        return
    codes, scales = round_to_bytes(panels, axis=-1)
    is_there = np.arange(padded.shape[2]).reshape(-1, PANEL, 1) < heads.shape[2]
    codes = np.where(is_there, codes + 128, 0).astype(np.uint8)
    write_panels(out, scales[..., 0], codes.reshape(*codes.shape[:-1], -1, 4).swapaxes(-2, -3))


def pack_values(v: Array, *, out: Array, n_head: int, dtype: str) -> None:
    """(A, T, D) to (A, H, ceil(K/32), T, 32); in bytes, with a scale for each column of 128 positions."""
    heads = split_heads(v, n_head)
    if dtype != "int8":
        padded = np.pad(heads, ((0, 0), (0, 0), (0, 0), (0, -heads.shape[3] % PANEL)))
        out[...] = padded.reshape(*padded.shape[:3], -1, PANEL).swapaxes(2, 3)
        return
    padded = np.pad(heads, ((0, 0), (0, 0), (0, -heads.shape[2] % SPAN), (0, 0)))
    a, h, _, head_size = padded.shape
    spans = padded.reshape(a, h, -1, SPAN, head_size // PANEL, PANEL).transpose(0, 1, 4, 2, 3, 5)
    codes, scales = round_to_bytes(spans, axis=-2)
    quads = codes.astype(np.int8).reshape(*codes.shape[:-2], -1, 4, PANEL).swapaxes(-1, -2)
    write_panels(out.reshape(*codes.shape[:4], -1, PANEL), scales[..., 0, :], quads)


SPAN = 128  # positions of values in bytes that share a scale


def round_to_bytes(x: Array, axis: int) -> tuple[Array, Array]:
    """Codes -127 .. 127 as float32, and the scales along ``axis``, kept as an axis of 1."""
    top = np.abs(x).max(axis=axis, keepdims=True)
    inverse = np.divide(np.float32(127), top, out=np.zeros_like(top), where=top > 0)
    return np.rint(x * inverse), top * np.float32(1 / 127)


def write_panels(out: Array, scales: Array, quads: Array) -> None:
    """Scales (.., 32) and codes (.., n, 32, 4) into the bytes (.., 4 + 4 n, 32) of panels."""
    raw = out.view(np.uint8).reshape(*out.shape[:-2], -1, 4 * PANEL)
    raw[..., 0, :] = np.ascontiguousarray(scales, np.float32).view(np.uint8)
    raw[..., 1:, :] = np.ascontiguousarray(quads).view(np.uint8).reshape(*quads.shape[:-2], 4 * PANEL)


def read_panels(panels: Array, code_type: type[np.int8] | type[np.uint8]) -> tuple[Array, Array]:
    """Inverse of ``write_panels``; codes as float32 (.., n, 32, 4)."""
    raw = np.ascontiguousarray(panels).view(np.uint8).reshape(*panels.shape[:-2], -1, 4 * PANEL)
    scales = np.ascontiguousarray(raw[..., 0, :]).view(np.float32)
    codes = np.ascontiguousarray(raw[..., 1:, :]).view(code_type).astype(np.float32)
    return scales, codes.reshape(*codes.shape[:-1], PANEL, 4)


def unpack_keys(panels: Array, n_ctx: int) -> Array:
    """Inverse of ``pack_keys``: float32 (A, H, T, K); of bytes less the mean key, which no softmax sees."""
    if panels.dtype == np.int8:
        scales, codes = read_panels(panels, np.uint8)
        keys = (codes - 128).swapaxes(-2, -3).reshape(*codes.shape[:3], PANEL, -1) * scales[..., None]
        return keys.reshape(*keys.shape[:2], -1, keys.shape[-1])[:, :, :n_ctx]
    panels = panels.astype(np.float32, copy=False)
    a, h, _, head_size, _ = panels.shape
    return panels.swapaxes(-1, -2).reshape(a, h, -1, head_size)[:, :, :n_ctx]


def unpack_values(panels: Array, n_ctx: int, head_size: int) -> Array:
    """Inverse of ``pack_values``: float32 (A, H, T, K)."""
    if panels.dtype == np.int8:
        scales, codes = read_panels(panels.reshape(*panels.shape[:3], -1, SPAN + 4, PANEL), np.int8)
        spans = codes.swapaxes(-1, -2).reshape(*codes.shape[:4], SPAN, PANEL) * scales[..., None, :]
        a, h = spans.shape[:2]
        return spans.transpose(0, 1, 3, 4, 2, 5).reshape(a, h, -1, head_size)[:, :, :n_ctx]
    panels = panels.astype(np.float32, copy=False)
    a, h = panels.shape[:2]
    return panels.swapaxes(2, 3).reshape(a, h, n_ctx, -1)[..., :head_size]


def unpacked(op: str, panels: Array, n_ctx: int) -> Array:
    """What ``pack_keys`` or ``pack_values`` packed, as far as ``panels`` keep it."""
    if op == "pack_keys":
        return unpack_keys(panels, n_ctx)
    return unpack_values(panels, n_ctx, panels.shape[2] * PANEL)


def audio_of_rows(n_rows: int, audio_rows: Sequence[Array]) -> Array:
    """Audio index of each batch row."""
    if not audio_rows:
        return np.arange(n_rows)
    return np.searchsorted(audio_rows[0], np.arange(n_rows), side="right") - 1


def attention_packed(
    q: Array, keys: Array, values: Array, *audio_rows: Array, out: Array, n_head: int, n_ctx: int, dtype: str
) -> None:
    audio = audio_of_rows(q.shape[0], audio_rows)
    k = unpack_keys(keys, n_ctx)
    v = unpack_values(values, n_ctx, k.shape[-1])
    for row in range(q.shape[0]):
        head_rows = split_heads(q[row], n_head)
        scores = head_rows @ k[audio[row]].swapaxes(-1, -2) * np.float32(k.shape[-1] ** -0.5)
        out[row] = join_heads(softmax(scores) @ v[audio[row]])


def cross_scores(
    q: Array,
    keys: Array,
    *audio_rows: Array,
    out: Array,
    n_head: int,
    n_ctx: int,
    heads: tuple[int, ...],
    dtype: str,
) -> None:
    audio = audio_of_rows(q.shape[0], audio_rows)
    k = unpack_keys(keys, n_ctx)
    for row in range(q.shape[0]):
        scores = split_heads(q[row], n_head) @ k[audio[row]].swapaxes(-1, -2) * np.float32(k.shape[-1] ** -0.5)
        out[row] = scores[list(heads)].swapaxes(0, 1)


def embed(tokens: Array, past: Array, token_embedding: Array, positional_embedding: Array, *, out: Array) -> None:
    positions = past[:, None] + np.arange(tokens.shape[1])
    out[...] = token_embedding[tokens] + positional_embedding[positions]


def cache_append(new: Array, cache: Array, past: Array, own_rows: Array, *, out: Array) -> None:
    """In place: ``out`` is the cache."""
    for b in range(new.shape[0]):
        cache[own_rows[b], past[b] : past[b] + new.shape[1]] = new[b]


def cached_attention(
    q: Array,
    keys: Array,
    values: Array,
    past: Array,
    own_rows: Array,
    cache_rows: Array,
    positions: Array | None = None,
    *,
    out: Array,
    n_head: int,
) -> None:
    at = np.arange(q.shape[1]) if positions is None else positions
    for b in range(q.shape[0]):
        n_seen = past[b] + at.max() + 1
        row_of = np.where(np.arange(n_seen) < past[b], cache_rows[b, :n_seen], own_rows[b])
        k = split_heads(keys[row_of, np.arange(n_seen)], n_head)
        v = split_heads(values[row_of, np.arange(n_seen)], n_head)
        scores = split_heads(q[b], n_head) @ k.swapaxes(-1, -2) * np.float32(k.shape[-1] ** -0.5)
        future = np.arange(n_seen)[None, :] > past[b] + at[:, None]
        scores[:, future] = -np.inf
        out[b] = join_heads(softmax(scores) @ v)


def select_rows(x: Array, positions: Array, *, out: Array) -> None:
    out[...] = x[:, positions]


OPS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        linear, conv1d, pad_frames, transpose_frames, gelu, relu, sigmoid, magnitude, lstm, add, layer_norm,
        norm_linear, mlp, attention, pack_keys, pack_values, attention_packed, cross_scores, embed, cache_append,
        cached_attention, select_rows,
    )
}  # fmt: skip
