"""A pickle can execute nothing: whatever it holds, the answer is data or a CheckpointError."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from pathlib import Path

import pytest
from bounded import bounded
from fixtures import tiny_models as tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.checkpoint import unpickle as room
from whisperlite.checkpoint.unpickle import TensorRecord, unpickle
from whisperlite.errors import CheckpointError

PER_BYTE = 200  # one byte can be an empty dict on the stack and in the memo
VALID = tiny.pt_pickle({name: array for name, array in tiny.tensors().items() if array.size < 1000})


class Evil:
    """Pickled, this is a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def test_the_room_never_imports_pickle():
    source = Path(room.__file__).read_text()
    assert "import pickle" not in source and "find_class" not in source and "eval(" not in source


def test_a_valid_pickle_gives_records():
    value = unpickle(VALID, "x.pt")
    assert value["dims"] == vars(tiny.DIMS)
    tensor = value["model_state_dict"]["decoder.ln.weight"]
    assert isinstance(tensor, TensorRecord)
    assert (tensor.shape, tensor.storage.dtype, tensor.storage.n_elements) == ((8,), "float32", 8)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_of_any_protocol(protocol):
    value = {
        "a": [1, 2.5, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "b": {"c": None, "d": True},
        "e": -(2**40),
        3: [],
    }
    value["f"] = value["a"]
    assert unpickle(pickle.dumps(value, protocol), "x.pt") == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "call",
    [
        (os.system, "touch {path}"),
        (os.mkdir, "{path}"),
        (eval, "open('{path}', 'w')"),
        (exec, "open('{path}', 'w')"),
        (open, "{path}", "w"),
        (Path, "{path}"),
        (getattr, Path("x"), "touch"),
        (pickle.loads, pickle.dumps(Evil(os.mkdir, "{path}"))),
        (__import__, "antigravity"),
        (sys.setrecursionlimit, 1),
    ],
    ids=lambda call: call[0].__name__,
)
def test_calls_are_refused_and_not_made(tmp_path, protocol, call):
    made = tmp_path / "made"
    function, *arguments = call
    arguments = [a.format(path=made) if isinstance(a, str) else a for a in arguments]
    data = pickle.dumps({"dims": Evil(function, *arguments)}, protocol)
    with pytest.raises(CheckpointError):
        unpickle(data, "x.pt")
    assert not made.exists()


@pytest.mark.parametrize(
    "body, words",
    [
        (tiny.p_global("os", "system") + tiny.p_tuple(tiny.p_str("true")) + b"R", "'os.system'"),
        (short("builtins") + short("eval") + b"\x93", "'builtins.eval'"),
        (short("torch") + short("load") + b"\x93", "'torch.load'"),
        (tiny.p_global("torch._utils", "_rebuild_tensor_v2\x00"), "torch._utils"),
        (tiny.p_global("collections", "OrderedDict.__init__"), "OrderedDict.__init__"),
        (b"(ios\nsystem\n", "opcode 0x69"),  # INST
        (b"(" + tiny.p_global("collections", "OrderedDict") + b"o", "opcode 0x6f"),  # OBJ
        (tiny.p_global("collections", "OrderedDict") + b")\x81", "opcode 0x81"),  # NEWOBJ
        (tiny.p_global("collections", "OrderedDict") + b")}\x92", "opcode 0x92"),  # NEWOBJ_EX
        (b"\x82\x01", "opcode 0x82"),  # EXT1
        (b"Pstorage\n", "opcode 0x50"),  # PERSID
        (b"\x80\xff", "pickle protocol 255"),
        (tiny.p_global("collections", "OrderedDict") + tiny.p_tuple(b"]") + b"R", "'collections.OrderedDict'"),
        (tiny.p_global("torch", "FloatStorage") + b")R", "'torch.FloatStorage'"),
        (tiny.p_global("torch._utils", "_rebuild_tensor_v2") + b")R", "'torch._utils._rebuild_tensor_v2'"),
        (tiny.p_str("key") + b"Q", "an object outside the file"),
        (tiny.p_tuple(tiny.p_str("module"), b"N", b"N", b"N", b"N") + b"Q", "an object outside the file"),
        (
            tiny.p_tuple(tiny.p_str("storage"), tiny.p_str("x"), tiny.p_str("0"), b"N", tiny.p_int(1)) + b"Q",
            "damaged",
        ),
        (b"}(" + b")" * 2 + b"u", "a dictionary key of type tuple"),
        (b"}" + b"]" + b"b", "damaged"),  # BUILD with a list
        (b"]}b", "damaged"),  # BUILD of a list
        (tiny.p_global("torch", "FloatStorage") + b"}b", "damaged"),  # BUILD of a name
        (b"h\x05", "damaged"),  # BINGET of nothing
        (b"a", "damaged"),
        (b"(0", "damaged"),  # POP of a mark
        (b"u", "damaged"),
        (b"\x8a\xff" + b"\x01" * 255, "damaged"),  # LONG1 of 255 bytes
        (b"X\xff\xff\xff\xff", "damaged"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "damaged"),
        (b"X\x01\x00\x00\x00\xff", "damaged"),  # not UTF-8
        (b"c" + b"a" * 5000, "damaged"),
        (b"", "damaged"),
    ],
)
def test_what_is_not_data_is_refused_by_name(body, words):
    with pytest.raises(CheckpointError) as caught:
        unpickle(b"\x80\x02" + body + b".", "x.pt")
    assert words in str(caught.value) and "x.pt" in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "tensor",
    [
        tiny.p_tensor("0", "FloatStorage", 8, (8,), (1, 1)),
        tiny.p_tensor("0", "FloatStorage", 8, (-8,), (1,)),
        tiny.p_tensor("0", "FloatStorage", 8, (8,), (-1,)),
        tiny.p_tensor("0", "FloatStorage", -8, (8,), (1,)),
        tiny.p_tensor("0", "FloatStorage", 8, (8,), (1,), first=-1),
        tiny.p_tensor("0", "FloatStorage", 8, (1,) * 20, (1,) * 20),
        tiny.p_tensor("0", "FloatStorage", 8, (1 << 62,), (1,)),
    ],
)
def test_tensors_that_make_no_sense(tensor):
    with pytest.raises(CheckpointError, match="damaged"):
        unpickle(tiny.p_whole(tensor), "x.pt")


