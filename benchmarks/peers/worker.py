"""One engine in a process of its own, asked line by line.

In: JSON lines on stdin: ``load``, ``warm``, ``stage``, ``total``, ``rss``, ``quit``. Out: a JSON line for each on
stdout.
Knows nothing of: statistics, other engines.

    python -m benchmarks.peers.worker faster-whisper            serve
    python -m benchmarks.peers.worker faster-whisper JOB.json   convert the job's model and end
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers import ROSTER
from benchmarks.peers.engine import Engine, Job, LeftOut


def engine_class(name: str) -> type[Engine]:
    """The class that measures an engine; imports what it needs.

    Raises
    ------
    LeftOut
        The engine is unknown, or its packages are not installed.
    """
    if name not in ROSTER:
        raise LeftOut(f"engine {name!r}: give one of {', '.join(ROSTER)}")
    try:
        return importlib.import_module(f"benchmarks.peers.{ROSTER[name][0]}").ENGINE
    except ImportError as error:
        raise LeftOut(f"not installed: {error}") from None


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1024 * 1024 if sys.platform == "darwin" else 1024)


def job_of(fields: dict[str, Any]) -> Job:
    return Job(**{**fields, "model": Path(fields["model"])})


class Server:
    """Answers requests for one engine."""

    def __init__(self, name: str):
        self.name = name
        self.engine: Engine | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a request comes to; an ``error`` instead of an exception."""
        try:
            return getattr(self, "do_" + request["do"])(request)
        except LeftOut as error:
            return {"error": str(error)}
        except Exception as error:  # an engine's own: its name is the reason
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}

    def do_load(self, request: dict[str, Any]) -> dict[str, Any]:
        kind = engine_class(self.name)
        job = job_of(request["job"])
        self.engine = None
        gc.collect()
        started = time.perf_counter()
        self.engine = kind(job)
        elapsed_ms = (time.perf_counter() - started) * 1e3
        return {"ms": elapsed_ms, "stages": self.engine.stages()}

    def do_stage(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.engine is None:
            raise LeftOut("no model is loaded")
        return {"ms": self.engine.measure(request["stage"])}

    def do_warm(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.engine is None:
            raise LeftOut("no model is loaded")
        self.engine.warm(request["stage"])
        return {}

    def do_total(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load the model and do one window."""
        answer = self.do_load(request)
        return {"ms": answer["ms"] + self.do_stage({"stage": "window"})["ms"]}

    def do_rss(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"rss_mb": peak_rss_mb()}


def main(arguments: list[str]) -> int:
    if len(arguments) == 2:
        try:
            engine_class(arguments[0]).prepare(job_of(json.loads(Path(arguments[1]).read_text())))
        except LeftOut as error:
            print(error, file=sys.stderr)
            return 3
        return 0
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what engines print does not mix with the answers
    server = Server(arguments[0])
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "quit":
            break
        print(json.dumps(server.answer(request)), file=answers, flush=True)
    answers.flush()
    os._exit(0)  # some engines crash in their destructors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
