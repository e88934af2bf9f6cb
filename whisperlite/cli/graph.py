"""Commands that look inside: ``graph`` and ``profile``.

In: a model name, a part of it. Out: the graph and its plan as text, dot or JSON; a table of costs.
Knows nothing of: audio, search.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from whisperlite.cli.options import INSIDE, Model


class Part(StrEnum):
    encoder = "encoder"
    cross_kv = "cross_kv"
    decoder = "decoder"


class Format(StrEnum):
    text = "text"
    dot = "dot"
    json = "json"


_Batch = Annotated[int, typer.Option(help="Windows, or rows of the decoder.", min=1)]
_NewTokens = Annotated[int, typer.Option(help="New tokens of a decoder call.", min=1)]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("graph", rich_help_panel=INSIDE)(show_graph)
    app.command("profile", rich_help_panel=INSIDE)(show_profile)


def show_graph(
    part: Annotated[Part, typer.Argument(help="encoder, cross_kv or decoder.")] = Part.encoder,
    model: Model = "nano",
    format: Annotated[Format, typer.Option(help="text, dot (Graphviz) or json.")] = Format.text,
    raw: Annotated[bool, typer.Option("--raw", help="The graph as built, before any pass.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="With sizes fixed: order, memory, lifetimes.")] = False,
    batch: _Batch = 1,
    new_tokens: _NewTokens = 1,
    output: Annotated[Path | None, typer.Option(help="File to write; default: print.")] = None,
) -> None:
    """Show what a part of the model computes, after the passes."""
    from whisperlite.checkpoint import open_checkpoint, resolve
    from whisperlite.errors import OptionError
    from whisperlite.graph import make_plan, plan_to_text, to_dot, to_json, to_text
    from whisperlite.model.build import graph_of
    from whisperlite.writers import write_text

    if plan and (raw or format is not Format.text):
        raise OptionError("--plan is text of the optimised graph: leave out --raw and --format")
    with open_checkpoint(resolve(model)) as checkpoint:
        dims = checkpoint.dims
    graph = graph_of(part.value, dims, optimized=not raw)
    if plan:
        text = plan_to_text(make_plan(graph, sizes_of(part, batch, new_tokens, dims.n_audio_ctx)))
    else:
        text = {Format.text: to_text, Format.dot: to_dot, Format.json: to_json}[format](graph)
    if output is None:
        print(text)
    else:
        write_text(output, text)


def sizes_of(part: Part, batch: int, new_tokens: int, n_ctx: int) -> dict[str, int]:
    """A value for every symbol of a part's graph; all rows of a decoder listen to one audio."""
    sizes = {"B": batch, "N": batch, "R": batch, "U": new_tokens, "T": n_ctx, "A": 1}
    return {**sizes, "A": batch} if part is Part.cross_kv else sizes


def show_profile(
    model: Model = "nano",
    batch: _Batch = 1,
    new_tokens: _NewTokens = 1,
    repeats: Annotated[int, typer.Option(help="Runs to add up.", min=1)] = 10,
    threads: Annotated[int | None, typer.Option(help="Default: all the process may use.", min=1)] = None,
    backend: Annotated[str | None, typer.Option(help="numba, or numpy: slow, readable.")] = None,
) -> None:
    """Time every op of the encoder, the cross keys and values, and a decoder call, one by one."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from whisperlite.checkpoint import open_checkpoint, resolve
    from whisperlite.model import Whisper

    whisper = Whisper(open_checkpoint(resolve(model)), threads=threads, backend=backend)
    console = Console()
    for part in Part:
        program = whisper.program_of(part.value, **sizes_of(part, batch, new_tokens, whisper.dims.n_audio_ctx))
        inputs = {
            name: np.zeros(program.plan.buffers[node].shape, program.plan.buffers[node].dtype)
            for name, node in program.plan.inputs.items()
        }
        if "audio_rows" in inputs:
            inputs["audio_rows"][-1] = batch
        program.profile(inputs)  # the first run touches memory for the first time
        table = Table(title=f"{part.value}: {program.plan}", box=None, pad_edge=False, title_justify="left")
        for column in ("op", "calls", "ms per run", "GFLOP/s", "GB/s"):
            table.add_column(column, justify="left" if column == "op" else "right")
        records = program.profile(inputs, repeats)
        for record in records:
            table.add_row(
                record.op,
                str(record.calls // repeats),
                f"{record.seconds / repeats * 1e3:.3f}",
                f"{record.gflops_per_second:.1f}" if record.flops else "",
                f"{record.gbytes_per_second:.1f}" if record.n_bytes else "",
            )
        table.add_row("all", "", f"{sum(record.seconds for record in records) / repeats * 1e3:.3f}", "", "")
        console.print(table)
        console.print()
