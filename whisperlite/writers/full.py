"""Everything there is to say of a transcript, as one dictionary.

In: a ``Transcript`` or ``SpeakerTranscript``. Out: OpenAI's result with more in it.
Knows nothing of: files, models.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from whisperlite.results import Segment, Span, Window

if TYPE_CHECKING:
    from whisperlite.transcribe import Transcript


def full_dict(result: Any) -> dict[str, Any]:
    """OpenAI's result; with it ``duration``, ``language_probs``, ``speech`` and the decision record.

    Segments also have their ``attempts`` and ``token_probabilities``: text, probability and log-probability of each
    token, where ``alternatives`` were asked for, and text alone where not. The record is ``windows``, what was
    tried and decided in each (segments name theirs by ``seek``), and ``account``, what became of every second; of
    two speakers each has its own, in ``channels``. A result that is no transcript has no record.
    """
    from whisperlite.transcribe import SpeakerTranscript, Transcript

    found = result.to_dict()
    transcripts = result.transcripts if isinstance(result, SpeakerTranscript) else (result,)
    decode = transcripts[0].decode_tokens if isinstance(transcripts[0], Transcript) else None
    for item, segment in zip(found["segments"], result, strict=True):
        item["attempts"] = [asdict(attempt) for attempt in segment.attempts]
        item["token_probabilities"] = _tokens(segment, decode)
    if isinstance(result, SpeakerTranscript):
        found["duration"] = result.duration
        named = zip(result.speakers, result.transcripts, strict=True)
        found["channels"] = [{"speaker": speaker, **_record(transcript)} for speaker, transcript in named]
    elif isinstance(result, Transcript):
        found |= _record(result)
    return found


def _record(transcript: Transcript) -> dict[str, Any]:
    return {
        "language": transcript.language,
        "language_probs": transcript.language_probs,
        "duration": transcript.duration,
        "speech": transcript.speech,
        "windows": [_window(window) for window in transcript.windows],
        "account": [_span(span) for span in transcript.account],
    }


def _window(window: Window) -> dict[str, Any]:
    return {
        "seek": window.seek,
        "start": window.start,
        "end": window.end,
        "next_seek": window.next_seek,
        "language": window.language,
        "language_probs": window.language_probs,
        "verdict": window.verdict,
        "attempts": [asdict(attempt) for attempt in window.attempts],
        "spans": [_span(span) for span in window.spans],
    }


def _span(span: Span) -> dict[str, Any]:
    return asdict(span)


def _tokens(segment: Segment, decode: Any) -> list[dict[str, Any]]:
    """One entry for each token; timestamps have no text."""
    if segment.alternatives is None:
        found: list[dict[str, Any]] = [{"token": token} for token in segment.tokens]
    else:
        found = [item.to_dict() | {"probability": math.exp(item.logprob)} for item in segment.alternatives]
    if decode is not None:
        for item in found:
            item["text"] = decode([item["token"]])
            if item.get("alternatives"):
                item["alternative_texts"] = [decode([token]) for token, _ in item["alternatives"]]
    return found
