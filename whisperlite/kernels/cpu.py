"""What the compiled kernels may assume of the CPU.

In: Numba's target settings and the host. Out: instruction-set features and the vector width.
Knows nothing of: kernels.

``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` are respected, so a narrower instruction set can be tried on a
wider machine. What LLVM says of the host is noted in the cache folder, under a hash of what it depends on: a
process whose kernels are cached need not ask it, and so imports neither Numba nor LLVM.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from whisperlite.folders import cache_root, keep_note

_FEATURES_OF_NAME = {
    "haswell": ("avx", "avx2", "fma", "f16c"),
    "x86-64-v3": ("avx", "avx2", "fma", "f16c"),
    "skylake-avx512": ("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq"),
    "x86-64-v4": ("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq"),
}
_CPU_FIELDS = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features",
)  # fmt: skip


class Target(NamedTuple):
    """What machine code is made for, and by which compiler."""

    cpu_name: str | None  # as Numba is told; None: the host's
    host_name: str
    features: tuple[str, ...]
    compiler: str


@cache
def target() -> Target:
    """From the note of an earlier process where there is one that holds, else from Numba and LLVM.

    Raises
    ------
    ImportError
        They must be asked and cannot be imported.
    """
    if (known := _noted()) is not None:
        return known
    found = _ask()
    if (note := _note_path()) is not None:
        keep_note(note, json.dumps(found._asdict()))
    return found


def check_numba() -> None:
    """Nothing where Numba is known to work here.

    Raises
    ------
    ImportError
        It cannot be imported.
    """
    if "numba" in sys.modules or _noted() is None:
        import numba  # noqa: F401


def features() -> frozenset[str]:
    """LLVM names of the instruction sets that generated code may use, such as ``avx512f``."""
    return _features(target())


@cache
def _features(known: Target) -> frozenset[str]:
    return frozenset(known.features)


@cache
def is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64", "i686", "x86")


@cache
def vector_width() -> int:
    """Float32 lanes of one register: 16 (AVX-512), 8 (AVX2 with FMA) or 4 (SSE2, NEON, generic)."""
    if "avx512f" in features():
        return 16
    if "avx2" in features() and "fma" in features():
        return 8
    return 4


@cache
def has_float16() -> bool:
    """Whether half precision converts to float32 in one instruction."""
    return "f16c" in features() or "avx512f" in features() or platform.machine().lower() in ("aarch64", "arm64")


@cache
def has_bf16_dot() -> bool:
    """Whether one instruction sums two products of bf16 in each of 16 lanes."""
    return vector_width() == 16 and "avx512bf16" in features()


def summary() -> str:
    """One line for reports: machine, LLVM's CPU name and the features that decide speed."""
    telling = (
        "avx2", "fma", "avx512f", "avx512bf16", "avx512vnni", "avx512vbmi", "avxvnni", "amx-bf16", "amx-int8",
        "neon",
    )  # fmt: skip
    present = [name for name in telling if name in features()]
    return f"{platform.machine()} {target().host_name} [{' '.join(present)}]"


def _ask() -> Target:
    import llvmlite
    import numba
    from llvmlite import binding
    from numba.core import config

    name = config.CPU_NAME
    if config.CPU_FEATURES is not None:
        parts = str(config.CPU_FEATURES).split(",")
        found = {part.strip()[1:] for part in parts if part.strip().startswith("+")}
        found.update(_FEATURES_OF_NAME.get(name or "", ()))
    elif name not in (None, "host"):
        found = set(_FEATURES_OF_NAME.get(name, ()))
    else:
        found = {feature for feature, present in binding.get_host_cpu_features().items() if present}
        if not config.ENABLE_AVX:
            found = {feature for feature in found if not feature.startswith(("avx", "fma", "f16c"))}
    compiler = f"{numba.__version__} {llvmlite.__version__}"
    return Target(name, binding.get_host_cpu_name(), tuple(sorted(found)), compiler)


def _note_path() -> Path | None:
    """Where LLVM's answer for this CPU and these versions is noted; None where Numba is told of another CPU."""
    told = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX")
    if any(os.environ.get(name) for name in told) or os.path.exists(".numba_config.yaml"):
        return None
    digest = hashlib.sha256(f"{sys.version} {platform.machine()} {np.__version__}".encode())
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip():
                    break  # the first of the CPUs
                if line.split(":")[0].strip() in _CPU_FIELDS:
                    digest.update(line.encode())
        for package in ("numba", "llvmlite"):
            spec = importlib.util.find_spec(package)
            if spec is None or spec.origin is None:
                return None
            digest.update(Path(spec.origin).with_name("_version.py").read_bytes())
    except (OSError, ValueError):  # another system; sys.modules says None of a package
        return None
    return cache_root() / f"cpu-{digest.hexdigest()[:16]}.json"


def _noted() -> Target | None:
    if (note := _note_path()) is None:
        return None
    try:
        values: dict[str, Any] = json.loads(note.read_bytes())
        found = Target(**{**values, "features": tuple(values["features"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    names = (found.host_name, found.compiler, *found.features)
    return found if found.cpu_name is None and all(isinstance(name, str) for name in names) else None
