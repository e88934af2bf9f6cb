"""Workers from the outside: start one, ask it, stop the others meanwhile.

In: an engine's name and interpreter. Out: answers. Knows nothing of: what is measured.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.peers.engine import Job

ROOT = Path(__file__).resolve().parent.parent
MODULE = "benchmarks.peers.worker"


class WorkerError(Exception):
    """Why a worker gives no answer."""


def environment(threads: int) -> dict[str, str]:
    """Same threads for everyone, by every name a library reads; no network."""
    count = str(threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "WHISPERLITE_THREADS")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **dict.fromkeys(names, count),
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def job_fields(job: Job) -> dict[str, Any]:
    """A job as JSON."""
    return {**asdict(job), "model": str(job.model)}


def prepare(python: str, engine: str, job: Job, timeout: float = 1200) -> None:
    """Have an engine convert the job's model.

    Raises
    ------
    WorkerError
        It cannot; the message is the reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job_fields(job)))
        try:
            done = subprocess.run(
                [python, "-m", MODULE, engine, str(path)],
                env=environment(job.threads), capture_output=True, text=True, errors="replace", timeout=timeout,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WorkerError(str(error)) from None
    if done.returncode:
        raise WorkerError(_reason(done.returncode, done.stderr))


class Worker:
    """A worker process; stopped (SIGSTOP) except while it answers, so that no idle engine spins beside another."""

    def __init__(self, python: str, engine: str, threads: int):
        self.engine = engine
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [python, "-m", MODULE, engine],
                env=environment(threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            )  # fmt: skip
        except OSError as error:
            raise WorkerError(str(error)) from None
        self.pid = self._process.pid

    def ask(self, request: dict[str, Any], timeout: float = 600) -> dict[str, Any]:
        """The answer to a request.

        Raises
        ------
        WorkerError
            The engine refused, crashed, or took too long.
        """
        process = self._process
        assert process.stdin and process.stdout
        self._signal("SIGCONT")
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                if not selector.select(timeout):
                    self.close()
                    raise WorkerError(f"no answer to {request['do']} in {timeout:g} s")
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            code = process.wait()
            self._errors.seek(0)
            raise WorkerError(_reason(code, self._errors.read()))
        self._signal("SIGSTOP")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            try:
                if stream:
                    stream.close()
            except BrokenPipeError:
                pass

    def _signal(self, name: str) -> None:
        number = getattr(signal, name, None)  # Windows has neither
        if number is not None and self._process.poll() is None:
            self._process.send_signal(number)


def _reason(code: int, stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else ""
    if code < 0:
        return f"crashed: {signal.Signals(-code).name} {last}".strip()
    return last or f"ended with exit code {code}"
