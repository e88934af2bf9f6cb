"""Options of voice activity detection.

In: faster-whisper's ``vad_parameters``. Out: ``VadOptions``, refused where they cannot be honoured.
Knows nothing of: detectors, audio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from whisperlite.errors import OptionError

SAMPLE_RATE = 16000
WINDOW_SAMPLES = 512  # a detector gives one probability for each


@dataclass(frozen=True)
class VadOptions:
    """How probabilities of speech become spans of speech; names and defaults are faster-whisper's.

    Parameters
    ----------
    threshold : float
        Speech begins at a window of at least this probability, 0 to 1.
    neg_threshold : float, optional
        Speech may end at a window below this; ``max(threshold - 0.15, 0.01)`` when not given.
    min_speech_duration_ms : float
        Shorter speech is dropped.
    max_speech_duration_s : float
        Longer speech is cut, at its last silence of more than 98 ms where there is one.
    min_silence_duration_ms : float
        Speech ends where it is below ``neg_threshold`` for this long.
    speech_pad_ms : float
        Added on both sides of speech; two spans that would overlap share the silence between them.

    Raises
    ------
    OptionError
        A value is out of its range, or the padding leaves no room below ``max_speech_duration_s``.
    """

    # ref: faster-whisper vad.py VadOptions
    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: float = 0
    max_speech_duration_s: float = math.inf
    min_silence_duration_ms: float = 2000
    speech_pad_ms: float = 400

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "neg_threshold":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
                raise OptionError(f"{field.name}={value!r}: give a number")
        for name in ("threshold", "neg_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise OptionError(f"{name}={value!r}: give a probability from 0 to 1")
        if self.neg_threshold is not None and self.neg_threshold > self.threshold:
            raise OptionError(f"neg_threshold={self.neg_threshold!r}: give at most threshold={self.threshold!r}")
        for name in ("min_speech_duration_ms", "min_silence_duration_ms", "speech_pad_ms"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise OptionError(f"{name}={value!r}: give 0 or more milliseconds")
        room = WINDOW_SAMPLES / SAMPLE_RATE + 2 * self.speech_pad_ms / 1000
        if self.max_speech_duration_s <= room:
            raise OptionError(
                f"max_speech_duration_s={self.max_speech_duration_s!r}: a window and speech_pad_ms="
                f"{self.speech_pad_ms!r} on both sides take {room:g} s; give more, or pad less"
            )

    @classmethod
    def of(cls, parameters: VadOptions | Mapping[str, Any] | None) -> VadOptions:
        """Options from ``vad_parameters`` as faster-whisper takes them: a mapping, options, or nothing.

        Raises
        ------
        OptionError
            An unknown name, or a value out of its range.
        """
        if isinstance(parameters, cls):
            return parameters
        if parameters is None:
            return cls()
        if not isinstance(parameters, Mapping):
            raise OptionError(f"vad_parameters={parameters!r}: give VadOptions or a mapping of its names")
        known = [field.name for field in fields(cls)]
        for name in parameters:
            if name not in known:
                raise OptionError(f"vad_parameters: {name!r} is unknown; use {', '.join(known)}")
        return cls(**parameters)

    @property
    def end_threshold(self) -> float:
        """``neg_threshold``, or what stands for it."""
        return max(self.threshold - 0.15, 0.01) if self.neg_threshold is None else self.neg_threshold
