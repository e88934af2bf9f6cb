"""What is chosen by measurement: the fastest, remembered in a file that a person can read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_checkpoint import EVEN, RandomCheckpoint

from whisperlite.errors import OptionError
from whisperlite.kernels import cpu, matmul, matmul_bf16
from whisperlite.model import Whisper
from whisperlite.runtime import choices
from whisperlite.runtime.lower import bf16
from whisperlite.runtime.precompile import kernels_of

NAMES = ("exact", "rough")


class Bench:
    """Candidates that take the times they are told, on a clock that nothing else moves."""

    def __init__(self, monkeypatch, **milliseconds):
        self.now, self.milliseconds, self.measured = 0.0, milliseconds, 0
        monkeypatch.setattr(choices.time, "perf_counter", lambda: self.now)

    def prepare(self):
        self.measured += 1
        return {name: lambda name=name: self.take(name) for name in self.milliseconds}

    def take(self, name):
        self.now += self.milliseconds[name] / 1000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(choices, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(choices, "_remembered", {})
    return tmp_path


def new_process(monkeypatch):
    monkeypatch.setattr(choices, "_remembered", {})


@pytest.mark.parametrize("exact, rough, winner", [(1, 2, "exact"), (2, 1, "rough"), (1, 0.95, "exact")])
def test_the_fastest_or_the_first_where_that_is_no_clear_matter(folder, monkeypatch, exact, rough, winner):
    bench = Bench(monkeypatch, rough=rough, exact=exact)
    assert choices.fastest("it", NAMES, bench.prepare) == winner
    kept = json.loads((folder / "choice-it.json").read_text())
    assert kept["fastest"] == winner and kept["cpu"] == cpu.summary()
    assert kept["microseconds"] == {"exact": 1000 * exact, "rough": 1000 * rough}
    assert [path.name for path in folder.iterdir()] == ["choice-it.json"]


def test_measured_once_for_all_processes(folder, monkeypatch):
    bench = Bench(monkeypatch, exact=2, rough=1)
    for _ in range(2):
        assert choices.fastest("it", NAMES, bench.prepare) == "rough"
    new_process(monkeypatch)
    bench.milliseconds["rough"] = 3
    assert choices.fastest("it", NAMES, bench.prepare) == "rough"
    assert bench.measured == 1
    assert choices.fastest("another", NAMES, bench.prepare) == "exact"
    assert bench.measured == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: "",
        lambda kept: kept[:-9],
        lambda kept: "\0" * 50,
        lambda kept: "[]",
        lambda kept: "[" * 100_000,
        lambda kept: kept.replace("2000.0", "NaN"),
        lambda kept: kept.replace("2000.0", "-1"),
        lambda kept: kept.replace("2000.0", "1" + "0" * 400),
        lambda kept: kept.replace('"exact"', '"other"'),
        lambda kept: kept.replace('"fastest": "rough"', '"fastest": "exact"'),
        lambda kept: kept.replace(cpu.summary(), "another CPU"),
        lambda kept: kept.replace('"microseconds": {', '"microseconds": {"third": 1.0,'),
    ],
)
def test_other_content_is_measured_anew(folder, monkeypatch, damage):
    path, bench = folder / "choice-it.json", Bench(monkeypatch, exact=2, rough=1)
    choices.fastest("it", NAMES, bench.prepare)
    kept = path.read_text()
    path.write_text(damage(kept))
    assert path.read_text() != kept
    new_process(monkeypatch)
    assert choices.fastest("it", NAMES, bench.prepare) == "rough"
    assert bench.measured == 2
    assert path.read_text() == kept


@pytest.mark.parametrize("where", [None, "missing"])
def test_without_a_folder_each_process_measures(tmp_path, monkeypatch, where):
    monkeypatch.setattr(choices, "cache_folder", lambda: where and tmp_path / where)
    new_process(monkeypatch)
    bench = Bench(monkeypatch, exact=2, rough=1)
    for _ in range(2):
        assert choices.fastest("it", NAMES, bench.prepare) == "rough"
    assert bench.measured == 1


def encode():
    model = Whisper(RandomCheckpoint(EVEN), "bfloat16", threads=1)
    model.encode(np.zeros((1, EVEN.n_mels, 82), np.float32))
    return model.program_of("encoder", B=1, T=41).native


@pytest.fixture
def asked(monkeypatch):
    """The choices that were asked for; each is answered with ``dot``."""
    names = []
    monkeypatch.setattr(bf16, "fastest", lambda name, *_: names.append(name) or "dot")
    return names


@pytest.mark.skipif(not cpu.has_bf16_dot(), reason="this CPU has no AVX-512 BF16")
def test_a_model_in_bf16_takes_what_is_fastest(asked, monkeypatch):
    monkeypatch.setenv("WHISPERLITE_BF16", "auto")
    assert encode().rounds_to_bf16 and set(asked) == {"bf16"}
    asked.clear()
    monkeypatch.setenv("WHISPERLITE_BF16", "dot")
    assert encode().rounds_to_bf16
    monkeypatch.setenv("WHISPERLITE_BF16", "widen")
    assert not encode().rounds_to_bf16
    assert asked == []


def test_without_the_instruction_nothing_is_measured(asked, monkeypatch):
    monkeypatch.setattr(cpu, "has_bf16_dot", lambda: False)
    monkeypatch.delenv("WHISPERLITE_BF16", raising=False)
    assert not encode().rounds_to_bf16
    assert asked == []
    monkeypatch.setenv("WHISPERLITE_BF16", "dot")
    with pytest.raises(OptionError, match="WHISPERLITE_BF16=dot: this CPU has no AVX-512 BF16"):
        encode()
    monkeypatch.setenv("WHISPERLITE_BF16", "fast")
    with pytest.raises(OptionError, match="give auto, dot or widen"):
        encode()


@pytest.mark.skipif(not cpu.has_bf16_dot(), reason="this CPU has no AVX-512 BF16")
def test_both_kernels_are_compiled_before_they_are_measured(folder, asked, monkeypatch):
    """What compiles ahead of a first load measures nothing itself: it would wait for what it is to compile."""
    monkeypatch.delenv("WHISPERLITE_BF16", raising=False)
    model = Whisper(RandomCheckpoint(EVEN), "bfloat16", threads=1)
    plan = model.plan_of("encoder")
    kernels = {matmul.matmul_bf16, matmul_bf16.matmul_bf16_dot}
    asked.clear()
    assert kernels <= set(kernels_of([plan]))
    choices.fastest("bf16", bf16.NAMES, Bench(monkeypatch, widen=1, dot=2).prepare)
    assert kernels & set(kernels_of([plan])) == {matmul.matmul_bf16}
    assert asked == []


@pytest.mark.skipif(not cpu.has_bf16_dot(), reason="this CPU has no AVX-512 BF16")
def test_the_measurement_itself(folder, monkeypatch):
    monkeypatch.delenv("WHISPERLITE_BF16", raising=False)
    assert bf16.takes_dot_products() in (True, False)
    kept = json.loads((folder / "choice-bf16.json").read_text())
    assert set(kept["microseconds"]) == {"widen", "dot"}
