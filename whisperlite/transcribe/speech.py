"""Transcribing speech alone: what is cut from a recording, and the way back to its times.

In: samples, options, a voice detector; windows decoded from the cut audio. Out: ``Speech``; windows in the
recording's times.
Knows nothing of: models, how windows are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from whisperlite import knobs
from whisperlite.audio import HOP_LENGTH, SAMPLE_RATE
from whisperlite.audio.vad import SpeechMap, VoiceDetector, speech_spans, voice_detector
from whisperlite.audio.vad.spans import Span as Samples
from whisperlite.checkpoint import HubOptions, resolve_vad
from whisperlite.results import SILENT, Segment, Span, Window, Word
from whisperlite.transcribe.options import SpeechOptions


@dataclass(frozen=True)
class Speech:
    """What of a recording is heard.

    Attributes
    ----------
    map : SpeechMap
        Each span that is kept but the last is whole mel frames long: no frame is torn by a seam, and a clip begins
        right behind one.
    clips : tuple of float
        ``start,end,start,end,...`` in seconds of the cut audio: what of it to transcribe.
    silent : tuple of Span
        What was left out of the clips, in seconds of the recording.
    """

    map: SpeechMap
    clips: tuple[float, ...]
    silent: tuple[Span, ...]


def find_detector(
    model: str | os.PathLike[str] | VoiceDetector | None, options: HubOptions | None = None
) -> VoiceDetector:
    """The detector that ``vad_model`` stands for; Silero's weights are fetched where they are asked for by name.

    Parameters
    ----------
    model : str, path, VoiceDetector or None
        See ``SpeechOptions``.
    options : HubOptions, optional
        Token, cache and whether the hub may be asked.

    Raises
    ------
    OptionError
        The name is unknown.
    CheckpointError
        The weights cannot be found or read.
    """
    if model is None:
        model = knobs.VAD_MODEL.get() or "energy"
    if isinstance(model, str) and (path := resolve_vad(model, options)) is not None:
        model = path
    return voice_detector(model)


def find_speech(
    audio: np.ndarray, options: SpeechOptions, clip_seconds: Sequence[float], detector: VoiceDetector
) -> Speech:
    """Decide what of a recording is heard.

    Parameters
    ----------
    audio : ndarray (n,) float32
        Mono at 16 kHz.
    options : SpeechOptions
    clip_seconds : sequence of float
        ``start,end,...`` in seconds of the recording; an odd last start runs to the end.
    detector : VoiceDetector
    """
    # ref: faster-whisper transcribe.py, vad_filter; there clips switch it off.
    spans = speech_spans(detector.probabilities(audio), len(audio), options.vad)
    speech = SpeechMap(_frame_spans(spans), len(audio))
    bounds = [min(round(seconds * SAMPLE_RATE), len(audio)) for seconds in clip_seconds] or [0]
    if len(bounds) % 2:
        bounds.append(len(audio))
    asked = list(zip(bounds[::2], bounds[1::2], strict=True))
    reason = f"vad_filter, probability of speech under {options.vad.threshold:g}"
    silent = tuple(
        Span(max(start, first) / SAMPLE_RATE, min(end, last) / SAMPLE_RATE, SILENT, reason)
        for first, last in asked
        for start, end in speech.removed
        if max(start, first) < min(end, last)
    )
    if options.chunk_length is not None:
        asked = list(pairwise([*_chunk_starts(spans, options.chunk_length), len(audio)]))
    clips = (speech.cut_sample(at) / SAMPLE_RATE for clip in asked for at in clip)
    return Speech(speech, tuple(clips), silent)


def original_windows(windows: Iterable[Window], speech: Speech) -> Iterator[Window]:
    """Windows of the cut audio with the recording's times; ``seek`` and ``next_seek`` stay as they are."""
    if not speech.map.removed:
        yield from windows
        return
    for window in windows:
        start, end = speech.map.original_times(window.start, window.end)
        yield replace(
            window,
            start=start,
            end=end,
            segments=tuple(_original_segment(segment, speech.map) for segment in window.segments),
            spans=tuple(span for given in window.spans for span in _original_spans(given, speech.map)),
        )


def _original_segment(segment: Segment, speech: SpeechMap) -> Segment:
    if not segment.words:
        start, end = speech.original_times(segment.start, segment.end)
        return replace(segment, start=start, end=end)
    first, last = segment.words[0], segment.words[-1]
    start, end = speech.original_times_with_words(
        segment.start, segment.end, (first.start, first.end), (last.start, last.end)
    )
    return replace(segment, start=start, end=end, words=tuple(_original_word(w, speech) for w in segment.words))


def _original_word(word: Word, speech: SpeechMap) -> Word:
    start, end = speech.original_word_times(word.start, word.end)
    return replace(word, start=start, end=end)


def _original_spans(span: Span, speech: SpeechMap) -> Iterator[Span]:
    end = span.end
    if round(end * SAMPLE_RATE) >= speech.n_kept // HOP_LENGTH * HOP_LENGTH:  # with what is short of a frame
        end = speech.n_kept / SAMPLE_RATE
    for start, stop in speech.original_spans(span.start, end):
        yield replace(span, start=start, end=stop)


def _frame_spans(spans: Iterable[Samples]) -> list[Samples]:
    """Spans that touch joined, each but the last cut at its end to whole mel frames."""
    joined: list[Samples] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, end))
    whole = [(start, end - (end - start) % HOP_LENGTH) for start, end in joined[:-1]] + joined[-1:]
    return [(start, end) for start, end in whole if start < end]


def _chunk_starts(spans: Iterable[Samples], seconds: float) -> list[int]:
    """First samples of runs of spans that are at most so long together; a longer span is alone."""
    starts: list[int] = []
    length = 0
    for start, end in spans:
        if not starts or length + end - start > seconds * SAMPLE_RATE:
            starts.append(start)
            length = 0
        length += end - start
    return starts
