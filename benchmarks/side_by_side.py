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
from benchmarks.peers import PREPARED, STAGES
from benchmarks.processes import Worker, WorkerError, job_fields, prepare
from benchmarks.samples import Series

RETRIES = 3  # more tries for a sample that others disturbed,
RETRY_SECONDS = 1.0  # while those of a stage of an engine have taken less than this together
STAGE_SECONDS = 10.0  # an engine that has taken this long with a stage is not asked for another round of it
MAX_FOREIGN_SHARE, MIN_FOREIGN_SECONDS = 0.1, 0.03  # of one CPU; /proc counts in ticks of 0.01 s
WITH_LOAD = ("load", "total")  # stages that load the model anew
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
    stage_seconds : float
        An engine whose samples of a stage have taken this long has no further round of it; it has one in any case.
    """

    configurations: Sequence[Configuration]
    models: Sequence[str]
    stages: Sequence[str] = STAGES
    threads: int = 2
    repeats: int = 3
    n_tokens: int = 128
    n_steps: int = 32
    dirty_retries: int = RETRIES
    stage_seconds: float = STAGE_SECONDS


@dataclass
class Outcome:
    """Samples, and reasons by (configuration, model or stage)."""

    series: list[Series] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    interrupted: bool = False

    def find(self, stage: str, model: str, engine: str, compute_type: str) -> Series | None:
        wanted = (stage, model, engine, compute_type)
        found = (s for s in self.series if (s.stage, s.model, s.engine, s.compute_type) == wanted)
        return next(found, None)


Say = Callable[[str], None]


@dataclass(frozen=True)
class Watch:
    """Who is told how it goes.

    Attributes
    ----------
    doing : callable
        What is done at this moment.
    done : callable
        A part that is finished and how long it took, and the outcome so far.
    """

    doing: Say = lambda text: None
    done: Callable[[str, Outcome], None] = lambda text, outcome: None


def run_side_by_side(plan: Plan, watch: Watch = Watch()) -> Outcome:
    """Measure every stage of every configuration, a model at a time."""
    outcome = Outcome()
    for model in plan.models:
        try:
            _run_model(plan, model, outcome, watch)
        except KeyboardInterrupt:  # what was measured so far is worth keeping
            outcome.left_out.append(("everything after", model_name(model), "interrupted"))
            outcome.interrupted = True
            break
    return outcome


@dataclass
class _Open:
    configuration: Configuration
    worker: Worker
    load: dict[str, object]
    stages: list[str]


def _run_model(plan: Plan, model: str, outcome: Outcome, watch: Watch) -> None:
    folder, name = model_folder(model), model_name(model)
    opened: list[_Open] = []
    try:
        for i, configuration in enumerate(plan.configurations, 1):
            watch.doing(f"{name}: {i}/{len(plan.configurations)} {configuration.name}: convert and load")
            started = time.perf_counter()
            try:
                opened.append(_open(plan, configuration, folder))
                if "rss_mb" in plan.stages:
                    outcome.series.append(_peak_rss(plan, name, opened[-1]))
                how = "ready"
            except WorkerError as error:
                outcome.left_out.append((configuration.name, name, str(error)))
                how = "left out"
            opened = [one for one in opened if not one.worker.ended]
            seconds = time.perf_counter() - started
            watch.done(f"{name}: {configuration.name} {how} after {seconds:.1f} s", outcome)
        for stage in plan.stages:
            if stage != "rss_mb":
                started = time.perf_counter()
                said = _run_stage(plan, name, stage, opened, outcome, watch)
                watch.done(f"{name}: {stage} of {said} in {time.perf_counter() - started:.1f} s", outcome)
    finally:
        for one in opened:
            one.worker.close()


def _open(plan: Plan, configuration: Configuration, folder: Path) -> _Open:
    job = job_for(folder, configuration.compute_type, plan.threads, plan.n_tokens, plan.n_steps)
    if configuration.engine in PREPARED:
        prepare(configuration.python, configuration.engine, job)
    worker = Worker(configuration.python, configuration.engine, plan.threads)
    request = {"do": "load", "job": job_fields(job)}
    try:
        answer = worker.ask(request)
    except WorkerError:
        worker.close()
        raise
    return _Open(configuration, worker, request, list(answer["stages"]))


def _run_stage(plan: Plan, model: str, stage: str, opened: list[_Open], outcome: Outcome, watch: Watch) -> str:
    """Add a stage's series to the outcome; says how many samples of how many engines there are."""
    needed = {"load": None, "total": "window"}.get(stage, stage)  # what an engine must be able to do
    takes_part = [one for one in opened if needed is None or needed in one.stages]
    runs = {id(one): _Run(plan, model, stage, one) for one in takes_part}
    for i in range(0 if stage in WITH_LOAD else -1, plan.repeats):
        for one in list(takes_part):
            run = runs[id(one)]
            if run.seconds > plan.stage_seconds:
                continue
            watch.doing(f"{model}: {stage} {max(i, 0) + 1}/{plan.repeats}: {one.configuration.name}")
            try:
                run.warm() if i < 0 else run.sample()
            except WorkerError as error:
                outcome.left_out.append((one.configuration.name, f"{model} {stage}", str(error)))
                takes_part.remove(one)
                if one.worker.ended and one in opened:
                    opened.remove(one)
    series = [run.series for run in runs.values() if run.series.samples]
    outcome.series += series
    n_kept = sum(sample is not None for one in series for sample in one.samples)
    n_lost = sum(sample is None for one in series for sample in one.samples)
    return f"{len(series)} engines, {n_kept} samples" + (f" and {n_lost} disturbed" if n_lost else "")


