"""Choosing by measurement what is fastest on this machine, once for each kernel cache.

In: candidates by name, each a short piece of work to time. Out: the name of the fastest, remembered.
Knows nothing of: what the candidates compute, which kernels there are.

What instructions promise is not what they do: a bf16 dot product is twice as fast as a float32 multiply-add on one
CPU and half as fast on the next. An answer is kept beside the compiled kernels, whose folder is that of one CPU and
one version of the kernels: ``choice-NAME.json`` with the time of each candidate. Delete it to measure anew.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from whisperlite import trace
from whisperlite.folders import keep_note
from whisperlite.kernels import cpu
from whisperlite.kernels.registry import cache_folder

ROUNDS = 7
# What a later candidate may take of the time of the first: a difference as small as that of two measurements
# must not decide.
CLEARLY_FASTER = 0.9

_remembered: dict[str, str] = {}
_lock = threading.Lock()


Candidates = Mapping[str, Callable[[], object]]


def fastest(name: str, names: Sequence[str], prepare: Callable[[], Candidates]) -> str:
    """The name of the fastest candidate, measured once.

    Parameters
    ----------
    name : str
        Of the choice, and of its file.
    names : sequence of str
        Of the candidates. The first is kept unless another takes less than nine tenths of its time.
    prepare : callable
        Gives the candidates; called only if they are to be measured. Each should take less than a millisecond and
        is called ``ROUNDS + 1`` times on the calling thread.
    """
    with _lock:
        known = remembered(name, names)
        if known is not None:
            return known
        candidates = prepare()
        microseconds = _measure({candidate: candidates[candidate] for candidate in names})
        trace.debug(1, f"measured {name}: " + ", ".join(f"{k} {v} us" for k, v in microseconds.items()))
        path = _path(name)
        if path is not None:
            keep_note(path, json.dumps(_content(microseconds), indent=1) + "\n")
        return _remembered.setdefault(name, _best(microseconds))


def remembered(name: str, names: Sequence[str]) -> str | None:
    """What ``fastest`` has found, in this process or before; None where it must be measured.

    Takes no lock: it is asked while kernels are compiled, and a measurement, which holds the lock, compiles some.
    """
    if name not in _remembered:
        path = _path(name)
        microseconds = None if path is None else _read(path, names)
        if microseconds is None:
            return None
        _remembered[name] = _best(microseconds)
    return _remembered[name]


def _path(name: str) -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / f"choice-{name}.json"


def _measure(candidates: Candidates) -> dict[str, float]:
    """Least time of each, in microseconds; the candidates take turns, so that a busy moment meets all of them."""
    for run in candidates.values():
        run()
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(ROUNDS):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - started)
    return {name: max(round(1e6 * seconds, 1), 0.1) for name, seconds in best.items()}


def _best(microseconds: Mapping[str, float]) -> str:
    """The fastest, or the first unless that is clearly faster."""
    first = next(iter(microseconds))
    other = min(microseconds, key=lambda name: microseconds[name])
    return other if microseconds[other] < CLEARLY_FASTER * microseconds[first] else first


def _read(path: Path, names: Sequence[str]) -> dict[str, float] | None:
    """Times that ``fastest`` kept, in the order of the names; None where they are not those of these candidates."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {name: float(content["microseconds"][name]) for name in names}
        if not all(0 < value < float("inf") for value in found.values()):
            raise ValueError("a time is not positive")
        if content != _content(found):
            raise ValueError("not what was written here for these candidates")
    except FileNotFoundError:
        return None
    except Exception as error:  # foreign content fails in many ways
        trace.debug(1, f"{path.name} cannot be used, measuring anew: {error!r}")
        return None
    return found


def _content(microseconds: Mapping[str, float]) -> dict[str, object]:
    return {"cpu": cpu.summary(), "fastest": _best(microseconds), "microseconds": dict(microseconds)}
