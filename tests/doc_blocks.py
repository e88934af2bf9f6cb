"""The code blocks of README.md and docs/: which there are, and running them.

In: Markdown. Out: ``Block`` records; what running one printed.
Knows nothing of: which page needs what.

A block of language ``python`` or ``sh`` is run unless its first line is ``# not run by the tests: REASON``. A block
of another language with a path as title, ``title="whisperlite/x.py"``, is an excerpt of that file, and so is a
``python`` block with such a title. A ``text`` block titled "Output" is what the block before it prints.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

REPOSITORY = Path(__file__).parent.parent
NOT_RUN = re.compile(r"# not run by the tests: (.+)")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S
)
AUDIO_NAME = re.compile(r"[\w./-]*\w\.(?:flac|wav|ogg|mp3)\b")
SIMPLE = re.compile(r"((?:[A-Z_]+=\S* )*)whisperlite\b(.*)")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``line`` is that of its fence, from 1."""

    page: str
    line: int
    language: str
    title: str
    text: str

    @property
    def not_run(self) -> str:
        """Why it is not run; empty where it is."""
        match = NOT_RUN.match(self.text)
        return match[1] if match else ""

    @property
    def is_excerpt(self) -> bool:
        return "/" in self.title

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """README.md and the pages of the site."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    content = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(content):
        title = re.search(r'title="([^"]*)"', match["rest"])
        line = content.count("\n", 0, match.start()) + 1
        name = page.relative_to(REPOSITORY).as_posix()
        text = re.sub(f"^{match['indent']}", "", match["text"], flags=re.M)
        found.append(Block(name, line, match["language"], title[1] if title else "", text))
    return found


def provide_audio(text: str, folder: Path) -> None:
    """Put the demo's sound where a block names an audio file that is not there."""
    import soundfile

    import whisperlite

    samples, rate = soundfile.read(whisperlite.demo_audio(), dtype="float32")
    for name in set(AUDIO_NAME.findall(text)):
        path = folder / name
        if not path.is_absolute() or path.is_relative_to(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                soundfile.write(path, samples, rate)


def run_python(block: Block, names: dict[str, Any]) -> str:
    """Run a block, a session with ``>>>`` or plain code, and return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if block.text.lstrip().startswith(">>>"):
            examples = doctest.DocTestParser().get_doctest(block.text, names, str(block), block.page, block.line)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
            runner.run(examples, out=printed.write, clear_globs=False)
            names.update(examples.globs)
            assert not runner.failures, printed.getvalue()
        else:
            code = "\n" * block.line + block.text  # line numbers of errors are the page's
            exec(compile(code, block.page, "exec"), names)
    return printed.getvalue()


def run_shell(block: Block, folder: Path) -> str:
    """Run a block line by line and return what it printed.

    ``whisperlite ...``, with or without ``NAME=value`` before it, runs in this process, which saves the start of an
    interpreter; a line with pipes, redirections or patterns in bash. ``pip install`` is not run: its extras are
    looked up in pyproject.toml.
    """
    printed = ""
    for line in _lines(block.text):
        if line.startswith("pip install"):
            line = _checked_install(line)
            if not line:
                continue
        simple = SIMPLE.fullmatch(line)
        if simple and not re.search(r"[|<>$;*?&]", line):
            printed += _run_command(shlex.split(simple[2], comments=True), simple[1])
        else:
            printed += _run_bash(line, folder)
    return printed


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _checked_install(line: str) -> str:
    """What stands after a ``pip install``; its extras must exist."""
    install, _, rest = line.partition("&&")
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for group in re.findall(r"\[([\w,]+)\]", install):
        missing = set(group.split(",")) - set(extras)
        assert not missing, f"{line}: pyproject.toml has no extra {missing}"
    return rest.strip()


def _run_command(arguments: list[str], settings: str) -> str:
    from whisperlite.cli import main

    printed, errors = io.StringIO(), io.StringIO()
    variables = dict(setting.split("=", 1) for setting in settings.split())
    with (
        mock.patch.dict(os.environ, variables),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
    ):
        code = main(arguments)
    assert code == 0, f"whisperlite {shlex.join(arguments)}: exit code {code}\n{errors.getvalue()}"
    return printed.getvalue()


def _run_bash(line: str, folder: Path) -> str:
    programs = folder / ".bin"
    programs.mkdir(exist_ok=True)
    for name, module in (("whisperlite", "whisperlite"), ("python", "")):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {f"-m {module}" if module else ""} "$@"\n')
        script.chmod(0o755)
    paths = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    command = ["bash", "-eu", "-o", "pipefail", "-c", line]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **paths}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{line}: exit code {done.returncode}\n{done.stderr}"
    return done.stdout


def same_output(expected: str, printed: str) -> bool:
    """Whether they are the same but for spaces at line ends; a line ``...`` stands for any lines."""
    wanted = [line.rstrip() for line in expected.strip("\n").splitlines()]
    given = [line.rstrip() for line in printed.strip("\n").splitlines()]
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in wanted)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in given)) is not None


def has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
