"""ggml files: what whisper.cpp writes is read to the bit; every kind of damage is a CheckpointError."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from bounded import bounded, file_bytes
from fixtures import tiny_models as tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisperlite.checkpoint import Dims, open_checkpoint, resolve
from whisperlite.checkpoint.ggml import GgmlCheckpoint, read_ggml_header
from whisperlite.checkpoint.names import expected_shapes
from whisperlite.checkpoint.write_ggml import write_ggml
from whisperlite.errors import CheckpointError, OptionError
from whisperlite.quant import FORMATS, QUANTIZED, dequantize, quantize

DIMS = Dims(
    n_mels=4, n_audio_ctx=6, n_audio_state=8, n_audio_head=2, n_audio_layer=1,
    n_vocab=50, n_text_ctx=5, n_text_state=8, n_text_head=2, n_text_layer=2,
)  # fmt: skip
WIDE = Dims(
    n_mels=4, n_audio_ctx=6, n_audio_state=256, n_audio_head=2, n_audio_layer=1,
    n_vocab=50, n_text_ctx=5, n_text_state=256, n_text_head=2, n_text_layer=1,
)  # fmt: skip
FILTERS = np.linspace(0, 1, 4 * 201, dtype=np.float32).reshape(4, 201)
TOKENS = (*(bytes([33 + i]) for i in range(48)), b"\xe5\x9c", b"")
ARRAYS = {name: np.ascontiguousarray(a[:50]) for name, a in tiny.tensors("float16").items()}
IN_PLACE = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class InMemory:
    """What writers ask of a checkpoint."""

    def __init__(self, dims: Dims, dtype: str = "float32") -> None:
        self.dims = dims
        rng = np.random.default_rng(0)
        self.arrays = {name: rng.standard_normal(s).astype(dtype) for name, s in expected_shapes(dims).items()}

    def shape(self, name: str) -> tuple[int, ...]:
        return self.arrays[name].shape

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name]


def header(file_type: int = 1, sizes: dict | None = None, filters: np.ndarray = FILTERS) -> bytes:
    """As convert-pt-to-ggml.py writes it, number by number."""
    d = vars(DIMS) | (sizes or {})
    order = ("n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_text_ctx",
             "n_text_state", "n_text_head", "n_text_layer", "n_mels")  # fmt: skip
    parts = [struct.pack("<i", 0x67676D6C), *(struct.pack("<i", d[name]) for name in order)]
    parts += [struct.pack("<i", file_type), struct.pack("<ii", *filters.shape), filters.tobytes()]
    parts += [struct.pack("<i", len(TOKENS)), *(struct.pack("<I", len(token)) + token for token in TOKENS)]
    return b"".join(parts)


def tensor(name: str, array: np.ndarray, kind: int | None = None) -> bytes:
    if name.endswith(("conv1.bias", "conv2.bias")):
        array = array.reshape(-1, 1)
    kind = {"float32": 0, "float16": 1}[array.dtype.name] if kind is None else kind
    encoded = name.encode()
    parts = [struct.pack("<iii", array.ndim, len(encoded), kind)]
    parts += [struct.pack("<i", size) for size in reversed(array.shape)]
    return b"".join([*parts, encoded, array.tobytes()])


def pieces(arrays: dict[str, np.ndarray] = ARRAYS) -> list[bytes]:
    return [header(), *(tensor(name, array) for name, array in arrays.items())]


def refused(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path).close()
    assert words in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_file_as_whisper_cpp_writes_it(tmp_path, dtype):
    arrays = {name: a.astype(np.float32 if a.ndim == 1 else dtype) for name, a in ARRAYS.items()}
    path = tmp_path / "model.bin"
    path.write_bytes(b"".join(pieces(arrays)))
    with open_checkpoint(path) as checkpoint:
        assert isinstance(checkpoint, GgmlCheckpoint)
        assert checkpoint.dims == DIMS and checkpoint.config == {}
        assert checkpoint.alignment_heads == ((1, 0), (1, 1))  # none in the file: by sizes
        assert checkpoint.tokens == TOKENS and checkpoint.header.kind == "f16"
        np.testing.assert_array_equal(checkpoint.header.mel_filters, FILTERS)
        for name, array in arrays.items():
            assert checkpoint.dtype(name) == array.dtype
            np.testing.assert_array_equal(checkpoint.read(name), array, err_msg=name)
        kind, blocks = checkpoint.read_blocks("decoder.blocks.0.mlp.2.weight")
        assert kind == {"float32": "f32", "float16": "f16"}[dtype]
        np.testing.assert_array_equal(dequantize(blocks, kind, 32), arrays["decoder.blocks.0.mlp.2.weight"])


def test_nano_is_the_hf_nano(shared):
    with open_checkpoint(shared / "nano" / "ggml-nano.bin") as ours, open_checkpoint(resolve("nano")) as hf:
        assert ours.dims == hf.dims and ours.alignment_heads == hf.alignment_heads
        for name in hf.names():
            read, stored = ours.read(name), hf.read(name)
            np.testing.assert_array_equal(read, stored, err_msg=name)
            np.testing.assert_array_equal(read.astype(np.float16).view(np.uint16), stored.view(np.uint16))


@pytest.mark.parametrize("size, n_vocab", [("tiny.en", 51864), ("tiny", 51865), ("large", 51865)])
def test_files_for_tests_of_whisper_cpp(shared, size, n_vocab):
    path = shared / "ggml" / f"for-tests-ggml-{size}.bin"
    found = read_ggml_header(path)
    assert found.dims.n_vocab == n_vocab and found.mel_filters.shape == (80, 201)
    assert found.kind == "f16" and len(found.tokens) == 50257
    with pytest.raises(CheckpointError, match="has a header and a vocabulary but no tensors"):
        open_checkpoint(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_type_comes_back(tmp_path, kind):
    model = InMemory(WIDE)
    path = write_ggml(model, tmp_path / "model.bin", kind, FILTERS, TOKENS)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.header.kind == kind and checkpoint.dims == WIDE
        for name, array in model.arrays.items():
            read = checkpoint.read(name)
            assert checkpoint.shape(name) == read.shape == array.shape
            matrix = array.ndim == 2 and "positional" not in name
            assert checkpoint.dtype(name) == {"f32": "float32", "f16": "float16"}.get(kind, kind) or not matrix
            if kind == "f32" or array.ndim == 1 or "positional" in name:
                expected = array
            elif kind == "f16" or not matrix:
                expected = array.astype(np.float16)
            else:
                blocks = quantize(array.astype(np.float16), kind)
                assert checkpoint.read_blocks(name)[0] == kind
                np.testing.assert_array_equal(checkpoint.read_blocks(name)[1], blocks)
                expected = dequantize(blocks, kind, array.shape[1])
            np.testing.assert_array_equal(read, expected, err_msg=name)
        assert not checkpoint.read_blocks("decoder.token_embedding.weight")[1].flags.owndata
    for read in (checkpoint.read, checkpoint.read_blocks):
        with pytest.raises(CheckpointError, match="is closed"):
            read("decoder.token_embedding.weight")


def test_blocks_are_copied_not_packed_again(tmp_path):
    first = write_ggml(InMemory(WIDE), tmp_path / "a.bin", "q4_k", FILTERS, TOKENS)
    with open_checkpoint(first) as checkpoint:
        second = write_ggml(checkpoint, tmp_path / "b.bin", "q4_k", FILTERS, TOKENS)
    assert first.read_bytes() == second.read_bytes()


def test_a_file_of_float32_or_float16_is_what_whisper_cpp_writes(tmp_path):
    """The order of OpenAI's modules, and the bytes of ``tensor`` above."""
    model = InMemory(DIMS, "float16")
    written = write_ggml(model, tmp_path / "model.bin", "f16", FILTERS, TOKENS).read_bytes()
    order = """
        encoder.positional_embedding encoder.conv1.weight encoder.conv2.bias encoder.blocks.0.attn.query.weight
        encoder.blocks.0.attn.out.bias encoder.blocks.0.attn_ln.weight encoder.blocks.0.mlp.0.weight
        encoder.blocks.0.mlp_ln.bias encoder.ln_post.weight decoder.positional_embedding
        decoder.token_embedding.weight decoder.blocks.0.attn_ln.bias decoder.blocks.0.cross_attn.query.weight
        decoder.blocks.0.cross_attn_ln.weight decoder.blocks.0.mlp.2.bias decoder.blocks.1.attn.query.weight
        decoder.ln.bias
    """
    places = [written.index(name.encode()) for name in order.split()]
    assert places == sorted(places)
    assert written.startswith(header())
    for name, array in model.arrays.items():
        small = array.ndim == 1 or "positional" in name
        assert tensor(name, array.astype(np.float32) if small else array) in written


