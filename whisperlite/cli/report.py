"""What the commands say: errors, segments, events for programs, the summary of a run.

In: transcripts, windows, errors. Out: lines on stdout and stderr.
Knows nothing of: commands, files.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from whisperlite.cli.progress import clock, speed
from whisperlite.results import Segment, Window
from whisperlite.writers import account_lines, format_timestamp, record_lines, without_non_speech

if TYPE_CHECKING:
    from whisperlite.transcribe import Transcript


def report_error(error: object) -> None:
    """``error: ...`` on stderr, in one line; nothing where there is nothing to say."""
    if message := one_line(error):
        note(f"error: {message}")


def one_line(error: object) -> str:
    """The message of an error, in one line."""
    return " ".join(str(error).split())


def note(text: str) -> None:
    """A line on stderr that is not part of the transcript."""
    sys.stdout.flush()
    print(text, file=sys.stderr)


def stop_writing() -> None:
    """Whoever reads our output has enough: what is still in the buffer goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_segment(segment: Segment) -> None:
    """``[00:00.000 --> 00:02.340]  Three six nine two.`` on stdout; nothing for a segment without text."""
    if segment.text:
        start, end = format_timestamp(segment.start), format_timestamp(segment.end)
        speaker = f"{segment.speaker}:" if segment.speaker else ""
        print(f"[{start} --> {end}] {speaker}{segment.text}", flush=True)


def print_event(event: str, **content: Any) -> None:
    """One JSON object in a line on stdout."""
    print(json.dumps({"event": event, **content}, ensure_ascii=False), flush=True)


