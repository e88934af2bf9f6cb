"""``warmup``: compile beforehand what a model needs.

In: a model, a compute type. Out: compiled kernels in the cache folder; progress on stderr; a summary on stdout.
Knows nothing of: which kernel serves what.

Kernels do not depend on sizes: one short run of each kind of work compiles all that any run of the model needs.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import typer

from whisperlite.cli.options import (
    MODELS,
    Backend,
    ComputeType,
    LocalFilesOnly,
    Model,
    ModelDir,
    Revision,
    Token,
    open_model,
)
from whisperlite.cli.report import note
from whisperlite.errors import OptionError
from whisperlite.trace import compile_listener


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("warmup", rich_help_panel=MODELS)(warmup)


def warmup(
    model: Model = "nano",
    compute_type: ComputeType = "default",
    backend: Backend = None,
    revision: Revision = None,
    token: Token = None,
    model_dir: ModelDir = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Compile every kernel that a model of a compute type needs, so that no later run has to.

    For images and CI. Kernels depend on the compute type (for a quantised file also on its type) and on the CPU,
    not on the model's size. They are kept in WHISPERLITE_CACHE_DIR, or the user's cache folder.
    """
    from whisperlite.kernels.registry import cache_folder
    from whisperlite.runtime.executor import checked_backend

    if checked_backend(backend) == "numpy":
        raise OptionError("the numpy backend compiles nothing; leave warmup out")
    folder = cache_folder()
    if folder is None:
        raise OSError("no folder can be written to keep compiled kernels in; set WHISPERLITE_CACHE_DIR to one")
    compiled: dict[str, float] = {}
    started = time.perf_counter()
    with _progress(len(STAGES) + 1) as show:

        def listener(name: str, seconds: float | None) -> None:
            if seconds is not None:
                compiled[name] = seconds
            show(name, seconds)

        with compile_listener(listener):
            show("model", None, step=True)
            whisper = open_model(model, compute_type, None, backend, revision, token, model_dir, local_files_only)
            for stage, run in STAGES.items():
                show(stage, None, step=True)
                run(whisper)
    seconds = time.perf_counter() - started
    print(f"compiled {len(compiled)} kernels in {seconds:.1f} s; they are in {folder}" if compiled
          else f"nothing to compile: all kernels are in {folder}")  # fmt: skip


def _noise(seconds: float) -> Any:
    import numpy as np

    return (0.05 * np.random.default_rng(0).standard_normal(int(16000 * seconds))).astype(np.float32)


def _transcribe(whisper: Any) -> None:
    # sample_len bounds the run: noise has no end that the model would find by itself.
    _ = whisper.transcribe(
        _noise(2), sample_len=4, temperature=0.0, no_speech_threshold=None, alternatives=1
    ).segments


def _beams(whisper: Any) -> None:
    _ = whisper.transcribe(_noise(2), sample_len=4, temperature=0.0, beam_size=2, language="en").segments


def _batch(whisper: Any) -> None:
    list(whisper.transcribe_many([_noise(1), _noise(2)], 2, sample_len=4, temperature=0.0, language="en"))


def _words(whisper: Any) -> None:
    # As long as a prompt, whose attention has a kernel of its own.
    whisper.align(_noise(2), " a" * 20, language="en")


def _voice(whisper: Any) -> None:
    """What Silero's network needs beside a Whisper model's kernels; its weights need not be here."""
    from whisperlite.kernels import lstm, rows
    from whisperlite.kernels.registry import Kernel

    for kernel in (rows.pad_frames_f32, *vars(lstm).values()):
        if isinstance(kernel, Kernel):
            kernel.address()


STAGES: dict[str, Callable[[Any], None]] = {
    "decoding": _transcribe, "beams": _beams, "batches": _batch, "times of words": _words, "voice activity": _voice,
}  # fmt: skip


@contextlib.contextmanager
def _progress(n_stages: int) -> Iterator[Callable[..., None]]:
    """A bar on stderr where that is a terminal, else a line for every compiled kernel."""
    if not sys.stderr.isatty():

        def say(name: str, seconds: float | None, step: bool = False) -> None:
            if seconds is not None:
                note(f"compiled {name} in {seconds:.1f} s")

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=n_stages)
        stage = ""

        def show(name: str, seconds: float | None, step: bool = False) -> None:
            nonlocal stage
            if step:
                bar.update(task, completed=bar.tasks[0].completed + (1 if stage else 0))
                stage = name
            text = stage if step or seconds is not None else f"{stage}: compiling {name}"
            bar.update(task, description=text)

        yield show