def test_writing_refuses(tmp_path):
    path = tmp_path / "model.bin"
    with pytest.raises(OptionError, match=r"has 8 columns. q4_0 packs 32 .* Take f16"):
        write_ggml(InMemory(DIMS), path, "q4_0", FILTERS, TOKENS)
    with pytest.raises(OptionError, match="q9"):
        write_ggml(InMemory(DIMS), path, "q9", FILTERS, TOKENS)
    with pytest.raises(OptionError, match="the model has 4 mels"):
        write_ggml(InMemory(DIMS), path, "f16", FILTERS[:3], TOKENS)
    with pytest.raises(OptionError, match="51 tokens were given"):
        write_ggml(InMemory(DIMS), path, "f16", FILTERS, (*TOKENS, b"x"))
    for evil in (np.nan, 1e6):
        model = InMemory(DIMS)
        model.arrays["decoder.blocks.0.mlp.2.weight"][1, 1] = evil
        with pytest.raises(CheckpointError, match="NaN or beyond float16"):
            write_ggml(model, path, "f16", FILTERS, TOKENS)
    assert not list(tmp_path.iterdir())


def test_headers_that_make_no_sense(tmp_path):
    path = tmp_path / "model.bin"
    body = b"".join(pieces()[1:])
    refused(path, b"ggml" + header()[4:] + body, "not of whisper.cpp's kind")
    refused(path, b"GGUF" + header()[4:] + body, "not of whisper.cpp's kind")
    refused(path, header(sizes={"n_vocab": -1}) + body, "n_vocab is -1")
    refused(path, header(sizes={"n_text_state": 1 << 30}) + body, "n_text_state is")
    refused(path, header(sizes={"n_audio_head": 3}) + body, "not a multiple of n_audio_head")
    refused(path, header(sizes={"n_audio_layer": 2}) + body, "lacks")
    refused(path, header(sizes={"n_text_layer": 1}) + body, "dims say 1 decoder layers")
    refused(path, header(file_type=4) + body, "has file type 4")
    refused(path, header(file_type=-1) + body, "has file type -1")
    refused(path, header(file_type=1008) + body, "has blocks of version 1")
    refused(path, header(filters=FILTERS[:3]) + body, "mel filters of (3, 201)")
    at = header().index(struct.pack("<ii", 4, 201))
    for shape in ((4, -1), (4, 1 << 30), (4, 1 << 20)):
        refused(path, header()[:at] + struct.pack("<ii", *shape) + header()[at + 8 :] + body, "mel filters")
    at += 8 + FILTERS.nbytes
    for n_tokens in (-1, 51, 1 << 30):
        refused(path, header()[:at] + struct.pack("<i", n_tokens) + header()[at + 4 :] + body, f"{n_tokens} tokens")
    refused(path, header()[: at + 4] + b"\xff\xff\xff\xff" + header()[at + 8 :] + body, "ends inside token 0")
    refused(path, header(), "has a header and a vocabulary but no tensors")


