"""What every command has in common: names, flags that take True or False, ``--config``, and the shape of its help.

In: functions with annotated parameters. Out: typer commands.
Knows nothing of: what a command does.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from whisperlite.cli.config import CONFIG_PATH, apply_config
from whisperlite.cli.report import stop_writing

_ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=apply_config,
        help="TOML file with options by name; none: not even the one in the default place.",
        rich_help_panel="Other",
    ),
]
_WORDS_OF_FLAGS = {"true": True, "false": False}
_HELP_COLUMN = 30


class Command(TyperCommand):
    """A command whose flags may be given as OpenAI's command line has them: ``--word_timestamps True``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, plain_flags(args, self.params))
        except typer.BadParameter as error:
            source = error.param and error.param.name and ctx.get_parameter_source(error.param.name)
            if source and source.name == "DEFAULT_MAP":
                error.message += f" (in {ctx.meta[CONFIG_PATH]})"
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Options in groups, each under its name."""
        groups: dict[str, list[tuple[str, str]]] = {}
        params: list[Any] = self.get_params(ctx)
        for param in params:
            if getattr(param, "hidden", False):
                continue
            if param.param_type_name == "argument":
                if param.help:
                    groups.setdefault("Arguments", []).append((_metavar(param), param.help))
                continue
            group = getattr(param, "rich_help_panel", None) or ("Other" if param.name == "help" else "Options")
            groups.setdefault(group, []).append((option_names(param), _help(param, ctx)))
        _write_groups(formatter, groups)


class Group(TyperGroup):
    """The command of commands: lists them in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Groups of commands, then the options that belong to none."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            if not command.hidden:
                group = getattr(command, "rich_help_panel", None)
                groups.setdefault(group if isinstance(group, str) else "Commands", []).append(
                    (name, command.get_short_help_str(100))
                )
        rows = [(option_names(param), _help(param, ctx)) for param in self.get_params(ctx)]
        _write_groups(formatter, {**groups, "Options": rows})


class App(typer.Typer):
    """A typer application whose commands are all of class ``Command`` and have ``--config``."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            super(App, self).command(name, **{"cls": Command, **settings})(_with_config(function))
            return function

        return decorate


def plain_flags(args: Sequence[str], params: Sequence[Any]) -> list[str]:
    """Arguments with ``--flag True`` and ``--flag=False`` as ``--flag`` and ``--no-flag``.

    A flag that has no ``--no-flag`` is left out where it is False. What follows ``--`` is left as it is.
    """
    off = {
        name: next(iter(param.secondary_opts), None)
        for param in params
        if getattr(param, "is_flag", False)
        for name in param.opts
        if name not in ("--help", "--version")
    }
    plain: list[str] = []
    i = 0
    while i < len(args):
        if args[i] == "--":
            return [*plain, *args[i:]]
        given, equals, value = args[i].partition("=")
        name = given.replace("_", "-")
        used = 1
        if name in off and not equals and i + 1 < len(args) and args[i + 1].lower() in _WORDS_OF_FLAGS:
            value, used = args[i + 1], 2
        if name in off and value:
            if value.lower() not in _WORDS_OF_FLAGS:
                raise typer.BadParameter(f"{args[i]!r}: give True or False")
            other = off[name]
            if _WORDS_OF_FLAGS[value.lower()]:
                plain.append(name)
            elif other is not None:
                plain.append(other)
        else:
            plain.append(args[i])
        i += used
    return plain


def option_names(param: Any) -> str:
    """``-o, --output-dir FOLDER``, or ``--[no-]word-timestamps``."""
    names = sorted((name for name in param.opts), key=len)
    if param.secondary_opts:
        names = [name.replace("--", "--[no-]", 1) if name.startswith("--") else name for name in names]
    return ", ".join(names) + ("" if getattr(param, "is_flag", False) else f" {_metavar(param)}")


def default_of(param: Any, ctx: Any) -> str | None:
    """The default as help shows it; None where there is nothing to show."""
    value = param.get_default(ctx, call=False)
    if value is None or value is False or value == "" or not param.show_default or param.required:
        return None
    return "on" if value is True else str(getattr(value, "value", value))


def _help(param: Any, ctx: Any) -> str:
    default = None if param.name in ("help", "version") else default_of(param, ctx)
    return (param.help or "") + ("" if default is None else f" [{default}]")


def _metavar(param: Any) -> str:
    return param.metavar or param.name.rpartition("_")[2].upper()


def _write_groups(formatter: Any, groups: dict[str, list[tuple[str, str]]]) -> None:
    for group in sorted(groups, key=lambda name: name == "Other"):
        with formatter.section(group):
            formatter.write_dl(groups[group], col_max=_HELP_COLUMN)


def _with_config(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with one more option, ``--config``, that acts before the others are read."""
    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        del given["config"]
        try:
            return function(**given)
        except BrokenPipeError:  # click would make exit code 1 of it
            stop_writing()
            return 0

    extra = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_ConfigOption)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), extra])  # type: ignore[attr-defined]
    run.__annotations__ = {name: item.annotation for name, item in signature.parameters.items()}
    run.__annotations__["config"] = _ConfigOption
    return run
