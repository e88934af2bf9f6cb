"""Small Whisper-like graphs for the tests of the graph room.

In: sizes. Out: graphs before any pass, built as the model room would.
Knows nothing of: passes, plans, kernels.
"""

from __future__ import annotations

from whisperlite.graph import FLOAT32, INT32, Fact, Graph, NodeId, ceil_div, symbol

B, T, U, A, R = (symbol(letter) for letter in "BTUAR")
D, N_HEAD, N_MELS, N_TEXT_CTX, N_VOCAB = 12, 3, 5, 7, 11


def weight(graph: Graph, name: str, *shape: int, dtype: str = FLOAT32) -> NodeId:
    return graph.weight(name, Fact(dtype, shape))


def linear(graph: Graph, name: str, x: NodeId, n_in: int, n_out: int, bias: bool = True) -> NodeId:
    inputs = [x, weight(graph, f"{name}.weight", n_out, n_in)]
    if bias:
        inputs.append(weight(graph, f"{name}.bias", n_out))
    return graph.add("linear", inputs, name, has_bias=bias)


def layer_norm(graph: Graph, name: str, x: NodeId) -> NodeId:
    gamma, beta = weight(graph, f"{name}.weight", D), weight(graph, f"{name}.bias", D)
    return graph.add("layer_norm", [x, gamma, beta], name)


def mlp(graph: Graph, name: str, x: NodeId) -> NodeId:
    hidden = graph.add("gelu", [linear(graph, f"{name}.mlp.0", layer_norm(graph, f"{name}.mlp_ln", x), D, 4 * D)])
    return graph.add("add", [x, linear(graph, f"{name}.mlp.2", hidden, 4 * D, D)])


def self_attention_inputs(graph: Graph, name: str, x: NodeId) -> tuple[NodeId, NodeId, NodeId]:
    query = linear(graph, f"{name}.query", x, D, D)
    key = linear(graph, f"{name}.key", x, D, D, bias=False)
    return query, key, linear(graph, f"{name}.value", x, D, D)


def conv(graph: Graph, name: str, x: NodeId, n_in: int, stride: int) -> NodeId:
    inputs = [x, weight(graph, f"{name}.weight", D, n_in, 3), weight(graph, f"{name}.bias", D)]
    return graph.add("gelu", [graph.add("conv1d", inputs, name, stride=stride)])


def encoder(n_layer: int = 1) -> Graph:
    """Mel (B, M, 2T) to audio features (B, T, D)."""
    graph = Graph()
    mel = graph.input("mel", Fact(FLOAT32, (B, N_MELS, 2 * T)))
    x = graph.add("transpose_frames", [mel])
    x = conv(graph, "conv2", conv(graph, "conv1", x, N_MELS, 1), D, 2)
    position = graph.weight("positional_embedding", Fact(FLOAT32, (T, D)))
    x = graph.add("add", [x, position])
    for i in range(n_layer):
        name = f"blocks.{i}"
        qkv = self_attention_inputs(graph, f"{name}.attn", layer_norm(graph, f"{name}.attn_ln", x))
        attended = graph.add("attention", qkv, n_head=N_HEAD)
        x = graph.add("add", [x, linear(graph, f"{name}.attn.out", attended, D, D)])
        x = mlp(graph, name, x)
    graph.output("features", layer_norm(graph, "ln_post", x))
    return graph


def cross_kv(n_layer: int = 2) -> Graph:
    """Audio features (A, T, D) to packed keys and values of each layer."""
    graph = Graph()
    features = graph.input("features", Fact(FLOAT32, (A, T, D)))
    for i in range(n_layer):
        key = linear(graph, f"blocks.{i}.cross_attn.key", features, D, D, bias=False)
        value = linear(graph, f"blocks.{i}.cross_attn.value", features, D, D)
        graph.output(f"keys.{i}", graph.add("pack_keys", [key], n_head=N_HEAD))
        graph.output(f"values.{i}", graph.add("pack_values", [value], n_head=N_HEAD))
    return graph