def test_tensors_that_make_no_sense(tmp_path):
    path = tmp_path / "model.bin"
    name = "decoder.ln.bias"
    rest = b"".join(pieces({key: array for key, array in ARRAYS.items() if key != name}))
    refused(path, rest, f"lacks 1 of {len(ARRAYS)} tensors: {name}")
    good = tensor(name, ARRAYS[name])
    refused(path, rest + good + good, f"has '{name}' a second time")
    refused(path, rest + tensor(name, ARRAYS[name][:7]), "dims say (8,)")
    for n_axes in (-1, 0, 5, 1 << 30):
        refused(path, rest + struct.pack("<i", n_axes) + good[4:], "makes no sense")
    for n_name in (-1, 0, 257, 1 << 30):
        refused(path, rest + good[:4] + struct.pack("<i", n_name) + good[8:], "makes no sense")
    for kind in (-1, 4, 9, 15, 30, 1 << 30):
        refused(path, rest + tensor(name, ARRAYS[name], kind), f"has type {kind}")
    for size in (-8, 0):
        refused(path, rest + good[:12] + struct.pack("<i", size) + good[16:], f"is ({size},)")
    refused(path, rest + good[:12] + struct.pack("<i", 1 << 30) + good[16:], f"ends inside '{name}'")
    refused(path, rest + good.replace(name.encode(), b"\xff" * len(name)), "no readable name")
    huge = struct.pack("<iii4i", 4, 1, 0, *[(1 << 31) - 1] * 4) + b"x"
    refused(path, rest + good + huge, "ends inside 'x'")
    blocks = struct.pack("<iiiii", 2, len(name), 12, 128, 2) + name.encode() + bytes(144)
    refused(path, rest + blocks, "rows of 128 in q4_k blocks of 256; whisper.cpp does not load it either")
    many = b"".join(tensor(f"t{i}", np.zeros(1, np.float32)) for i in range(200))
    refused(path, rest + good + many, "has more than")


