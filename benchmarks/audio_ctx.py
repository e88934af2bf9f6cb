"""What a shorter encoder window costs: words wrong at several ``audio_ctx``, as a table.

    python -m benchmarks.audio_ctx [--shared ../shared] [--model nano]

In: recordings with reference words (``shared/audio``). Out: a Markdown table.
Knows nothing of: how a shorter window is made.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from benchmarks.word_errors import plain

SIZES = (1500, 1250, 1000, 750, 500, 250)


def edits(said: list[str], heard: list[str]) -> int:
    """Words to change, add or drop to make one text of the other."""
    costs = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        diagonal, costs[0] = costs[0], i
        for j, other in enumerate(heard, start=1):
            diagonal, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, diagonal + (word != other))
    return costs[-1]


def main() -> None:
    from whisperlite import WhisperModel

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(__file__).parent.parent.parent / "shared")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    refs = json.loads((arguments.shared / "audio" / "refs.json").read_text())
    model = WhisperModel(arguments.model)
    print("| audio_ctx | window | " + "words wrong | of | encoder |\n|---|---|---|---|---|")
    for size in SIZES:
        wrong = n_words = 0
        for name, ref in refs.items():
            said = [plain(word["word"]) for part in ref.get("segments", ()) for word in part.get("words", ())]
            if not said or ref["duration"] > 30 or ref["language"] == "zh":
                continue
            path = arguments.shared / "audio" / f"{name}.flac"
            text = model.transcribe(path, language=ref["language"], temperature=0.0, audio_ctx=size).text
            wrong += edits(said, [plain(word) for word in text.split()])
            n_words += len(said)
        mel = model.log_mel(path)[None, :, : 2 * size]
        model.encode(mel)
        begun = time.perf_counter()
        for _ in range(5):
            model.encode(mel)
        milliseconds = (time.perf_counter() - begun) / 5 * 1000
        print(f"| {size} | {size / 50:g} s | {wrong} | {n_words} | {milliseconds:.0f} ms |")


if __name__ == "__main__":
    main()
