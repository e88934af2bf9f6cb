"""What a draft model gains or costs: how many times faster decoding is, by the part of drafted tokens accepted.

In: two published sizes, made with random weights. Out: a table in Markdown.
Knows nothing of: how drafts are checked.

    python -m benchmarks speculative --models small,base --draft tiny --threads 2

Random weights agree on nothing, and speed does not depend on their values. So the draft does all its work and its
choice is then written over: the token that the model will choose, with the given probability, or another one. The
tokens that come out are held against those without a draft. Each way is timed next to decoding without a draft, in
every round. Adaptive drafts keep what they learn, as from window to window; the first round is not counted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.random_models import cached_random_model
from benchmarks.tables import format_table, progress
from whisperlite.api import WhisperModel
from whisperlite.decode import DecodingOptions, Draft, decode, make_draft_model

ADAPTIVE, WITHOUT = None, "without a draft"
CERTAIN = 1e4  # a logit above all others


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--models", default="small,base", help="published sizes; default %(default)s")
    add("--draft", default="tiny", help="published size; default %(default)s")
    add("--compute-type", default="default", help="of both; default %(default)s")
    add("--threads", type=int, default=2)
    add("--tokens", type=int, default=96, help="decoded each time; default %(default)s")
    add("--repeats", type=int, default=5, help="rounds; the median of their ratios counts; default %(default)s")
    add("--acceptance", default="0,0.3,0.5,0.6,0.7,0.8,0.9,1", help="default %(default)s")
    add("--lengths", default="2,4,8", help="fixed draft_tokens beside the adaptive one; default %(default)s")
    add("--cpu-time", action="store_true", help="count CPU seconds, for a busy machine; with one thread")
    add("--json", type=Path, metavar="FILE", help="write the figures too")


class ScriptedDraft:
    """A model that does its work and then says what it is told.

    Parameters
    ----------
    model : Whisper
    tokens : sequence of int
        The right answer after the context.
    n_context : int
    wrong : (int, int)
        What it says otherwise: tokens that no rule suppresses, the second where the first would be right.
    acceptance : float
        Probability of the right answer, drawn once for each position.
    """

    def __init__(
        self, model: Any, tokens: np.ndarray, n_context: int, wrong: tuple[int, int], acceptance: float
    ) -> None:
        self._model = model
        right = np.random.default_rng(0).random(len(tokens)) < acceptance
        self._says = np.where(right, tokens, np.where(tokens == wrong[0], wrong[1], wrong[0]))
        self._n_context = n_context
        self.dims, self.is_multilingual, self.backend = model.dims, model.is_multilingual, model.backend
        self.encode, self.cross_kv, self.new_cache = model.encode, model.cross_kv, model.new_cache

    def prefill(self, tokens: np.ndarray, cache: Any, *arguments: Any, **named: Any) -> np.ndarray:
        return self._overwritten(self._model.prefill(tokens, cache, *arguments, **named), cache)

    def step(self, tokens: np.ndarray, cache: Any, *arguments: Any, **named: Any) -> np.ndarray:
        return self._overwritten(self._model.step(tokens, cache, *arguments, **named), cache)

    def _overwritten(self, logits: np.ndarray, cache: Any) -> np.ndarray:
        at = int(cache.past[0]) - self._n_context
        if 0 <= at < len(self._says):
            logits[..., -1, self._says[at]] = CERTAIN
        return logits


@dataclass(frozen=True)
class Case:
    """One way to decode: nothing accepted is ``acceptance`` 0; ``length`` None is the adaptive one.

    With ``encodes`` the draft encodes the audio in the call, where it is used; else before.
    """

    acceptance: float
    length: int | None
    encodes: bool = False

    @property
    def name(self) -> str:
        if self.length is None:
            return "with its encoder" if self.encodes else "adaptive"
        return f"{self.length} at a time"


def by_turns(
    ways: dict[Any, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[Any, np.ndarray]:
    """Milliseconds of each call of each way, (repeats,), called by turns after one to warm up."""
    found: dict[Any, list[float]] = {key: [] for key in ways}
    for _ in range(repeats + 1):
        for key, call in ways.items():
            started = clock()
            call()
            found[key].append(1e3 * (clock() - started))
    return {key: np.array(times[1:]) for key, times in found.items()}


def measure(size: str, small: WhisperModel, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one model: milliseconds, of decoding per token and without encoders; ratios by acceptance."""
    large = WhisperModel(cached_random_model(size), compute_type=options.compute_type, threads=options.threads)
    main, draft = large._model, small._model
    tokenizer = large.tokenizer("en", "transcribe")
    plain = DecodingOptions(
        language="en", without_timestamps=True, sample_len=options.tokens, suppress_tokens=(-1, tokenizer.eot)
    )
    mel = np.random.default_rng(0).standard_normal((1, main.dims.n_mels, 3000)).astype(np.float32)
    features, heard = main.encode(mel), draft.encode(mel)
    cross = main.cross_kv(features)
    [expected] = decode(main, tokenizer, features, plain, cross=cross)
    tokens, n_context = np.array(expected.tokens), len(tokenizer.sot_sequence) + 1
    wrong = (tokenizer.encode(" the")[0], tokenizer.encode(" a")[0])
    differing: set[Case] = set()
    clock = time.process_time if options.cpu_time else time.perf_counter

    def way(case: Case) -> Callable[[], None]:
        scripted = ScriptedDraft(draft, tokens, n_context, wrong, case.acceptance)
        hears = (lambda: draft.encode(mel)) if case.encodes else heard
        by = Draft(make_draft_model(main, scripted, clock=clock), hears)
        chosen = DecodingOptions(**{**vars(plain), "draft_tokens": case.length})

        def call() -> None:
            [result] = decode(main, tokenizer, features, chosen, cross=cross, draft=by)
            if result.tokens != expected.tokens:
                differing.add(case)

        return call

    ways: dict[Any, Callable[[], Any]] = {}
    acceptances = [float(acceptance) for acceptance in options.acceptance.split(",")]
    for acceptance in acceptances:
        fixed = [Case(acceptance, int(length)) for length in options.lengths.split(",")]
        for case in (Case(acceptance, ADAPTIVE), Case(acceptance, ADAPTIVE, encodes=True), *fixed):
            ways[WITHOUT, case] = lambda: decode(main, tokenizer, features, plain, cross=cross)
            ways[case] = way(case)
    ways["encoder"], ways["draft's encoder"] = lambda: main.encode(mel), lambda: draft.encode(mel)
    found = by_turns(ways, options.repeats, clock)
    cases = [case for case in ways if isinstance(case, Case)]
    faster = {case: float(np.median(found[WITHOUT, case] / found[case])) for case in cases}
    return {
        "model": size,
        "step_cost": make_draft_model(main, draft).history.step_cost,
        "plain": min(found[WITHOUT, case].min() for case in cases) / options.tokens,
        "encoder": found["encoder"].min(),
        "draft_encoder": found["draft's encoder"].min(),
        "rows": [[case.acceptance, case.name, ratio] for case, ratio in faster.items()],
        "differing": len(differing),
    }