def test_cut_anywhere(tmp_path):
    path = tmp_path / "model.bin"
    parts = pieces()
    whole = b"".join(parts)
    edges = np.cumsum([0, *map(len, parts)])
    cuts = {
        0,
        *range(1, 60),
        *(edge + d for edge in edges for d in (-9, -1, 0, 1, 3, 4, 8, 11, 12, 15, 16, 20, 40)),
    }
    vocabulary_at = len(header()) - sum(4 + len(token) for token in TOKENS) - 4
    cuts |= set(range(vocabulary_at - 2, len(header())))
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(whole)):
        path.write_bytes(whole[:cut])
        with bounded(cut), pytest.raises(CheckpointError):
            open_checkpoint(path)


@IN_PLACE
@given(data=st.data())
def test_mutated_files_are_refused_or_read(tmp_path, data):
    """Any bytes of headers replaced, numbers made extreme: CheckpointError or a model, in bounded memory."""
    parts = pieces()
    places = [0, *np.cumsum([len(part) for part in parts]).tolist()][:-1]
    whole = bytearray(b"".join(parts))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.sampled_from(places))
        span = 3400 if start == 0 else 60
        at = min(start + data.draw(st.integers(0, span)), len(whole) - 4)
        word = data.draw(
            st.one_of(
                st.binary(min_size=1, max_size=4),
                st.sampled_from([0, 1, -1, 2, 256, 1 << 16, 1 << 24, (1 << 31) - 1, -(1 << 31)]).map(
                    lambda value: struct.pack("<i", value)
                ),
            )
        )
        whole[at : at + len(word)] = word
    path = tmp_path / "model.bin"
    path.write_bytes(whole)
    with bounded(file_bytes(path)):
        try:
            with open_checkpoint(path) as checkpoint:
                for name in checkpoint.names():
                    checkpoint.read(name)
        except CheckpointError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", QUANTIZED)
def test_mutated_blocks_are_still_numbers_or_nan(tmp_path, kind):
    """Data is not checked: any bytes are weights; reading them raises nothing."""
    path = write_ggml(InMemory(WIDE), tmp_path / "model.bin", kind, FILTERS, TOKENS)
    content = bytearray(path.read_bytes())
    at = content.index(b"decoder.token_embedding.weight") + len(b"decoder.token_embedding.weight")
    content[at : at + 1000] = np.random.default_rng(0).bytes(1000)
    path.write_bytes(content)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.read("decoder.token_embedding.weight").shape == (50, 256)
