"""From words on the command line to values of options.

In: text. Out: temperatures, heads, grammars, formats, layouts; errors that name the option as it is typed.
Knows nothing of: commands, what options do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from whisperlite.errors import OptionError

if TYPE_CHECKING:
    from whisperlite.writers import WriterOptions


def number_or_none(given: str | float) -> float | None:
    """A number, or ``none``; a default comes as a number already."""
    if str(given).lower() == "none":
        return None
    try:
        return float(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is not a number; give one, or none") from None


def whole_or_none(given: str | int) -> int | None:
    """An integer, or ``none``."""
    if str(given).lower() == "none":
        return None
    try:
        return int(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is not a whole number; give one, or none") from None


def temperatures(given: str | float, increment: float | None) -> tuple[float, ...]:
    """One temperature and those after it, up to 1, in steps; or the ones given, where there are several.

    Raises
    ------
    OptionError
        Something is not a number.
    """
    try:
        several = tuple(float(part) for part in str(given).split(","))
    except ValueError:
        raise OptionError(f"--temperature {given!r}: give a number, or several with commas") from None
    if len(several) > 1:
        return several
    first = several[0]
    if increment is None or not increment > 0:
        return (first,)
    n_more = int((1.0 + 1e-6 - first) / increment) if first < 1 else 0
    return tuple(round(first + i * increment, 6) for i in range(n_more + 1))


def grammar_text(given: str | None) -> str | None:
    """GBNF from the command line: the text itself, or that of a file.

    Raises
    ------
    OptionError
        It is neither.
    """
    if given is None or "::=" in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OptionError(f"--grammar {given!r}: {error}; give GBNF, or a file with it") from None


def heads(given: str | None) -> int | list[tuple[int, int]] | None:
    """Heads from the command line: ``2`` for those of the two top-most layers, or ``5.3,5.9``: layer and head.

    Raises
    ------
    OptionError
        It is neither.
    """
    if given is None:
        return None
    try:
        if given.strip().isdigit():
            return int(given)
        pairs = [part.split(".") for part in given.split(",")]
        return [(int(layer), int(head)) for layer, head in pairs]
    except ValueError:
        raise OptionError(
            f"--alignment-heads {given!r}: give a number of layers, or layer.head,layer.head,..."
        ) from None


def output_formats(given: str | None, output_dir: Path | None) -> Sequence[str]:
    """Names of the formats to write; none without a format and a folder, OpenAI's with a folder alone.

    Raises
    ------
    OptionError
        A format is unknown.
    """
    from whisperlite.writers import FORMATS, OPENAI_FORMATS

    if given is None:
        return () if output_dir is None else OPENAI_FORMATS
    if given == "all":
        return FORMATS
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    for name in names:
        if name not in FORMATS:
            raise OptionError(f"--output-format {name!r}: give {', '.join(FORMATS)} or all")
    return names


def writer_options(given: dict[str, Any], word_timestamps: bool) -> WriterOptions:
    """Layout of the outputs.

    Raises
    ------
    OptionError
        An option has no effect, or needs the times of words.
    """
    from whisperlite.writers import WriterOptions

    layout = WriterOptions(**given)
    if layout.word_options and not word_timestamps:
        raise OptionError(f"--{layout.word_options[0].replace('_', '-')} needs --word-timestamps")
    return layout


def speakers_of(diarize: bool, speakers: str | None, batch_size: int) -> list[str] | None:
    """Names of the speakers; None where they were not given.

    Raises
    ------
    OptionError
        They are not asked for, or files are to be decoded together too.
    """
    if not diarize and speakers is not None:
        raise OptionError("--speakers needs --diarize")
    if diarize and batch_size != 1:
        raise OptionError("--batch-size has no effect with --diarize: the channels of a file are decoded together")
    return None if speakers is None else [name.strip() for name in speakers.split(",")]


def check_device(device: str, fp16: bool | None) -> None:
    """Take what openai-whisper's command line has for other devices, where it asks for what is done anyway.

    Raises
    ------
    OptionError
        It asks for something else.
    """
    if device != "cpu":
        raise OptionError(f"--device {device!r}: whisperlite runs on the CPU; leave it out, or give cpu")
    if fp16:
        raise OptionError("--fp16 True: sums are float32; for smaller weights give --compute-type bfloat16 or int8")
