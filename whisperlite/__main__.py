"""``python -m whisperlite``.

In: the command line. Out: an exit code. Knows nothing of: the commands.
"""

import sys

from whisperlite.cli import main

if __name__ == "__main__":
    sys.exit(main())
