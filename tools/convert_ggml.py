"""Convert any Whisper model to a ggml file of whisper.cpp or to a Hugging Face folder.

In: a path or model name, a target, a type. Out: the file or folder.
Knows nothing of: formats (``whisperlite.checkpoint.convert`` does the work).

    python tools/convert_ggml.py base ggml-base-q5_0.bin --type q5_0
    python tools/convert_ggml.py ggml-base.bin base-folder --format hf
"""

from __future__ import annotations

import argparse
import sys

from whisperlite.checkpoint import resolve
from whisperlite.checkpoint.convert import FORMATS, convert
from whisperlite.conversion import companions
from whisperlite.errors import WhisperliteError
from whisperlite.quant import FORMATS as TYPES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", help="path, size name, owner/name of the hub, or nano")
    parser.add_argument("target", help="file (ggml) or folder (hf) to write")
    parser.add_argument("--format", choices=FORMATS, default="ggml")
    parser.add_argument("--type", choices=tuple(TYPES), default="f16")
    options = parser.parse_args(arguments)

    def show(name: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{total} {name:60.60}", end="" if done < total else "\n", file=sys.stderr)

    try:
        path = convert(
            resolve(options.source), options.target, options.format, options.type, companions, progress=show
        )
    except WhisperliteError as error:
        print(f"convert_ggml: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