def test_size_is_bounded(monkeypatch):
    with pytest.raises(CheckpointError, match="the limit is"):
        unpickle(b"N" * (room.MAX_PICKLE_BYTES + 1), "x.pt")
    monkeypatch.setattr(room, "MAX_OPCODES", 1000)
    with pytest.raises(CheckpointError, match="more than 1000 opcodes"):
        unpickle(b"N0" * 1000, "x.pt")


@pytest.mark.parametrize("piece", [b"]", b"}", b"(", b"]q\0h\0h\0", b"\x8c\x00", b"]\x94", b"))\x86\x94"])
def test_memory_grows_with_the_pickle_and_no_faster(piece):
    data = b"\x80\x02" + piece * 20_000 + b"."
    survives(data)


def test_lists_within_themselves_do_not_multiply():
    """What blows up a reader that copies: each list holds the one before ten times."""
    layers = b"]q\0" + b"".join(b"](" + b"h\0" * 10 + b"eq\0" for _ in range(200))
    survives(b"\x80\x02" + layers + b".")


def test_depth_needs_no_recursion():
    deep = unpickle(b"\x80\x02)" + b"\x85" * 100_000 + b".", "x.pt")
    assert len(deep) == 1
    with pytest.raises(CheckpointError, match="a dictionary key of type tuple"):
        unpickle(b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.", "x.pt")


def test_every_truncation_is_refused():
    for size in [*range(400), *range(400, len(VALID), 61)]:
        with pytest.raises(CheckpointError):
            unpickle(VALID[:size], "x.pt")


def survives(data: bytes) -> None:
    with bounded(len(data), PER_BYTE):
        try:
            unpickle(data, "x.pt")
        except CheckpointError as error:
            assert len(str(error)) < 400


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes(data):
    survives(b"\x80\x02" + data)


OPCODES = [bytes([code]) for code in room._OPCODES]
PIECES = st.sampled_from(
    [*OPCODES, b"(", b".", b"i", b"o", b"\x81", b"\x92", b"K\x01", b"q\x00", b"h\x00", tiny.p_str("a"),
     tiny.p_str("storage"), tiny.p_global("collections", "OrderedDict"), tiny.p_global("torch", "HalfStorage"),
     tiny.p_global("torch._utils", "_rebuild_tensor_v2"), tiny.p_global("torch._utils", "_rebuild_parameter"),
     tiny.p_tensor("0", "HalfStorage", 8, (8,), (1,)), struct.pack("<I", 3)]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_program(pieces):
    survives(b"\x80\x02" + b"".join(pieces) + b".")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_mutation_of_a_valid_pickle(data):
    content = bytearray(VALID[:3000] + VALID[-200:])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(content))
