"""The command line: one file per group of commands.

In: arguments. Out: text on stdout, one-line errors on stderr, an exit code.
Knows nothing of: how anything is computed.
"""

from whisperlite.cli.main import main

__all__ = ["main"]
