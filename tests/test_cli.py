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
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_each import cli_call, cli_each

import whisperlite
from whisperlite.audio.vad import VadOptions
from whisperlite.cli import transcribe
from whisperlite.cli.values import grammar_text, heads, temperatures
from whisperlite.errors import OptionError
from whisperlite.results import Segment
from whisperlite.transcribe import make_options
from whisperlite.writers import OPENAI_FORMATS, SUFFIXES, WriterOptions, output_stems, render, write_text

pytestmark = pytest.mark.usefixtures("compiled_kernels")

LINE = re.compile(r"\[(\d\d:)?\d\d:\d\d\.\d{3} --> (\d\d:)?\d\d:\d\d\.\d{3}\] .*\S")


# No config file of whoever runs the tests takes part.
NO_CONFIG = {**os.environ, "XDG_CONFIG_HOME": "/nowhere", "APPDATA": "/nowhere"}


def cli(*arguments: object, **settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "whisperlite", *map(str, arguments)]
    settings.setdefault("env", NO_CONFIG)
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **settings)


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
    assert "--no-speech-threshold" in cli_call("transcribe", "--help", COLUMNS=200).stdout
    assert "WHISPERLITE_CHECK" in cli_call("knobs").stdout


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
    done = cli_call("transcribe", demo, *arguments, "--output-format", "all", "--output-dir", tmp_path)
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
    done = cli_call("transcribe", tmp_path / "call.wav", demo, "--diarize", "--speakers", "Ann, Bob", *arguments)
    assert done.returncode == 1 and "has 1 channel" in done.stderr  # of the demo
    text = (tmp_path / "call.vtt").read_text()
    assert text.count("<v Ann>") == text.count("<v Bob>") > 0
    assert "] Bob: Hotel" in done.stdout


def test_one_failed_file_does_not_stop_the_others(demo, tmp_path):
    missing = tmp_path / "missing.wav"
    done = cli_call(
        "transcribe", missing, demo, "--model", "nano", "--language", "en", "--output-format", "txt", cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("error: ") and "missing.wav" in done.stderr
    error, summary, reason = done.stderr.splitlines()
    assert re.fullmatch(r"1 done, 1 failed of 2 files; 0:06 of audio in \d+\.\d s, \d+\.\dx real time", summary)
    assert reason == f"failed: {missing}: {error.removeprefix('error: ')}"
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
    done = cli_call("transcribe", *arguments, cwd=tmp_path)
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
    done = cli_call("transcribe", demo, *options, *vad, "--vad-model", "energy")
    assert done.returncode == 0 and all(LINE.fullmatch(line) for line in done.stdout.splitlines())
    assert re.match(r"no speech in \d\.\d\d of 5\.91 s\n", done.stderr)
    assert "] silent: vad_filter, probability of speech under 0.5\n" in done.stderr
    assert " silent: " not in cli_call("transcribe", demo, *options).stderr
    fails(cli_call("transcribe", demo, *options, "--vad", "--vad-model", "nix"), 2, "vad model 'nix'")
    fails(cli_call("transcribe", demo, *options, "--vad-threshold", 0.3), 2, "needs vad_filter=True")


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
    "batch of one file": (["x.wav", "--batch-size", "2"], "batch_size=2 of one file"),
    "beam and best": (["x.wav", "--beam-size", "0"], "beam_size=0"),
    "clips": (["x.wav", "--clip-timestamps", "3,2"], "ends before it"),
    "backend": (["x.wav", "--backend", "abacus", "--model", "nano"], "abacus"),
}


BAD_OF_OPENAI = {
    "device": (["x.wav", "--device", "cuda"], "--device 'cuda'"),
    "fp16": (["x.wav", "--fp16", "True"], "--compute-type"),
    "resume without outputs": (["x.wav", "--resume"], "--resume needs outputs"),
}
WRONG_CALLS = USAGE | BAD_OF_OPENAI


@pytest.fixture(scope="module")
def wrong_calls():
    return cli_each(
        {name: ["sing"] if given is None else ["transcribe", *given] for name, (given, _) in WRONG_CALLS.items()}
    )


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_wrong_calls(name, wrong_calls):
    fails(wrong_calls[name], 2, WRONG_CALLS[name][1])


def test_a_wrong_call_ends_the_process_with_2():
    fails(cli("transcribe", "x.wav", "--bogus"), 2, "--bogus")


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


def test_bad_audio(demo, tmp_path):
    paths = [
        bad_file(name, tmp_path, demo) for name in ("missing", "empty", "text", "truncated", "no_samples", "nan")
    ]
    assert len(paths) == len(set(paths)) == 6
    done = cli_each({path.name: ["transcribe", path, "--model", "nano"] for path in paths})
    for name, found in done.items():
        fails(found, 1, name)
    fails(cli("transcribe", paths[0], "--model", "nano"), 1, paths[0].name)


