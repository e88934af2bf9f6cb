"""Options of a transcription: one frozen record per stage, and the flat names users give.

In: OpenAI's option names as keywords. Out: ``TranscribeOptions``, checked.
Knows nothing of: models, command lines.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from whisperlite.audio import CHUNK_LENGTH
from whisperlite.audio.vad import VadOptions, VoiceDetector
from whisperlite.decode import DecodingOptions, FallbackOptions, make_decoding_options
from whisperlite.decode.options import DECODING_NAMES, RULE_NAMES, count, number
from whisperlite.errors import OptionError
from whisperlite.transcribe.words import APPEND_PUNCTUATIONS, PREPEND_PUNCTUATIONS


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
    audio_ctx : int or None
        Positions (0.02 s each) that the encoder hears at a time, up to 1500; None is all of them. Windows get that
        much shorter. Whisper was trained on 1500: fewer cost accuracy (whisper.cpp).
    batch_size : int
        Windows of one audio decoded together. Above 1 they must not wait for each other's text: it needs
        ``condition_on_previous_text=False``, and ``chunk_length``, several clips or ``without_timestamps``.
    """

    clip_timestamps: str | Sequence[float] = "0"
    audio_ctx: int | None = None
    batch_size: int = 1

    def __post_init__(self) -> None:
        count("audio_ctx", self.audio_ctx)
        count("batch_size", self.batch_size)
        if self.batch_size is None:
            raise OptionError("batch_size=None: give an integer of at least 1")
        object.__setattr__(self, "clip_timestamps", _clip_seconds(self.clip_timestamps))

    @property
    def clip_seconds(self) -> tuple[float, ...]:
        """Starts and ends in seconds."""
        return tuple(float(seconds) for seconds in self.clip_timestamps)


@dataclass(frozen=True)
class LanguageOptions:
    """How the language is found where none is given.

    Attributes
    ----------
    language_detection_segments : int
        Most windows of 30 s that are listened to; 1 is what OpenAI does.
    language_detection_threshold : float or None
        A window whose most probable language is more probable than this decides by itself; where none is, the
        language that wins the most windows does. None: the first window decides.
    multilingual : bool
        Detect the language of every window anew.
    """

    language_detection_segments: int = 1
    language_detection_threshold: float | None = 0.5
    multilingual: bool = False

    def __post_init__(self) -> None:
        count("language_detection_segments", self.language_detection_segments)
        if self.language_detection_segments is None:
            raise OptionError("language_detection_segments=None: give an integer of at least 1")
        number("language_detection_threshold", self.language_detection_threshold, low=0.0, high=1.0)


@dataclass(frozen=True)
class WordOptions:
    """Times of words. Names and defaults are OpenAI's.

    Attributes
    ----------
    word_timestamps : bool
        Give every word its times; windows then follow the end of the last word.
    prepend_punctuations, append_punctuations : str
        Marks joined to the word after or before them.
    hallucination_silence_threshold : float or None
        Silences longer than this (seconds) around improbable text are skipped, and the text with them.
    alignment_heads : int, sequence of (layer, head), or None
        Attention heads that are read: those of the top-most layers, as many; or these. None is the model's own.
    """

    word_timestamps: bool = False
    prepend_punctuations: str = PREPEND_PUNCTUATIONS
    append_punctuations: str = APPEND_PUNCTUATIONS
    hallucination_silence_threshold: float | None = None
    alignment_heads: int | Sequence[tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        number("hallucination_silence_threshold", self.hallucination_silence_threshold, low=0.0)
        if not self.word_timestamps:
            for name in ("hallucination_silence_threshold", "alignment_heads"):
                if (value := getattr(self, name)) is not None:
                    raise OptionError(f"{name}={value!r} needs word_timestamps=True")


@dataclass(frozen=True)
class SpeechOptions:
    """Leaving out what is no speech. Names are faster-whisper's, but for ``vad_model``.

    Everything then works on the audio without its silence: the language is detected in it, windows are cut from it,
    and what ``hallucination_silence_threshold`` calls silence is what is left of it. Times are those of the
    recording; ``seek`` counts frames of what was heard. Where nothing is left out, the result is that without it.

    Attributes
    ----------
    vad_filter : bool
        Only speech is transcribed. Clips of ``clip_timestamps`` hold beside it: their speech is.
    vad_parameters : VadOptions, mapping or None
        How probabilities of speech become spans of it: names and defaults of ``whisperlite.audio.vad.VadOptions``.
    vad_model : str, path, VoiceDetector or None
        Who judges. ``energy`` needs no weights; ``silero`` is ``silero-v6.2.0``, fetched from the hub
        (``silero-v5.1.2`` too); a path is Silero's ggml file. None: ``WHISPERLITE_VAD_MODEL``, else ``energy``.
    chunk_length : float or None
        Seconds, at most 30. Spans of speech that fit into it together become one clip, transcribed by itself; with
        ``batch_size`` several at a time. Speech is then cut where it lasts longer, and ``min_silence_duration_ms``
        is 160 where no parameters are given: faster-whisper's batched pipeline. None: no such clips.
    """

    vad_filter: bool = False
    vad_parameters: VadOptions | Mapping[str, Any] | None = None
    vad_model: str | os.PathLike[str] | VoiceDetector | None = None
    chunk_length: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.vad_filter, bool):
            raise OptionError(f"vad_filter={self.vad_filter!r}: give True or False")
        if not self.vad_filter:
            for name in ("vad_parameters", "vad_model", "chunk_length"):
                if (value := getattr(self, name)) is not None:
                    raise OptionError(f"{name}={value!r} needs vad_filter=True")
            return
        model = self.vad_model
        if not (model is None or isinstance(model, str | os.PathLike) or hasattr(model, "probabilities")):
            raise OptionError(f"vad_model={model!r}: give energy, silero, a path or a VoiceDetector")
        number("chunk_length", self.chunk_length, low=0.0, high=float(CHUNK_LENGTH))
        given = self.vad_parameters
        if self.chunk_length is not None and (given is None or isinstance(given, Mapping)):
            given = {"min_silence_duration_ms": 160} if given is None else given
            given = {"max_speech_duration_s": self.chunk_length, **given}
        object.__setattr__(self, "vad_parameters", VadOptions.of(given))

    @property
    def vad(self) -> VadOptions:
        """``vad_parameters``, all of them."""
        return VadOptions.of(self.vad_parameters)


