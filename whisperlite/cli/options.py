"""Options that several commands share: model, where it is fetched from, what help calls their groups.

In: nothing. Out: annotated types for the parameters of commands; candidates for completion.
Knows nothing of: commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from whisperlite.cli.values import number_or_none, whole_or_none

MODEL, SPEECH, TEXT, SEARCH, RULES = "Model", "Speech", "Text", "Search", "Rules on tokens"
TRUST, WORDS, OUTPUT, LAYOUT = "Fallback and silence", "Words", "Output", "Layout of outputs"
VOICE = "Voice activity (transcribe speech alone)"
TRANSCRIBING, MODELS, INSIDE = "Speech to text", "Models", "Inside and speed"  # groups of commands

COMPUTE_TYPES = ("default", "float32", "bfloat16", "int8", "auto")


def option(panel: str, help: str, *names: str, **settings: Any) -> Any:
    """A ``typer.Option`` in a group of the help."""
    return typer.Option(*names, rich_help_panel=panel, help=help, **settings)


def threshold(panel: str, help: str) -> Any:
    """An option that takes a number, or ``none`` to turn its rule off."""
    return option(panel, f"{help} none: off.", parser=number_or_none, metavar="NUMBER")


def count(panel: str, help: str, *names: str) -> Any:
    """An option that takes a whole number, or ``none``."""
    return option(panel, help, *names, parser=whole_or_none, metavar="N")


def number(panel: str, help: str) -> Any:
    """An option that takes a number, or ``none``."""
    return option(panel, help, parser=number_or_none, metavar="NUMBER")


def model_names(incomplete: str) -> list[str]:
    """Models that go by a name, for completion."""
    from whisperlite.checkpoint import PUBLISHED

    return [name for name in ("nano", *PUBLISHED) if name.startswith(incomplete)]


def language_codes(incomplete: str) -> list[tuple[str, str]]:
    """Languages, for completion."""
    from whisperlite.text import LANGUAGES

    return [(code, name) for code, name in LANGUAGES.items() if code.startswith(incomplete)]


def one_of(*names: str) -> Any:
    """Completion from a few names."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


Model = Annotated[
    str,
    option(MODEL, "tiny .. large-v3-turbo, owner/name of the hub, a path, or nano (built in).",
           autocompletion=model_names),
]  # fmt: skip
ComputeType = Annotated[
    str,
    option(MODEL, "Kept in memory: default (as the file has it), float32, bfloat16, int8, auto (by the CPU).",
           metavar="TYPE", autocompletion=one_of(*COMPUTE_TYPES)),
]  # fmt: skip
Threads = Annotated[int | None, option(MODEL, "All the process may use when not given, or 0.", min=0, metavar="N")]
Backend = Annotated[
    str | None, option(MODEL, "numba, or numpy: slow, readable.", autocompletion=one_of("numba", "numpy"))
]
Revision = Annotated[str | None, option(MODEL, "Branch, tag or commit of a hub model.")]
Token = Annotated[str | None, option(MODEL, "For hub models that need a login; HF_TOKEN does as well.")]
ModelDir = Annotated[
    Path | None, option(MODEL, "Where hub models are kept; the hub's own cache when not given.",
                        "--model-dir", "--cache-dir")
]  # fmt: skip
LocalFilesOnly = Annotated[
    bool, option(MODEL, "Ask the hub for nothing.", "--local-files-only/--no-local-files-only")
]
Language = Annotated[
    str | None, option(SPEECH, "Code or name; detected when not given.", autocompletion=language_codes)
]
DetectionSegments = Annotated[int, option(SPEECH, "Most windows heard to detect the language.", min=1, metavar="N")]
DetectionThreshold = Annotated[float | None, threshold(SPEECH, "A window surer of its language decides.")]
OutputDir = Annotated[
    Path | None,
    option(OUTPUT, "Folder of output files; without it and a format none are written.", "--output-dir", "-o"),
]
OutputFormat = Annotated[
    str | None,
    option(OUTPUT, "txt, srt, vtt, tsv, json, json-full, lrc, csv, ass, audacity; several with commas, or all. "
           "With a folder alone: the first five.", "--output-format", "-f", autocompletion=one_of(
               "txt", "srt", "vtt", "tsv", "json", "json-full", "lrc", "csv", "ass", "audacity", "all")),
]  # fmt: skip
Quiet = Annotated[bool, option(OUTPUT, "Do not print the text.", "--quiet/--no-quiet", "-q")]
HighlightWords = Annotated[bool, option(LAYOUT, "Underline each word while it is said (srt, vtt); time it (lrc).")]
MaxLineWidth = Annotated[int | None, count(LAYOUT, "Most characters of a line (srt, vtt, ass, lrc).")]
MaxLineCount = Annotated[int | None, count(LAYOUT, "Most lines of a cue; needs --max-line-width.")]
MaxWordsPerLine = Annotated[int | None, count(LAYOUT, "Most words of a cue.")]
HideNonSpeech = Annotated[bool, option(LAYOUT, "Leave out [BLANK_AUDIO], (laughs), *music* and notes.")]
LAYOUT_OPTIONS = ("highlight_words", "max_line_width", "max_line_count", "max_words_per_line", "hide_non_speech")


def open_model(
    model: str,
    compute_type: str = "default",
    threads: int | None = None,
    backend: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    model_dir: Path | None = None,
    local_files_only: bool = False,
    **settings: Any,
) -> Any:
    """The ``WhisperModel`` that the options above ask for."""
    from whisperlite.api import WhisperModel

    return WhisperModel(
        model, compute_type, threads or None, backend, revision=revision, token=token, cache_dir=model_dir,
        local_files_only=local_files_only, **settings,
    )  # fmt: skip