def test_bad_models(demo, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"not a model at all")
    models = (tmp_path / "model.pt", tmp_path / "none.pt", tmp_path)
    for name, done in cli_each({model.name: ["transcribe", demo, "--model", model] for model in models}).items():
        fails(done, 1, name)


def test_folder_that_cannot_be_written(demo, tmp_path):
    (tmp_path / "file").write_text("")
    done = cli_call(
        "transcribe", demo, "--model", "nano", "--language", "en", "-q", "--output-dir", tmp_path / "file"
    )
    fails(done, 1, "file")


def test_interrupt_is_quiet(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 16000 * 600), 16000)
    command = [sys.executable, "-m", "whisperlite", "transcribe", str(tmp_path / "long.wav"), "--model", "nano"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None and "detected language" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert "Traceback" not in errors
    assert process.returncode == 130


# pure parts


def test_temperatures():
    assert temperatures(0.0, 0.2) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert temperatures(0.5, 0.25) == (0.5, 0.75, 1.0)
    assert temperatures(0.3, None) == (0.3,)
    assert temperatures("1.5", 0.2) == (1.5,)
    assert temperatures("0,0.5", 0.2) == (0.0, 0.5)
    with pytest.raises(OptionError, match="--temperature 'warm'"):
        temperatures("warm", 0.2)


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
    layout = {field.name for field in dataclasses.fields(WriterOptions)}
    assert layout == set(transcribe.LAYOUT_OPTIONS) and set(transcribe.MODEL_OPTIONS) < parameters
    own = {
        *vad, *layout, *transcribe.MODEL_OPTIONS, "files", "device", "fp16", "temperature_increment_on_fallback",
        "diarize", "speakers", "output_dir", "output_format", "resume", "json_lines", "quiet", "verbose",
        "progress",
    }  # fmt: skip
    assert parameters - set(OPTION_NAMES) == own
    assert set(inspect.signature(transcribe.translate).parameters) == parameters - {"task"}


def test_defaults_are_those_of_the_engine():
    parameters = inspect.signature(transcribe.transcribe).parameters
    given = {name: parameter.default for name, parameter in parameters.items()}
    assert make_options(**transcribe.engine_options(given, ())) == make_options(
        temperature=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    )


def test_heads_and_grammars(tmp_path):
    assert heads(None) is None and heads("2") == 2
    assert heads("2.0,3.1") == [(2, 0), (3, 1)]
    with pytest.raises(OptionError, match="--alignment-heads 'x'"):
        heads("x")
    text = 'root ::= "a"'
    assert grammar_text(None) is None and grammar_text(text) == text
    (tmp_path / "g.gbnf").write_text(text)
    assert grammar_text(str(tmp_path / "g.gbnf")) == text
    with pytest.raises(OptionError, match="give GBNF, or a file"):
        grammar_text(str(tmp_path / "none.gbnf"))


def test_a_call_of_openais_command_line(demo, tmp_path):
    arguments = (
        f"--model nano --model_dir {tmp_path} --device cpu -o {tmp_path} -f srt --verbose False --task transcribe "
        "--language English --temperature 0 --best_of None --beam_size 2 --patience 1.0 --length_penalty None "
        "--suppress_tokens -1 --condition_on_previous_text False --fp16 False --word_timestamps True "
        "--temperature_increment_on_fallback None --compression_ratio_threshold 2.4 --logprob_threshold None "
        "--no_speech_threshold 0.6 --highlight_words False --max_words_per_line 3 --threads 0 --clip_timestamps 0 "
        "--hallucination_silence_threshold None --carry_initial_prompt False"
    )
    done = cli_call("transcribe", demo, *arguments.split())
    assert done.returncode == 0 and done.stdout == done.stderr == ""
    assert (tmp_path / "demo.srt").read_text().count("-->") >= 2


def test_translate_is_a_task(demo):
    arguments = ["--model", "nano", "--language", "en"]
    done = cli("translate", demo, *arguments)
    assert (
        done.returncode == 0
        and done.stdout == cli_call("transcribe", demo, *arguments, "--task", "translate").stdout
    )
    fails(cli_call("translate", demo, "--task", "translate"), 2, "--task")


def test_folders_globs_and_resume(demo, tmp_path):
    for name in ("a", "deep/b", "deep/c"):
        path = tmp_path / f"{name}.flac"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(Path(demo).read_bytes())
    (tmp_path / "deep" / "c.flac").write_bytes(b"no audio at all")
    out = tmp_path / "out"
    arguments = [tmp_path, "--model", "nano", "--language", "en", "-q", "-f", "txt,srt", "-o", out, "--resume"]
    first = cli_call("transcribe", *arguments)
    assert first.returncode == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.srt", "a.txt", "b.srt", "b.txt"]
    assert "2 done, 1 failed of 3 files" in first.stderr
    (out / "b.srt").unlink()
    os.utime(out / "a.srt", (2e9, 2e9))
    marked = (out / "a.txt").stat().st_mtime_ns
    again = cli_call("transcribe", *arguments)
    assert "1 done, 1 skipped, 1 failed of 3 files" in again.stderr
    assert f"{tmp_path / 'a.flac'}: finished before" in again.stderr
    assert (out / "b.srt").is_file() and (out / "a.txt").stat().st_mtime_ns == marked
    os.utime(tmp_path / "a.flac", (3e9, 3e9))  # recorded anew
    only = cli_call("transcribe", str(tmp_path / "*.flac"), *arguments[1:])
    assert only.returncode == 0 and only.stderr == "" and (out / "a.txt").stat().st_mtime_ns > marked


def test_a_folder_with_one_file_is_a_batch_of_files(demo, tmp_path):
    (tmp_path / "a.flac").write_bytes(Path(demo).read_bytes())
    arguments = ["--model", "nano", "--language", "en", "--batch-size", 4]
    done = cli_call("transcribe", tmp_path, *arguments)
    assert done.returncode == 0 and done.stdout == cli_call("transcribe", demo, *arguments[:-2]).stdout
    parts = ["--condition-on-previous-text", "False", "--vad", "--chunk-length", 30]
    assert LINE.match(cli_call("transcribe", demo, *arguments, *parts).stdout)


def test_all_finished_needs_no_model(demo, tmp_path):
    arguments = [demo, "--language", "en", "-f", "txt", "-o", tmp_path, "--resume", "--model"]
    assert cli_call("transcribe", *arguments, "nano").returncode == 0
    done = cli_call("transcribe", *arguments, tmp_path / "none.pt")
    assert done.returncode == 0 and done.stdout == "" and "finished before" in done.stderr


def test_json_lines(demo, tmp_path):
    missing = tmp_path / "missing.wav"
    arguments = [demo, missing, "--model", "nano", "--json-lines", "-f", "txt", "-o", tmp_path]
    done = cli_call("transcribe", *arguments, "--verbose")
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == [
        "start", "segment", "segment", "window", "done", "failed", "summary",
    ]  # fmt: skip
    assert events[0]["language"] == "en" and 0 < events[0]["language_probability"] <= 1
    assert events[1]["text"] == " Hotel one left three kilo." and events[1]["file"] == demo
    assert events[3]["verdict"] == "transcribed" and events[3]["attempts"][0]["temperature"] == 0
    assert events[4]["outputs"] == [str(tmp_path / "demo.txt")] and events[4]["speed"] > 0
    assert events[4]["accounts"][0][-1]["end"] == events[4]["duration"]
    assert "missing.wav" in events[5]["error"]
    assert {name: events[6][name] for name in ("files", "done", "skipped", "failed", "not_started")} == {
        "files": 2, "done": 1, "skipped": 0, "failed": 1, "not_started": 0,
    }  # fmt: skip
    drafted = cli_call("transcribe", demo, "--model", "nano", "--draft", "nano", "--json-lines", "--verbose").stdout
    assert json.loads(drafted.splitlines()[3])["attempts"][0]["draft"]["drafted"] >= 0
    quiet = cli_call("transcribe", demo, "--model", "nano", "--json-lines", "--quiet").stdout
    assert [json.loads(line)["event"] for line in quiet.splitlines()] == ["start", "done", "summary"]


def test_a_reader_that_has_enough_is_no_error(demo):
    command = [sys.executable, "-m", "whisperlite", "transcribe", demo, demo, "--model", "nano", "--json-lines"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=NO_CONFIG)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=600) == 0 and process.stderr.read() == ""


def test_interrupt_tells_what_was_done(demo, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 16000 * 600), 16000)
    command = [
        sys.executable,
        "-m",
        "whisperlite",
        "transcribe",
        demo,
        str(tmp_path / "long.wav"),
        "--model",
        "nano",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("long.wav" in line for line in process.stdout)  # its heading
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130 and "1 done, 1 not started of 2 files" in errors


def test_words_batch_and_record(demo, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000 * 2), 16000)
    arguments = ["--model", "nano", "--language", "en", "--word-timestamps", "--alternatives", 1, "--verbose"]
    done = cli_call(
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
