"""From an audio to what the loop takes: its samples or their speech alone, its language, a ``Job``.

In: audio of any kind, a model, options. Out: ``Prepared``, which makes the transcript of the job's windows.
Knows nothing of: how windows are decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from whisperlite.api.stages import ModelStages
from whisperlite.audio import HOP_LENGTH, AudioSource, load_audio
from whisperlite.checkpoint import HubOptions
from whisperlite.decode import choose_language
from whisperlite.errors import OptionError
from whisperlite.results import Window
from whisperlite.text import language_code
from whisperlite.transcribe import (
    LanguageOptions,
    Speech,
    TranscribeOptions,
    Transcript,
    find_detector,
    find_speech,
    make_job,
    original_windows,
)
from whisperlite.transcribe.jobs import Job
from whisperlite.transcribe.windows import Content, clip_frames, frames_duration, make_content


@dataclass(frozen=True)
class Prepared:
    """An audio that is ready for the loop.

    Attributes
    ----------
    job : Job
    language : str
    language_probs : dict of str to float, or None
        None where the language was given.
    duration : float
        Seconds of the whole audio.
    speech : Speech or None
        What ``vad_filter`` kept; None without it.
    """

    job: Job
    language: str
    language_probs: dict[str, float] | None
    duration: float
    speech: Speech | None

    def transcript(self, windows: Iterator[Window]) -> Transcript:
        """From the windows of the job."""
        made = (self.job.tokenizer.decode, self.language, self.duration, self.language_probs)
        if self.speech is None:
            return Transcript(windows, *made)
        kept_seconds = self.speech.map.kept_seconds
        return Transcript(original_windows(windows, self.speech), *made, kept_seconds, self.speech.silent)


def prepare(model: ModelStages, audio: AudioSource, chosen: TranscribeOptions, hub: HubOptions) -> Prepared:
    """Read an audio and find its language.

    Parameters
    ----------
    model : ModelStages
    audio : path, file object, bytes or ndarray
    chosen : TranscribeOptions
    hub : HubOptions
        Where weights of a voice detector are fetched from.

    Raises
    ------
    OptionError
        An option cannot be honoured by this model.
    AudioError
        The audio cannot be read.
    CheckpointError
        The weights of ``vad_model`` cannot be found or read.
    """
    language, task = chosen.decoding.language, chosen.decoding.task
    model.tokenizer(language, task)  # refuses what the model does not know
    if chosen.languages.multilingual and not model.is_multilingual:
        raise OptionError("multilingual=True needs a multilingual model; this one is English-only")
    recording = load_audio(audio)
    samples, speech = heard(recording, chosen, hub)
    content = make_content(samples, model.dims.n_mels, model.threads)
    head, probabilities = None, None
    if language is None and model.is_multilingual:
        probabilities, head = hear_language(model, content, chosen.languages)
        language = next(iter(probabilities))
    language = language_code(language or "en")
    chosen = replace(chosen, decoding=replace(chosen.decoding, language=language))
    job = make_job(content, chosen, model.tokenizer(language, task), model.dims, head)
    if speech is not None:
        job.clips = clip_frames(speech.clips, content.n_frames)
    duration = frames_duration(len(recording) // HOP_LENGTH)
    return Prepared(job, language, probabilities, duration, speech)


def heard(audio: np.ndarray, chosen: TranscribeOptions, hub: HubOptions) -> tuple[np.ndarray, Speech | None]:
    """The samples (n,) that the model is given: all, or with ``vad_filter`` those of speech."""
    if not chosen.speech.vad_filter:
        return audio, None
    detector = find_detector(chosen.speech.vad_model, hub)
    speech = find_speech(audio, chosen.speech, chosen.windows.clip_seconds, detector)
    return speech.map.cut(audio), speech


def with_detector(chosen: TranscribeOptions, hub: HubOptions) -> TranscribeOptions:
    """The options with a detector in the place of its name, so that it is made once."""
    if not chosen.speech.vad_filter:
        return chosen
    detector = find_detector(chosen.speech.vad_model, hub)
    return replace(chosen, speech=replace(chosen.speech, vad_model=detector))


def hear_language(
    model: ModelStages, content: Content, options: LanguageOptions
) -> tuple[dict[str, float], np.ndarray]:
    """Probability of each language, the most probable first, and the features (1, T, D) of the first 30 s."""
    features: list[np.ndarray] = []

    def windows() -> Iterator[dict[str, float]]:
        for i in range(options.language_detection_segments):
            if (mel := content.part(i)) is None:
                return
            features.append(model.encode(mel[None]))
            yield model.language_probs(features[-1])[0]

    return choose_language(windows(), options.language_detection_threshold), features[0]
