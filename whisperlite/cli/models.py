"""Commands about models: ``models`` and ``info``.

In: arguments. Out: tables on stdout. Knows nothing of: how models run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisperlite.cli.options import MODELS
from whisperlite.cli.report import note
from whisperlite.errors import CheckpointError, OptionError

if TYPE_CHECKING:
    from whisperlite.checkpoint import Checkpoint, Dims


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("models", rich_help_panel=MODELS)(show_models)
    app.command("info", rich_help_panel=MODELS)(show_info)


def show_models(
    free: Annotated[str | None, typer.Option(help="Remove this model from the cache: a name below.")] = None,
) -> None:
    """List the models that go by a name: sizes, and what the hub's cache holds of them."""
    from whisperlite.checkpoint import PUBLISHED, hub
    from whisperlite.checkpoint.names import expected_shapes
    from whisperlite.checkpoint.published import ALIASES, NANO
    from whisperlite.checkpoint.resolve import ASSETS

    if free is not None:
        _free(free)
        return
    names = {repo: name for name, repo in ALIASES.items()}
    rows = [("name", "parameters", "float16", "cached", "from")]
    n_bytes = sum(path.stat().st_size for path in (ASSETS / "nano").iterdir())
    count = _n_parameters(expected_shapes(NANO.dims).values())
    rows.append(("nano", _millions(count), _megabytes(2 * count), _megabytes(n_bytes), "the package itself"))
    for name, row in PUBLISHED.items():
        count = _n_parameters(expected_shapes(row.dims).values())
        label = f"{name}, {names[name]}" if name in names else name
        rows.append((label, _millions(count), _megabytes(2 * count), _cached(row.repo), row.repo))
    known = {row.repo for row in PUBLISHED.values()}
    for repo in hub.cached_repos():
        if repo not in known and hub.cached(repo) is not None:
            rows.append((repo, "", "", _cached(repo), repo))
    _print_table(rows)


def _free(name: str) -> None:
    from whisperlite.checkpoint import hub, published

    row = published(name)
    if name == "nano":
        raise OptionError("nano is part of the package; it cannot be freed")
    if row is None and name.count("/") != 1:
        raise OptionError(f"--free {name!r}: give a name of whisperlite models, or owner/name")
    repo = name if row is None else row.repo
    n_bytes = hub.free(repo)
    if not n_bytes:
        raise CheckpointError(f"{repo} is not in the cache; nothing was freed.")
    print(f"freed {_megabytes(n_bytes)} of {repo}")


def _cached(repo: str) -> str:
    from whisperlite.checkpoint import hub

    n_bytes = hub.cached_bytes(repo)
    return _megabytes(n_bytes) + ("" if hub.cached(repo) else " in part") if n_bytes else ""


def show_info(
    model: Annotated[str, typer.Argument(help="Path, size name, owner/name of the hub, or nano.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="Every tensor, not layers together.")] = False,
) -> None:
    """Show a model's sizes, vocabulary, tensors and memory, and what is wrong with it."""
    from whisperlite.checkpoint import open_checkpoint, resolve

    path = resolve(model)
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as error:
        _show_header(path, error)
        raise
    with checkpoint:
        _show(checkpoint, tensors)


def _show(checkpoint: Checkpoint, every: bool) -> None:
    from whisperlite.inspection import findings, memory_needed, stored_bytes
    from whisperlite.model import COMPUTE_TYPES

    dims = checkpoint.dims
    shapes = {name: (checkpoint.dtype(name), checkpoint.shape(name)) for name in checkpoint.names()}
    print(checkpoint.path)
    _print_dims(dims)
    source = "the model file" if checkpoint.tokens is not None else _first_name(checkpoint.tokenizer_files)
    print(f"vocabulary      {dims.n_vocab} tokens, from {source}")
    print(f"alignment heads {' '.join(f'{layer}:{head}' for layer, head in checkpoint.alignment_heads)}")
    n_bytes = sum(stored_bytes(*entry) for entry in shapes.values())
    print(
        f"parameters      {_millions(_n_parameters(shape for _, shape in shapes.values()))}, {_megabytes(n_bytes)}"
    )
    print()
    groups: dict[tuple[str, str, tuple[int, ...]], int] = {}
    for name, (dtype, shape) in shapes.items():
        key = (name if every else re.sub(r"\.blocks\.\d+\.", ".blocks.*.", name), dtype, shape)
        groups[key] = groups.get(key, 0) + 1
    rows: list[Sequence[str]] = [("tensor", "count", "shape", "dtype", "bytes")]
    for (name, dtype, shape), count in groups.items():
        size = _megabytes(count * stored_bytes(dtype, shape))
        rows.append((name, str(count), " x ".join(map(str, shape)), dtype, size))
    _print_table(rows)
    print()
    rows = [("compute type", "weights", "caches", "arena", "together")]
    for kind in COMPUTE_TYPES:
        memory = memory_needed(checkpoint, kind)
        parts = (memory.weights, memory.caches, memory.arena, memory.total)
        rows.append((kind, *map(_megabytes, parts)))
    _print_table(rows)
    found = findings(checkpoint)
    print()
    print("\n".join(f"note: {sentence}" for sentence in found) or "nothing is wrong with it")


def _show_header(path: Path, error: CheckpointError) -> None:
    """What can be said of a file that does not open."""
    from whisperlite.checkpoint.ggml import read_ggml_header
    from whisperlite.inspection import text_ctx_finding

    if not path.is_file():
        return
    try:
        header = read_ggml_header(path)
    except CheckpointError:
        return
    print(path)
    _print_dims(header.dims)
    print(f"vocabulary      {len(header.tokens)} tokens in the file")
    if "decoder.positional_embedding" in str(error):
        note(f"note: {text_ctx_finding(header.dims.n_text_ctx)}")


def _print_dims(dims: Dims) -> None:
    from dataclasses import asdict

    for name, value in asdict(dims).items():
        print(f"{name:15} {value}")
    print(f"languages       {dims.num_languages if dims.is_multilingual else 'English only'}")


def _first_name(files: Sequence[Path]) -> str:
    return files[0].name if files else "the package (OpenAI's)"


def _n_parameters(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(map(prod, shapes))


def _millions(count: int) -> str:
    return f"{count / 1e6:.0f} M" if count >= 1e7 else f"{count / 1e6:.1f} M"


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:.1f} MB"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns side by side; numbers to the right would need units of one kind, so all are to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
