"""Record the parameters of other engines, from their sources, in tests/fixtures/peer_parameters.json.

    python tools/peer_parameters.py WHISPER FASTER_WHISPER WHISPER_CPP

In: checkouts (or installed packages) of openai-whisper, faster-whisper and whisper.cpp. Out: for each function or
program the names of its parameters; those of a command line with all their spellings.
Knows nothing of: what they mean, whisperlite.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent.parent / "tests" / "fixtures" / "peer_parameters.json"
Names = list[list[str]]


def openai_whisper(package: Path) -> dict[str, Names]:
    """Of the folder ``whisper``."""
    transcribe = ast.parse((package / "transcribe.py").read_text(encoding="utf-8"))
    return {
        "whisper.load_model": _parameters(_find(package / "__init__.py", "load_model")),
        "whisper.transcribe": _parameters(_find(package / "transcribe.py", "transcribe")),
        "whisper.DecodingOptions": _fields(_find(package / "decoding.py", "DecodingOptions")),
        "whisper (command)": [
            [ast.literal_eval(argument) for argument in call.args]
            for call in ast.walk(transcribe)
            if isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "add_argument"
        ],
    }


def faster_whisper(package: Path) -> dict[str, Names]:
    """Of the folder ``faster_whisper``."""
    source = package / "transcribe.py"
    return {
        "faster_whisper.WhisperModel": _parameters(_find(source, "WhisperModel", "__init__")),
        "faster_whisper.WhisperModel.transcribe": _parameters(_find(source, "WhisperModel", "transcribe")),
        "faster_whisper.WhisperModel.detect_language": _parameters(
            _find(source, "WhisperModel", "detect_language")
        ),
        "faster_whisper.BatchedInferencePipeline.transcribe": _parameters(
            _find(source, "BatchedInferencePipeline", "transcribe")
        ),
        "faster_whisper.vad.VadOptions": _fields(_find(package / "vad.py", "VadOptions")),
    }


def whisper_cpp(checkout: Path) -> dict[str, Names]:
    """Of the programs in ``examples``."""
    return {
        f"whisper-{name}": _cpp_arguments(
            (checkout / "examples" / name / f"{name}.cpp").read_text(encoding="utf-8")
        )
        for name in ("cli", "stream", "bench")
    }


def versions(whisper: Path, faster: Path, cpp: Path) -> dict[str, str]:
    """Version of each."""
    numbers = re.findall(
        r"set\(WHISPER_VERSION_\w+\s+(\d+)\)", (cpp / "CMakeLists.txt").read_text(encoding="utf-8")
    )
    named = {"openai-whisper": whisper, "faster-whisper": faster}
    found = {
        name: re.findall(r'"([^"]+)"$', (folder / "version.py").read_text(encoding="utf-8"), re.MULTILINE)[-1]
        for name, folder in named.items()
    }
    return {**found, "whisper.cpp": ".".join(numbers)}


def _cpp_arguments(source: str) -> Names:
    body = re.search(r"bool whisper_params_parse\(.*?^}", source, re.DOTALL | re.MULTILINE)
    assert body, "whisper_params_parse is not there: the program has changed"
    conditions = re.findall(r'if \(\s*arg == "-[^{]*\{', body[0])
    return [names for text in conditions if (names := re.findall(r'"(-[^"]+)"', text))]


def _find(path: Path, *names: str) -> ast.AST:
    found: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for name in names:
        found = next(node for node in ast.iter_child_nodes(found) if getattr(node, "name", None) == name)
    return found


def _parameters(function: ast.AST) -> Names:
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    names += [f"**{given.kwarg.arg}"] if given.kwarg else []
    return [[name] for name in names if name != "self"]


def _fields(record: ast.AST) -> Names:
    assert isinstance(record, ast.ClassDef)
    return [
        [node.target.id]
        for node in record.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def main() -> None:
    whisper, faster, cpp = map(Path, sys.argv[1:4])
    found: dict[str, Any] = {"versions": versions(whisper, faster, cpp)}
    found |= openai_whisper(whisper) | faster_whisper(faster) | whisper_cpp(cpp)
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(names)}" for name, names in found.items())
    RECORDED.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
