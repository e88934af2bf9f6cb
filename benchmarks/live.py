"""Live transcription: how far words lag behind speech, what it costs, and how much accuracy it costs.

    python -m benchmarks.live lag [--models nano tiny base] [--compute-types default int8] [--chunks 0.5 1]
    python -m benchmarks.live accuracy [--shared ../shared] [--model nano]
    python -m benchmarks.live audio-ctx [--shared ../shared] [--model nano]

In: recordings (``shared/audio``); sizes of models. Out: Markdown tables.
Knows nothing of: how a session works.

Audio arrives by a clock of its own: while a piece is decoded, as long as that really takes, the audio goes on; the
next piece is all that came meanwhile. No time is spent waiting. ``nano`` hears human digits. Models of true size
have random weights, so their text is forced: one word each third of a second, looked at when it is spoken. The
steps, the passes and the attention are computed all the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.audio_ctx import edits
from benchmarks.word_errors import plain

RATE = 16000
WORDS_PER_SECOND = 3.0
POLICIES = ("local-agreement", "align-att")


@dataclass
class Heard:
    """What a simulated stream gave."""

    duration: float
    lags: list[float] = field(default_factory=list)  # seconds from the end of a word to its commitment
    busy: float = 0.0  # seconds spent in the session
    cpu: float = 0.0  # seconds of all threads
    n_decoded: int = 0
    n_positions: int = 0
    text: str = ""

    @property
    def p95(self) -> float:
        return float(np.percentile(self.lags, 95)) if self.lags else float("nan")


def simulate(
    session: Any, samples: np.ndarray, chunk_seconds: float, spoken: Callable[[Any, int], float] | None = None
) -> Heard:
    """Feed samples as they would arrive.

    Parameters
    ----------
    session : StreamSession
    samples : ndarray (n,) float32
    chunk_seconds : float
        Audio comes in pieces of this length.
    spoken : callable, optional
        Seconds at which the i-th committed word ended; default: what the word says.
    """
    from whisperlite.stream import Committed, SegmentClosed

    heard = Heard(len(samples) / RATE)
    chunk = round(chunk_seconds * RATE)
    now, at, n_words = 0.0, 0, 0
    while True:
        ended = at >= len(samples)
        if not ended:
            now = max(now, (at + chunk) / RATE)
            upto = min(len(samples), int(now * RATE) // chunk * chunk)
        wall, cpu = time.perf_counter(), time.process_time()
        events = session.finish() if ended else session.push(samples[at:upto])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        heard.busy += wall
        heard.cpu += cpu
        now += wall
        for event in events:
            if isinstance(event, SegmentClosed):
                heard.text += event.segment.text
            elif isinstance(event, Committed):
                for word in event.words:
                    if plain(word.word):
                        heard.lags.append(now - (word.end if spoken is None else spoken(word, n_words)))
                        n_words += 1
        if ended:
            heard.n_decoded, heard.n_positions = session.n_decoded, session.n_positions
            return heard
        at = upto


class ForcedSpeech:
    """A model of random weights that seems to hear a word each third of a second.

    Everything is computed as usual; then tokens are replaced by a logit filter, and attention scores by ones that
    look where the word was spoken. ``session`` is set once it exists.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.session: Any = None
        tokenizer = model.tokenizer("en")
        spelled = ((token, tokenizer.decode([token])) for token in range(300, 20000))
        self._ids = [token for token, text in spelled if text.startswith(" ") and text[1:].isalpha()]
        self._position = {token: i for i, token in enumerate(self._ids)}
        self._eot = tokenizer.eot
        self._n_sot = len(tokenizer.sot_sequence)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def spoken(self, word: Any, index: int) -> float:
        return (index + 1) / WORDS_PER_SECOND

    def filter(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        said = self._n_committed() + sampled.shape[1]
        heard = int(self.session._frontend.n_frames / 100 * WORDS_PER_SECOND)
        token = self._ids[said % len(self._ids)] if said < heard else self._eot
        logits[...] = np.where(np.arange(logits.shape[1]) == token, logits, -np.inf)
        logits[:, token] = 0

    def _n_committed(self) -> int:
        """Words committed so far: those of the buffer, or the prompt, end with the last one."""
        session = self.session
        last = session._in_buffer[-1].tokens if session._in_buffer else tuple(session._history)
        return self._position[last[-1]] + 1 if last else 0

    def cross_attention(self, tokens: Sequence[int], cross: Any, audio: int = 0, heads: Any = None) -> Any:
        scores, logits = self._model.cross_attention(tokens, cross, audio, heads)
        offset = self.session._start / 100
        scores = np.zeros_like(scores)
        for row, token in enumerate(tokens[1:]):
            position = self._position.get(int(token))
            seconds = (position + 0.5) / WORDS_PER_SECOND - offset if position is not None else 0.0
            scores[:, row, min(max(0, round(seconds * 50)), scores.shape[2] - 1)] = 20
        return scores, logits


def measured(
    model_name: str, compute_type: str, policy: str, chunk: float, seconds: float, shared: Path, threads: int | None
) -> Heard:
    """One simulated stream of a model, after one that warms up."""
    from benchmarks.random_models import cached_random_model
    from whisperlite import WhisperModel, load_audio
    from whisperlite.stream import StreamSession

    if model_name == "nano":
        once = load_audio(shared / "audio" / "digits_human_b.flac")
        samples = np.resize(once, round(seconds * RATE))
        model: Any = WhisperModel("nano", compute_type, threads=threads)
        options: dict[str, Any] = {"language": "en", "condition_on_previous_text": False}
    else:
        model = ForcedSpeech(WhisperModel(cached_random_model(model_name), compute_type, threads=threads))
        samples = (0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32)
        options = {"language": "en", "vad": False, "logit_filters": model.filter, "no_speech_threshold": None}
        options["compression_ratio_threshold"] = None
    for length in (min(10.0, seconds), seconds):
        session = StreamSession(model, policy, chunk_seconds=chunk, **options)
        spoken = None
        if model_name != "nano":
            model.session = session
            spoken = model.spoken
        heard = simulate(session, samples[: round(length * RATE)], chunk, spoken)
    return heard


def lag_table(arguments: argparse.Namespace) -> Iterable[str]:
    head = ("model", "compute type", "policy", "chunk", "lag, median", "lag, 95 %", "real-time factor", "CPU share")
    yield f"| {' | '.join((*head, 'decodings'))} |"
    yield "|---" * (len(head) + 1) + "|"
    for name in arguments.models:
        for compute_type, policy, chunk in product(arguments.compute_types, POLICIES, arguments.chunks):
            heard = measured(
                name, compute_type, policy, chunk, arguments.seconds, arguments.shared, arguments.threads
            )
            middle = median(heard.lags) if heard.lags else float("nan")
            yield (
                f"| {name} | {compute_type} | {policy} | {chunk:g} s | {middle:.2f} s | {heard.p95:.2f} s | "
                f"{heard.busy / heard.duration:.2f} | {heard.cpu / heard.duration:.0%} | {heard.n_decoded} |"
            )


def recordings(shared: Path, longest: float = float("inf")) -> Iterable[tuple[str, dict[str, Any], list[str]]]:
    """Name, reference and words of the recordings with one channel and words."""
    refs = json.loads((shared / "audio" / "refs.json").read_text())
    for name, ref in refs.items():
        said = [plain(word["word"]) for part in ref.get("segments", ()) for word in part.get("words", ())]
        if said and ref["language"] != "zh" and ref["duration"] <= longest:
            yield name, ref, said


def live_text(model: Any, samples: np.ndarray, language: str, policy: str, chunk: float, **options: Any) -> Heard:
    """A recording pushed in pieces, as fast as possible."""
    from whisperlite.stream import SegmentClosed, StreamSession

    session = StreamSession(model, policy, language=language, chunk_seconds=chunk, **options)
    heard = Heard(len(samples) / RATE)
    step = round(chunk * RATE)
    begun = time.perf_counter()
    events = [event for at in range(0, len(samples), step) for event in session.push(samples[at : at + step])]
    events += session.finish()
    heard.busy = time.perf_counter() - begun
    heard.text = "".join(event.segment.text for event in events if isinstance(event, SegmentClosed))
    heard.n_decoded, heard.n_positions = session.n_decoded, session.n_positions
    return heard


def wrong(said: list[str], text: str) -> int:
    return edits(said, [word for word in map(plain, text.split()) if word])


def accuracy_table(arguments: argparse.Namespace) -> Iterable[str]:
    from whisperlite import WhisperModel, load_audio

    model = WhisperModel(arguments.model, threads=arguments.threads)
    columns: list[tuple[str, dict[str, Any]]] = [
        (
            f"{policy}{'' if condition else ', no prompt'}",
            {"policy": policy, "condition_on_previous_text": condition},
        )
        for policy in POLICIES
        for condition in (True, False)
    ]
    yield "| recording | words | file | file, `vad_filter` | " + " | ".join(name for name, _ in columns) + " |"
    yield "|---" * (4 + len(columns)) + "|"
    totals = np.zeros(3 + len(columns), int)
    for name, ref, said in recordings(arguments.shared):
        path, language = arguments.shared / "audio" / f"{name}.flac", ref["language"]
        samples = load_audio(path)
        row = [len(said)]
        for vad_filter in (False, True):
            whole = model.transcribe(path, language=language, vad_filter=vad_filter)
            row.append(wrong(said, whole.text))
        for _, options in columns:
            row.append(wrong(said, live_text(model, samples, language, chunk=arguments.chunk, **options).text))
        totals += row
        yield f"| {name} | " + " | ".join(map(str, row)) + " |"
    yield "| all | " + " | ".join(map(str, totals)) + " |"


def audio_ctx_table(arguments: argparse.Namespace) -> Iterable[str]:
    from whisperlite import WhisperModel, load_audio
    from whisperlite.stream import hypothesis

    model = WhisperModel(arguments.model, threads=arguments.threads)
    yield "| audio_ctx | words wrong | of | positions per decoding | time of a decoding |"
    yield "|---|---|---|---|---|"
    usual = hypothesis.MIN_POSITIONS
    for label, least in (("always 1500", None), *((f"at least {n}", n) for n in (1000, 500, 250, 100))):
        n_wrong = n_said = n_decoded = n_positions = 0
        busy = 0.0
        hypothesis.MIN_POSITIONS = least or usual
        for name, ref, said in recordings(arguments.shared, longest=30.0):
            samples = load_audio(arguments.shared / "audio" / f"{name}.flac")
            heard = live_text(
                model, samples, ref["language"], "local-agreement", arguments.chunk,
                condition_on_previous_text=False, audio_ctx="auto" if least else None,
            )  # fmt: skip
            n_wrong += wrong(said, heard.text)
            n_said += len(said)
            n_decoded += heard.n_decoded
            n_positions += heard.n_positions
            busy += heard.busy
        hypothesis.MIN_POSITIONS = usual
        milliseconds = 1000 * busy / n_decoded
        yield f"| {label} | {n_wrong} | {n_said} | {n_positions / n_decoded:.0f} | {milliseconds:.0f} ms |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("lag", "accuracy", "audio-ctx"):
        command = commands.add_parser(name)
        command.add_argument("--shared", type=Path, default=Path(__file__).parent.parent.parent / "shared")
        command.add_argument("--threads", type=int, default=None)
        if name == "lag":
            command.add_argument("--models", nargs="+", default=["nano", "tiny", "base"])
            command.add_argument("--compute-types", nargs="+", default=["default", "int8"])
            command.add_argument("--chunks", nargs="+", type=float, default=[0.5, 1.0])
            command.add_argument("--seconds", type=float, default=60.0)
        else:
            command.add_argument("--model", default="nano")
            command.add_argument("--chunk", type=float, default=0.5)
    arguments = parser.parse_args()
    table = {"lag": lag_table, "accuracy": accuracy_table, "audio-ctx": audio_ctx_table}[arguments.command]
    for line in table(arguments):
        print(line, flush=True)


if __name__ == "__main__":
    main()
