"""Many files one after another: outputs, what was finished before, errors that stop nobody else.

In: files, a way to their transcripts. Out: output files; a reporter is told; an exit code.
Knows nothing of: options of transcription, what is printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from whisperlite.cli.inputs import STANDARD_INPUT, NoInputError
from whisperlite.cli.progress import Bars
from whisperlite.cli.report import Reporter, Summary, one_line
from whisperlite.errors import OptionError, WhisperliteError
from whisperlite.transcribe import AlignedText, SpeakerTranscript, Transcript
from whisperlite.writers import WriterOptions, output_path, render, write_text

Result = Transcript | SpeakerTranscript

FAILED = 1


@dataclass(frozen=True)
class Outputs:
    """Which files a run writes, where, and how they are laid out; none where there are no formats."""

    folder: Path = Path()
    formats: Sequence[str] = ()
    layout: WriterOptions | None = None

    def paths(self, stem: str) -> list[Path]:
        """Where the outputs of the input with this stem are."""
        return [output_path(self.folder, stem, name) for name in self.formats]

    def write(self, transcript: Result | AlignedText, stem: str) -> list[Path]:
        """Write each whole or not at all."""
        for name, text in render(transcript, self.formats, self.layout).items():
            write_text(output_path(self.folder, stem, name), text)
        return self.paths(stem)


def finished(file: str, outputs: Sequence[Path]) -> bool:
    """True where every output is there and none is older than the audio. Standard input is never finished."""
    if file == STANDARD_INPUT or not outputs:
        return False
    try:
        heard = os.stat(file).st_mtime
        return all(path.stat().st_mtime >= heard for path in outputs)
    except OSError:
        return False


def run(
    named: Sequence[tuple[str, str]],
    empty: Sequence[NoInputError],
    outputs: Outputs,
    transcripts: Callable[[Sequence[str]], Iterable[Callable[[], Result]]],
    reporter: Reporter,
    resume: bool = False,
    together: bool = False,
    progress: bool | None = None,
) -> int:
    """Transcribe files and write their outputs.

    Parameters
    ----------
    named : sequence of (file, stem)
    empty : sequence of NoInputError
        Inputs that hold no file: reported as failed.
    outputs : Outputs
    transcripts : callable
        Given the files that are not finished, yields for each a function that gives its transcript or raises.
        Called only where there is a file to transcribe.
    reporter : Reporter
    resume : bool
        Leave out files whose outputs are finished.
    together : bool
        The files are decoded as a batch: a transcript is at its end when it comes.
    progress : bool, optional
        Show bars; None: on a terminal.

    Returns
    -------
    int
        0, or 1 where a file failed.

    Raises
    ------
    OptionError
        An option cannot be honoured: no file could.
    """
    summary = Summary(len(named) + len(empty))
    for error in empty:
        _fail(error.given, error, reporter, summary)
    todo = []
    for file, stem in named:
        if resume and finished(file, outputs.paths(stem)):
            reporter.skipped(file, outputs.paths(stem))
            summary.skipped += 1
        else:
            todo.append((file, stem))
    started = time.perf_counter()
    try:
        if todo:
            source = iter(transcripts([file for file, _ in todo]))
            started = time.perf_counter()  # a model may have been loaded
            with Bars(progress) as bars:
                if together:
                    bars.begin("files", len(todo), "files")
                for i, (file, stem) in enumerate(todo):
                    label = Path(file).name if len(todo) == 1 else f"{Path(file).name} ({i + 1}/{len(todo)})"
                    begin = _nothing if together else partial(bars.begin, label)
                    _one(next(source), file, stem, outputs, reporter, summary, begin, bars)
                    if together:
                        bars.at(i + 1)
    finally:
        summary.seconds = time.perf_counter() - started
        reporter.summary(summary)
    return FAILED if summary.failed else 0


def _one(
    transcribed: Callable[[], Result],
    file: str,
    stem: str,
    outputs: Outputs,
    reporter: Reporter,
    summary: Summary,
    begin: Callable[[float | None], None],
    bars: Bars,
) -> None:
    started = time.perf_counter()
    begin(None)
    try:
        transcript = transcribed()
        channels = transcript.transcripts if isinstance(transcript, SpeakerTranscript) else (transcript,)
        reporter.start(file, channels)
        begin(transcript.duration)
        for channel in channels:
            for window in channel.iter_windows():
                if channel is transcript:
                    reporter.segments(file, window.segments)
                reporter.window(file, window)
                if begin is not _nothing:
                    bars.at(max((span.end for span in window.spans), default=window.start))
        if isinstance(transcript, SpeakerTranscript):
            reporter.segments(file, transcript)
        written = outputs.write(transcript, stem)
        seconds = None if begin is _nothing else time.perf_counter() - started
        reporter.done(file, channels, seconds, written)
    except OptionError:
        raise
    except BrokenPipeError:  # whoever reads our output has enough: no fault of this file
        raise
    except (WhisperliteError, OSError) as error:
        _fail(file, error, reporter, summary)
        return
    summary.done += 1
    summary.audio_seconds += transcript.duration


def _nothing(total: float | None) -> None:
    """Files of a batch have no bar each."""


def _fail(file: str, error: Exception, reporter: Reporter, summary: Summary) -> None:
    reporter.failed(file, error)
    summary.failed.append((file, one_line(error)))


def each_alone(
    transcribe: Callable[..., Result], options: dict[str, Any], files: Sequence[str]
) -> Iterator[Callable[[], Result]]:
    """For each file a function that gives its transcript, or raises what went wrong with it."""
    for file in files:
        yield partial(transcribe, file, **options)


def as_batch(
    many: Callable[..., Any], batch_size: int, options: dict[str, Any], files: Sequence[str]
) -> Iterator[Callable[[], Result]]:
    """Likewise, of files decoded ``batch_size`` at a time."""
    for result in many(files, batch_size, return_exceptions=True, **options):
        yield partial(_given, result)


def _given(result: Transcript | WhisperliteError) -> Transcript:
    if isinstance(result, WhisperliteError):
        raise result
    return result