def table(found: dict[str, Any]) -> str:
    """How many times faster than without a draft."""
    head = ["accepted", *dict.fromkeys(name for _, name, _ in found["rows"])]
    lines = []
    for acceptance in dict.fromkeys(row[0] for row in found["rows"]):
        lines.append(
            [f"{acceptance:.0%}", *(f"{ratio:.2f}x" for at, _, ratio in found["rows"] if at == acceptance)]
        )
    return format_table(head, lines, markdown=True)


def run(options: argparse.Namespace) -> int:
    if options.cpu_time and options.threads != 1:
        raise ValueError("--cpu-time adds up what all threads wait as well; give --threads 1")
    draft = WhisperModel(
        cached_random_model(options.draft), compute_type=options.compute_type, threads=options.threads
    )
    results = []
    for size in options.models.split(","):
        progress(f"{size} with {options.draft}")
        found = measure(size, draft, options)
        results.append(found)
        print(
            f"\n{size} with {options.draft}, {options.compute_type}, {options.threads} threads: "
            f"{found['plain']:.2f} ms per token without a draft; encoder {found['encoder']:.0f} ms, the draft's "
            f"{found['draft_encoder']:.0f} ms; by its size a step of the draft is {found['step_cost']:.2f} of one\n"
        )
        print(table(found), flush=True)
        if found["differing"]:
            print(f"\n{found['differing']} cases gave other tokens than without a draft")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1))
    return 1 if any(found["differing"] for found in results) else 0
