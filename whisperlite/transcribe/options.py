"""Options of a transcription: one frozen record per stage, and the flat names users give.

In: OpenAI's option names as keywords. Out: ``TranscribeOptions``, checked.
Knows nothing of: models, command lines.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from whisperlite.decode import DecodingOptions, FallbackOptions
from whisperlite.decode.options import number
from whisperlite.errors import OptionError


@dataclass(frozen=True)
class PromptOptions:
    """What a window is told of the text before it. Names and defaults are OpenAI's.

    Attributes
    ----------
    initial_prompt : str, sequence of int, or None
        Text or tokens given as if they had been said before the first window.
    carry_initial_prompt : bool
        Give the initial prompt to every window, ahead of the text before it.
    condition_on_previous_text : bool
        Prompt each window with the text of the windows before it.
    prompt_reset_on_temperature : float
        The text of a window decoded above this temperature prompts no later window.
    """

    initial_prompt: str | Sequence[int] | None = None
    carry_initial_prompt: bool = False
    condition_on_previous_text: bool = True
    prompt_reset_on_temperature: float = 0.5

    def __post_init__(self) -> None:
        number("prompt_reset_on_temperature", self.prompt_reset_on_temperature)
        if self.prompt_reset_on_temperature is None:
            raise OptionError("prompt_reset_on_temperature=None: give a number")


@dataclass(frozen=True)
class WindowOptions:
    """Which parts of the audio are transcribed.

    Attributes
    ----------
    clip_timestamps : str or sequence of float
        ``start,end,start,end,...`` in seconds; the last end defaults to the end of the audio, and a
        clip that reaches beyond it ends there.
    """

    clip_timestamps: str | Sequence[float] = "0"

    def __post_init__(self) -> None:
        object.__setattr__(self, "clip_timestamps", _clip_seconds(self.clip_timestamps))

    @property
    def clip_seconds(self) -> tuple[float, ...]:
        """Starts and ends in seconds."""
        return tuple(float(seconds) for seconds in self.clip_timestamps)


@dataclass(frozen=True)
class TranscribeOptions:
    """Every stage's options: ``make_options`` builds them from flat names."""

    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    fallback: FallbackOptions = field(default_factory=FallbackOptions)
    prompt: PromptOptions = field(default_factory=PromptOptions)
    windows: WindowOptions = field(default_factory=WindowOptions)

    def __post_init__(self) -> None:
        if self.decoding.beam_size is not None and all(t > 0 for t in self.fallback.temperatures):
            raise OptionError(
                f"beam_size={self.decoding.beam_size} needs temperature 0 among {self.fallback.temperatures}; "
                "use best_of above 0"
            )


_FALLBACK_NAMES = ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold", "best_of")
_DECODING_NAMES = tuple(
    item.name for item in fields(DecodingOptions) if item.name not in ("temperature", "best_of", "prompt")
)
_PROMPT_NAMES = tuple(item.name for item in fields(PromptOptions))
_WINDOW_NAMES = tuple(item.name for item in fields(WindowOptions))

OPTION_NAMES: tuple[str, ...] = (
    "temperature",
    *_DECODING_NAMES,
    *_FALLBACK_NAMES,
    *_PROMPT_NAMES,
    *_WINDOW_NAMES,
)

# Options of other engines that have no place here, and what to use; or that this version lacks.
_ELSEWHERE = {
    "prompt": "use initial_prompt",
    "fp16": "use WhisperModel(compute_type=...)",
}
_NOT_AVAILABLE = (
    "word_timestamps",
    "hallucination_silence_threshold",
    "prepend_punctuations",
    "append_punctuations",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "suppress_regex",
    "hotwords",
    "grammar",
    "audio_ctx",
    "batch_size",
    "vad_filter",
)


def make_options(**given: Any) -> TranscribeOptions:
    """Sort flat option names into the records of their stages.

    Parameters
    ----------
    **given
        Any of ``OPTION_NAMES``. ``temperature`` is a number or a sequence of them, tried in order.

    Raises
    ------
    OptionError
        An unknown name (the message says the nearest one), or a value that cannot be honoured.
    """
    for name, value in given.items():
        if name not in OPTION_NAMES:
            _refuse(name, value)
    fallback = {name: given[name] for name in _FALLBACK_NAMES if name in given}
    if "temperature" in given:
        fallback["temperatures"] = _temperatures(given["temperature"])
    return TranscribeOptions(
        decoding=DecodingOptions(**{name: given[name] for name in _DECODING_NAMES if name in given}),
        fallback=FallbackOptions(**fallback),
        prompt=PromptOptions(**{name: given[name] for name in _PROMPT_NAMES if name in given}),
        windows=WindowOptions(**{name: given[name] for name in _WINDOW_NAMES if name in given}),
    )


def _refuse(name: str, value: object) -> None:
    if name in _NOT_AVAILABLE:
        if value is None or value is False:
            return
        raise OptionError(f"{name}={value!r} is not available yet; leave it out")
    if name in _ELSEWHERE:
        raise OptionError(f"{name} is not an option of transcribe; {_ELSEWHERE[name]}")
    nearest = difflib.get_close_matches(name, OPTION_NAMES, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"give one of {', '.join(OPTION_NAMES)}"
    raise OptionError(f"{name} is not an option; {hint}")


def _temperatures(given: Any) -> tuple[float, ...]:
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return (float(given),)
    try:
        return tuple(float(value) for value in given)
    except (TypeError, ValueError):
        raise OptionError(f"temperature={given!r}: give a number, or several") from None


def _clip_seconds(given: str | Sequence[float]) -> tuple[float, ...]:
    try:
        parts = [part for part in given.split(",") if given] if isinstance(given, str) else given
        seconds = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise OptionError(f"clip_timestamps={given!r}: give seconds as start,end,start,end,...") from None
    for value in seconds:
        if not math.isfinite(value) or value < 0:
            raise OptionError(f"clip_timestamps={given!r}: {value} is not a time in seconds from 0")
    for start, end in zip(seconds[::2], seconds[1::2], strict=False):
        if end < start:
            raise OptionError(f"clip_timestamps={given!r}: the clip from {start:g} ends before it, at {end:g}")
    return seconds
