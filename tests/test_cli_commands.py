"""What all commands share, and those that do not transcribe: config, help, completion, inputs, align, warmup."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from cli_each import cli_call, cli_each

import whisperlite
from whisperlite.cli import config
from whisperlite.cli.command import App, plain_flags
from whisperlite.cli.inputs import expand
from whisperlite.cli.main import app
from whisperlite.errors import OptionError
from whisperlite.writers import FORMATS, output_path

pytestmark = pytest.mark.usefixtures("compiled_kernels")

REPOSITORY = Path(__file__).parent.parent
SCREEN_LINES = 24


def cli(*arguments: object, **environment: object) -> subprocess.CompletedProcess[str]:
    """Run a command; no config file of whoever runs the tests takes part."""
    command = [sys.executable, "-m", "whisperlite", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_CONFIG_HOME": "/nowhere", "APPDATA": "/nowhere"}
    env |= {name: str(value) for name, value in environment.items()}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=env)


@pytest.fixture(scope="module")
def demo() -> str:
    return whisperlite.demo_audio()


@pytest.fixture(scope="module")
def commands() -> dict[str, typer.core.TyperCommand]:
    return typer.main.get_command(app).commands


# help and completion


def test_help_of_every_command_is_in_groups_that_fit_a_screen(commands):
    for name, done in cli_each({name: [name, "--help"] for name in commands}, COLUMNS=80).items():
        assert done.returncode == 0 and done.stderr == ""
        for group in done.stdout.split("\n\n")[1:]:
            assert len(group.splitlines()) <= SCREEN_LINES, f"{name}: {group}"
            assert all(len(line) <= 80 for line in group.splitlines())


def test_help_lists_every_command(commands):
    listed = cli("--help").stdout
    assert all(f"  {name} " in listed for name in commands)


def test_completion():
    def complete(words: str) -> list[str]:
        done = cli(_WHISPERLITE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=len(words.split(" ")) - 1)
        return done.stdout.split()

    assert "warmup" in complete("whisperlite war")
    assert "--language-detection-segments" in complete("whisperlite detect-language --language-d")
    assert {"tiny", "tiny.en"} <= set(complete("whisperlite detect-language --model ti"))
    assert "fr" in complete("whisperlite align --language f")
    assert (
        "complete" in cli("--show-completion", "bash").stdout + cli("--show-completion", SHELL="/bin/bash").stdout
    )


# flags


def flags_app() -> list:
    own = App()

    @own.command("run")
    def run(
        both: Annotated[bool, typer.Option("--both-ways/--no-both-ways")] = True,
        one: Annotated[bool, typer.Option("--one-way", "-o")] = False,
        text: Annotated[str, typer.Option()] = "",
    ) -> None: ...

    return typer.main.get_command(own).params


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (["--both_ways", "False"], ["--no-both-ways"]),
        (["--both-ways", "true", "x"], ["--both-ways", "x"]),
        (["--both_ways=False"], ["--no-both-ways"]),
        (["--one_way", "True"], ["--one-way"]),
        (["--one-way", "False", "x"], ["x"]),
        (["-o", "False"], []),
        (["--both-ways", "x"], ["--both-ways", "x"]),
        (["--text", "True"], ["--text", "True"]),
        (["--", "--one-way", "False"], ["--", "--one-way", "False"]),
    ],
)
def test_flags_take_true_and_false(given, plain):
    assert plain_flags(given, flags_app()) == plain


def test_flags_take_nothing_else():
    with pytest.raises(typer.BadParameter, match="give True or False"):
        plain_flags(["--one-way=maybe"], flags_app())


# inputs


def test_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.wav", "a.FLAC", "notes.txt", "deep/c.mp3", ".hidden/d.wav", ".e.wav", "[x].wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    assert expand([str(tmp_path)])[0] == [str(tmp_path / n) for n in ("[x].wav", "a.FLAC", "b.wav", "deep/c.mp3")]
    assert expand(["*.wav"])[0] == ["[x].wav", "b.wav"]
    assert expand(["**/*.mp3"])[0] == [os.path.join("deep", "c.mp3")]
    assert expand(["[x].wav", "-", "notes.txt", "none.wav"])[0] == ["[x].wav", "-", "notes.txt", "none.wav"]
    assert expand(["b.wav", "*.wav", "b.wav"])[0] == ["b.wav", "[x].wav"]
    files, empty = expand(["*.ogg", "empty", "b.wav"])
    assert files == ["b.wav"] and [error.given for error in empty] == ["*.ogg", "empty"]


# config


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_config_gives_defaults_and_the_command_line_wins(demo, tmp_path):
    path = written(tmp_path, 'model = "nano"\n[detect-language]\ntop = 2\njson_lines = true\n')
    lines = cli("detect-language", demo, "--config", path)
    assert len(json.loads(lines.stdout)["probabilities"]) == 2
    other = cli_call("--config", path, "detect-language", demo, "--top", 3, "--no-json-lines")
    assert other.stdout.count("(") == 3


def test_config_in_the_default_place(demo, tmp_path):
    (tmp_path / "whisperlite").mkdir()
    written(tmp_path / "whisperlite", 'model = "nano"\ntop = 4\n')
    place = {"XDG_CONFIG_HOME": tmp_path, "APPDATA": tmp_path}
    assert cli_call("detect-language", demo, **place).stdout.count("(") == 4
    assert cli_call("detect-language", demo, "--config", "none", "--model", "nano", **place).stdout.count("(") == 1


BAD_CONFIGS = {
    "not TOML": ("a = ", "give a TOML file"),
    "unknown option": ("modle = 'nano'", "no command has an option 'modle'; did you mean model?"),
    "unknown table": ("[detect-langage]\ntop = 2", "[detect-langage] is not a command; did you mean"),
    "option of another command": ("[models]\ntop = 2", "[models] has no option 'top'"),
    "flag": ("json_lines = 'yes'", "give true or false"),
    "number": ("[detect-language]\ntop = true", "give a number, text"),
    "value": ("[detect-language]\ntop = 'many'", "config.toml)"),
    "date": ("model = 2020-01-01", "give a number, text"),
}


@pytest.fixture(scope="module")
def bad_configs(demo, tmp_path_factory):
    calls = {}
    for name, (text, _) in BAD_CONFIGS.items():
        calls[name] = ["detect-language", demo, "--config", written(tmp_path_factory.mktemp("config"), text)]
    return cli_each(calls)


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_config(name, bad_configs):
    done = bad_configs[name]
    assert done.returncode == 2 and BAD_CONFIGS[name][1] in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")


def test_config_that_is_not_there(demo, tmp_path):
    done = cli_call("detect-language", demo, "--config", tmp_path / "none.toml")
    assert done.returncode == 2 and "none.toml" in done.stderr


def test_lists_are_joined():
    class Option:
        name, is_flag = "suppress_tokens", False

    options = {"run": {"suppress-tokens": Option()}}
    found = config.defaults({"run": {"suppress_tokens": [1, 2]}}, options, "run", Path("c.toml"))
    assert found == {"suppress_tokens": "1,2"}
    with pytest.raises(OptionError, match="suppress_tokens = "):
        config.defaults({"run": {"suppress_tokens": [[1]]}}, options, "run", Path("c.toml"))


# languages and words


def test_detect_language(demo, tmp_path):
    done = cli("detect-language", tmp_path / "none.wav", demo, "--model", "nano")
    assert done.returncode == 1
    assert done.stdout == f"{demo}: English (en) {float(done.stdout.split()[-1]):.3f}\n"
    assert done.stderr.startswith("error: ") and "none.wav" in done.stderr
    lines = cli_call("detect-language", demo, tmp_path, "--model", "nano", "--json-lines").stdout.splitlines()
    events = {event["event"]: event for event in map(json.loads, lines)}
    assert events["language"]["language"] == "en" and events["failed"]["file"] == str(tmp_path)


def test_align(demo, tmp_path):
    text = "Hotel one left three kilo.\nTango."
    (tmp_path / "said.txt").write_text(text)
    arguments = ["align", demo, "--model", "nano", "--language", "en"]
    done = cli(*arguments, "--text-file", tmp_path / "said.txt")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[3] for row in rows] == text.split()
    times = [float(value) for row in rows for value in row[:2]]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= 6.1
    same = cli_call(*arguments, "--text", text, "--json-lines").stdout.splitlines()
    assert [json.loads(line)["word"].strip() for line in same] == text.split()


def test_align_writes_what_transcribe_writes(demo, tmp_path):
    (tmp_path / "said.txt").write_text("Hotel one left three\nkilo. Tango.\n")
    common = ["align", demo, "--model", "nano", "--language", "en", "-o", tmp_path / "out"]
    written = ["-f", "all", "--max-words-per-line", 3, "--json-lines"]
    done = cli_call(*common, "--text-file", tmp_path / "said.txt", *written)
    *words, last = map(json.loads, done.stdout.splitlines())
    assert [event["event"] for event in words] == ["word"] * 6
    paths = [output_path(tmp_path / "out", "demo", name) for name in FORMATS]
    assert last["event"] == "done" and last["outputs"] == [str(path) for path in paths]
    assert all(path.stat().st_size for path in paths)
    cues = pytest.importorskip("pysubs2", reason="pysubs2 is not installed").load(
        str(tmp_path / "out" / "demo.srt")
    )
    assert [cue.plaintext for cue in cues] == ["Hotel one left", "three", "kilo. Tango."]
    times = [cue.start for cue in cues]
    assert times == sorted(times) == [round(1000 * words[i]["start"]) for i in (0, 3, 4)]
    assert (tmp_path / "out" / "demo.txt").read_text() == "Hotel one left three\nkilo. Tango.\n"
    quiet = cli_call(*common, "--text", "Hotel one left three kilo. Tango.", "--quiet")
    assert quiet.returncode == 0 and quiet.stdout == quiet.stderr == ""
    assert json.loads((tmp_path / "out" / "demo.json").read_text())["segments"][1]["text"] == " Tango."


WRONG_ALIGN = [
    ([], "--text"),
    (["--text", "a", "--text-file", "b"], "one of them"),
    (["--text", "  "], "empty"),
    (["--text-file", "none.txt"], "none.txt"),
    (["--text", "a", "--alignment-heads", "x"], "--alignment-heads"),
    (["--text", "a", "--medfilt-width", "4"], "odd"),
    (["--text", "a", "--output-format", "doc"], "--output-format 'doc'"),
    (["--text", "a", "--max-line-count", "2"], "max_line_width"),
]


def test_align_wrong_calls(demo):
    calls = {message: ["align", demo, "--model", "nano", *arguments] for arguments, message in WRONG_ALIGN}
    assert len(calls) == len(WRONG_ALIGN)
    for message, done in cli_each(calls).items():
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


# compiling


@pytest.fixture(scope="module")
def first_runs(demo, tmp_path_factory):
    """A folder for kernels that was empty, and what a command said that found it so, and once more."""
    folder = tmp_path_factory.mktemp("kernels")
    runs = [cli("detect-language", demo, "--model", "nano", WHISPERLITE_CACHE_DIR=folder) for _ in range(2)]
    return folder, *runs


def test_a_run_that_compiles_says_so_once(first_runs):
    _, first, again = first_runs
    assert len(first.stderr.splitlines()) == 1 and "compiling kernels for this CPU" in first.stderr
    assert again.stderr == "" and again.stdout == first.stdout


def kernels_of(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Kernels that a run with ``WHISPERLITE_DEBUG=1`` compiled, or loaded from the cache."""
    return set(re.findall(r"^whisperlite: (?:compiled|loaded) (\w+) in ", done.stderr, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("compute_type", ["default", "float32", "bfloat16", "int8"])
def test_nothing_is_compiled_after_warmup(compute_type, demo, first_runs):
    """One type in a folder of its own, the others in that of all tests: what a warmup does not touch may be there
    already, so it counts as well that it touches all that the runs after it need.
    """
    common = ["--model", "nano", "--compute-type", compute_type]
    place = {"WHISPERLITE_DEBUG": 1}
    if compute_type == "default":
        place["WHISPERLITE_CACHE_DIR"] = first_runs[0]
    done = cli("warmup", *common, **place)
    assert done.returncode == 0
    if compute_type == "default":
        assert done.stdout.startswith("compiled ") and re.search(r"^compiled \w+ in ", done.stderr, re.MULTILINE)
    warm = kernels_of(done)
    assert "log_mel_f32" in warm and len(warm) > 10
    assert cli("warmup", *common, **place).stdout.startswith("nothing to compile")
    runs = {
        "words": [demo, "--word-timestamps"],
        "beams": [demo, "--beam-size", 3, "--temperature", 0],
        "samples": [demo, "--temperature", 0.5],
        "batch": [demo, demo.replace("demo", "./demo"), "--batch-size", 2],
    }
    calls = {name: ["transcribe", *options, *common] for name, options in runs.items()}
    after = cli_each(calls, alone=True, **place)  # in one process: each says what those before it have not loaded
    assert all(done.returncode == 0 and "compil" not in done.stderr for done in after.values())
    assert "log_mel_f32" in set.union(*map(kernels_of, after.values())) <= warm


def test_warmup_needs_a_folder_and_numba():
    assert "WHISPERLITE_CACHE_DIR" in cli("warmup", WHISPERLITE_CACHE_DIR="/dev/null/x").stderr
    done = cli("warmup", "--backend", "numpy")
    assert done.returncode == 2 and "compiles nothing" in done.stderr
