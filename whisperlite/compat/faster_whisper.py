"""faster-whisper's interface: ``from whisperlite.compat.faster_whisper import WhisperModel``.

In: its names and options. Out: ``(segments, info)``: a generator of ``Segment``, and ``TranscriptionInfo``.
Knows nothing of: how anything is computed.

Where faster-whisper decides differently from OpenAI, whisperlite does as OpenAI: the last temperature is kept where
none is accepted, and text is timed, cut and skipped by OpenAI's rules.

``vad_filter`` follows faster-whisper: the language is detected in the speech alone, and clips switch it off. Silero
is not in the package: ``vad_model`` (no option of faster-whisper's) or ``WHISPERLITE_VAD_MODEL`` asks for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from whisperlite.api import WhisperModel as _WhisperModel
from whisperlite.audio import load_audio
from whisperlite.audio.vad import VadOptions
from whisperlite.checkpoint.published import PUBLISHED
from whisperlite.errors import OptionError
from whisperlite.transcribe import SpeechOptions, Transcript
from whisperlite.writers import format_timestamp

__all__ = [
    "BatchedInferencePipeline",
    "Segment",
    "TranscriptionInfo",
    "TranscriptionOptions",
    "VadOptions",
    "WhisperModel",
    "Word",
    "available_models",
    "decode_audio",
]

TranscriptionOptions = dict[str, Any]

_logger = logging.getLogger("faster_whisper")


@dataclass
class Word:
    """A word with its times (seconds)."""

    start: float
    end: float
    word: str
    probability: float

    def _asdict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Segment:
    """A piece of text with its times (seconds). Numbered from 1; pieces without text are left out."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None
    temperature: float | None

    def _asdict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class TranscriptionInfo:
    """What is known before the first segment.

    ``transcription_options`` are those given, by whisperlite's names; ``vad_options`` are None where nothing was
    filtered.
    """

    language: str
    language_probability: float
    duration: float
    duration_after_vad: float
    all_language_probs: list[tuple[str, float]] | None
    transcription_options: TranscriptionOptions
    vad_options: VadOptions | None


def available_models() -> list[str]:
    """Names of published models."""
    return list(PUBLISHED)


def decode_audio(input_file: Any, sampling_rate: int = 16000, split_stereo: bool = False) -> np.ndarray:
    """Mono float32 samples at 16 kHz; no other rate, and no split channels."""
    if sampling_rate != 16000 or split_stereo:
        raise OptionError("decode_audio gives mono audio at 16000 Hz only")
    return load_audio(input_file)