def decoder(n_layer: int = 1) -> Graph:
    """Tokens (B, U) to logits (B, R, V) of selected positions, with scores of two cross-attention heads."""
    graph = Graph()
    n_key = D // N_HEAD
    tokens = graph.input("tokens", Fact(INT32, (B, U)))
    past = graph.input("past", Fact(INT32, (B,)))
    own_rows = graph.input("own_rows", Fact(INT32, (B,)))
    cache_rows = graph.input("cache_rows", Fact(INT32, (B, N_TEXT_CTX)))
    audio_rows = graph.input("audio_rows", Fact(INT32, (A + 1,)))
    wanted = graph.input("wanted", Fact(INT32, (R,)))
    embedding = weight(graph, "token_embedding", N_VOCAB, D)
    x = graph.add("embed", [tokens, past, embedding, weight(graph, "positional_embedding", N_TEXT_CTX, D)])
    for i in range(n_layer):
        name = f"blocks.{i}"
        caches = [graph.input(f"{part}.{i}", Fact(FLOAT32, (B, N_TEXT_CTX, D)), mutable=True) for part in "kv"]
        query, key, value = self_attention_inputs(graph, f"{name}.attn", layer_norm(graph, f"{name}.attn_ln", x))
        keys = graph.add("cache_append", [key, caches[0], past, own_rows])
        values = graph.add("cache_append", [value, caches[1], past, own_rows])
        inputs = [query, keys, values, past, own_rows, cache_rows]
        if i == n_layer - 1:
            query, x = (graph.add("select_rows", [rows, wanted]) for rows in (query, x))
            inputs = [query, *inputs[1:], wanted]
        attended = graph.add("cached_attention", inputs, n_head=N_HEAD)
        x = graph.add("add", [x, linear(graph, f"{name}.attn.out", attended, D, D)])
        query = linear(graph, f"{name}.cross_attn.query", layer_norm(graph, f"{name}.cross_attn_ln", x), D, D)
        key_panels = graph.input(f"keys.{i}", Fact(FLOAT32, (A, N_HEAD, ceil_div(T, 32), n_key, 32)))
        value_panels = graph.input(f"values.{i}", Fact(FLOAT32, (A, N_HEAD, ceil_div(n_key, 32), T, 32)))
        scores = graph.add("cross_scores", [query, key_panels, audio_rows], n_head=N_HEAD, n_ctx=T, heads=(2, 0))
        graph.output(f"scores.{i}", scores)
        inputs = [query, key_panels, value_panels, audio_rows]
        attended = graph.add("attention_packed", inputs, n_head=N_HEAD, n_ctx=T)
        x = graph.add("add", [x, linear(graph, f"{name}.cross_attn.out", attended, D, D)])
        x = mlp(graph, name, x)
    graph.output("logits", graph.add("linear", [layer_norm(graph, "ln", x), embedding]))
    return graph


def recurrent(n_layer: int = 1) -> Graph:
    """A speech detector: frames (T, 1, D) and a state (1, 2D) to one value for each, and the states."""
    graph = Graph()
    x = graph.input("spectra", Fact(FLOAT32, (T, 1, 2 * D)))
    x = graph.add("magnitude", [x])
    for i in range(n_layer):
        gates = linear(graph, f"{i}.gates", x, D, 4 * D)
        state = graph.input(f"state.{i}", Fact(FLOAT32, (1, 2 * D)))
        states = graph.add("lstm", [gates, weight(graph, f"{i}.recurrent", 4 * D, D), state])
        graph.output(f"states.{i}", states)
        x = graph.add("relu", [graph.add("columns", [states], start=0, stop=D)])
    graph.output("speech", graph.add("sigmoid", [linear(graph, "decoder", x, D, 1)]))
    return graph


SIZES = {"B": 2, "T": 37, "U": 3, "A": 1, "R": 4}
MODELS = {"encoder": encoder, "cross_kv": cross_kv, "decoder": decoder, "recurrent": recurrent}
