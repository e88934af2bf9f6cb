"""Every environment switch, declared once.

In: ``os.environ``. Out: typed values and the table that ``whisperlite knobs`` prints.
Knows nothing of: who uses a knob.

A knob is read when it is asked for, so a test or a program may set it after import.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from whisperlite.errors import OptionError

T = TypeVar("T")


@dataclass(frozen=True)
class Knob(Generic[T]):
    """One environment variable: its name, type, default and meaning."""

    name: str
    parse: Callable[[str], T]
    default: T
    meaning: str

    def get(self) -> T:
        """Value from the environment, or the default where it is unset or empty.

        Raises
        ------
        OptionError
            The text in the environment cannot be parsed.
        """
        text = os.environ.get(self.name, "")
        if not text:
            return self.default
        try:
            return self.parse(text)
        except ValueError as error:
            raise OptionError(f"{self.name}={text!r}: {error}") from None


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("give 1 or 0")


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("give a number that is not negative")
    return value


def _backend(text: str) -> str:
    if text not in ("numba", "numpy"):
        raise ValueError("give numba or numpy")
    return text


def _bf16(text: str) -> str:
    if text not in ("auto", "dot", "widen"):
        raise ValueError("give auto, dot or widen")
    return text


BACKEND = Knob("WHISPERLITE_BACKEND", _backend, "numba", "kernels to run: numba, or numpy (slow, readable)")
BF16 = Knob(
    "WHISPERLITE_BF16", _bf16, "auto",
    "many rows by bf16 weights: dot (rounds the rows too), widen (float32); auto: the faster, measured once",
)  # fmt: skip
CACHE_DIR = Knob("WHISPERLITE_CACHE_DIR", str, "", "folder for compiled kernels; default: the user's cache folder")
CHECK = Knob("WHISPERLITE_CHECK", _flag, False, "run every node on both backends, stop where they differ")
DEBUG = Knob("WHISPERLITE_DEBUG", _count, 0, "1: what is compiled and planned; 2: every node as it runs")
THREADS = Knob("WHISPERLITE_THREADS", _count, 0, "threads of a model; 0: as many as the process may use")
VAD_MODEL = Knob(
    "WHISPERLITE_VAD_MODEL", str, "", "voice detector: energy, silero, or Silero's ggml file; default: energy"
)

ALL: tuple[Knob, ...] = (BACKEND, BF16, CACHE_DIR, CHECK, DEBUG, THREADS, VAD_MODEL)
