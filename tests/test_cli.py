"""The command line as a process: text, files, exit codes, one-line errors."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import whisperlite
from whisperlite.audio.vad import VadOptions
from whisperlite.cli import transcribe
from whisperlite.cli.transcribe import temperatures
from whisperlite.errors import OptionError
from whisperlite.results import Segment
from whisperlite.writers import OPENAI_FORMATS, SUFFIXES, WriterOptions, output_stems, render, write_text

LINE = re.compile(r"\[(\d\d:)?\d\d:\d\d\.\d{3} --> (\d\d:)?\d\d:\d\d\.\d{3}\] .*\S")


def cli(*arguments: object, **settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "whisperlite", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **settings)


def fails(done: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    assert done.returncode == code, done
    errors = done.stderr.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: "), done.stderr
    assert message in errors[0]


@pytest.fixture(scope="module")
def demo() -> str:
    return whisperlite.demo_audio()


def test_demo():
    done = cli("demo")
    assert done.returncode == 0
    assert all(LINE.fullmatch(line) for line in done.stdout.splitlines())
    assert done.stdout


def test_version_help_and_knobs():
    assert cli("--version").stdout == f"whisperlite {whisperlite.__version__}\n"
    assert "--no-speech-threshold" in cli("transcribe", "--help", env={**os.environ, "COLUMNS": "200"}).stdout
    assert "WHISPERLITE_CHECK" in cli("knobs").stdout


def test_transcribe_prints_and_writes_openais_formats(demo, tmp_path):
    done = cli("transcribe", demo, "--model", "nano", "--language", "en", "--output_dir", tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines and all(LINE.fullmatch(line) for line in lines)
    assert {path.name for path in tmp_path.iterdir()} == {f"demo.{name}" for name in OPENAI_FORMATS}
    result = json.loads((tmp_path / "demo.json").read_text())
    assert [segment["text"] for segment in result["segments"] if segment["text"]] == [
        line.split("] ")[1] for line in lines
    ]


def test_every_format_and_layout(demo, tmp_path):
    arguments = ["--model", "nano", "--language", "en", "--word-timestamps", "--quiet", "--max_words_per_line", 2]
    done = cli("transcribe", demo, *arguments, "--output-format", "all", "--output-dir", tmp_path)
    assert done.returncode == 0 and done.stdout == done.stderr == ""
    assert {path.name for path in tmp_path.iterdir()} == {f"demo{suffix}" for suffix in SUFFIXES.values()}
    cues = (tmp_path / "demo.srt").read_text().strip().split("\n\n")
    assert all(len(cue.split("\n")[2].split()) <= 2 for cue in cues) and len(cues) > 2
    full = json.loads((tmp_path / "demo.full.json").read_text())
    first = full["segments"][0]["token_probabilities"][1]
    assert first["text"] == " Hotel" and 0 < first["probability"] <= 1
    assert full["windows"][0]["attempts"] and full["account"][-1]["end"] == full["duration"]


def test_two_channels_as_speakers(demo, tmp_path):
    samples = whisperlite.load_audio(demo)
    late = np.concatenate([np.zeros(16000, np.float32), samples])[: len(samples)]
    soundfile.write(tmp_path / "call.wav", np.stack([samples, late], axis=1), 16000)
    arguments = ["--model", "nano", "--language", "en", "--output-format", "vtt", "--output-dir", tmp_path]
    done = cli("transcribe", tmp_path / "call.wav", demo, "--diarize", "--speakers", "Ann, Bob", *arguments)
    assert done.returncode == 1 and "has 1 channel" in done.stderr  # of the demo
    text = (tmp_path / "call.vtt").read_text()
    assert text.count("<v Ann>") == text.count("<v Bob>") > 0
    assert "] Bob: Hotel" in done.stdout


def test_one_failed_file_does_not_stop_the_others(demo, tmp_path):
    missing = tmp_path / "missing.wav"
    done = cli(
        "transcribe", missing, demo, "--model", "nano", "--language", "en", "--output-format", "txt", cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("error: ") and "missing.wav" in done.stderr
    assert done.stderr.splitlines()[1] == "1 of 2 files failed"
    assert (tmp_path / "demo.txt").read_text().strip()


def test_inputs_of_one_name_do_not_overwrite_each_other(demo, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.flac").write_bytes(Path(demo).read_bytes())
    arguments = [
        "a/x.flac",
        "b/x.flac",
        "--model",
        "nano",
        "--language",
        "en",
        "--output-format",
        "srt,tsv",
        "--quiet",
    ]
    done = cli("transcribe", *arguments, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == ""
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [
        "x.flac-2.srt",
        "x.flac-2.tsv",
        "x.flac.srt",
        "x.flac.tsv",
    ]


def test_speech_alone(demo):
    options = ["--model", "nano", "--language", "en", "--verbose"]
    vad = ["--vad-filter", "--vad-min-silence-duration-ms", 500, "--vad_speech_pad_ms", 100]
    done = cli("transcribe", demo, *options, *vad, "--vad-model", "energy")
    assert done.returncode == 0 and all(LINE.fullmatch(line) for line in done.stdout.splitlines())
    assert re.match(r"no speech in \d\.\d\d of 5\.91 s\n", done.stderr)
    assert "] silent: vad_filter, probability of speech under 0.5\n" in done.stderr
    assert " silent: " not in cli("transcribe", demo, *options).stderr
    fails(cli("transcribe", demo, *options, "--vad", "--vad-model", "nix"), 2, "vad model 'nix'")
    fails(cli("transcribe", demo, *options, "--vad-threshold", 0.3), 2, "needs vad_filter=True")


def test_audio_from_standard_input(demo):
    with open(demo, "rb") as audio:
        done = cli("transcribe", "-", "--model", "nano", "--language", "en", stdin=audio)
    assert done.returncode == 0 and LINE.match(done.stdout)


USAGE = {
    "no file": ([], "Missing argument"),
    "unknown option": (["x.wav", "--bogus"], "--bogus"),
    "unknown command": (None, "No such command"),
    "task": (["x.wav", "--task", "sing"], "task='sing'"),
    "language": (["x.wav", "--language", "klingon"], "klingon"),
    "threshold": (["x.wav", "--no-speech-threshold", "a"], "'a' is not a number"),
    "format": (["x.wav", "--output-format", "doc"], "'doc'"),
    "layout without words": (["x.wav", "--max-words-per-line", "2"], "needs --word-timestamps"),
    "speakers": (["x.wav", "--speakers", "A,B"], "--speakers needs --diarize"),
    "batches of speakers": (["x.wav", "--diarize", "--batch-size", "2"], "--batch-size has no effect"),
    "beam and best": (["x.wav", "--beam-size", "0"], "beam_size=0"),
    "clips": (["x.wav", "--clip-timestamps", "3,2"], "ends before it"),
    "backend": (["x.wav", "--backend", "abacus", "--model", "nano"], "abacus"),
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_calls(name):
    arguments, message = USAGE[name]
    fails(cli("sing") if arguments is None else cli("transcribe", *arguments), 2, message)


def bad_file(name: str, folder: Path, demo: str) -> Path:
    path = folder / f"{name}.wav"
    if name == "empty":
        path.write_bytes(b"")
    elif name == "text":
        path.write_text("this is not audio\n" * 20)
    elif name == "truncated":
        path = path.with_suffix(".flac")
        path.write_bytes(Path(demo).read_bytes()[:200])
    elif name == "no_samples":
        soundfile.write(path, np.zeros(0, np.float32), 16000)
    elif name == "nan":
        samples = np.zeros(1600, np.float32)
        samples[5] = np.nan
        soundfile.write(path, samples, 16000, subtype="FLOAT")
    return path


@pytest.mark.parametrize("name", ["missing", "empty", "text", "truncated", "no_samples", "nan"])
def test_bad_audio(name, demo, tmp_path):
    path = bad_file(name, tmp_path, demo)
    fails(cli("transcribe", path, "--model", "nano"), 1, path.name)


def test_bad_models(demo, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"not a model at all")
    for model in (tmp_path / "model.pt", tmp_path / "none.pt", tmp_path):
        fails(cli("transcribe", demo, "--model", model), 1, model.name)


def test_folder_that_cannot_be_written(demo, tmp_path):
    (tmp_path / "file").write_text("")
    done = cli("transcribe", demo, "--model", "nano", "--language", "en", "-q", "--output-dir", tmp_path / "file")
    fails(done, 1, "file")


def test_interrupt_is_quiet(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 16000 * 600), 16000)
    command = [sys.executable, "-m", "whisperlite", "transcribe", str(tmp_path / "long.wav"), "--model", "nano"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert process.returncode == 130


# pure parts


def test_temperatures():
    assert temperatures(0.0, 0.2) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert temperatures(0.5, 0.25) == (0.5, 0.75, 1.0)
    assert temperatures(0.3, None) == (0.3,)
    assert temperatures(1.5, 0.2) == (1.5,)


def segment(start: float, end: float, text: str) -> Segment:
    return Segment(0, 0, start, end, text, (1,), 0.0, -0.1, 1.0, 0.0)


class Result(list):
    def to_dict(self):
        return {"text": "".join(s.text for s in self), "segments": [s.to_dict() for s in self], "language": "en"}


def test_formats():
    result = Result([segment(0, 2.5, " One --> two."), segment(3600.25, 3601, " Three\tñ.")])
    texts = render(result, OPENAI_FORMATS)
    assert texts["txt"] == "One --> two.\nThree\tñ.\n"
    assert texts["srt"] == (
        "1\n00:00:00,000 --> 00:00:02,500\nOne -> two.\n\n2\n01:00:00,250 --> 01:00:01,000\nThree\tñ.\n\n"
    )
    assert texts["vtt"] == (
        "WEBVTT\n\n00:00.000 --> 00:02.500\nOne -> two.\n\n01:00:00.250 --> 01:00:01.000\nThree\tñ.\n\n"
    )
    assert texts["tsv"] == "start\tend\ttext\n0\t2500\tOne --> two.\n3600250\t3601000\tThree ñ.\n"
    assert json.loads(texts["json"])["segments"][1]["text"] == " Three\tñ."


def test_output_stems():
    assert output_stems(["a.wav", "b.wav", "-"]) == ["a", "b", "stdin"]
    assert output_stems(["x/a.wav", "y/A.flac"]) == ["a.wav", "A.flac"]
    assert output_stems(["a.wav", "a.wav", "a.wav.mp3"]) == ["a.wav", "a.wav-2", "a.wav-3"]
    assert output_stems([".wav"]) == [".wav"]


def test_write_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "before\n")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_text(path, "after\n")
    assert path.read_text() == "before\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


# options by name


def test_every_option_can_be_given():
    from whisperlite.transcribe.options import OPTION_NAMES

    parameters = set(inspect.signature(transcribe.transcribe).parameters)
    no_names = {"logit_filters", "max_new_tokens", "vad_parameters"}  # a function; another name; one option each
    assert set(OPTION_NAMES) - parameters == no_names
    vad = {f"vad_{field.name}" for field in dataclasses.fields(VadOptions)}
    own = vad | {
        "files", "model", "compute_type", "threads", "backend", "draft", "temperature_increment_on_fallback",
        "output_dir", "output_format", "quiet", "verbose", "diarize", "speakers", *transcribe._WRITER_PARAMETERS,
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(WriterOptions)} == transcribe._WRITER_PARAMETERS
    assert parameters - set(OPTION_NAMES) == own
    chosen_elsewhere = {"temperature", "grammar", "alignment_heads", "batch_size"}
    assert parameters - own - chosen_elsewhere == transcribe._OPTION_PARAMETERS


def test_defaults_are_those_of_the_options():
    from whisperlite.transcribe import WordOptions

    assert WordOptions().prepend_punctuations == transcribe.PREPEND_PUNCTUATIONS
    assert WordOptions().append_punctuations == transcribe.APPEND_PUNCTUATIONS


def test_heads_and_grammars(tmp_path):
    assert transcribe.heads(None) is None and transcribe.heads("2") == 2
    assert transcribe.heads("2.0,3.1") == [(2, 0), (3, 1)]
    with pytest.raises(OptionError, match="--alignment-heads 'x'"):
        transcribe.heads("x")
    text = 'root ::= "a"'
    assert transcribe.grammar_text(None) is None and transcribe.grammar_text(text) == text
    (tmp_path / "g.gbnf").write_text(text)
    assert transcribe.grammar_text(str(tmp_path / "g.gbnf")) == text
    with pytest.raises(OptionError, match="give GBNF, or a file"):
        transcribe.grammar_text(str(tmp_path / "none.gbnf"))


def test_words_batch_and_record(demo, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000 * 2), 16000)
    arguments = ["--model", "nano", "--language", "en", "--word-timestamps", "--alternatives", 1, "--verbose"]
    done = cli(
        "transcribe", demo, tmp_path / "none.wav", tmp_path / "silent.wav", "--batch-size", 2, *arguments,
        "--output-format", "json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1 and "none.wav" in done.stderr
    assert "account:\n[00:00.000 --> " in done.stderr
    segments = json.loads((tmp_path / "demo.json").read_text())["segments"]
    word = segments[0]["words"][0]
    assert word["word"] == " Hotel" and 0 <= word["start"] < word["end"]
    assert len(segments[0]["token_probabilities"]) == len(segments[0]["tokens"])
    assert len(segments[0]["token_probabilities"][0]["alternatives"]) == 1
