"""Machine code on disk: a compiled kernel's object file, loaded without asking the compiler.

In: object code as LLVM emitted it, ELF of 64 bits (Linux). Out: files; addresses in this process.
Knows nothing of: which kernels there are, when one is stale.

Numba's own cache brings back a whole compiler with a function: its first use costs half a second, each further
function some milliseconds. A kernel needs neither types nor IR any more: its object code is all that is kept. LLVM
emits it for any distance between code and data, so linking it means writing addresses into it (x86-64; LLVM's own
loader does it elsewhere, and wherever an object file has something else in it). Every kernel is linked alone, so
that functions of one name in two object files cannot be taken for each other.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from whisperlite import trace
from whisperlite.replace import replacement

MAGIC = b"whisperlite kernel 1\n"
# ref: System V ABI, chapter 4, and its AMD64 supplement, chapter 4.4: numbers of ELF
X86_64 = 62
SYMBOL_TABLE, RELOCATIONS, NO_BITS = 2, 4, 8  # types of sections
WRITABLE, ALLOCATED, THREAD_LOCAL = 1, 2, 0x400  # flags of sections
UNDEFINED = 0  # section index of a symbol
ABSOLUTE_64, RELATIVE_64 = 1, 24  # relocations: an address; its distance from where it is written


class LoadedCode:
    """Machine code in this process; ``address`` is that of its entry."""

    def __init__(self, address: int, engine: Any):
        self.address = address
        self._engine = engine  # owns the code


def save(path: Path, symbol: str, code: bytes) -> None:
    """Write object code and the name of its entry; whole or not at all."""
    body = symbol.encode() + b"\n" + code
    with replacement(path) as temporary:
        temporary.write_bytes(MAGIC + hashlib.sha256(body).digest() + body)


def load(path: Path) -> LoadedCode | None:
    """Code that ``save`` wrote; None where there is none, or where it cannot run in this process."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    start = len(MAGIC) + hashlib.sha256().digest_size
    body = content[start:]
    if content[:start] != MAGIC + hashlib.sha256(body).digest():
        trace.debug(1, f"{path.name} is damaged")
        return None
    symbol, _, code = body.partition(b"\n")
    needed = {name: _address_of(name) for name in undefined_symbols(code)}
    missing = [name for name, address in needed.items() if not address]
    if missing:  # LLVM ends the process when it meets one
        trace.debug(1, f"{path.name} needs {missing[0]}, which this process lacks")
        return None
    return _linked(code, symbol.decode(), needed) or _linked_by_llvm(code, symbol.decode(), needed)


class _Section(NamedTuple):
    """An entry of the section header table."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_bytes: int


class _Symbol(NamedTuple):
    """An entry of a symbol table."""

    name: str
    section: int
    value: int


def _sections(code: bytes) -> list[_Section]:
    (sections_at,) = struct.unpack_from("<Q", code, 0x28)
    entry_bytes, n_sections = struct.unpack_from("<HH", code, 0x3A)
    return [
        _Section(*struct.unpack_from("<IIQQQQIIQQ", code, sections_at + i * entry_bytes)) for i in range(n_sections)
    ]


def _symbols(code: bytes, sections: list[_Section]) -> list[_Symbol]:
    """Symbols in the order of their table, an empty one first."""
    found = []
    for section in sections:
        if section.kind != SYMBOL_TABLE:
            continue
        strings_at = sections[section.link].offset
        for at in range(section.offset, section.offset + section.size, section.entry_bytes):
            name_at, _, _, index, value = struct.unpack_from("<IBBHQ", code, at)
            start = strings_at + name_at
            found.append(_Symbol(code[start : code.index(b"\0", start)].decode(), index, value))
    return found


def undefined_symbols(code: bytes) -> list[str]:
    """Names that an ELF object file expects from elsewhere."""
    return [symbol.name for symbol in _symbols(code, _sections(code))[1:] if symbol.section == UNDEFINED]


def _linked(code: bytes, entry: str, needed: Mapping[str, int]) -> LoadedCode | None:
    """Object code in memory of its own, with addresses written into it; None where that is not all it takes."""
    (machine,) = struct.unpack_from("<H", code, 0x12)
    sections = _sections(code)
    symbols = _symbols(code, sections)
    allocated = {i: section for i, section in enumerate(sections) if section.flags & ALLOCATED and section.size}
    tables = [section for section in sections if section.kind == RELOCATIONS and section.info in allocated]
    if machine != X86_64 or any(section.flags & (WRITABLE | THREAD_LOCAL) for section in allocated.values()):
        return None
    places, size = {}, 0
    for i, section in allocated.items():
        places[i] = -(-size // max(section.alignment, 1)) * section.alignment
        size = places[i] + section.size
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for i, section in allocated.items():
        if section.kind != NO_BITS:
            memory[places[i] : places[i] + section.size] = code[section.offset : section.offset + section.size]
    addresses: list[int | None] = []
    for symbol in symbols:
        if symbol.section == UNDEFINED:
            addresses.append(needed.get(symbol.name))
        else:
            place = places.get(symbol.section)
            addresses.append(None if place is None else base + place + symbol.value)
    for table in tables:
        for at in range(table.offset, table.offset + table.size, table.entry_bytes):
            where, what, addend = struct.unpack_from("<QQq", code, at)
            address, place = addresses[what >> 32], places[table.info] + where
            if address is None or what & 0xFFFFFFFF not in (ABSOLUTE_64, RELATIVE_64):
                return None
            origin = 0 if what & 0xFFFFFFFF == ABSOLUTE_64 else base + place
            struct.pack_into("<Q", memory, place, (address + addend - origin) % 2**64)
    start = dict(zip((symbol.name for symbol in symbols), addresses, strict=True)).get(entry)
    mprotect = ctypes.CDLL(None).mprotect
    mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if start is None or mprotect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
        return None
    return LoadedCode(start, memory)


def _linked_by_llvm(code: bytes, entry: str, needed: Mapping[str, int]) -> LoadedCode:
    from llvmlite import binding

    _initialize()
    for name, address in needed.items():
        if not binding.address_of_symbol(name):
            binding.add_symbol(name, address)
    target = binding.Target.from_triple(binding.get_process_triple())
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target.create_target_machine(jit=True))
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return LoadedCode(engine.get_function_address(entry), engine)


def _address_of(name: str) -> int:
    """Address of a function or variable of a library that this process has loaded; 0 where none has it.

    Numba's own functions need not be there. They are called where a function has raised, and none does
    (``kernels/compiler``): in their place the process would end.
    """
    if name.startswith(("numba_", "NRT_")):
        name = "abort"
    with contextlib.suppress(ValueError):
        return ctypes.addressof(ctypes.c_char.in_dll(_libraries(), name))
    return 0


@cache
def _libraries() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _initialize() -> None:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
