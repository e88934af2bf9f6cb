"""Commands that answer one question about an audio: ``detect-language`` and ``align``.

In: arguments, audio files. Out: languages, or the times of words, on stdout.
Knows nothing of: how they are found.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from whisperlite.cli import inputs
from whisperlite.cli.options import (
    LAYOUT_OPTIONS,
    OUTPUT,
    SPEECH,
    TRANSCRIBING,
    WORDS,
    Backend,
    ComputeType,
    DetectionSegments,
    DetectionThreshold,
    HideNonSpeech,
    HighlightWords,
    Language,
    LocalFilesOnly,
    MaxLineCount,
    MaxLineWidth,
    MaxWordsPerLine,
    Model,
    ModelDir,
    OutputDir,
    OutputFormat,
    Quiet,
    Revision,
    Threads,
    Token,
    open_model,
    option,
)
from whisperlite.cli.progress import Bars
from whisperlite.cli.report import one_line, print_event, report_error
from whisperlite.errors import OptionError, WhisperliteError

_JsonLines = Annotated[bool, option(OUTPUT, "A JSON object per line on stdout.", "--json-lines/--no-json-lines")]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("detect-language", rich_help_panel=TRANSCRIBING)(detect_language)
    app.command("align", rich_help_panel=TRANSCRIBING)(align)


def detect_language(
    files: Annotated[list[str], typer.Argument(help="Audio files, globs, folders; - is standard input.")],
    model: Model = "base",
    compute_type: ComputeType = "default",
    threads: Threads = None,
    backend: Backend = None,
    revision: Revision = None,
    token: Token = None,
    model_dir: ModelDir = None,
    local_files_only: LocalFilesOnly = False,
    language_detection_segments: DetectionSegments = 1,
    language_detection_threshold: DetectionThreshold = 0.5,
    top: Annotated[int, option(SPEECH, "Languages to name, the most probable first.", min=1, metavar="N")] = 1,
    json_lines: _JsonLines = False,
) -> int:
    """Say which language is spoken in audio files, and how sure that is."""
    from whisperlite.text import LANGUAGES
    from whisperlite.transcribe import LanguageOptions

    LanguageOptions(language_detection_segments, language_detection_threshold)  # refused before a model is loaded
    paths, empty = inputs.expand(files)
    for missing in empty:
        _failed(missing.given, missing, json_lines)
    failed = len(empty)
    if not paths:
        return 1
    whisper = open_model(model, compute_type, threads, backend, revision, token, model_dir, local_files_only)
    with Bars() as bars:
        bars.begin("files", len(paths), "files")
        for i, path in enumerate(paths):
            try:
                found = whisper.detect_language(path, language_detection_segments, language_detection_threshold)
            except OptionError:
                raise
            except (WhisperliteError, OSError) as error:
                _failed(path, error, json_lines)
                failed += 1
                continue
            finally:
                bars.at(i + 1)
            best = list(found.items())[:top]
            if json_lines:
                probabilities = {code: round(value, 6) for code, value in best}
                print_event("language", file=path, language=best[0][0], probabilities=probabilities)
            else:
                said = ", ".join(f"{LANGUAGES[code].title()} ({code}) {value:.3f}" for code, value in best)
                print(f"{path}: {said}", flush=True)
    return 1 if failed else 0


def align(
    file: Annotated[str, typer.Argument(help="Audio file; - is standard input.")],
    text: Annotated[str | None, option(WORDS, "What is said in it.")] = None,
    text_file: Annotated[Path | None, option(WORDS, "A file with what is said in it; - is standard input.")] = None,
    model: Model = "base",
    compute_type: ComputeType = "default",
    threads: Threads = None,
    backend: Backend = None,
    revision: Revision = None,
    token: Token = None,
    model_dir: ModelDir = None,
    local_files_only: LocalFilesOnly = False,
    language: Language = None,
    task: Annotated[
        str, option(SPEECH, "transcribe, or translate where the text is a translation.")
    ] = "transcribe",
    alignment_heads: Annotated[
        str | None, option(WORDS, "layer.head,layer.head,... or a number of top-most layers.")
    ] = None,
    medfilt_width: Annotated[int, option(WORDS, "Frames of the median filter over attention; odd.")] = 7,
    qk_scale: Annotated[float, option(WORDS, "Factor on attention scores.")] = 1.0,
    prepend_punctuations: Annotated[str | None, option(WORDS, "Marks joined to the word after them.")] = None,
    append_punctuations: Annotated[str | None, option(WORDS, "Marks joined to the word before them.")] = None,
    output_dir: OutputDir = None,
    output_format: OutputFormat = None,
    json_lines: _JsonLines = False,
    quiet: Quiet = False,
    highlight_words: HighlightWords = False,
    max_line_width: MaxLineWidth = None,
    max_line_count: MaxLineCount = None,
    max_words_per_line: MaxWordsPerLine = None,
    hide_non_speech: HideNonSpeech = False,
) -> None:
    """Find the time of every word of a text that is known already.

    Prints one word a line: start and end in seconds, its probability, the word; separated by tabs.
    Files are as transcribe writes them: a segment for each line of the text, or for each sentence of one line.
    """
    from whisperlite.cli.values import heads, output_formats, writer_options

    given = dict(locals())
    options: dict[str, Any] = {
        "heads": heads(alignment_heads), "medfilt_width": medfilt_width, "qk_scale": qk_scale,
    }  # fmt: skip
    for name, marks in (("prepend", prepend_punctuations), ("append", append_punctuations)):
        if marks is not None:
            options[f"{name}_punctuations"] = marks
    formats = output_formats(output_format, output_dir)
    layout = writer_options({name: given[name] for name in LAYOUT_OPTIONS}, word_timestamps=True)
    said = _text(file, text, text_file)
    whisper = open_model(model, compute_type, threads, backend, revision, token, model_dir, local_files_only)
    with Bars() as bars:
        bars.begin("aligning", None)
        aligned = whisper.align_lines(file, said, language=language, task=task, **options)
    for word in () if quiet else aligned.words:
        if json_lines:
            print_event("word", **word.to_dict())
        else:
            print(f"{word.start:.2f}\t{word.end:.2f}\t{word.probability:.3f}\t{word.word.strip()}", flush=True)
    if formats:
        from whisperlite.cli.batch import Outputs
        from whisperlite.writers import output_stems

        written = Outputs(output_dir or Path(), formats, layout).write(aligned, output_stems([file])[0])
        if json_lines:
            print_event("done", file=file, duration=aligned.duration, outputs=[str(path) for path in written])


def _text(file: str, text: str | None, text_file: Path | None) -> str:
    if (text is None) == (text_file is None):
        raise OptionError("give what is said, as --text or as --text-file, one of them")
    if text is None:
        if str(text_file) == inputs.STANDARD_INPUT:
            if file == inputs.STANDARD_INPUT:
                raise OptionError("audio and text cannot both come from standard input")
            text = sys.stdin.read()
        else:
            assert text_file is not None
            try:
                text = text_file.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise OptionError(f"--text-file {text_file}: {error}") from None
    if not text.strip():
        raise OptionError("the text is empty; there is nothing to align")
    return text


def _failed(file: str, error: Exception, json_lines: bool) -> None:
    report_error(error)
    if json_lines:
        print_event("failed", file=file, error=one_line(error))