@dataclass(frozen=True)
class TranscribeOptions:
    """Every stage's options: ``make_options`` builds them from flat names."""

    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    fallback: FallbackOptions = field(default_factory=FallbackOptions)
    prompt: PromptOptions = field(default_factory=PromptOptions)
    windows: WindowOptions = field(default_factory=WindowOptions)
    languages: LanguageOptions = field(default_factory=LanguageOptions)
    words: WordOptions = field(default_factory=WordOptions)
    speech: SpeechOptions = field(default_factory=SpeechOptions)

    def __post_init__(self) -> None:
        if self.decoding.beam_size is not None and all(t > 0 for t in self.fallback.temperatures):
            raise OptionError(
                f"beam_size={self.decoding.beam_size} needs temperature 0 among {self.fallback.temperatures}; "
                "use best_of above 0"
            )
        if self.speech.chunk_length is not None and self.windows.clip_seconds not in ((), (0.0,)):
            raise OptionError(
                f"chunk_length={self.speech.chunk_length!r} makes clips of its own; leave out clip_timestamps"
            )
        if self.windows.batch_size > 1:
            self._check_independent()

    def _check_independent(self) -> None:
        """Refuse a batch of windows of which one needs what another one gives."""
        batch = f"batch_size={self.windows.batch_size}"
        has_clips = len(self.windows.clip_seconds) >= 3 or self.speech.chunk_length is not None
        has_parts = has_clips or self.decoding.without_timestamps
        if self.prompt.condition_on_previous_text or not has_parts:
            raise OptionError(
                f"{batch} of one file: a window waits for the text of the one before it. Parts that do not need "
                "condition_on_previous_text=False, and vad_filter=True with chunk_length=30, several clips in "
                "clip_timestamps, or without_timestamps=True; several files go together as they are"
            )
        if self.prompt.initial_prompt is not None and not self.prompt.carry_initial_prompt:
            raise OptionError(
                f"{batch} with initial_prompt needs carry_initial_prompt=True: "
                "alone it reaches the first window that is not silent, and no other"
            )
        if self.words.word_timestamps:
            raise OptionError(
                f"{batch} with word_timestamps=True: the words of a clip depend on where those before it end; "
                "give batch_size=1; several files go together as they are"
            )


_FALLBACK_NAMES = ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold", "best_of")
_DECODING_NAMES = (
    *(name for name in DECODING_NAMES if name not in ("temperature", "best_of", "prompt")),
    "max_new_tokens",
    *RULE_NAMES,
)
_STAGES: dict[str, type] = {
    "prompt": PromptOptions, "windows": WindowOptions, "languages": LanguageOptions, "words": WordOptions,
    "speech": SpeechOptions,
}  # fmt: skip

OPTION_NAMES: tuple[str, ...] = (
    "temperature",
    *_DECODING_NAMES,
    *_FALLBACK_NAMES,
    *(item.name for stage in _STAGES.values() for item in fields(stage)),
)

# Options of other engines that have no place here, and what to use.
_ELSEWHERE = {
    "prompt": "use initial_prompt",
    "fp16": "use WhisperModel(compute_type=...)",
}


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
    for name in given:
        if name not in OPTION_NAMES:
            _refuse(name)
    fallback = {name: given[name] for name in _FALLBACK_NAMES if name in given}
    if "temperature" in given:
        fallback["temperatures"] = _temperatures(given["temperature"])
    stages = {
        stage: record(**{item.name: given[item.name] for item in fields(record) if item.name in given})
        for stage, record in _STAGES.items()
    }
    return TranscribeOptions(
        decoding=make_decoding_options(**{name: given[name] for name in _DECODING_NAMES if name in given}),
        fallback=FallbackOptions(**fallback),
        **stages,
    )


def _refuse(name: str) -> None:
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
