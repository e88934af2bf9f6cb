"""Rooms import only rooms below them: read from the source, local and TYPE_CHECKING imports included."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "whisperlite"
LAYER = {
    "errors": 0, "replace": 0, "results": 0,
    "knobs": 1,
    "trace": 2,
    "folders": 3, "quant": 3,
    "kernels": 4, "graph": 4,
    "runtime": 5,
    "audio": 6, "checkpoint": 6, "text": 6,
    "model": 7,
    "decode": 8,
    "transcribe": 9,
    "stream": 10, "writers": 10,
    "api": 11, "compat": 11, "conversion": 11, "inspection": 11,
    "plots": 11, "cli": 11, "__init__": 11, "__main__": 11,
}  # fmt: skip
TOP = 11
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    package = ["whisperlite", *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            found.add(module)
            if module == "whisperlite":
                found.update(f"whisperlite.{alias.name}" for alias in node.names)
    return {name for name in found if name.startswith("whisperlite.")}


def test_every_room_has_a_layer():
    assert {room_of(path) for path in FILES} <= set(LAYER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    for module in imported_modules(path):
        target = module.split(".")[1]
        if target not in LAYER:  # a public name of the package itself
            target = "__init__"
        allowed = target == room or LAYER[target] < LAYER[room] or LAYER[room] == TOP
        assert allowed, f"{path.name} ({room}, layer {LAYER[room]}) imports {module} (layer {LAYER[target]})"
        if room == "graph":
            assert target != "kernels"


def test_numba_is_imported_by_what_asks_it_for_something():
    """Not by the modules of kernels: those are imported where nothing is compiled too."""
    for path in FILES:
        imported = _imports(ast.parse(path.read_text()).body)
        assert not [name for name in imported if name.startswith(("numba", "llvmlite.binding"))], path


def test_graph_does_not_know_numba():
    for path in (PACKAGE / "graph").rglob("*.py"):
        everywhere = ast.walk(ast.parse(path.read_text()))
        assert not [name for name in _imports(everywhere) if name.startswith("numba")], path


def _imports(nodes: Iterable[ast.AST]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names
