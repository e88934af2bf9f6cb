"""What transcription returns: frozen records.

In: nothing. Out: ``Word``, ``DraftUse``, ``Attempt``, ``Alternatives``, ``Segment``, ``Span``, ``Window``.
Knows nothing of: how they are made.
Times are seconds from the start of the audio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Word:
    """One word with its times (seconds) and probability (0 to 1)."""

    word: str
    start: float
    end: float
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """The shape of OpenAI's word dictionary."""
        return {"word": self.word, "start": self.start, "end": self.end, "probability": self.probability}


@dataclass(frozen=True)
class DraftUse:
    """What a draft model did for a window.

    Attributes
    ----------
    drafted, accepted : int
        Tokens it proposed, and those of them that the model chose as well.
    reason : str
        Why it was not used, or no longer; empty where it was used to the end.
    """

    drafted: int
    accepted: int
    reason: str = ""


@dataclass(frozen=True)
class Attempt:
    """One try at decoding a window: what came out, why it was kept or rejected, what a draft model did for it."""

    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    verdict: str
    draft: DraftUse | None = None


@dataclass(frozen=True)
class Alternatives:
    """One position of a transcript.

    Attributes
    ----------
    token : int
        The id taken.
    logprob : float
        Its log-probability.
    entropy : float
        Of the distribution over all ids, in nats: 0 where one is certain.
    ids, logprobs : tuple
        The most probable ids with their log-probabilities, most probable first; masked ids are left out.
    """

    token: int
    logprob: float
    entropy: float
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary; ``alternatives`` are pairs of id and log-probability."""
        pairs = [list(pair) for pair in zip(self.ids, self.logprobs, strict=True)]
        return {"token": self.token, "logprob": self.logprob, "entropy": self.entropy, "alternatives": pairs}


@dataclass(frozen=True)
class Segment:
    """A piece of text with its times.

    Attributes
    ----------
    id : int
        Running number from 0.
    seek : int
        First mel frame (10 ms each) of the window the segment was decoded from.
    start, end : float
        Seconds.
    text : str
        With its leading space, as OpenAI gives it.
    tokens : tuple of int
        Ids, timestamps included.
    temperature, avg_logprob, compression_ratio, no_speech_prob : float
        Of the window the segment belongs to.
    words : tuple of Word, or None where word times were not asked for.
    attempts : tuple of Attempt
        Every try at this window in order; the last one is the one kept.
    alternatives : tuple of Alternatives, one for each of ``tokens``; None where they were not asked for.
    speaker : str or None
        Who says it, where each channel of the audio is a speaker.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] | None = None
    attempts: tuple[Attempt, ...] = ()
    alternatives: tuple[Alternatives, ...] | None = None
    speaker: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The shape of OpenAI's segment dictionary: ``words`` where they were asked for, or nothing was said.

        ``token_probabilities`` is added where alternatives were asked for, ``speaker`` where it is known.
        """
        result: dict[str, Any] = {
            "id": self.id,
            "seek": self.seek,
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "tokens": list(self.tokens),
            "temperature": self.temperature,
            "avg_logprob": self.avg_logprob,
            "compression_ratio": self.compression_ratio,
            "no_speech_prob": self.no_speech_prob,
        }
        if self.words is not None:
            result["words"] = [word.to_dict() for word in self.words]
        elif not self.tokens:
            result["words"] = []
        if self.alternatives is not None:
            result["token_probabilities"] = [item.to_dict() for item in self.alternatives]
        if self.speaker is not None:
            result["speaker"] = self.speaker
        return result


TRANSCRIBED = "transcribed"
NO_TEXT = "no text"
NO_SPEECH = "no speech"
IMPROBABLE = "improbable text"
OUTSIDE_CLIPS = "outside clips"
SILENT = "silent"


@dataclass(frozen=True)
class Span:
    """What became of a stretch of the audio.

    Attributes
    ----------
    start, end : float
        Seconds.
    kind : str
        ``transcribed``; ``no text``: the model gave timestamps only; ``no speech``: skipped by
        ``no_speech_threshold``; ``improbable text``: skipped by ``hallucination_silence_threshold``;
        ``outside clips``: not asked for; ``silent``: left out by voice activity detection.
    reason : str
        The rule that decided, with its figures; empty for what was transcribed.
    """

    start: float
    end: float
    kind: str
    reason: str = ""


@dataclass(frozen=True)
class Window:
    """One window of the audio: what was decoded from it, or why nothing was.

    Attributes
    ----------
    seek : int
        Its first mel frame (10 ms each).
    start, end : float
        Seconds of audio it covers.
    verdict : str
        ``transcribed``, perhaps with what was left out of it and why; or ``no text: `` or ``skipped: `` and the
        rule with its figures.
    attempts : tuple of Attempt
        Every try in order; the last one is the one kept.
    segments : tuple of Segment
    next_seek : int
        Mel frame the next window may begin at: what lies behind it is left to that one.
    spans : tuple of Span
        What became of the audio from ``start`` to there.
    language : str
        Given, detected for the whole audio or, with ``multilingual``, for this window.
    language_probs : dict or None
        Probability of every language, with ``multilingual``.
    """

    seek: int
    start: float
    end: float
    verdict: str
    attempts: tuple[Attempt, ...]
    segments: tuple[Segment, ...]
    next_seek: int
    spans: tuple[Span, ...] = ()
    language: str = "en"
    language_probs: dict[str, float] | None = None
