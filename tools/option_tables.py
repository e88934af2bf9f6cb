"""Write the tables of docs/options.md from the code's own signatures and docstrings.

    python tools/option_tables.py            write them
    python tools/option_tables.py --check    exit code 1 where they are out of date

In: ``<!-- options: module:name ... -->`` lines of the page. Out: a table after each, up to ``<!-- end -->``.
Knows nothing of: what an option does.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "options.md"
MARK = re.compile(r"(<!-- options: (\S+)((?: [-=]\S+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
REQUIRED = "required"


def described(docstring: str) -> dict[str, tuple[str, str]]:
    """Type and meaning of each name in the Parameters or Attributes of a NumPy style docstring."""
    found: dict[str, tuple[str, str]] = {}
    section = re.search(r"(?:Parameters|Attributes)\n-{5,}\n(.*?)(?:\n\n\w[^\n]*\n-{5,}|\Z)", docstring, re.DOTALL)
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if line and not line.startswith(" "):
            head, _, kind = line.partition(" : ")
            names = [name.strip() for name in head.split(",")]
            found.update(dict.fromkeys(names, (kind, "")))
        elif line.strip():
            for name in names:
                kind, text = found[name]
                found[name] = (kind, f"{text} {line.strip()}".strip())
    return found


def defaults(thing: Any) -> dict[str, str]:
    """Default of each field of a record, or of each parameter of a function; as Python would write it."""
    if is_dataclass(thing):
        values = {
            item.name: item.default_factory() if item.default_factory is not MISSING else item.default
            for item in fields(thing)
        }
    else:
        signature = inspect.signature(thing)
        kept = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        values = {
            name: MISSING if parameter.default is inspect.Parameter.empty else parameter.default
            for name, parameter in signature.parameters.items()
            if name != "self" and parameter.kind not in kept
        }
    return {name: REQUIRED if value is MISSING else f"`{value!r}`" for name, value in values.items()}


def table(target: str, settings: list[str]) -> str:
    """Markdown of one record or function; ``-name`` leaves a name out, ``=old:new`` shows it under another."""
    module, _, path = target.partition(":")
    thing: Any = importlib.import_module(module)
    owner = thing
    for part in path.split("."):
        owner, thing = thing, getattr(thing, part)
    docstring = inspect.getdoc(owner if path.endswith("__init__") else thing) or ""
    texts = described(docstring)
    left_out = {item[1:] for item in settings if item.startswith("-")}
    renamed = dict(item[1:].split(":") for item in settings if item.startswith("="))
    rows = ["| option | default | type | meaning |", "|---|---|---|---|"]
    for name, default in defaults(thing).items():
        if name in left_out:
            continue
        kind, meaning = texts.get(name, ("", ""))
        if not meaning:
            raise SystemExit(f"{target}: '{name}' is not described in its docstring")
        cells = (f"`{renamed.get(name, name)}`", default, kind.removesuffix(", optional"), meaning)
        rows.append("| " + " | ".join(cell.replace("``", "`").replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def knob_table() -> str:
    """Markdown of the environment variables."""
    from whisperlite import knobs

    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [f"| `{knob.name}` | `{knob.default!r}` | {knob.meaning} |" for knob in knobs.ALL]
    return "\n".join(rows) + "\n"


def written(text: str) -> str:
    """The page with its tables made anew."""

    def replace(match: re.Match[str]) -> str:
        made = knob_table() if match[2] == "knobs" else table(match[2], match[3].split())
        return f"{match[1]}\n{made}\n{match[4]}"

    return MARK.sub(replace, text)


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    new = written(text)
    if "--check" in sys.argv[1:]:
        return int(text != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
