"""Pages for people who come from another engine: every parameter of it has a row, and what a row offers exists."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import typer

import whisperlite
from whisperlite.audio.vad import VadOptions
from whisperlite.cli.main import app
from whisperlite.transcribe.options import OPTION_NAMES

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY / "tools"))
import peer_parameters  # noqa: E402

RECORDED: dict[str, list[list[str]]] = json.loads(peer_parameters.RECORDED.read_text())
VERSIONS = RECORDED.pop("versions")
PAGES = [REPOSITORY / "docs" / f"from_{name}.md" for name in ("openai_whisper", "faster_whisper", "whisper_cpp")]
MARK = re.compile(
    r"<!-- peer: (?P<peer>[^;]+?)(?:; (?P<key>command|but): (?P<value>.+?))? -->\n\n(?P<table>(?:\|.*\n)+)"
)
CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Table:
    """A table of one function or program; ``rows`` are names there, what is here, and a note."""

    peer: str
    command: str
    besides: str
    rows: tuple[tuple[tuple[str, ...], str, str], ...]


def tables() -> dict[str, Table]:
    found = {}
    for page in PAGES:
        for match in MARK.finditer(page.read_text(encoding="utf-8")):
            rows = []
            for line in match["table"].splitlines()[2:]:
                there, here, note = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
                rows.append((tuple(CODE.findall(there)), here, note))
            command = match["value"] if match["key"] == "command" else ""
            besides = match["value"] if match["key"] == "but" else ""
            assert match["peer"] not in found, f"{page.name} has a second table of {match['peer']}"
            found[match["peer"]] = Table(match["peer"], command, besides, tuple(rows))
    return found


TABLES = tables()


def missing_and_unknown(peer: str, parameters: list[list[str]]) -> tuple[set, set]:
    """Parameters without a row, and rows without a parameter."""
    table = TABLES[peer]
    rows = {names for names, _, _ in table.rows}
    if table.besides:
        rows |= {names for names, _, _ in TABLES[table.besides].rows}
    wanted = {tuple(names) for names in parameters}
    return wanted - rows, rows - wanted


@pytest.mark.parametrize("peer", RECORDED)
def test_every_parameter_has_a_row(peer):
    missing, unknown = missing_and_unknown(peer, RECORDED[peer])
    assert not missing and not unknown, f"without a row: {missing}; rows of nothing: {unknown}"


def installed(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


LIVE: dict[str, Callable[[Path], dict[str, list[list[str]]]]] = {
    "whisper": peer_parameters.openai_whisper,
    "faster_whisper": peer_parameters.faster_whisper,
}


@pytest.mark.peer
@pytest.mark.parametrize("package", LIVE)
def test_every_parameter_of_the_installed_package_has_a_row(package):
    folder = installed(package)
    if folder is None:
        pytest.skip(f"{package} is not installed")
    for peer, parameters in LIVE[package](folder).items():
        missing, _ = missing_and_unknown(peer, parameters)
        assert not missing, f"{peer} without a row: {missing}"


@pytest.mark.peer
def test_every_parameter_of_a_checkout_of_whisper_cpp_has_a_row():
    checkout = os.environ.get("WHISPERLITE_WHISPER_CPP")
    if not checkout:
        pytest.skip("WHISPERLITE_WHISPER_CPP does not name a checkout of whisper.cpp")
    for peer, parameters in peer_parameters.whisper_cpp(Path(checkout)).items():
        missing, _ = missing_and_unknown(peer, parameters)
        assert not missing, f"{peer} without a row: {missing}"


def test_pages_name_the_recorded_versions():
    for page, version in zip(PAGES, VERSIONS.values(), strict=True):
        assert version in page.read_text(encoding="utf-8"), f"{page.name} does not name {version}"


COMMANDS = typer.main.get_command(app).commands


def flags(command: str) -> set[str]:
    return {"--help"} | {flag for item in COMMANDS[command].params for flag in (*item.opts, *item.secondary_opts)}


def python_names() -> set[str]:
    """What a row of a Python table may offer."""
    model = whisperlite.WhisperModel
    names = set(OPTION_NAMES) | {"audio", "verbose"} | {item.name for item in fields(VadOptions)}
    for function in (model.__init__, model.detect_language):
        names |= set(inspect.signature(function).parameters)
    return names | {name for name in dir(model) if not name.startswith("_")}


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.peer)
def test_what_a_row_offers_exists(table):
    """A row offers options that there are, or says ``none`` and why."""
    for names, here, note in table.rows:
        if here == "none":
            assert note, f"{names}: say why there is none"
            continue
        offered = CODE.findall(here)
        assert offered or "below" in here, f"{names}: {here}"
        for text in offered:
            if text == "FILES":
                continue
            if text == "whisperlite --version":
                assert "version" in {item.name for item in typer.main.get_command(app).params}
            elif text.startswith("whisperlite "):
                assert text.split()[1] in COMMANDS, f"{names}: there is no command {text}"
            elif table.command:
                assert table.command in COMMANDS, f"there is no command {table.command}"
                assert text in flags(table.command), f"{names}: {table.command} has no {text}"
            else:
                assert text in python_names(), f"{names}: there is no {text}"
