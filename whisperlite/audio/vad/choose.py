"""Which detector, and the whole way from audio to spans.

In: a name, a path, the environment. Out: a detector; spans of speech.
Knows nothing of: how detectors work, where published weights are fetched from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from whisperlite import knobs
from whisperlite.audio.samples import checked_samples
from whisperlite.audio.vad.detector import VoiceDetector
from whisperlite.audio.vad.energy import EnergyDetector
from whisperlite.audio.vad.options import VadOptions
from whisperlite.audio.vad.silero import SileroDetector
from whisperlite.audio.vad.spans import Span, speech_spans
from whisperlite.errors import OptionError


def voice_detector(model: str | os.PathLike[str] | VoiceDetector | None = None) -> VoiceDetector:
    """The detector that a name stands for.

    Parameters
    ----------
    model : str, Path or VoiceDetector, optional
        ``"energy"`` (needs no weights); ``"silero"`` (the file that ``WHISPERLITE_VAD_MODEL`` names); the path of
        Silero's ggml file; or a detector. Not given: what ``WHISPERLITE_VAD_MODEL`` says, else ``"energy"``.
        ``whisperlite.transcribe.find_detector`` takes the same and fetches Silero's weights.

    Raises
    ------
    OptionError
        ``"silero"`` without a file, or a name that is neither known nor a path.
    CheckpointError
        The file is missing, damaged or another model.
    """
    if model is None:
        model = knobs.VAD_MODEL.get() or "energy"
    if not isinstance(model, str | os.PathLike):
        return model
    if model == "energy":
        return EnergyDetector()
    if model == "silero":
        named = knobs.VAD_MODEL.get()
        if named in ("", "energy", "silero"):
            raise OptionError(
                f"vad model 'silero': no file is known; set {knobs.VAD_MODEL.name} to whisper.cpp's "
                "ggml-silero-v6.2.0.bin, or give its path"
            )
        model = named
    path = Path(model)
    if isinstance(model, str) and not path.suffix and not path.exists():
        raise OptionError(f"vad model {model!r}: give 'energy', 'silero' or the path of Silero's ggml file")
    return SileroDetector(path)


def detect_speech(
    audio: np.ndarray,
    parameters: VadOptions | Mapping[str, Any] | None = None,
    model: str | os.PathLike[str] | VoiceDetector | None = None,
) -> list[Span]:
    """Spans of speech in a recording.

    Parameters
    ----------
    audio : ndarray (n,) float
        Mono at 16 kHz.
    parameters : VadOptions or mapping, optional
        ``vad_parameters`` as faster-whisper takes them.
    model : optional
        See ``voice_detector``.

    Returns
    -------
    list of (int, int)
        Samples ``start .. end - 1``; see ``speech_spans``. Empty where nobody speaks.

    Raises
    ------
    AudioError, OptionError, CheckpointError
    """
    options = VadOptions.of(parameters)
    audio = checked_samples(audio)
    return speech_spans(voice_detector(model).probabilities(audio), len(audio), options)
