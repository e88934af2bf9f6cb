"""``python -m benchmarks``: which commands there are.

In: arguments. Out: an exit code: 0 done, 1 slower than the threshold or data unusable, 2 the call was wrong.
Knows nothing of: what a command does.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import threading
from collections.abc import Sequence

COMMANDS = {
    "peers": "peers_command",
    "table": "table_command",
    "stages": "stages",
    "kernels": "kernels",
    "choose": "choose",
    "accuracy": "accuracy",
    "speculative": "speculative",
    "history": "history",
    "compare": "compare",
    "plots": "plots",
}


def make_parser(wanted: Sequence[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of these commands; a command's file is imported with it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast, where, and beside whom.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in wanted:
        module = importlib.import_module(f"benchmarks.{COMMANDS[name]}")
        text = " ".join((module.__doc__ or "").partition("\n\n")[0].split())
        command = commands.add_parser(name, help=text, description=text)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    wanted = [arguments[0]] if arguments and arguments[0] in COMMANDS else list(COMMANDS)
    options = make_parser(wanted).parse_args(arguments)
    _end_as_interrupted()
    try:
        return int(options.run(options) or 0)
    except (ValueError, OSError) as error:
        print(f"benchmarks {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _end_as_interrupted() -> None:
    """Have SIGTERM end a run as Ctrl-C does: engines that stand still are ended, what was measured is kept."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
