"""The rules on words against openai-whisper's own, on random alignments, where it is installed."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from whisperlite.transcribe.segments import Piece
from whisperlite.transcribe.words import WordTiming, add_word_timestamps

pytestmark = pytest.mark.peer
EOT = 1000
TEXTS = (
    " a", " hello", "x", ' "', '"', ".", "!", ",", "。", " (", "(", " -", "-", "", " ", " ¿", "?", " no ", "n't",
)  # fmt: skip


class Tokenizer:
    eot = EOT


def random_window(rng: random.Random):
    """Words as (text, ids, start, end, probability), and segments of their tokens."""
    at, words, tokens = rng.choice([0, 0, 1.0, 5.0]), [], []
    for _ in range(rng.randrange(14)):
        ids = [rng.randrange(900) for _ in range(rng.randrange(1, 3))]
        duration = rng.choice([0, 0.02, 0.1, 0.2, 0.3, 0.5, 1.5, 4.0])
        words.append((rng.choice(TEXTS), ids, at, at + duration, rng.random()))
        at += duration + (2 if rng.random() < 0.1 else 0)
        tokens += ids
    seek = rng.choice([0, 300, 2841])
    cuts = [0, *sorted(rng.randrange(len(tokens) + 1) for _ in range(rng.randrange(4))), len(tokens)]
    start, segments = seek / 100, []
    for begin, end in pairwise(cuts):
        stop = start + rng.choice([0, 0.3, 1, 3])
        segments.append({"seek": seek, "start": start, "end": stop, "tokens": [1200, *tokens[begin:end], 1300]})
        start = stop
    return words, segments


def test_rules_on_random_windows(monkeypatch):
    timing = pytest.importorskip("whisper.timing", reason="openai-whisper is not installed")
    rng = random.Random(1)
    for _ in range(2000):
        words, segments = random_window(rng)
        offset = segments[0]["seek"] / 100
        last = rng.choice([0, offset, offset - 1])
        alignment = [WordTiming(text, tuple(ids), start, end, p) for text, ids, start, end, p in words]
        pieces = [Piece(s["start"], s["end"], tuple(s["tokens"])) for s in segments]
        ours = add_word_timestamps(pieces, alignment, eot=EOT, time_offset=offset, last_speech_timestamp=last)
        theirs = [timing.WordTiming(text, list(ids), start, end, p) for text, ids, start, end, p in words]
        monkeypatch.setattr(timing, "find_alignment", lambda *_, found=theirs, **__: found)
        timing.add_word_timestamps(
            segments=segments, model=None, tokenizer=Tokenizer, mel=None, num_frames=0, last_speech_timestamp=last
        )
        assert [
            (s.start, s.end, [word.to_dict() for word in s.words]) for s in ours
        ] == [(s["start"], s["end"], s["words"]) for s in segments]  # fmt: skip
