"""Which audio files a command works on.

In: what was typed: files, globs, folders, ``-``. Out: paths, in an order that does not change between runs.
Knows nothing of: what is done with them.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from whisperlite.errors import AudioError

STANDARD_INPUT = "-"
# What is taken from a folder; a file named by itself may be called anything.
AUDIO_SUFFIXES = frozenset({
    ".aac", ".aif", ".aiff", ".amr", ".au", ".avi", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp2",
    ".mp3", ".mp4", ".mpeg", ".mpg", ".oga", ".ogg", ".ogv", ".opus", ".w64", ".wav", ".webm", ".wma", ".wv",
})  # fmt: skip


class NoInputError(AudioError):
    """A folder or a glob holds no audio. ``given`` is how it was typed."""

    def __init__(self, given: str, message: str):
        super().__init__(message)
        self.given = given


def expand(given: Sequence[str]) -> tuple[list[str], list[NoInputError]]:
    """Files of all inputs in their order, none twice; and the inputs that hold nothing.

    A folder stands for the audio files in it and in its folders, by suffix, sorted; hidden ones are left out. A
    name with ``*``, ``?`` or ``[`` that is not a file stands for the files it matches; ``**`` is any folders in
    between. ``-`` is standard input. Any other name stands for itself, be it there or not.
    """
    found: dict[str, None] = {}
    empty = []
    for name in given:
        try:
            found |= dict.fromkeys(_files_of(name))
        except NoInputError as error:
            empty.append(error)
    return list(found), empty


def _files_of(name: str) -> list[str]:
    if name == STANDARD_INPUT:
        return [name]
    if os.path.isdir(name):
        files = sorted(_audio_in(Path(name)))
        if not files:
            raise NoInputError(name, f"{name}: no audio files in this folder; name the files, or another folder")
        return files
    if glob.has_magic(name) and not os.path.exists(name):
        matches = sorted(glob.glob(os.path.expanduser(name), recursive=True))
        files = [match for match in matches if not os.path.isdir(match)]
        if not files:
            raise NoInputError(name, f"{name}: matches no file")
        return files
    return [name]


def _audio_in(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if Path(name).suffix.lower() in AUDIO_SUFFIXES and not name.startswith("."):
                yield os.path.join(place, name)
