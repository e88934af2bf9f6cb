"""Commands that tell something: ``knobs``.

In: arguments. Out: text on stdout. Knows nothing of: models.
"""

from __future__ import annotations

import typer

from whisperlite import knobs
from whisperlite.cli.options import INSIDE


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("knobs", rich_help_panel=INSIDE)(show_knobs)


def show_knobs() -> None:
    """Show every environment variable whisperlite reads: its value and meaning."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("variable", no_wrap=True)
    table.add_column("value")
    table.add_column("meaning")
    for knob in knobs.ALL:
        table.add_row(knob.name, str(knob.get()), knob.meaning)
    Console().print(table)
