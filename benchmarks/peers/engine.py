"""What every engine is asked to do, and how long it took.

In: an engine's parts (mel, encode, ...). Out: milliseconds of a stage.
Knows nothing of: which engine it is, other processes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

PROMPT_TOKENS = 224
BEAM_SIZE, BATCH_SIZE = 5, 8
WARM_TOKENS, WARM_STEPS = 4, 2
SHORT_MS = 60.0  # a shorter call is repeated until a sample lasts this long


class LeftOut(Exception):
    """Why an engine or a stage cannot be measured here."""


@dataclass(frozen=True)
class Job:
    """What a worker is to load and measure.

    Attributes
    ----------
    model : Path
        Hugging Face folder of a multilingual Whisper model.
    files : dict
        Other forms of the same weights, by name (``ggml-f16``: a path).
    compute_type : str
    threads : int
    n_tokens : int
        Decoded in the window and batch stages.
    n_steps : int
        Decoded in the decode and beam stages.
    """

    model: Path
    files: dict[str, str]
    compute_type: str
    threads: int
    n_tokens: int = 128
    n_steps: int = 32

    @property
    def cache(self) -> Path:
        """Where converted forms of the model are kept."""
        return self.model / "converted"

    @property
    def config(self) -> dict[str, Any]:
        """The model's ``config.json``."""
        return json.loads((self.model / "config.json").read_text())

    @property
    def eot(self) -> int:
        return 50257

    @property
    def sot_sequence(self) -> list[int]:
        """Start, English, transcribe, no timestamps; ids after the languages move with their number."""
        extra = int(self.config["vocab_size"]) - 51865
        return [50258, 50259, 50359 + extra, 50363 + extra]

    @property
    def prompt(self) -> list[int]:
        """PROMPT_TOKENS tokens of text and the start sequence within them."""
        start = self.sot_sequence
        return [50361, *range(1000, 1000 + PROMPT_TOKENS - len(start) - 1), *start]


class Engine:
    """An engine with a model loaded; a stage is a method of its name, one call of what is timed.

    A method gives milliseconds that it measured itself, or None to have the call timed; ``units`` says by how much
    a stage's time is divided.
    """

    def __init__(self, job: Job):
        self.job = job
        rng = np.random.default_rng(0)
        self.audio = (0.1 * rng.standard_normal(480000)).astype(np.float32)  # 30 s
        self.mel_frames = self.random_mel(1)

    @classmethod
    def prepare(cls, job: Job) -> None:
        """Convert the model, in a process that is not measured."""

    def random_mel(self, n: int) -> np.ndarray:
        """Log-mel (n, n_mels, 3000) in the usual range."""
        shape = (n, int(self.job.config["num_mel_bins"]), 3000)
        return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)

    def stages(self) -> list[str]:
        """Stages that this engine has."""
        from benchmarks.peers import STAGES

        return [name for name in STAGES if hasattr(self, name)]

    def units(self, stage: str) -> int:
        return {"decode": self.job.n_steps, "sample": self.job.n_steps, "beam5": self.job.n_steps,
                "batch8": BATCH_SIZE}.get(stage, 1)  # fmt: skip

    def warm(self, stage: str) -> None:
        """Run a stage once with few tokens, not timed: kernels get compiled, memory touched, features kept."""
        job = self.job
        self.job = replace(job, n_tokens=min(WARM_TOKENS, job.n_tokens), n_steps=min(WARM_STEPS, job.n_steps))
        try:
            getattr(self, stage)()
        finally:
            self.job = job

    def measure(self, stage: str) -> float:
        """Milliseconds of one unit of a stage: one sample."""
        call: Callable[[], float | None] = getattr(self, stage)
        started = time.perf_counter()
        first = _timed(call)
        taken_ms = (time.perf_counter() - started) * 1e3  # more than ``first`` where that is a difference
        repeats = min(100, int(SHORT_MS / taken_ms))
        times = [first] if repeats < 2 else [_timed(call) for _ in range(repeats)]
        return sum(times) / len(times) / self.units(stage)


def _timed(call: Callable[[], float | None]) -> float:
    started = time.perf_counter()
    own = call()
    return (time.perf_counter() - started) * 1e3 if own is None else own


def clock(call: Callable[[], Any]) -> float:
    """Milliseconds of a call."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3
