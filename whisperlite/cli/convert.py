"""Commands that write models: ``convert`` and ``quantize``.

In: arguments. Out: a model file or folder, whole or not at all; its path on stdout.
Knows nothing of: formats.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from whisperlite.cli.options import MODELS
from whisperlite.errors import OptionError

_Source = Annotated[str, typer.Argument(help="Path, size name, owner/name of the hub, or nano.")]
_Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("convert", rich_help_panel=MODELS)(convert_model)
    app.command("quantize", rich_help_panel=MODELS)(quantize_model)


def convert_model(
    source: _Source,
    target: Annotated[Path, typer.Argument(help="File (ggml) or folder (hf) to write.")],
    format: Annotated[str | None, typer.Option(help="ggml or hf; ggml where the target ends in .bin.")] = None,
    type: Annotated[str, typer.Option(help="f32, f16; for ggml also q4_0 .. q8_0, q2_k .. q6_k.")] = "f16",
    alignment_heads: Annotated[
        str | None, typer.Option(help="layer:head,layer:head,... to write into an hf folder.")
    ] = None,
    revision: _Revision = None,
) -> None:
    """Write a model of any format as a ggml file of whisper.cpp or a Hugging Face folder."""
    heads = None if alignment_heads is None else parse_heads(alignment_heads)
    _write(source, target, format or ("ggml" if target.suffix == ".bin" else "hf"), type, heads, revision)


def quantize_model(
    source: _Source,
    target: Annotated[Path, typer.Argument(help="ggml file to write.")],
    type: Annotated[str, typer.Option(help="q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k or q6_k.")],
    revision: _Revision = None,
) -> None:
    """Write a model as a quantised ggml file, byte for byte as whisper.cpp's quantize does."""
    from whisperlite.quant import QUANTIZED

    if type not in QUANTIZED:
        raise OptionError(f"--type {type!r}: give one of {', '.join(QUANTIZED)}")
    _write(source, target, "ggml", type, None, revision)


def parse_heads(text: str) -> tuple[tuple[int, int], ...]:
    """``2:0,3:1`` as pairs.

    Raises
    ------
    OptionError
        It is something else.
    """
    try:
        pairs = [pair.split(":") for pair in text.split(",")]
        return tuple((int(layer), int(head)) for layer, head in pairs)
    except ValueError:
        raise OptionError(f"--alignment-heads {text!r}: give layer:head,layer:head,... as 2:0,3:1") from None


def _write(
    source: str,
    target: Path,
    format: str,
    type: str,
    heads: tuple[tuple[int, int], ...] | None,
    revision: str | None,
) -> None:
    from whisperlite.checkpoint import HubOptions, resolve
    from whisperlite.checkpoint.convert import convert
    from whisperlite.conversion import companions

    path = resolve(source, HubOptions(revision))
    with _progress() as show:
        written = convert(path, target, format, type, companions, heads, show)
    print(written)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def show(name: str, done: int, total: int) -> None:
            progress.update(task, description=name, completed=done, total=total)

        yield show
