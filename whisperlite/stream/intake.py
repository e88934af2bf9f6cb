"""The bounded queue between a source of audio and a session.

In: blocks of samples from another thread. Out: pieces in order, and how much was dropped before each.
Knows nothing of: where audio comes from, what is done with it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whisperlite.audio import SAMPLE_RATE
from whisperlite.decode.options import number
from whisperlite.errors import OptionError

_POLL_SECONDS = 0.1  # how soon a request to stop is seen


@dataclass(frozen=True)
class Piece:
    """Samples (n, channels) float32 at 16 kHz, and how many were dropped before them."""

    samples: np.ndarray
    n_dropped: int = 0


class Intake:
    """Holds at most ``max_seconds`` of audio.

    Parameters
    ----------
    n_channels : int
    max_seconds : float
        More is refused: a live source loses it, and it is counted; another one waits.
    stopped : callable, optional
        Asked ten times a second; once true, nothing more is taken in.
    """

    def __init__(
        self, n_channels: int = 1, max_seconds: float = 30.0, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        number("max_queue_seconds", max_seconds, low=0.1)
        if max_seconds is None or n_channels < 1:
            raise OptionError(f"max_queue_seconds={max_seconds!r}, {n_channels} channels: give numbers above 0")
        self.n_channels = n_channels
        self._most = round(max_seconds * SAMPLE_RATE)
        self._is_stopped = stopped
        self._pieces: deque[Piece] = deque()
        self._n_held = 0
        self._gap = 0  # dropped since the last piece was taken in
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self.n_dropped = 0
        self.n_received = 0

    @property
    def stopped(self) -> bool:
        """Nothing more is taken in."""
        return self._closed or self._is_stopped()

    def offer(self, samples: np.ndarray) -> None:
        """Add a block (n, channels) of a live source; what there is no room for is dropped and counted."""
        with self._changed:
            if self.stopped:
                return
            self.n_received += len(samples)
            room = self._most - self._n_held
            kept = samples[: max(0, room)]
            if len(kept):
                self._append(kept)
            self._lose(len(samples) - len(kept))

    def lose(self, n_samples: int) -> None:
        """Count samples that the source itself lost."""
        with self._changed:
            self.n_received += n_samples
            self._lose(n_samples)

    def put(self, samples: np.ndarray) -> bool:
        """Add a block (n, channels), when there is room; False where nothing more is taken in."""
        with self._changed:
            while self._n_held and self._n_held + len(samples) > self._most:
                if self.stopped:
                    return False
                self._changed.wait(_POLL_SECONDS)
            if self.stopped:
                return False
            self.n_received += len(samples)
            self._append(samples)
            return True

    def close(self, error: BaseException | None = None) -> None:
        """The source has ended; ``error`` is raised once all that was held is taken out."""
        with self._changed:
            self._closed = True
            self._error = self._error or error
            self._changed.notify_all()

    def take(self, n_most: int) -> Piece | None:
        """The next samples, at most ``n_most``; waits for some. None at the end.

        Raises
        ------
        BaseException
            What ended the source.
        """
        with self._changed:
            while not self._pieces:
                if self._gap:
                    n_dropped, self._gap = self._gap, 0
                    return Piece(np.zeros((0, self.n_channels), np.float32), n_dropped)
                if self._closed and self._error is not None:
                    raise self._error
                if self.stopped:
                    return None
                self._changed.wait(_POLL_SECONDS)
            taken = [self._pieces.popleft()]
            n_taken = len(taken[0].samples)
            while self._pieces and not self._pieces[0].n_dropped and n_taken < n_most:
                taken.append(self._pieces.popleft())
                n_taken += len(taken[-1].samples)
            samples = np.concatenate([piece.samples for piece in taken])
            if n_taken > n_most:
                self._pieces.appendleft(Piece(samples[n_most:]))
                samples = samples[:n_most]
            self._n_held -= len(samples)
            self._changed.notify_all()
            return Piece(samples, taken[0].n_dropped)

    def _append(self, samples: np.ndarray) -> None:
        self._pieces.append(Piece(np.array(samples, np.float32), self._gap))
        self._gap = 0
        self._n_held += len(samples)
        self._changed.notify_all()

    def _lose(self, n_samples: int) -> None:
        self._gap += n_samples
        self.n_dropped += n_samples
