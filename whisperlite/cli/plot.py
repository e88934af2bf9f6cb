"""``plot``: pictures of a recording and its transcription.

In: an audio file. Out: a picture file.
Knows nothing of: what is drawn.
"""

from __future__ import annotations

import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from whisperlite.cli.options import TRANSCRIBING
from whisperlite.cli.report import note


class Kind(StrEnum):
    words = "words"
    attention = "attention"
    speech = "speech"


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("plot", rich_help_panel=TRANSCRIBING)(plot)


def plot(
    audio: Annotated[str, typer.Argument(help="Audio file; - is standard input.")],
    kind: Annotated[
        Kind,
        typer.Option(
            help="words: over the mel, coloured by probability. attention: of the alignment heads, with the path "
            "that times the words. speech: spans of voice activity over the wave.",
        ),
    ] = Kind.words,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="png, svg or pdf. Default: name.kind.png of the audio.")
    ] = None,
    model: Annotated[str, typer.Option(help="Size, owner/name of the hub, a path, or nano.")] = "base",
    compute_type: Annotated[str, typer.Option(help="default, float32, bfloat16 or int8.")] = "default",
    threads: Annotated[int | None, typer.Option(help="Default: all the process may use.", min=1)] = None,
    language: Annotated[str | None, typer.Option(help="Code or name; detected when not given.")] = None,
    task: Annotated[str, typer.Option(help="transcribe, or translate into English.")] = "transcribe",
    text: Annotated[str | None, typer.Option(help="What is said, in place of transcribing (attention).")] = None,
    start: Annotated[float, typer.Option(help="Seconds: where words or attention begin.", min=0)] = 0.0,
    end: Annotated[float | None, typer.Option(help="Seconds: where words end.", min=0)] = None,
    vad_model: Annotated[
        str | None, typer.Option(help="energy, silero or the path of its weights (speech).")
    ] = None,
) -> None:
    """Draw a recording: its words over the mel, attention with its path, or speech in the wave."""
    from whisperlite.errors import OptionError
    from whisperlite.plots import plot_attention, plot_speech, plot_words, save
    from whisperlite.plots.figures import need_matplotlib
    from whisperlite.writers import output_stems

    for name, value, wanted in (
        ("--text", text, Kind.attention), ("--end", end, Kind.words), ("--vad-model", vad_model, Kind.speech),
    ):  # fmt: skip
        if value is not None and kind is not wanted:
            raise OptionError(f"{name} is for --kind {wanted}; this is --kind {kind}")
    if start and kind is Kind.speech:
        raise OptionError("--start is for words and attention; speech shows the whole recording")
    need_matplotlib()
    path = output or Path(f"{output_stems([audio])[0]}.{kind}.png")
    with warnings.catch_warnings(record=True) as found:
        if kind is Kind.speech:
            figure = plot_speech(audio, vad_model=vad_model)
        else:
            from whisperlite.api import WhisperModel

            whisper = WhisperModel(model, compute_type=compute_type, threads=threads)
            if kind is Kind.words:
                figure = plot_words(audio, model=whisper, start=start, end=end, language=language, task=task)
            else:
                figure = plot_attention(whisper, audio, text, start=start, language=language, task=task)
        save(figure, path)
    for warning in found:
        note(f"warning: {warning.message}")
    note(f"wrote {path}")
