"""Channels transcribed apart, their segments merged by time.

In: blocks (n, channels). Out: the events of all channels; segments in the order of their starts.
Knows nothing of: where channels come from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whisperlite.errors import AudioError, OptionError
from whisperlite.stream.events import Event, SegmentClosed
from whisperlite.stream.options import make_stream_options
from whisperlite.stream.session import StreamSession
from whisperlite.transcribe.speech import find_detector


class ChannelSession:
    """One session for each channel, of one model.

    A closed segment waits until no other channel can give an earlier one; all other events come at once.

    Parameters
    ----------
    model : WhisperModel
    n_channels : int
    policy, **options
        As in ``StreamSession``; for each channel the same. A language that is not given is detected for each.
    """

    def __init__(self, model: Any, n_channels: int, policy: str = "local-agreement", **options: Any) -> None:
        if n_channels < 1:
            raise OptionError(f"n_channels={n_channels}: give 1 or more")
        if (vad := make_stream_options(policy, **options).gate.vad) is not False:
            options["vad"] = find_detector(None if vad is True else vad)  # once for all
        numbers = range(n_channels) if n_channels > 1 else [None]
        self.sessions = [StreamSession(model, policy, channel=number, **options) for number in numbers]
        self._waiting: list[SegmentClosed] = []

    @property
    def seconds(self) -> float:
        """Audio heard so far."""
        return self.sessions[0].seconds

    def push(self, samples: np.ndarray) -> list[Event]:
        """Add audio (n, channels) float32 at 16 kHz.

        Raises
        ------
        AudioError
            Another number of channels, or what ``StreamSession.push`` refuses.
        """
        if samples.ndim != 2 or samples.shape[1] != len(self.sessions):
            raise AudioError(
                f"audio is {samples.shape}; give (n, {len(self.sessions)}): one column for each channel"
            )
        events: list[Event] = []
        for column, session in enumerate(self.sessions):
            events += session.push(np.ascontiguousarray(samples[:, column]))
        return self._merged(events)

    def finish(self) -> list[Event]:
        """End the audio."""
        events: list[Event] = []
        for session in self.sessions:
            events += session.finish()
        return self._merged(events)

    def _merged(self, events: list[Event]) -> list[Event]:
        self._waiting += (event for event in events if isinstance(event, SegmentClosed))
        self._waiting.sort(key=lambda event: (event.segment.start, event.channel or 0))
        until = min(session.settled for session in self.sessions)
        ready = [event for event in self._waiting if event.segment.start <= until]
        self._waiting = self._waiting[len(ready) :]
        return [*(event for event in events if not isinstance(event, SegmentClosed)), *ready]
