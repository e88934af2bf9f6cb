"""From a source to a session, with a bounded queue between them.

In: a source, a session. Out: events, as they come; what was dropped.
Knows nothing of: terminals, signals.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whisperlite.audio import SAMPLE_RATE
from whisperlite.stream.channels import ChannelSession
from whisperlite.stream.events import Dropped, Event
from whisperlite.stream.intake import Intake
from whisperlite.stream.sources import Source


@dataclass
class Progress:
    """How a stream goes.

    Attributes
    ----------
    seconds : float
        Audio heard.
    busy : float
        Seconds the session took for it.
    lag : float or None
        Seconds that the session is behind a live source.
    dropped : float
        Seconds of audio lost.
    """

    seconds: float = 0.0
    busy: float = 0.0
    lag: float | None = None
    dropped: float = 0.0

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for each second of audio; above 1 a live source is not kept up with."""
        return self.busy / self.seconds if self.seconds else 0.0


def run_stream(
    source: Source,
    session: ChannelSession,
    show: Callable[[list[Event], Progress], None],
    *,
    stopped: Callable[[], bool] = lambda: False,
    max_queue_seconds: float = 30.0,
    chunk_seconds: float = 0.5,
) -> Progress:
    """Transcribe a source until it ends or ``stopped()`` is true; then what was taken in is finished.

    Parameters
    ----------
    source : Source
        Runs in a thread of its own.
    session : ChannelSession
        Of as many channels.
    show : callable
        Called with new events and a ``Progress``, at least once for each piece.
    stopped : callable
    max_queue_seconds : float
        Audio that may wait. A live source loses what exceeds it: ``Dropped``.
    chunk_seconds : float
        Of a source that waits, the session gets pieces of this length; of a live one all there is.

    Raises
    ------
    AudioError
        The source failed. What came before it is finished and shown first.
    """
    intake = Intake(source.n_channels, max_queue_seconds, stopped)
    thread = threading.Thread(target=_feed, args=(source, intake), name="whisperlite-source", daemon=True)
    progress = Progress()
    n_most = round((max_queue_seconds if source.live else chunk_seconds) * SAMPLE_RATE)
    error: BaseException | None = None

    def push(samples: np.ndarray, before: list[Event]) -> None:
        started = time.perf_counter()
        events = before + session.push(samples)
        progress.busy += time.perf_counter() - started
        progress.seconds = session.seconds
        progress.dropped = intake.n_dropped / SAMPLE_RATE
        if source.live:
            # Audio cannot be behind by less than its own waiting; a first block comes late by its length.
            progress.lag = max(0.0, intake.n_received / SAMPLE_RATE - session.seconds)
        show(events, progress)

    thread.start()
    try:
        while True:
            try:
                piece = intake.take(n_most)
            except Exception as failure:
                error = failure
                break
            if piece is None:
                break
            if piece.n_dropped:
                at = session.seconds
                dropped: list[Event] = [Dropped(at=at, start=at, seconds=piece.n_dropped / SAMPLE_RATE)]
                for first in range(0, piece.n_dropped, 10 * SAMPLE_RATE):
                    n = min(10 * SAMPLE_RATE, piece.n_dropped - first)
                    push(np.zeros((n, source.n_channels), np.float32), dropped)
                    dropped = []
            if len(piece.samples):
                push(piece.samples, [])
    finally:
        intake.close()
    started = time.perf_counter()
    events = session.finish()
    progress.busy += time.perf_counter() - started
    show(events, progress)
    if error is not None:
        raise error
    return progress


def _feed(source: Source, intake: Intake) -> None:
    try:
        source.run(intake)
    except Exception as error:
        intake.close(error)
    else:
        intake.close()
