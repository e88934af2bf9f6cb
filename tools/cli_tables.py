"""Write the tables of docs/cli.md from the command line's own parameters.

    python tools/cli_tables.py            write them
    python tools/cli_tables.py --check    exit code 1 where they are out of date

In: ``<!-- command: NAME -->`` lines of the page; ``*`` stands for the list of all commands.
Out: a table of options by group after each, up to ``<!-- end -->``.
Knows nothing of: what a command does.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer

from whisperlite.cli.command import default_of, option_names
from whisperlite.cli.main import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
MARK = re.compile(r"(<!-- command: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
EVERYWHERE = ("config", "help")


def commands() -> dict[str, Any]:
    """Every command by name."""
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]


def list_of_commands() -> str:
    """A row for each command: its name and first sentence; a table for each group."""
    groups: dict[str, list[str]] = {}
    for name, command in commands().items():
        if not command.hidden:
            row = f"| `{name}` | {_cell(command.get_short_help_str(200))} |"
            groups.setdefault(command.rich_help_panel, []).append(row)
    head = ["| command | what it does |", "|---|---|"]
    return "\n\n".join(f"**{group}**\n\n" + "\n".join([*head, *rows]) for group, rows in groups.items())


def table(name: str) -> str:
    """Arguments and options of a command, a table for each group."""
    command = commands()[name]
    context = command.context_class(command, info_name=name)
    groups: dict[str, list[str]] = {}
    for param in command.params:
        if param.name in EVERYWHERE or getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            group, names, default = "Arguments", param.name.upper(), None
        else:
            panel = getattr(param, "rich_help_panel", None)
            group = panel if isinstance(panel, str) else "Options"
            names, default = option_names(param), default_of(param, context)
        shown = "" if default is None else f"`{_cell(default)}`"
        groups.setdefault(group, []).append(f"| `{_cell(names)}` | {shown} | {_cell(param.help or '')} |")
    head = ["| option | default | meaning |", "|---|---|---|"]
    return "\n\n".join(f"**{group}**\n\n" + "\n".join([*head, *rows]) for group, rows in groups.items())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def written(page: str) -> str:
    """The page with every table made anew."""

    def replaced(found: re.Match[str]) -> str:
        content = list_of_commands() if found[2] == "*" else table(found[2])
        return f"{found[1]}\n{content}\n\n{found[3]}"

    return MARK.sub(replaced, page)


def main() -> int:
    """Write, or check."""
    before = PAGE.read_text(encoding="utf-8")
    after = written(before)
    if "--check" in sys.argv[1:]:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
