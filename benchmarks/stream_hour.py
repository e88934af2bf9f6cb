"""An hour of live transcription, as fast as possible: does memory stay flat, do times stay true?

    python -m benchmarks.stream_hour [--minutes 60] [--chunk 2] [--policy local-agreement] [--shared ../shared]

In: recordings with true times (``shared/audio``), one after another, again and again. Out: a Markdown table, one
row for each part of the hour: memory, how far segments start from where they do, words wrong, time taken.
Knows nothing of: how a session works.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.audio_ctx import edits
from benchmarks.word_errors import plain

RATE = 16000
RECORDINGS = ("digits_human_a", "words_tts_a", "digits_human_b", "words_tts_b", "digits_human_short")
PAUSE_SECONDS = 1.0


@dataclass
class Part:
    """What fell into one part of the stream."""

    said: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)  # true ones, of segments
    found: list[float] = field(default_factory=list)
    seconds: float = 0.0  # taken
    rss_mb: float = 0.0

    @property
    def errors(self) -> list[float]:
        """Milliseconds from each true start to the nearest one found; signed."""
        found = np.array(self.found)
        return [1000 * float(found[np.abs(found - start).argmin()] - start) for start in self.starts if len(found)]


def rss_mb() -> float:
    """Memory of this process; 0 where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def audio(shared: Path, n_samples: int) -> Iterator[tuple[np.ndarray, list[tuple[float, list[str]]]]]:
    """Recordings with their segments (start in the recording, words), until there is enough."""
    from whisperlite import load_audio

    refs = json.loads((shared / "audio" / "refs.json").read_text())
    loaded = {name: load_audio(shared / "audio" / f"{name}.flac") for name in RECORDINGS}
    pause = (1e-4 * np.random.default_rng(0).standard_normal(round(PAUSE_SECONDS * RATE))).astype(np.float32)
    for name in itertools.cycle(RECORDINGS):
        if n_samples <= 0:
            return
        segments = [
            (part["start"], [plain(word["word"]) for word in part["words"]]) for part in refs[name]["segments"]
        ]
        n_samples -= len(loaded[name]) + len(pause)
        yield np.concatenate((loaded[name], pause)), segments


def run(
    shared: Path, minutes: float, part_minutes: float, threads: int | None, **options: object
) -> Iterator[Part]:
    """Stream and measure; a part is given once the stream is a minute past it."""
    from whisperlite import WhisperModel
    from whisperlite.stream import SegmentClosed, StreamSession

    session = StreamSession(WhisperModel("nano", threads=threads), language="en", **options)  # type: ignore[arg-type]
    chunk = round(session.options.buffer.chunk_seconds * RATE)
    parts = [Part() for _ in range(int(np.ceil(minutes / part_minutes)))]

    def part_at(seconds: float) -> Part:
        return parts[min(int(seconds / 60 / part_minutes), len(parts) - 1)]

    def take(events: list) -> None:
        for event in events:
            if isinstance(event, SegmentClosed):
                part = part_at(event.segment.start)
                part.found.append(event.segment.start)
                part.heard += [word for word in map(plain, event.segment.text.split()) if word]

    offset, n_given = 0.0, 0
    for samples, segments in audio(shared, round(minutes * 60 * RATE)):
        for start, words in segments:
            part_at(offset + start).starts.append(offset + start)
            part_at(offset + start).said.extend(words)
        part, begun = part_at(offset), time.perf_counter()
        for first in range(0, len(samples), chunk):
            take(session.push(samples[first : first + chunk]))
        part.seconds += time.perf_counter() - begun
        part.rss_mb = rss_mb()
        offset += len(samples) / RATE
        if n_given + 1 < len(parts) and offset > 60 * (part_minutes * (n_given + 1) + 1):
            yield parts[n_given]
            n_given += 1
    take(session.finish())
    yield from parts[n_given:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(__file__).parent.parent.parent / "shared")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--part", type=float, default=10.0, help="minutes of a row")
    parser.add_argument("--chunk", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--policy", default="local-agreement")
    arguments = parser.parse_args()
    parts = run(
        arguments.shared, arguments.minutes, arguments.part, arguments.threads, policy=arguments.policy,
        chunk_seconds=arguments.chunk, condition_on_previous_text=False,
    )  # fmt: skip
    print("| from minute | memory | segments | start error, median | words wrong | of | seconds taken |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for i, part in enumerate(parts):
        error = median(part.errors)
        print(
            f"| {i * arguments.part:g} | {part.rss_mb:.0f} MB | {len(part.starts)} | {error:+.0f} ms | "
            f"{edits(part.said, part.heard)} | {len(part.said)} | {part.seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
