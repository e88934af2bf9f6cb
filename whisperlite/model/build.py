"""The Whisper model as graphs.

In: ``Dims``. Out: unoptimised graphs of the encoder, the cross-attention keys and values, and the decoder.
Knows nothing of: kernels, dtypes of weights, how a graph is run.

ref: openai/whisper model.py. Tensor names are OpenAI's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.checkpoint import Dims
from whisperlite.errors import OptionError
from whisperlite.graph import FLOAT32, INT32, Fact, Graph, NodeId, Size, symbol
from whisperlite.graph.facts import INT8_LONG
from whisperlite.graph.infer import complete_attrs, infer_fact
from whisperlite.graph.passes import allow_rounding, fuse_mlp, fuse_norms, optimize, store_weights
from whisperlite.model.dtypes import KeptDtypes

Heads = Sequence[tuple[int, int]]
PARTS = ("encoder", "cross_kv", "decoder")
MERGED_COLUMNS = 4096  # widest merged matmul: bounds the arena where all layers share an input


def f32(*shape: Size) -> Fact:
    return Fact(FLOAT32, shape)


def i32(*shape: Size) -> Fact:
    return Fact(INT32, shape)


@dataclass(frozen=True)
class _Block:
    """Builds the parts of one transformer block under its tensor prefix."""

    graph: Graph
    prefix: str
    n_state: int
    n_head: int

    def norm(self, x: NodeId, name: str) -> NodeId:
        return layer_norm(self.graph, x, f"{self.prefix}.{name}", self.n_state)

    def linear(self, x: NodeId, name: str, n_out: int, n_in: int, bias: bool = True) -> NodeId:
        return linear(self.graph, x, f"{self.prefix}.{name}", n_out, n_in, bias)

    def project(self, x: NodeId, name: str) -> NodeId:
        """A query, key, value or output projection; keys have no bias."""
        bias = not name.endswith(".key")
        return self.linear(x, name, self.n_state, self.n_state, bias)

    def mlp(self, x: NodeId) -> NodeId:
        hidden = self.linear(self.norm(x, "mlp_ln"), "mlp.0", 4 * self.n_state, self.n_state)
        hidden = self.graph.add("gelu", [hidden])
        return self.graph.add("add", [self.linear(hidden, "mlp.2", self.n_state, 4 * self.n_state), x])


def layer_norm(graph: Graph, x: NodeId, prefix: str, n_state: int) -> NodeId:
    gamma = graph.weight(f"{prefix}.weight", f32(n_state))
    beta = graph.weight(f"{prefix}.bias", f32(n_state))
    return graph.add("layer_norm", [x, gamma, beta], name=prefix)


def linear(graph: Graph, x: NodeId, prefix: str, n_out: int, n_in: int, bias: bool = True) -> NodeId:
    inputs = [x, graph.weight(f"{prefix}.weight", f32(n_out, n_in))]
    if bias:
        inputs.append(graph.weight(f"{prefix}.bias", f32(n_out)))
    return graph.add("linear", inputs, name=prefix, has_bias=bias)


def panel_facts(n_audio: Size, n_ctx: Size, n_state: int, n_head: int, dtype: str) -> tuple[Fact, Fact]:
    """Facts of packed keys and of packed values."""
    rows = f32(n_audio, n_ctx, n_state)
    keys, values = (
        infer_fact(op, op, complete_attrs(op, op, {"n_head": n_head, "dtype": dtype}), [rows])
        for op in ("pack_keys", "pack_values")
    )
    return keys, values


def build_encoder(dims: Dims) -> Graph:
    """``mel`` (B, M, 2T) to ``audio_features`` (B, T, D); T up to n_audio_ctx."""
    graph = Graph()
    batch, n_ctx, n_state = symbol("B"), symbol("T"), dims.n_audio_state
    mel = graph.input("mel", f32(batch, dims.n_mels, 2 * n_ctx))
    x = graph.add("transpose_frames", [mel])  # (B, 2T, M)
    for name, n_in, stride in (("conv1", dims.n_mels, 1), ("conv2", n_state, 2)):
        weight = graph.weight(f"encoder.{name}.weight", f32(n_state, n_in, 3))
        bias = graph.weight(f"encoder.{name}.bias", f32(n_state))
        x = graph.add("conv1d", [x, weight, bias], name=f"encoder.{name}", stride=stride)
        x = graph.add("gelu", [x])  # (B, 2T, D), then (B, T, D)
    positions = graph.weight("encoder.positional_embedding", f32(n_ctx, n_state))
    x = graph.add("add", [x, positions])
    for i in range(dims.n_audio_layer):
        block = _Block(graph, f"encoder.blocks.{i}", n_state, dims.n_audio_head)
        y = block.norm(x, "attn_ln")
        q, k, v = (block.project(y, f"attn.{name}") for name in ("query", "key", "value"))
        attended = graph.add("attention", [q, k, v], name=f"{block.prefix}.attn", n_head=dims.n_audio_head)
        x = graph.add("add", [block.project(attended, "attn.out"), x])
        x = block.mlp(x)
    graph.output("audio_features", layer_norm(graph, x, "encoder.ln_post", n_state))
    return graph


def build_cross_kv(dims: Dims, dtype: str = FLOAT32) -> Graph:
    """``audio_features`` (A, T, D) to ``keys.i`` and ``values.i`` of every decoder layer i, packed in ``dtype``."""
    graph = Graph()
    features = graph.input("audio_features", f32(symbol("A"), symbol("T"), dims.n_audio_state))
    for i in range(dims.n_text_layer):
        block = _Block(graph, f"decoder.blocks.{i}", dims.n_text_state, dims.n_text_head)
        for kind, op in (("key", "pack_keys"), ("value", "pack_values")):
            projected = block.project(features, f"cross_attn.{kind}")
            graph.output(f"{kind}s.{i}", graph.add(op, [projected], n_head=dims.n_text_head, dtype=dtype))
    return graph


def build_decoder(dims: Dims, score_heads: Heads = (), cross_dtype: str = FLOAT32) -> Graph:
    """New tokens to ``logits`` (B, R, V), with the caches of the past.

    Inputs: ``tokens`` (B, U); ``past``, ``own_rows`` (B); ``cache_rows`` (B, C); ``audio_rows`` (A+1); ``wanted``
    (R), the new positions whose logits are wanted, the same in each row; for each layer ``past_keys.i``,
    ``past_values.i`` (N, C, D), written, and ``keys.i``, ``values.i`` from ``build_cross_kv``. Once keys and values
    of the last layer are in the cache, only wanted positions go on. With ``score_heads`` pairs of (layer, head),
    layer i's heads give ``scores.i`` (B, U, its heads, T), those of the last (B, R, its heads, T): cross-attention
    scores before softmax.
    """
    graph = Graph()
    batch, n_new, n_audio, n_ctx = symbol("B"), symbol("U"), symbol("A"), symbol("T")
    n_state, n_head = dims.n_text_state, dims.n_text_head
    key_panels, value_panels = panel_facts(n_audio, n_ctx, n_state, n_head, cross_dtype)
    tokens = graph.input("tokens", i32(batch, n_new))
    past = graph.input("past", i32(batch))
    own_rows = graph.input("own_rows", i32(batch))
    cache_rows = graph.input("cache_rows", i32(batch, dims.n_text_ctx))
    audio_rows = graph.input("audio_rows", i32(n_audio + 1))
    wanted = graph.input("wanted", i32(symbol("R")))
    embedding = graph.weight("decoder.token_embedding.weight", f32(dims.n_vocab, n_state))
    positions = graph.weight("decoder.positional_embedding", f32(dims.n_text_ctx, n_state))
    x = graph.add("embed", [tokens, past, embedding, positions])
    cache_fact = f32(symbol("N"), dims.n_text_ctx, n_state)
    for i in range(dims.n_text_layer):
        block = _Block(graph, f"decoder.blocks.{i}", n_state, n_head)
        y = block.norm(x, "attn_ln")
        q, k, v = (block.project(y, f"attn.{name}") for name in ("query", "key", "value"))
        past_keys = graph.input(f"past_keys.{i}", cache_fact, mutable=True)
        past_values = graph.input(f"past_values.{i}", cache_fact, mutable=True)
        past_keys = graph.add("cache_append", [k, past_keys, past, own_rows])
        past_values = graph.add("cache_append", [v, past_values, past, own_rows])
        own_positions = []
        if i == dims.n_text_layer - 1:
            own_positions = [wanted]
            q, x = (graph.add("select_rows", [rows, wanted]) for rows in (q, x))  # (B, R, D)
        attended = graph.add(
            "cached_attention",
            [q, past_keys, past_values, past, own_rows, cache_rows, *own_positions],
            name=f"{block.prefix}.attn",
            n_head=n_head,
        )
        x = graph.add("add", [block.project(attended, "attn.out"), x])

        q = block.project(block.norm(x, "cross_attn_ln"), "cross_attn.query")
        keys = graph.input(f"keys.{i}", key_panels)
        values = graph.input(f"values.{i}", value_panels)
        attended = graph.add(
            "attention_packed",
            [q, keys, values, audio_rows],
            name=f"{block.prefix}.cross_attn",
            n_head=n_head,
            n_ctx=n_ctx,
            dtype=cross_dtype,
        )
        heads = tuple(head for layer, head in score_heads if layer == i)
        if heads:
            scores = graph.add(
                "cross_scores", [q, keys, audio_rows], n_head=n_head, n_ctx=n_ctx, heads=heads, dtype=cross_dtype
            )
            graph.output(f"scores.{i}", scores)
        x = graph.add("add", [block.project(attended, "cross_attn.out"), x])
        x = block.mlp(x)
    x = layer_norm(graph, x, "decoder.ln", n_state)
    graph.output("logits", graph.add("linear", [x, embedding], name="logits"))
    return graph


def graph_of(
    part: str, dims: Dims, score_heads: Heads = (), optimized: bool = True, kept: KeptDtypes | None = None
) -> Graph:
    """The graph of ``encoder``, ``cross_kv`` or ``decoder``, as planned or (``optimized=False``) as built.

    Parameters
    ----------
    kept : KeptDtypes, optional
        Dtypes of weights, and of keys and values of attention; default float32.

    Raises
    ------
    OptionError
        There is no such part.
    """
    if part not in PARTS:
        raise OptionError(f"part '{part}': give one of {', '.join(PARTS)}")
    cross_dtype = FLOAT32 if kept is None else kept.cross(dims.n_text_state // dims.n_text_head)
    if part == "decoder":
        graph = build_decoder(dims, score_heads, cross_dtype)
    else:
        graph = build_encoder(dims) if part == "encoder" else build_cross_kv(dims, cross_dtype)
    if kept is not None:
        graph = store_weights(graph, kept.weight)
    if not optimized:
        return graph
    columns = max(MERGED_COLUMNS, 3 * dims.n_audio_state, 3 * dims.n_text_state)
    attention_dtype = FLOAT32 if kept is None else kept.attention(dims.n_audio_state // dims.n_audio_head)
    graph = optimize(graph, columns, attention_dtype)
    if part == "encoder" and dims.n_audio_state % 32 == 0:  # a decoder's few rows share weights, not rows
        graph = fuse_norms(fuse_mlp(graph, INT8_LONG), INT8_LONG)
    return graph if kept is None or kept.may_round is None else allow_rounding(graph, kept.may_round)
