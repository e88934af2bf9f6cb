"""The command line's entry: which commands there are, and what their errors look like.

In: arguments. Out: an exit code: 0 done, 1 the data could not be used, 2 the call was wrong, 130 interrupted.
Knows nothing of: what a command does.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Annotated, cast

import typer

from whisperlite.cli import bench, convert, graph, info, listen, models, plot, stream, transcribe, warmup
from whisperlite.cli.command import App, Group
from whisperlite.cli.report import CompileNotice, report_error, stop_writing
from whisperlite.errors import OptionError, WhisperliteError
from whisperlite.trace import compile_listener

DATA_ERROR, USAGE_ERROR, INTERRUPTED = 1, 2, 130

# The base of every error that typer raises about arguments has no public name of its own.
_ArgumentError = cast(
    "type[typer.BadParameter]", typer.BadParameter.__mro__[typer.BadParameter.__mro__.index(Exception) - 1]
)

app = App(
    cls=Group,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import whisperlite

        print(f"whisperlite {whisperlite.__version__}")
        raise typer.Exit()


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="As --config of each command.")] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Whisper speech recognition."""
    ctx.obj = {"config": config}


for group in (transcribe, stream, listen, plot, models, convert, warmup, bench, graph, info):
    group.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    with contextlib.suppress(AttributeError, ValueError):
        # Text the terminal cannot show must not end the run.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with compile_listener(CompileNotice()):
            code = app(arguments, prog_name="whisperlite", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except _ArgumentError as error:
        report_error(error.format_message())
        return USAGE_ERROR
    except OptionError as error:
        report_error(error)
        return USAGE_ERROR
    except BrokenPipeError:
        stop_writing()
        return 0
    except (WhisperliteError, OSError) as error:
        report_error(error)
        return DATA_ERROR
    except (KeyboardInterrupt, typer.Abort):
        report_error("interrupted")
        return INTERRUPTED
