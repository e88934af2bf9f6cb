"""A pickle interpreter that can execute nothing.

In: the bytes of a ``data.pkl`` written by ``torch.save``. Out: plain dicts, lists, tuples, strings, numbers and
``TensorRecord``.
Knows nothing of: zip files, Whisper. Never imports pickle.

A pickle is a program for a stack machine whose opcodes can name and call any function. This one has the opcodes
that a state dict needs; a name in the pickle is only ever compared with a short list, and "calling" a listed name
makes one of our own records. Everything else is refused with the name it asked for.
ref: https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from whisperlite.errors import CheckpointError

MAX_PICKLE_BYTES = 16 << 20  # large-v3, 1259 tensors, needs 0.2 MB
MAX_OPCODES = 2_000_000

STORAGE_DTYPES = {
    "torch DoubleStorage": "float64",
    "torch FloatStorage": "float32",
    "torch HalfStorage": "float16",
    "torch BFloat16Storage": "bfloat16",
    "torch LongStorage": "int64",
    "torch IntStorage": "int32",
    "torch ShortStorage": "int16",
    "torch CharStorage": "int8",
    "torch ByteStorage": "uint8",
    "torch BoolStorage": "bool",
}
_REBUILD = ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor")
_REBUILD_PARAMETER = "torch._utils _rebuild_parameter"
_ORDERED_DICT = "collections OrderedDict"
_ALLOWED = frozenset((*STORAGE_DTYPES, *_REBUILD, _REBUILD_PARAMETER, _ORDERED_DICT))


@dataclass(frozen=True)
class StorageRecord:
    """A run of ``n_elements`` in the archive member ``key``."""

    key: str
    dtype: str
    n_elements: int


@dataclass(frozen=True)
class TensorRecord:
    """A view of a storage; ``first`` and ``strides`` are in elements."""

    storage: StorageRecord
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Name:
    """A global of the pickle: text, never looked up."""

    text: str


class _Mark:
    """Place of a MARK opcode on the stack."""


_MARK = _Mark()


def unpickle(data: bytes, what: str) -> Any:
    """Value described by a torch pickle.

    Parameters
    ----------
    data
        Contents of ``data.pkl``.
    what
        Name of the file, for messages.

    Raises
    ------
    CheckpointError
        The pickle names something that weights do not need, or is damaged or absurdly large.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{what} describes its tensors in {len(data)} bytes; the limit is {MAX_PICKLE_BYTES}."
        )
    return _Machine(data, what).run()