class _Run:
    """A stage of one engine: its samples and what they cost so far."""

    def __init__(self, plan: Plan, model: str, stage: str, one: _Open):
        self.plan, self.stage, self.one = plan, stage, one
        self.series = Series(
            stage, model, one.configuration.engine, one.configuration.compute_type, plan.threads, []
        )
        self.seconds = self.retry_seconds = 0.0

    def warm(self) -> None:
        """Not counted, and with few tokens: first touch of memory, kernels compiled."""
        self.one.worker.ask({"do": "warm", "stage": self.stage})

    def sample(self) -> None:
        """Add a sample, or None where every try was disturbed."""
        request: dict[str, object] = {"do": "stage", "stage": self.stage}
        if self.stage in WITH_LOAD:
            request = {**self.one.load, "do": self.stage}
        for i in range(self.plan.dirty_retries + 1):
            time.sleep(PAUSE_SECONDS)
            foreign, started = ForeignTime([self.one.worker.pid]), time.perf_counter()
            elapsed_ms = float(self.one.worker.ask(request)["ms"])
            seconds, taken = time.perf_counter() - started, foreign.seconds()
            self.seconds += seconds
            if i:
                self.retry_seconds += seconds
            clean = taken <= max(MIN_FOREIGN_SECONDS, MAX_FOREIGN_SHARE * seconds)
            self.series.dirty += not clean
            if clean or self.plan.dirty_retries == 0:
                self.series.samples.append(elapsed_ms)
                return
            if self.retry_seconds > RETRY_SECONDS:
                break
        self.series.samples.append(None)


def _peak_rss(plan: Plan, model: str, one: _Open) -> Series:
    """Of a process that has just loaded the model and done one window, or what comes nearest to it."""
    c = one.configuration
    try:
        one.worker.ask({"do": "stage", "stage": "window" if "window" in one.stages else "encode"})
    except WorkerError:
        if one.worker.ended or "window" not in one.stages:
            raise
        one.worker.ask({"do": "stage", "stage": "encode"})
    rss_mb = float(one.worker.ask({"do": "rss"})["rss_mb"])
    return Series("rss_mb", model, c.engine, c.compute_type, plan.threads, [rss_mb])


def configurations_of(
    engines: Mapping[str, Sequence[str]], pythons: Mapping[str, str], default_python: str
) -> list[Configuration]:
    """Configurations of engines with their compute types."""
    return [
        Configuration(engine, compute_type, pythons.get(engine, default_python))
        for engine, types in engines.items()
        for compute_type in types
    ]
