"""What the compiled kernels may assume of the CPU.

In: Numba's target settings and the host. Out: instruction-set features and the vector width.
Knows nothing of: kernels.

``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` are respected, so a narrower instruction set can be tried on a
wider machine.
"""

from __future__ import annotations

import platform
from functools import cache

from llvmlite import binding
from numba.core import config

_FEATURES_OF_NAME = {
    "haswell": ("avx", "avx2", "fma", "f16c"),
    "x86-64-v3": ("avx", "avx2", "fma", "f16c"),
    "skylake-avx512": ("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq"),
    "x86-64-v4": ("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq"),
}


@cache
def features() -> frozenset[str]:
    """LLVM names of the instruction sets that generated code may use, such as ``avx512f``."""
    if config.CPU_FEATURES is not None:
        parts = str(config.CPU_FEATURES).split(",")
        found = frozenset(part.strip()[1:] for part in parts if part.strip().startswith("+"))
        return found | frozenset(_FEATURES_OF_NAME.get(config.CPU_NAME or "", ()))
    if config.CPU_NAME not in (None, "host"):
        return frozenset(_FEATURES_OF_NAME.get(config.CPU_NAME, ()))
    host = frozenset(name for name, present in binding.get_host_cpu_features().items() if present)
    if not config.ENABLE_AVX:
        return frozenset(name for name in host if not name.startswith(("avx", "fma", "f16c")))
    return host


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
    telling = ("avx2", "fma", "avx512f", "avx512bf16", "avx512vnni", "avxvnni", "amx-bf16", "amx-int8", "neon")
    present = [name for name in telling if name in features()]
    return f"{platform.machine()} {binding.get_host_cpu_name()} [{' '.join(present)}]"
