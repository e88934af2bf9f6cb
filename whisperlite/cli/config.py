"""The config file: options by name, in TOML.

In: a TOML file. Out: defaults of a command's options.
Knows nothing of: what an option means.

``[transcribe]`` and other tables hold options of one command; what stands above all tables holds for every command
that has an option of that name. Names are those of the command line, with ``_`` or ``-``. A list is joined by
commas.
"""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from whisperlite.errors import OptionError

NO_FILE = "none"
CONFIG_PATH = "whisperlite.config"  # in a context's meta: the file its defaults come from
_NOT_FROM_A_FILE = ("config", "help")


def default_path() -> Path:
    """Where a config file is looked for when none is named; it need not be there."""
    if sys.platform == "win32":
        root = os.environ.get("APPDATA") or os.path.expanduser("~/AppData/Roaming")
    else:
        root = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(root) / "whisperlite" / "config.toml"


def apply_config(ctx: typer.Context, given: str | None) -> None:
    """Callback of ``--config``: what the file says becomes the defaults of the command's options.

    Raises
    ------
    OptionError
        The file cannot be read, or says what no command takes.
    """
    if ctx.resilient_parsing:  # completion and help must not fail over it
        return
    root = ctx.find_root()
    given = given if given is not None else (root.obj or {}).get("config")
    path = default_path() if given is None else Path(given)
    if given == NO_FILE or (given is None and not path.is_file()):
        return
    ctx.meta[CONFIG_PATH] = path
    commands = getattr(root.command, "commands", {})
    options = {name: _options(command) for name, command in commands.items()}
    ctx.default_map = defaults(read_config(path), options, ctx.info_name or "", path)


def read_config(path: Path) -> dict[str, Any]:
    """The file's content.

    Raises
    ------
    OptionError
        It cannot be read, or is not TOML.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:
        raise OptionError(f"--config {path}: {error}; give a TOML file, or none") from None


def defaults(
    content: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]], command: str, path: Path
) -> dict[str, Any]:
    """Defaults by parameter name for one command.

    Parameters
    ----------
    content : mapping
        Of the file.
    options : mapping of str to mapping
        For every command its options: names without ``--`` and the parameter each belongs to.
    command : str
    path : Path
        For messages.

    Raises
    ------
    OptionError
        A name is unknown, or a value is of no use.
    """
    chosen: dict[str, Any] = {}
    everywhere = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    known = {name for names in options.values() for name in names}
    for key, value in everywhere.items():
        if _dashed(key) not in known:
            raise OptionError(f"{path}: no command has an option {key!r}{_hint(key, known)}")
        if (param := options[command].get(_dashed(key))) is not None:
            chosen[param.name] = _checked(param, key, value, path)
    for table, entries in content.items():
        if table in everywhere:
            continue
        if (name := _dashed(table)) not in options:
            raise OptionError(f"{path}: [{table}] is not a command{_hint(table, options)}")
        for key, value in entries.items():
            if (param := options[name].get(_dashed(key))) is None:
                raise OptionError(f"{path}: [{table}] has no option {key!r}{_hint(key, options[name])}")
            checked = _checked(param, key, value, path)
            if name == command:
                chosen[param.name] = checked
    return chosen


def _options(command: Any) -> dict[str, Any]:
    return {
        name.lstrip("-"): param
        for param in command.params
        if param.param_type_name == "option" and param.name not in _NOT_FROM_A_FILE
        for name in param.opts
        if name.startswith("--")
    }


def _checked(param: Any, key: str, value: Any, path: Path) -> Any:
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value):
        return ",".join(map(str, value))
    is_flag = bool(getattr(param, "is_flag", False))
    if is_flag and not isinstance(value, bool):
        raise OptionError(f"{path}: {key} = {value!r}: give true or false")
    if not is_flag and (isinstance(value, bool) or not isinstance(value, (str, int, float))):
        raise OptionError(f"{path}: {key} = {value!r}: give a number, text or a list of them")
    return value


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _hint(name: str, known: Any) -> str:
    nearest = difflib.get_close_matches(_dashed(name), list(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0].replace('-', '_')}?" if nearest else ""