class WhisperModel:
    """faster-whisper's model over whisperlite's, which is ``whisperlite``.

    ``device`` is auto or cpu; ``compute_type`` default or auto means float32; ``cpu_threads`` 0 means all.
    ``num_workers``, ``device_index`` and ``local_files_only`` are taken and have no meaning; nothing else is taken.
    """

    def __init__(
        self,
        model_size_or_path: str,
        device: str = "auto",
        device_index: int | list[int] = 0,
        compute_type: str = "default",
        cpu_threads: int = 0,
        num_workers: int = 1,
        local_files_only: bool = False,
    ) -> None:
        if device not in ("auto", "cpu"):
            raise OptionError(f"device={device!r}: whisperlite runs on the CPU; give cpu")
        self.whisperlite = _WhisperModel(
            model_size_or_path,
            compute_type="float32" if compute_type in ("default", "auto") else compute_type,
            threads=cpu_threads or None,
        )

    @property
    def supported_languages(self) -> list[str]:
        """Language codes the model knows."""
        if not self.whisperlite.is_multilingual:
            return ["en"]
        return list(self.whisperlite.tokenizer().all_language_codes)

    def transcribe(
        self,
        audio: Any,
        language: str | None = None,
        task: str = "transcribe",
        log_progress: bool = False,
        **options: Any,
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """Transcribe; options are faster-whisper's by name, with its defaults.

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured.
        """
        chosen = _options(options) | {"language": language, "task": task}
        if chosen.get("clip_timestamps", "0") != "0":  # ref: faster-whisper transcribe.py
            chosen = _without_vad(chosen)
        transcript = self.whisperlite.transcribe(audio, **chosen)
        return _segments(transcript), _info(transcript, chosen)

    def detect_language(
        self,
        audio: Any,
        vad_filter: bool = False,
        vad_parameters: Any = None,
        language_detection_segments: int = 1,
        language_detection_threshold: float = 0.5,
        vad_model: Any = None,
    ) -> tuple[str, float, list[tuple[str, float]]]:
        """The language, its probability, and those of all languages."""
        speech = (
            {"vad_filter": True, "vad_parameters": vad_parameters, "vad_model": vad_model} if vad_filter else {}
        )
        found = self.whisperlite.detect_language(
            audio, language_detection_segments, language_detection_threshold, **speech
        )
        [(language, probability), *_] = found.items()
        return language, probability, list(found.items())


class BatchedInferencePipeline:
    """Parts of one audio at a time, ``batch_size`` of them together.

    The parts are spans of speech, as many as go into 30 s (``vad_filter``, the default here); or the clips of
    ``clip_timestamps``; or, with ``vad_filter=False`` and ``without_timestamps``, windows of 30 s. The parts do not
    see each other's text; word times are found one by one. Speech is cut after 30 s unless ``vad_parameters`` say
    else.
    """

    def __init__(self, model: WhisperModel) -> None:
        self.model = model

    def transcribe(
        self,
        audio: Any,
        language: str | None = None,
        task: str = "transcribe",
        log_progress: bool = False,
        *,
        batch_size: int = 8,
        vad_filter: bool = True,
        without_timestamps: bool = True,
        clip_timestamps: Sequence[dict[str, float]] | None = None,
        **options: Any,
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """As ``WhisperModel.transcribe``.

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured.
        """
        vad_filter = vad_filter and not clip_timestamps
        options = {"condition_on_previous_text": False, "carry_initial_prompt": True} | options
        chosen = _options(options | {"vad_filter": vad_filter}) | {
            "language": language,
            "task": task,
            "without_timestamps": without_timestamps,
        }
        if vad_filter:
            chosen["chunk_length"] = 30
        if clip_timestamps:
            chosen["clip_timestamps"] = [clip[side] for clip in clip_timestamps for side in ("start", "end")]
        if vad_filter or without_timestamps or len(clip_timestamps or ()) > 1:
            chosen["batch_size"] = 1 if options.get("word_timestamps") else batch_size
        transcript = self.model.whisperlite.transcribe(audio, **chosen)
        return _segments(transcript), _info(transcript, chosen)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """whisperlite's options for faster-whisper's, with the defaults in which the two differ."""
    options = {"beam_size": 5, "best_of": 5, "patience": 1.0, "length_penalty": 1.0, **given}
    if "log_prob_threshold" in options:
        options["logprob_threshold"] = options.pop("log_prob_threshold")
    if options.pop("chunk_length", None) not in (None, 30):
        raise OptionError(f"chunk_length={given['chunk_length']}: windows are 30 s; see audio_ctx")
    if not options.get("vad_filter"):
        options = _without_vad(options)
    temperature = options.get("temperature", (0.0, 0.2))
    temperatures = list(temperature) if isinstance(temperature, Iterable) else [temperature]
    if options["beam_size"] == 1 or 0.0 not in temperatures:
        options["beam_size"] = options["patience"] = None
    if not any(temperatures):
        options["best_of"] = None
    # CTranslate2 divides by length ** penalty: 1 is the mean, 0 the sum.
    if options["length_penalty"] not in (0, 1):
        raise OptionError(f"length_penalty={options['length_penalty']}: give 1 or 0; others mean different things")
    options["length_penalty"] = None if options["length_penalty"] == 1 else 0.0
    if not options.get("word_timestamps"):
        options.pop("hallucination_silence_threshold", None)
    return options


def _without_vad(options: dict[str, Any]) -> dict[str, Any]:
    names = SpeechOptions.__dataclass_fields__
    return {name: value for name, value in options.items() if name not in names}


def _segments(transcript: Transcript) -> Iterator[Segment]:
    number = 0
    for segment in transcript:
        if not segment.text.strip():
            continue
        number += 1
        words = None
        if segment.words is not None:
            words = [Word(word.start, word.end, word.word, word.probability) for word in segment.words]
        yield Segment(
            id=number,
            seek=segment.seek,
            start=segment.start,
            end=segment.end,
            text=segment.text,
            tokens=list(segment.tokens),
            avg_logprob=segment.avg_logprob,
            compression_ratio=segment.compression_ratio,
            no_speech_prob=segment.no_speech_prob,
            words=words,
            temperature=segment.temperature,
        )


def _info(transcript: Transcript, options: dict[str, Any]) -> TranscriptionInfo:
    probabilities = transcript.language_probs
    vad_options = None
    if transcript.speech is not None:
        names = SpeechOptions.__dataclass_fields__
        vad_options = SpeechOptions(**{name: value for name, value in options.items() if name in names}).vad
        removed = format_timestamp(transcript.duration - transcript.speech_duration)
        _logger.info("VAD filter removed %s of audio", removed)
    return TranscriptionInfo(
        language=transcript.language,
        language_probability=1.0 if probabilities is None else probabilities[transcript.language],
        duration=transcript.duration,
        duration_after_vad=transcript.speech_duration,
        all_language_probs=None if probabilities is None else list(probabilities.items()),
        transcription_options=options,
        vad_options=vad_options,
    )
