"""Two people on two channels: the transcript of each, put in the order of time.

In: one ``Transcript`` for each channel. Out: ``SpeakerTranscript``.
Knows nothing of: models, how channels are read.

Each channel is transcribed by itself. The other way, to transcribe the mixture and give each segment to the channel
with more energy, costs half the work but loses words wherever both talk at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from whisperlite.errors import OptionError
from whisperlite.results import Segment
from whisperlite.transcribe.transcript import Transcript


class SpeakerTranscript:
    """Segments of several speakers by their start; iterating decodes every channel to the end first.

    Segments without text are left out, the others numbered in this order; ``seek`` and ``attempts`` are those of
    the speaker's own channel.

    Parameters
    ----------
    transcripts : sequence of Transcript
        One for each channel.
    speakers : sequence of str, optional
        Their names: ``Speaker 1``, ``Speaker 2``, ... when not given.

    Raises
    ------
    OptionError
        There are not as many names as channels, or one comes twice.
    """

    def __init__(self, transcripts: Sequence[Transcript], speakers: Sequence[str] | None = None) -> None:
        self.transcripts = tuple(transcripts)
        self.speakers = speaker_names(len(self.transcripts), speakers)
        self._segments: tuple[Segment, ...] | None = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All segments with their speakers."""
        if self._segments is None:
            named = zip(self.speakers, self.transcripts, strict=True)
            found = [replace(s, speaker=speaker) for speaker, channel in named for s in channel if s.text]
            found.sort(key=lambda segment: segment.start)
            self._segments = tuple(replace(segment, id=i) for i, segment in enumerate(found))
        return self._segments

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    @property
    def text(self) -> str:
        """A line for each turn: the speaker, and what they say until another one begins."""
        lines: list[str] = []
        last = None
        for segment in self.segments:
            if segment.text and segment.speaker == last:
                lines[-1] += segment.text
            elif segment.text:
                lines.append(f"{segment.speaker}:{segment.text}")
                last = segment.speaker
        return "\n".join(lines)

    @property
    def language(self) -> str:
        """Of the first speaker."""
        return self.transcripts[0].language

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return max(transcript.duration for transcript in self.transcripts)

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's result; each segment has a ``speaker``."""
        return {
            "text": self.text,
            "segments": [segment.to_dict() for segment in self.segments],
            "language": self.language,
        }

    def __repr__(self) -> str:
        return f"<SpeakerTranscript {', '.join(self.speakers)} {self.duration:.2f} s>"


def speaker_names(n_channels: int, given: Sequence[str] | None = None) -> tuple[str, ...]:
    """A name for each channel.

    Raises
    ------
    OptionError
        There are not as many names as channels, or one is empty or comes twice.
    """
    names = tuple(given) if given is not None else tuple(f"Speaker {i + 1}" for i in range(n_channels))
    if len(names) != n_channels or len(set(names)) != n_channels or not all(name.strip() for name in names):
        raise OptionError(f"speakers={list(names)}: give {n_channels} different names, one for each channel")
    return names
