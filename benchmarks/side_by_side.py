"""Engines side by side: every round asks each engine once, so that a slow minute hits all.

In: configurations, models, stages. Out: series of samples, and what was left out with the reason.
Knows nothing of: tables, files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import ForeignTime
from benchmarks.models import job_for, model_folder, model_name
from benchmarks.peers import STAGES
from benchmarks.processes import Worker, WorkerError, job_fields, prepare
from benchmarks.samples import Series

RETRIES = 3  # more tries for a sample that others disturbed
MAX_FOREIGN_SHARE, MIN_FOREIGN_SECONDS = 0.1, 0.03  # of one CPU; /proc counts in ticks of 0.01 s
PAUSE_SECONDS = 0.05  # for threads of the engine before to fall asleep


@dataclass(frozen=True)
class Configuration:
    """An engine with a compute type, and the interpreter that has its packages."""

    engine: str
    compute_type: str
    python: str

    @property
    def name(self) -> str:
        return f"{self.engine} {self.compute_type}"


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    configurations : sequence of Configuration
    models : sequence of str
        Sizes, ``nano``, or HF folders.
    stages : sequence of str
    threads, repeats, n_tokens, n_steps : int
    dirty_retries : int
        0 keeps every sample.
    """

    configurations: Sequence[Configuration]
    models: Sequence[str]
    stages: Sequence[str] = STAGES
    threads: int = 2
    repeats: int = 3
    n_tokens: int = 128
    n_steps: int = 32
    dirty_retries: int = RETRIES


@dataclass
class Outcome:
    """Samples, and reasons by (configuration, model or stage)."""

    series: list[Series] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)

    def find(self, stage: str, model: str, engine: str, compute_type: str) -> Series | None:
        wanted = (stage, model, engine, compute_type)
        found = (s for s in self.series if (s.stage, s.model, s.engine, s.compute_type) == wanted)
        return next(found, None)


Say = Callable[[str], None]


def run_side_by_side(plan: Plan, say: Say = lambda text: None) -> Outcome:
    """Measure every stage of every configuration, a model at a time."""
    outcome = Outcome()
    for model in plan.models:
        try:
            _run_model(plan, model, outcome, say)
        except KeyboardInterrupt:  # what was measured so far is worth keeping
            outcome.left_out.append(("everything after", model_name(model), "interrupted"))
            break
    return outcome


@dataclass
class _Open:
    configuration: Configuration
    worker: Worker
    load: dict[str, object]
    stages: list[str]


def _run_model(plan: Plan, model: str, outcome: Outcome, say: Say) -> None:
    folder, name = model_folder(model), model_name(model)
    opened: list[_Open] = []
    try:
        for configuration in plan.configurations:
            say(f"{name}: {configuration.name}: convert and load")
            try:
                opened.append(_open(plan, configuration, folder))
            except WorkerError as error:
                outcome.left_out.append((configuration.name, name, str(error)))
        for stage in plan.stages:
            _run_stage(plan, name, stage, opened, outcome, say)
    finally:
        for one in opened:
            one.worker.close()


def _open(plan: Plan, configuration: Configuration, folder: Path) -> _Open:
    job = job_for(folder, configuration.compute_type, plan.threads, plan.n_tokens, plan.n_steps)
    prepare(configuration.python, configuration.engine, job)
    worker = Worker(configuration.python, configuration.engine, plan.threads)
    request = {"do": "load", "job": job_fields(job)}
    try:
        answer = worker.ask(request)
    except WorkerError:
        worker.close()
        raise
    return _Open(configuration, worker, request, list(answer["stages"]))


def _run_stage(plan: Plan, model: str, stage: str, opened: list[_Open], outcome: Outcome, say: Say) -> None:
    takes_part = [one for one in opened if stage in ("load", "rss_mb") or stage in one.stages]
    series = {}
    for one in takes_part:
        c = one.configuration
        series[id(one)] = Series(stage, model, c.engine, c.compute_type, plan.threads, [])
    n_rounds = 1 if stage == "rss_mb" else plan.repeats
    warm = stage not in ("load", "rss_mb")
    for i in range(-1 if warm else 0, n_rounds):
        for one in list(takes_part):
            say(f"{model}: {stage} {max(i, 0) + 1}/{n_rounds}: {one.configuration.name}")
            try:
                if i < 0:  # not counted: first touch of memory, kernels compiled
                    one.worker.ask({"do": "stage", "stage": stage})
                    continue
                sample, dirty = _sample(plan, stage, one)
            except WorkerError as error:
                outcome.left_out.append((one.configuration.name, f"{model} {stage}", str(error)))
                takes_part.remove(one)
                if one.worker.ended and one in opened:
                    opened.remove(one)
                continue
            series[id(one)].samples.append(sample)
            series[id(one)].dirty += dirty
    outcome.series += [one for one in series.values() if one.samples]


def _sample(plan: Plan, stage: str, one: _Open) -> tuple[float | None, int]:
    """A sample, or None where every try was disturbed; how many were."""
    if stage == "rss_mb":
        return _peak_rss_mb(plan, one), 0
    for n_dirty in range(plan.dirty_retries + 1):
        time.sleep(PAUSE_SECONDS)
        foreign, started = ForeignTime([one.worker.pid]), time.perf_counter()
        request = one.load if stage == "load" else {"do": "stage", "stage": stage}
        elapsed_ms = float(one.worker.ask(request)["ms"])
        seconds, taken = time.perf_counter() - started, foreign.seconds()
        clean = taken <= max(MIN_FOREIGN_SECONDS, MAX_FOREIGN_SHARE * seconds)
        if clean or plan.dirty_retries == 0:
            return elapsed_ms, n_dirty + (not clean)
    return None, plan.dirty_retries + 1


def _peak_rss_mb(plan: Plan, one: _Open) -> float:
    """Of a new process that loads the model and does one window, or what comes nearest to it."""
    worker = Worker(one.configuration.python, one.configuration.engine, plan.threads)
    try:
        worker.ask(one.load)
        try:
            worker.ask({"do": "stage", "stage": "window"})
        except WorkerError:
            worker.ask({"do": "stage", "stage": "encode"})
        return float(worker.ask({"do": "rss"})["rss_mb"])
    finally:
        worker.close()


def configurations_of(
    engines: Mapping[str, Sequence[str]], pythons: Mapping[str, str], default_python: str
) -> list[Configuration]:
    """Configurations of engines with their compute types."""
    return [
        Configuration(engine, compute_type, pythons.get(engine, default_python))
        for engine, types in engines.items()
        for compute_type in types
    ]
