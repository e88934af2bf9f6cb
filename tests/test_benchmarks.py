"""The benchmark suite: schema, statistics, comparison, what is missing, captured prints; a slice of each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import captured, history, kernel_cases, side_by_side, stages, tables
from benchmarks.__main__ import COMMANDS, main, make_parser
from benchmarks.compare import changes_of
from benchmarks.machine import ForeignTime, describe, features
from benchmarks.peaks import measure_peaks
from benchmarks.peers import OURS, ROSTER, STAGES
from benchmarks.peers.names import openai_weights
from benchmarks.samples import FIELDS, Row, Series, pair_ratio, read_rows, write_rows
from benchmarks.speculative import ScriptedDraft
from benchmarks.words import Errors, normal_words, timing_errors, word_errors
from whisperlite.decode import DecodingOptions, Draft, decode, make_draft_model

AUDIO = Path(__file__).parent.parent / ".." / "shared" / "audio"
CAPTURED = """
system_info: n_threads = 4 / 8 | AVX2 = 1
whisper_print_timings:     load time =   105.91 ms
whisper_print_timings:     fallbacks =   0 p /   0 h
whisper_print_timings:      mel time =     0.00 ms
whisper_print_timings:   sample time =     0.00 ms /     1 runs (     0.00 ms per run)
whisper_print_timings:   encode time =   437.47 ms /     1 runs (   437.47 ms per run)
whisper_print_timings:   decode time =   512.00 ms /   256 runs (     2.00 ms per run)
whisper_print_timings:   batchd time =   320.00 ms /   320 runs (     1.00 ms per run)
whisper_print_timings:   prompt time =  2048.00 ms /  4096 runs (     0.50 ms per run)
whisper_print_timings:    total time =  3300.00 ms
"""


def a_row(stage="encode", median=100.0, spread=1.0, engine=OURS, compute_type="default", model="tiny"):
    return Row(stage, model, engine, compute_type, 2, median, median - spread, median + spread, 3)


@pytest.fixture(scope="module")
def nano_run(tmp_path_factory):
    """A small slice: nano, one repeat, ours and an engine that is not there."""
    folder = tmp_path_factory.mktemp("run")
    rows, runs = folder / "rows.json", folder / "history.jsonl"
    arguments = [
        "peers", "--sizes", "nano", "--engines", "whisperlite:default,onnxruntime:float32", "--repeats", "1",
        "--tokens", "8", "--steps", "4", "--keep-dirty", "--json", str(rows), "--history", str(runs),
        "--python", "onnxruntime=" + str(folder / "no-such-python"),
    ]  # fmt: skip
    return main(arguments), rows, runs


def test_every_command_has_help():
    for name in COMMANDS:
        assert make_parser([name]).format_help()
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0


def test_peers_writes_the_schema(nano_run):
    code, path, _ = nano_run
    content = json.loads(path.read_text())
    assert code == 0
    assert all(tuple(row) == FIELDS for row in content)
    assert {row["stage"] for row in content} == set(STAGES)
    for row in content:
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]
        assert row["n"] == 1 and row["threads"] == 2 and row["engine"] == OURS


def test_an_engine_that_is_missing_is_named_with_the_reason(nano_run, capsys):
    plan = side_by_side.Plan(
        configurations=[side_by_side.Configuration("onnxruntime", "float32", "/no/such/python")], models=["nano"],
        repeats=1,
    )  # fmt: skip
    outcome = side_by_side.run_side_by_side(plan)
    assert not outcome.series
    ((name, model, reason),) = outcome.left_out
    assert name == "onnxruntime float32" and model == "nano" and "/no/such/python" in reason
    assert reason in tables.left_out_text(outcome.left_out)


def test_a_package_that_is_missing_is_named(monkeypatch):
    from benchmarks.peers import worker

    monkeypatch.setitem(ROSTER, "nobody", ("no_such_file", ("float32",)))
    answer = worker.Server("nobody").answer({"do": "load", "job": {"model": "x"}})
    assert answer["error"].startswith("not installed: ") and "no_such_file" in answer["error"]


def test_an_engine_that_crashes_is_named(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho bad instruction >&2\nkill -ILL $$\n")
    python.chmod(0o755)
    plan = side_by_side.Plan([side_by_side.Configuration("openvino", "float32", str(python))], ["nano"])
    ((_, _, reason),) = side_by_side.run_side_by_side(plan).left_out
    assert "SIGILL" in reason and "bad instruction" in reason


def test_unknown_engines_and_stages_are_refused(capsys):
    assert main(["peers", "--engines", "nobody"]) == 1
    assert main(["peers", "--stages", "sleep"]) == 1
    assert "'nobody'" in (text := capsys.readouterr().err) and "'sleep'" in text


def test_history_holds_commit_machine_and_rows(nano_run, capsys):
    _, path, runs = nano_run
    (entry,) = history.read_history(runs)
    assert entry["rows"] == read_rows(path) == read_rows(runs)
    assert entry["machine"]["cpus"] >= 1 and "features" in entry["machine"] and "commit" in entry
    assert main(["history", str(runs), "--model", "nano"]) == 0
    assert main(["history", str(runs), "--list"]) == 0
    assert main(["table", "--last", str(runs)]) == 0
    assert "log-mel of 30 s" in capsys.readouterr().out


def test_history_shows_the_change_to_the_run_before(tmp_path):
    for median in (100.0, 150.0):
        history.append_entry(tmp_path / "h.jsonl", history.entry_of([a_row(median=median)], "peers"))
    entries = history.read_history(tmp_path / "h.jsonl")
    assert "+50%" in history.history_table(entries, "encode", "tiny", OURS)


def test_series_to_row():
    row = Series("mel", "tiny", OURS, "default", 2, [3.0, None, 1.0, 2.0]).row()
    assert (row.median_ms, row.min_ms, row.max_ms, row.n) == (2.0, 1.0, 3.0, 3)
    assert Series("mel", "tiny", OURS, "default", 2, [None]).row() is None


def test_ratios_are_taken_pair_by_pair():
    """A slow round that hits both engines leaves their ratio as it is."""
    assert pair_ratio([20.0, 200.0, 22.0], [10.0, 100.0, 10.0]) == (2.0, 2.0, 2.2)
    assert pair_ratio([20.0, None], [None, 10.0]) is None


def test_target_table_takes_the_best_of_each_group():
    series = [
        Series("mel", "tiny", OURS, "default", 2, [1.0, 1.0]),
        Series("mel", "tiny", "openai-whisper", "float32", 2, [9.0, 10.0]),
        Series("mel", "tiny", "faster-whisper", "int8", 2, [50.0, 50.0]),
        Series("mel", "tiny", "openvino-genai", "int8", 2, [4.0, 4.0]),
    ]
    ((title, ours, classic, to_classic, compiled, to_compiled),) = tables.ratio_lines(series, "tiny")
    assert title == "log-mel of 30 s" and ours == "1 (default)"
    assert "openai-whisper" in classic and to_classic == "9.50 (9.00-10.00) of 8: met"
    assert "genai" in compiled and to_compiled.endswith("of 8: short")


def test_captured_print_of_whisper_cpp():
    rows = {row.stage: row for row in captured.captured_rows(CAPTURED, "tiny", "f16")}
    assert set(rows) == {"load", "encode", "decode", "beam5", "prompt"}  # mel and sample did not run
    assert rows["encode"].median_ms == 437.47
    assert rows["decode"].median_ms == 2.0
    assert rows["beam5"].median_ms == 5.0
    assert rows["prompt"].median_ms == 112.0
    assert rows["load"].threads == 4
    with pytest.raises(ValueError, match="whisper-bench"):
        captured.captured_rows("nothing", "tiny", "f16")


CLI = """
whisper_print_timings:     load time =   100.00 ms
whisper_print_timings:      mel time =     8.00 ms
whisper_print_timings:   sample time =    40.00 ms /   200 runs (     0.20 ms per run)
whisper_print_timings:   encode time =   400.00 ms /     1 runs (   400.00 ms per run)
whisper_print_timings:   decode time =  1000.00 ms /   200 runs (     5.00 ms per run)
whisper_print_timings:   batchd time =  2000.00 ms /  1000 runs (     2.00 ms per run)
whisper_print_timings:   prompt time =     6.00 ms /     4 runs (     1.50 ms per run)
whisper_print_timings:    total time =  9999.00 ms
"""


def test_whisper_cli_is_run_twice_and_put_together(tmp_path):
    program = tmp_path / "whisper-cli"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncat {tmp_path}/print >&2\n')
    program.chmod(0o755)
    (tmp_path / "print").write_text(CLI)
    series = captured.cli_series(program, tmp_path / "m.bin", "tiny", "f16", 2, 3, n_tokens=10)
    found = {one.stage: one.samples for one in series}
    assert found["window"] == pytest.approx([8 + 400 + 6 + 10 * 5.2] * 3)
    assert found["total"] == pytest.approx([100 + 8 + 400 + 6 + 10 * 5.2] * 3)
    assert found["window_beam5"] == pytest.approx([8 + 400 + 6 + 10 * 5 * 2.2] * 3)
    assert found["beam5"] == [10.0] * 3 and found["decode"] == [5.0] * 3 and found["mel"] == [8.0] * 3
    assert set(found) <= set(STAGES) and series[0].compute_type == "f16 (cli)"
    greedy, beam = (tmp_path / "calls").read_text().splitlines()[:2]
    assert "-bs 1 " in greedy and "-bs 5 " in beam and greedy.startswith(f"-m {tmp_path}/m.bin -t 2 -f ")
    (tmp_path / "print").write_text("nothing of use")
    with pytest.raises(ValueError, match="no timings were printed: nothing of use"):
        captured.cli_series(program, tmp_path / "m.bin", "tiny", "f16", 2, 1, n_tokens=10)


class Slow:
    """A worker whose answers are made up, beside a busy machine."""

    def __init__(self, foreign: float):
        self.requests, self.pid, self.ended, self.foreign = [], 0, False, foreign

    def ask(self, request):
        self.requests.append(request["do"])
        return {"ms": 5.0}


def a_run(monkeypatch, foreign: float, seconds: float, **plan):
    """Samples of three rounds, each try of ``seconds`` by a clock of ours."""
    now = [0.0]

    class Foreign:
        def __init__(self, pids):
            pass

        def seconds(self):
            return foreign

    def clock():
        now[0] += seconds
        return now[0]

    monkeypatch.setattr(side_by_side, "ForeignTime", Foreign)
    monkeypatch.setattr(side_by_side.time, "perf_counter", clock)
    monkeypatch.setattr(side_by_side.time, "sleep", lambda seconds: None)
    one = side_by_side._Open(side_by_side.Configuration("whisper.cpp", "f16", ""), Slow(foreign), {}, ["window"])
    outcome = side_by_side.Outcome()
    plan = side_by_side.Plan([one.configuration], ["tiny"], **plan)
    side_by_side._run_stage(plan, "tiny", "window", [one], outcome, side_by_side.Watch())
    return outcome.series[0], one.worker.requests


def test_a_disturbed_sample_is_taken_again_for_a_bounded_time(monkeypatch):
    series, requests = a_run(monkeypatch, 1.0, 0.02)
    assert series.samples == [None] * 3 and series.dirty == 12
    assert requests == ["warm", *["stage"] * 12]
    series, requests = a_run(monkeypatch, 99.0, 8.0, stage_seconds=1000)
    assert series.samples == [None] * 3 and requests == ["warm", *["stage"] * 4]  # one more try, then none
    series, requests = a_run(monkeypatch, 99.0, 8.0, stage_seconds=1000, dirty_retries=0)
    assert series.samples == [5.0] * 3 and series.dirty == 3
    series, _ = a_run(monkeypatch, 0.0, 0.02)
    assert series.samples == [5.0] * 3 and series.dirty == 0


def test_an_engine_that_is_slow_gets_fewer_rounds_and_at_least_one(monkeypatch):
    series, requests = a_run(monkeypatch, 0.0, 12.0)
    assert series.samples == [5.0] and requests == ["warm", "stage"]
    series, _ = a_run(monkeypatch, 0.0, 6.0)
    assert series.samples == [5.0, 5.0]


def test_an_interrupted_run_keeps_the_rows_of_finished_stages(monkeypatch, tmp_path, capsys):
    """Killed in its third stage: the file has two."""
    from benchmarks import peers_command

    path, stages = tmp_path / "rows.json", []
    measure = side_by_side._run_stage

    def killed(plan, model, stage, *rest):
        stages.append(stage)
        if len(stages) == 3:
            raise MemoryError
        return measure(plan, model, stage, *rest)

    monkeypatch.setattr(side_by_side, "_run_stage", killed)
    arguments = ["peers", "--sizes", "nano", "--engines", "whisperlite:default", "--repeats", "1", "--stages",
                 "mel,encode,decode", "--steps", "4", "--keep-dirty", "--json", str(path)]  # fmt: skip
    with pytest.raises(MemoryError):
        main(arguments)
    assert [row.stage for row in read_rows(path)] == ["mel", "encode"]
    assert list(tmp_path.iterdir()) == [path]
    said = capsys.readouterr().err
    assert "nano: whisperlite default ready after " in said
    assert "nano: encode of 1 engines, 1 samples in " in said
    assert peers_command.watcher(None).done("text", side_by_side.Outcome()) is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM and /proc or ps")
def test_a_run_that_is_ended_leaves_no_engine_behind(tmp_path):
    path = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks", "peers", "--sizes", "nano", "--engines", "whisperlite:default",
               "--repeats", "1000", "--stages", "mel,encode", "--keep-dirty", "--json", str(path)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert " ready after " in process.stderr.readline()
    workers = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    (worker,) = {int(pid) for pid in workers.stdout.split()} - {0}
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=600)
    assert "everything after (nano): interrupted" in out, err
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_whisper_bench_that_dies_says_so(tmp_path):
    program = tmp_path / "whisper-bench"
    program.write_text("#!/bin/sh\necho unknown model\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(ValueError, match="ended with 3: unknown model"):
        captured.bench_series(program, tmp_path / "m.bin", "tiny", "f16", 2, 1)


def test_compare_catches_a_slowed_kernel(tmp_path, capsys):
    """The same kernel measured twice, the second time with a delay many times its own length.

    By CPU time of this thread: what others do on the machine is in it by what they take of caches and of the core's
    other thread, a factor of two or three at worst.
    """
    call = kernel_cases.Case("gelu", (400, 1536)).prepare("whisperlite", 1)
    call()

    def slowed():
        started = time.thread_time()
        call()
        stop = time.thread_time() + 30 * (time.thread_time() - started)
        while time.thread_time() < stop:
            pass

    def measured(run):
        def taken():
            started = time.thread_time()
            for _ in range(5):
                run()
            return time.thread_time() - started

        samples = [min(taken() for _ in range(3)) * 1e3 for _ in range(3)]
        return Series("gelu", "kernel", OURS, "float32", 1, samples).row()

    write_rows(tmp_path / "before.json", [measured(call)])
    write_rows(tmp_path / "after.json", [measured(slowed)])
    assert main(["compare", str(tmp_path / "before.json"), str(tmp_path / "after.json"), "--threshold", "0.5"]) == 1
    assert "slower" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "before.json"), str(tmp_path / "before.json")]) == 0


def test_compare_needs_more_than_the_spread():
    verdicts = [
        changes_of([a_row(spread=before)], [a_row(median=median, spread=after)], 0.1)[0].verdict
        for median, before, after in ((105, 1, 1), (130, 1, 1), (130, 40, 1), (70, 1, 1))
    ]
    assert verdicts == ["same", "slower", "unsure", "faster"]


def test_compare_refuses_runs_without_common_rows(tmp_path, capsys):
    write_rows(tmp_path / "a.json", [a_row()])
    write_rows(tmp_path / "b.json", [a_row(model="base")])
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1
    assert "no row in common" in capsys.readouterr().err


def test_files_that_are_not_rows_are_refused(tmp_path):
    (tmp_path / "bad.json").write_text('[{"stage": "mel"}]')
    with pytest.raises(ValueError, match="lacks"):
        read_rows(tmp_path / "bad.json")


def test_words_are_normalised_and_counted():
    assert normal_words("It's NINE, o\u2019clock - 七八!") == ["its", "nine", "o", "clock", "七", "八"]
    assert word_errors("one two three four", "One, too three four five.") == Errors(1, 0, 1, 4)
    assert word_errors("one two", "two") == Errors(0, 1, 0, 2)
    assert word_errors("", "").rate == 0 and word_errors("", "noise").rate == 1


def test_timing_errors_are_of_words_heard_right():
    reference = [("one", 0.0, 0.5), ("two", 1.0, 1.5), ("three", 2.0, 2.5)]
    heard = [(" One,", 0.1, 0.5), (" too", 9.0, 9.5), (" three.", 2.0, 2.7)]
    assert timing_errors(reference, heard) == pytest.approx([0.1, 0.0, 0.0, 0.2])


def test_machine_and_foreign_time():
    assert str(features()["cpus"]) in describe(features())
    foreign = ForeignTime([])
    stop = time.perf_counter() + 0.05
    while time.perf_counter() < stop:
        pass
    assert foreign.seconds() < 10


def test_peaks_are_positive():
    peaks = measure_peaks(1)
    assert peaks.gflops > 0.1 and peaks.gbytes > 0.1


@pytest.mark.parametrize("op", ["linear", "attention", "gelu", "layer_norm"])
def test_kernel_cases_compute_the_same_with_numpy(op):
    sizes = {"linear": (9, 64, 96), "attention": (40, 2, 64)}.get(op, (7, 64))
    case = kernel_cases.Case(op, sizes)
    ours, theirs = case.prepare("whisperlite", 1)(), case.prepare("numpy", 1)()
    if op == "attention":
        theirs = theirs.swapaxes(0, 1).reshape(1, sizes[0], -1)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    rates = case.rates(1e-3, measure_peaks(1))
    assert rates["gbytes"] > 0


def test_kernels_command(capsys, tmp_path):
    arguments = ["kernels", "--filter", "layer_norm", "--repeats", "1", "--json", str(tmp_path / "k.json")]
    assert main(arguments) == 0
    assert "of peak" in capsys.readouterr().out
    assert json.loads((tmp_path / "k.json").read_text())["kernels"]


def test_openai_names_cover_every_tensor():
    from whisperlite.checkpoint import open_checkpoint, resolve

    packaged = Path(resolve("nano"))
    folder = packaged if packaged.is_dir() else packaged.parent
    assert set(openai_weights(folder)) == set(open_checkpoint(folder).names())


def test_stages_command(capsys, monkeypatch):
    """On some of the stages: ``nano_run`` measures them all."""
    monkeypatch.setattr(stages, "Plan", partial(stages.Plan, stages=["mel", "first_token", "window"]))
    arguments = ["stages", "--sizes", "nano", "--repeats", "1", "--tokens", "8", "--steps", "4", "--keep-dirty"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "first_token" in text and "log-mel" in text and "encoder linear" in text and "measured peak" in text


def test_choose_command(capsys, tmp_path):
    from whisperlite import demo_audio

    np_audio = demo_audio()
    if isinstance(np_audio, (str, Path)):
        path = Path(np_audio)
    else:
        import soundfile

        path = tmp_path / "demo.wav"
        soundfile.write(path, np_audio, 16000)
    arguments = ["choose", str(path), "--types", "q8_0", "--threads", "1", "--reference", "one two three"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "nano q8_0" in text and "%" in text


@pytest.mark.skipif(not (AUDIO / "refs.json").is_file(), reason="the shared audio is not there")
def test_accuracy_command(capsys, tmp_path):
    shutil.copy(AUDIO / "digits_human_short.flac", tmp_path)
    shutil.copy(AUDIO / "refs.json", tmp_path)
    assert main(["accuracy", str(tmp_path), "--engines", "whisperlite"]) == 0
    assert "digits_human_short" in capsys.readouterr().out


def test_plots_or_how_to_get_them(nano_run, tmp_path, capsys):
    _, rows, runs = nano_run
    code = main(["plots", "--json", str(rows), "--history", str(runs), "--out", str(tmp_path)])
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert code == 1 and "whisperlite[bench]" in capsys.readouterr().err
    else:
        assert code == 0 and (tmp_path / "peers-nano.png").is_file() and (tmp_path / "history-nano.png").is_file()
        assert "peers-nano.png" in (tmp_path / "index.html").read_text()


def test_whisperlite_bench():
    from whisperlite.cli.main import app

    result = CliRunner().invoke(app, ["bench", "--repeats", "1", "--threads", "1", "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.output)
    assert {"load", "log-mel", "encoder", "token", "window"} <= {row["stage"] for row in content["rows"]}
    assert content["rss_mb"] > 0 or sys.platform == "win32"


def test_a_scripted_draft_says_what_it_is_told(nano):
    """All or nothing is accepted, and the tokens are the model's either way."""
    tokenizer, model = nano.tokenizer("en", "transcribe"), nano._model
    mel = np.random.default_rng(0).standard_normal((1, 80, 3000)).astype(np.float32)
    features = model.encode(mel)
    options = DecodingOptions(
        language="en", without_timestamps=True, sample_len=9, suppress_tokens=(-1, tokenizer.eot), draft_tokens=2
    )
    [expected] = decode(model, tokenizer, features, replace(options, draft_tokens=None))
    tokens, n_context = np.array(expected.tokens), len(tokenizer.sot_sequence) + 1
    assert len(tokens) == 9
    # One token comes from the context, three each from two rounds; the last two need one draft.
    for acceptance, accepted in ((1.0, 5), (0.0, 0)):
        scripted = ScriptedDraft(model, tokens, n_context, (264, 257), acceptance)
        draft = Draft(make_draft_model(model, scripted), features)
        [result] = decode(model, tokenizer, features, options, draft=draft)
        assert result.tokens == expected.tokens
        assert result.draft.accepted == accepted


def test_cpu_time_is_for_one_thread(capsys):
    assert main(["speculative", "--cpu-time", "--threads", "2"]) == 1
    assert "give --threads 1" in capsys.readouterr().err