class _Machine:
    """Stack, memo and the opcodes. Containers are only ever our own plain dict, list and tuple."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.what = what
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                return self.pop()
            action = _OPCODES.get(code)
            if action is None:
                raise self.refused(f"opcode 0x{code:02x} at byte {self.at - 1}")
            action(self)
        raise self.refused(f"more than {MAX_OPCODES} opcodes")

    def refused(self, wanted: str) -> CheckpointError:
        return CheckpointError(f"{self.what} asks for {wanted}; a checkpoint needs none, so it is not opened.")

    def damaged(self) -> CheckpointError:
        return CheckpointError(f"{self.what} is damaged at byte {self.at} of its pickle; fetch the file again.")

    def take(self, n_bytes: int) -> bytes:
        if n_bytes > len(self.data) - self.at:
            raise self.damaged()
        piece = self.data[self.at : self.at + n_bytes]
        self.at += n_bytes
        return piece

    def number(self, layout: str) -> int:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + 1024)
        if end < 0:
            raise self.damaged()
        return self.text(self.take(end + 1 - self.at)[:-1])

    def text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged() from None

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise self.damaged()
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while at >= 0 and self.stack[at] is not _MARK:
            at -= 1
        if at < 0:
            raise self.damaged()
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise self.damaged()
        return self.stack[-1]

    def long(self, n_bytes: int) -> int:
        if n_bytes > 8:
            raise self.damaged()
        return int.from_bytes(self.take(n_bytes), "little", signed=True)

    def remember(self, index: int) -> None:
        value = self.pop()
        self.memo[index] = value
        self.push(value)

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise self.damaged()
        self.push(self.memo[index])

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise self.damaged()
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only flat keys: hashing a deep tuple would recurse in C.
            if type(key) not in (str, int):
                raise self.refused(f"a dictionary key of type {type(key).__name__}")
            target[key] = value

    def append(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def protocol(self) -> None:
        version = self.take(1)[0]
        if version > 5:
            raise self.refused(f"pickle protocol {version}")

    def name(self, module: object, attribute: object) -> None:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise self.damaged()
        text = f"{module} {attribute}"
        if text not in _ALLOWED:
            raise self.refused(repr(f"{module}.{attribute}"[:120]))
        self.push(_Name(text))

    def persistent(self) -> None:
        """('storage', dtype name, key, device, n_elements) becomes a StorageRecord; the device does not matter."""
        values = self.pop()
        if type(values) is not tuple or len(values) != 5 or values[0] != "storage":
            raise self.refused("an object outside the file")
        _, kind, key, _, n_elements = values
        dtype = STORAGE_DTYPES.get(kind.text) if isinstance(kind, _Name) else None
        if dtype is None or type(key) is not str or not self.is_count(n_elements):
            raise self.damaged()
        self.push(StorageRecord(key, dtype, n_elements))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Name) or type(arguments) is not tuple:
            raise self.damaged()
        if function.text == _ORDERED_DICT and arguments == ():
            self.push({})
        elif function.text in _REBUILD and len(arguments) >= 4:
            self.push(self.tensor(*arguments[:4]))
        elif function.text == _REBUILD_PARAMETER and arguments and isinstance(arguments[0], TensorRecord):
            self.push(arguments[0])
        else:
            raise self.refused(f"a call of {function.text.replace(' ', '.')!r} with arguments that do not fit")

    def tensor(self, storage: object, first: object, shape: object, strides: object) -> TensorRecord:
        ok = isinstance(storage, StorageRecord) and self.is_count(first)
        for axes in (shape, strides):
            ok = ok and type(axes) is tuple and len(axes) <= 8 and all(self.is_count(axis) for axis in axes)
        if not ok or len(shape) != len(strides):  # type: ignore[arg-type]
            raise self.damaged()
        return TensorRecord(storage, first, shape, strides)  # type: ignore[arg-type]

    def build(self) -> None:
        """State of an object: here only a dict is one, and its attributes (``_metadata``) are not needed."""
        state = self.pop()
        self.top(dict)
        if type(state) is not dict:
            raise self.damaged()

    @staticmethod
    def is_count(value: object) -> bool:
        return type(value) is int and 0 <= value < 1 << 48


_OPCODES: dict[int, Callable[[_Machine], None]] = {
    0x80: lambda m: m.protocol(),  # PROTO
    0x95: lambda m: _discard(m.take(8)),  # FRAME
    ord("("): lambda m: m.push(_MARK),
    ord("0"): lambda m: _discard(m.pop()),  # POP
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.number("<B")),  # BININT1
    ord("M"): lambda m: m.push(m.number("<H")),  # BININT2
    ord("J"): lambda m: m.push(m.number("<i")),  # BININT
    0x8A: lambda m: m.push(m.long(m.number("<B"))),  # LONG1
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),  # BINFLOAT
    ord("X"): lambda m: m.push(m.text(m.take(m.number("<I")))),  # BINUNICODE
    0x8C: lambda m: m.push(m.text(m.take(m.number("<B")))),  # SHORT_BINUNICODE
    0x8D: lambda m: m.push(m.text(m.take(m.number("<Q")))),  # BINUNICODE8
    ord("}"): lambda m: m.push({}),
    ord("]"): lambda m: m.push([]),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    ord("a"): lambda m: m.append([m.pop()]),  # APPEND
    ord("e"): lambda m: m.append(m.pop_to_mark()),  # APPENDS
    ord("s"): lambda m: m.set_items([m.pop(), m.pop()][::-1]),  # SETITEM
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),  # SETITEMS
    ord("q"): lambda m: m.remember(m.number("<B")),  # BINPUT
    ord("r"): lambda m: m.remember(m.number("<I")),  # LONG_BINPUT
    0x94: lambda m: m.remember(len(m.memo)),  # MEMOIZE
    ord("h"): lambda m: m.recall(m.number("<B")),  # BINGET
    ord("j"): lambda m: m.recall(m.number("<I")),  # LONG_BINGET
    ord("c"): lambda m: m.name(m.line(), m.line()),  # GLOBAL
    0x93: lambda m: m.name(*reversed((m.pop(), m.pop()))),  # STACK_GLOBAL
    ord("Q"): lambda m: m.persistent(),  # BINPERSID
    ord("R"): lambda m: m.reduce(),  # REDUCE
    ord("b"): lambda m: m.build(),  # BUILD
}


def _discard(value: object) -> None:
    """A value the program does not keep."""
