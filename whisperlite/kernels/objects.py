"""Machine code on disk: a compiled kernel's object file, loaded without asking the compiler.

In: object code as LLVM emitted it, ELF of 64 bits (Linux). Out: files; addresses in this process.
Knows nothing of: which kernels there are, when one is stale.

Numba's own cache brings back a whole compiler with a function: its first use costs half a second, each further
function some milliseconds. A kernel needs neither types nor IR any more: its object code is all that is kept, and
LLVM's loader all that is asked. Every kernel gets a loader of its own, so that functions of one name in two object
files cannot be taken for each other.
"""

from __future__ import annotations

import hashlib
import struct
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import binding

from whisperlite import trace
from whisperlite.replace import replacement

MAGIC = b"whisperlite kernel 1\n"
SYMBOL_TABLE, UNDEFINED = 2, 0  # ELF's SHT_SYMTAB and SHN_UNDEF


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
    missing = [name for name in undefined_symbols(code) if not _resolved(name)]
    if missing:  # LLVM ends the process when it meets one
        trace.debug(1, f"{path.name} needs {missing[0]}, which this process lacks")
        return None
    _initialize()
    target = binding.Target.from_triple(binding.get_process_triple())
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target.create_target_machine(jit=True))
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return LoadedCode(engine.get_function_address(symbol.decode()), engine)


def undefined_symbols(code: bytes) -> list[str]:
    """Names that an ELF object file expects from elsewhere."""
    # ref: System V ABI, chapter 4: the section header table, sections of type SHT_SYMTAB, entries of 24 bytes
    (sections_at,) = struct.unpack_from("<Q", code, 0x28)
    entry_bytes, n_sections = struct.unpack_from("<HH", code, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, sections_at + i * entry_bytes) for i in range(n_sections)]
    names = []
    for _, kind, _, _, offset, size, linked, _, _, symbol_bytes in sections:
        if kind != SYMBOL_TABLE:
            continue
        strings_at = sections[linked][4]
        for at in range(offset + symbol_bytes, offset + size, symbol_bytes):  # the first is empty
            name_at, _, _, section = struct.unpack_from("<IBBH", code, at)
            if section == UNDEFINED:
                start = strings_at + name_at
                names.append(code[start : code.index(b"\0", start)].decode())
    return names


def _resolved(name: str) -> bool:
    """Whether the loader will find a symbol; Numba's are made known when the first one is asked for."""
    if name.startswith(("numba_", "NRT_", "Py")):
        _publish_numba_symbols()
    return bool(binding.address_of_symbol(name))


@cache
def _publish_numba_symbols() -> None:
    """Make Numba's run-time functions known to LLVM, as Numba does before it loads code of its own."""
    from numba.core import base
    from numba.core.runtime import _nrt_python  # type: ignore[attr-defined]

    base._load_global_helpers()
    for name, address in _nrt_python.c_helpers.items():
        binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


@cache
def _initialize() -> None:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
