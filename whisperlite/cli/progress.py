"""Progress of long work: a bar with audio time, speed and what is left of the time.

In: names, durations, how far each audio is. Out: a bar on stderr where that is a terminal, nothing anywhere else.
Knows nothing of: transcription.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

LABEL_WIDTH = 30


class Bars:
    """Bars of one run; use as a context manager.

    Parameters
    ----------
    wanted : bool or None
        None: where stderr is a terminal.
    """

    def __init__(self, wanted: bool | None = None):
        self._wanted = sys.stderr.isatty() if wanted is None else wanted
        self._live: Any = None
        self._task: Any = None
        self._started = 0.0

    def __enter__(self) -> Bars:
        if self._wanted:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            # What is printed on the same terminal appears above the bar; a pipe gets it as it is.
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[state]}"),
                console=Console(stderr=True),
                transient=True,
                expand=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def begin(self, name: str, total: float | None, unit: str = "") -> None:
        """A new bar in place of the last: ``total`` seconds of audio, or of ``unit``; None: not known yet."""
        if self._live is None:
            return
        if self._task is not None:
            self._live.remove_task(self._task)
        label = name if len(name) <= LABEL_WIDTH else "…" + name[1 - LABEL_WIDTH :]
        self._unit, self._started = unit, time.perf_counter()
        self._task = self._live.add_task(label, total=total, state="")

    def at(self, done: float) -> None:
        """The bar has come to ``done``."""
        if self._live is None or self._task is None:
            return
        total = next(task.total for task in self._live.tasks if task.id == self._task)
        elapsed = time.perf_counter() - self._started
        if self._unit:
            state = f"{done:g}/{total:g} {self._unit}"
        else:
            state = f"{clock(done)}/{clock(total)}  {speed(done, elapsed)}  ETA {clock(left(done, total, elapsed))}"
        self._live.update(self._task, completed=done, state=state)


def clock(seconds: float) -> str:
    """``1:05``, ``1:01:05``."""
    whole = round(max(seconds, 0))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def speed(audio_seconds: float, seconds: float) -> str:
    """``12.3x``: times as fast as the audio plays."""
    return f"{audio_seconds / seconds:.1f}x" if seconds > 0 else "0.0x"


def left(done: float, total: float, elapsed: float) -> float:
    """Seconds until the end, at the speed so far."""
    return elapsed * (total - done) / done if done > 0 else 0.0
