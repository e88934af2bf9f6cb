"""The machine: its features, and the CPU time that others took while something was measured.

In: /proc where there is one. Out: features, seconds. Knows nothing of: engines.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

NOTED_FLAGS = (
    "amx_int8", "amx_bf16", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "avx2", "fma",
    "f16c", "asimd", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip
TICK = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01


def features() -> dict[str, object]:
    """What of a machine explains its speed: maker, instruction sets, cores, caches, memory."""
    from whisperlite.kernels import cpu

    info = _cpuinfo()
    flags = set(info.get("flags", info.get("Features", "")).split())
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "vendor": info.get("vendor_id", ""),
        "family_model": f"{info.get('cpu family', '')}/{info.get('model', '')}",
        "features": [flag for flag in NOTED_FLAGS if flag in flags] or [cpu.summary()],
        "cpus": os.cpu_count() or 1,
        "l2": _read("/sys/devices/system/cpu/cpu0/cache/index2/size"),
        "l3": _read("/sys/devices/system/cpu/cpu0/cache/index3/size"),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def describe(machine: dict[str, object]) -> str:
    """One line of ``features``."""
    flags = machine["features"]
    named = " ".join(str(flag) for flag in flags) if isinstance(flags, list) else str(flags)
    return f"{machine['cpu']} ({machine['cpus']} CPUs, L2 {machine['l2']}, L3 {machine['l3']}): {named}"


def load_average() -> float | None:
    """Of the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def commit() -> str:
    """Short hash of the source's commit, ``+`` where files were changed; empty outside a repository."""
    root = Path(__file__).resolve().parent.parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=root, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


class ForeignTime:
    """CPU seconds that processes other than the given ones took since this was made.

    Zero where there is no /proc. A tick is 10 ms, so that short spans tell little.
    """

    def __init__(self, pids: Iterable[int]):
        self._pids = [*pids, os.getpid()]
        self._busy, self._own = busy_seconds(), self._owned()

    def seconds(self) -> float:
        return max(0.0, (busy_seconds() - self._busy) - (self._owned() - self._own))

    def _owned(self) -> float:
        return sum(process_seconds(pid) for pid in self._pids)


def busy_seconds() -> float:
    """CPU seconds that were not idle since boot, over all CPUs."""
    fields = _read("/proc/stat").partition("\n")[0].split()[1:]
    if len(fields) < 8:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) * TICK


def process_seconds(pid: int) -> float:
    """CPU seconds of a process and of its children that ended."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) * TICK if len(fields) > 15 else 0.0


def _cpuinfo() -> dict[str, str]:
    first = _read("/proc/cpuinfo").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory_gb() -> float | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 1e6, 1)
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