class CompileNotice:
    """Says once, in one line on stderr, that kernels are being compiled: this run takes longer than the next."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, name: str, seconds: float | None) -> None:
        if self._said:
            return
        self._said = True
        from whisperlite.kernels.registry import cache_folder

        if cache_folder() is None:
            note("compiling kernels, as in every run: no cache folder can be written; set WHISPERLITE_CACHE_DIR")
        else:
            note("compiling kernels for this CPU, for this and later runs (whisperlite warmup does it beforehand)")


@dataclass
class Summary:
    """What became of the files of a run."""

    n_files: int
    done: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)  # file, reason
    audio_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def left(self) -> int:
        """Files that were not come to."""
        return self.n_files - self.done - self.skipped - len(self.failed)

    def line(self) -> str:
        """``3 done, 1 failed of 4 files; 6:10 of audio in 31 s, 11.9x real time``."""
        counts = {"done": self.done, "skipped": self.skipped, "failed": len(self.failed), "not started": self.left}
        parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "done")
        text = f"{parts} of {self.n_files} files"
        if self.done:
            pace = speed(self.audio_seconds, self.seconds)
            text += f"; {clock(self.audio_seconds)} of audio in {self.seconds:.1f} s, {pace} real time"
        return text


class Reporter(Protocol):
    """Who is told of a run, step by step."""

    def start(self, file: str, channels: Sequence[Transcript]) -> None: ...

    def segments(self, file: str, segments: Iterable[Segment]) -> None: ...

    def window(self, file: str, window: Window) -> None: ...

    def done(
        self, file: str, channels: Sequence[Transcript], seconds: float | None, outputs: Sequence[Path]
    ) -> None: ...

    def skipped(self, file: str, outputs: Sequence[Path]) -> None: ...

    def failed(self, file: str, error: Exception) -> None: ...

    def summary(self, summary: Summary) -> None: ...


class TextReporter:
    """For people: segments on stdout, everything else on stderr.

    Parameters
    ----------
    n_files : int
        Above 1, each file is named before its text and a summary follows.
    text, record, hide_non_speech : bool
        Print segments; print what was tried, rejected and left out; print no marks like ``[BLANK_AUDIO]``.
    """

    def __init__(self, n_files: int = 1, text: bool = True, record: bool = False, hide_non_speech: bool = False):
        self._several, self._text, self._record, self._hide = n_files > 1, text, record, hide_non_speech

    def start(self, file: str, channels: Sequence[Transcript]) -> None:
        from whisperlite.text import LANGUAGES

        if not self._text:
            return
        if self._several:
            print(f"==> {file} <==", flush=True)
        for channel in channels:
            if channel.language_probs is not None:
                probability = channel.language_probs[channel.language]
                note(f"detected language: {LANGUAGES[channel.language].title()} ({probability:.2f})")
            if channel.speech is not None:
                removed = channel.duration - channel.speech_duration
                note(f"no speech in {removed:.2f} of {channel.duration:.2f} s")

    def segments(self, file: str, segments: Iterable[Segment]) -> None:
        if self._text:
            for segment in without_non_speech(segments) if self._hide else segments:
                show_segment(segment)

    def window(self, file: str, window: Window) -> None:
        for line in record_lines(window) if self._record else ():
            note(line)

    def done(
        self, file: str, channels: Sequence[Transcript], seconds: float | None, outputs: Sequence[Path]
    ) -> None:
        for channel in channels if self._record else ():
            note("\n".join(["account:", *account_lines(channel.account)]))

    def skipped(self, file: str, outputs: Sequence[Path]) -> None:
        note(f"{file}: finished before")

    def failed(self, file: str, error: Exception) -> None:
        report_error(error)

    def summary(self, summary: Summary) -> None:
        if self._several and summary.left < summary.n_files:  # else nothing was done, and an error comes
            note(summary.line())
            for file, reason in summary.failed:
                note(f"failed: {file}: {reason}")


class JsonReporter:
    """For programs: events as JSON lines on stdout, errors on stderr too."""

    def __init__(self, text: bool = True, record: bool = False):
        self._text, self._record = text, record

    def start(self, file: str, channels: Sequence[Transcript]) -> None:
        first = channels[0]
        content: dict[str, Any] = {"file": file, "language": first.language, "duration": first.duration}
        if first.language_probs is not None:
            content["language_probability"] = first.language_probs[first.language]
        if first.speech is not None:
            content["speech_duration"] = first.speech_duration
        print_event("start", **content, channels=len(channels))

    def segments(self, file: str, segments: Iterable[Segment]) -> None:
        for segment in segments if self._text else ():
            print_event("segment", file=file, **segment.to_dict())

    def window(self, file: str, window: Window) -> None:
        if self._record:
            attempts = [asdict(attempt) for attempt in window.attempts]
            spans = [asdict(span) for span in window.spans]
            print_event("window", file=file, start=window.start, end=window.end, language=window.language,
                        verdict=window.verdict, attempts=attempts, spans=spans)  # fmt: skip

    def done(
        self, file: str, channels: Sequence[Transcript], seconds: float | None, outputs: Sequence[Path]
    ) -> None:
        duration = max(channel.duration for channel in channels)
        content: dict[str, Any] = {"file": file, "duration": duration}
        if seconds is not None:
            content |= {"seconds": seconds, "speed": duration / seconds}
        if self._record:
            content["accounts"] = [[asdict(span) for span in channel.account] for channel in channels]
        print_event("done", **content, outputs=[str(path) for path in outputs])

    def skipped(self, file: str, outputs: Sequence[Path]) -> None:
        print_event("skipped", file=file, outputs=[str(path) for path in outputs])

    def failed(self, file: str, error: Exception) -> None:
        report_error(error)
        print_event("failed", file=file, error=one_line(error))

    def summary(self, summary: Summary) -> None:
        pace = summary.audio_seconds / summary.seconds if summary.seconds else 0.0
        print_event("summary", files=summary.n_files, done=summary.done, skipped=summary.skipped,
                    failed=len(summary.failed), not_started=summary.left, duration=summary.audio_seconds,
                    seconds=summary.seconds, speed=pace)  # fmt: skip
