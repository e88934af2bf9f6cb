"""Several calls and several models in Python threads at once: each result is the one it has alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

import whisperlite
from whisperlite import WhisperModel

CALLS = (
    {"language": "en"},
    {"language": "en", "beam_size": 3},
    {"word_timestamps": True},
    {"language": "es", "temperature": 0.7, "seed": 3},
    {
        "language": "en",
        "vad_filter": True,
        "vad_parameters": {"min_silence_duration_ms": 300, "speech_pad_ms": 100},
    },
    {"language": "en", "without_timestamps": True, "condition_on_previous_text": False, "batch_size": 2},
)


def recordings() -> list[np.ndarray]:
    """One for each of ``CALLS``: beginning at different places, one of them longer than a window."""
    demo = whisperlite.load_audio(whisperlite.demo_audio())
    return [np.tile(np.roll(demo, 4000 * i), 6 if i == len(CALLS) - 1 else 1) for i in range(len(CALLS))]


def outcome(model: WhisperModel, audio: np.ndarray, options: dict) -> tuple:
    transcript = model.transcribe(audio, **{"temperature": 0.0, **options})
    words = [word for segment in transcript for word in segment.words or ()]
    return transcript.language, tuple((s.tokens, s.start, s.end) for s in transcript), tuple(words)


def at_once(models: list[WhisperModel], audios: list[np.ndarray]) -> list[tuple]:
    barrier = Barrier(len(CALLS))

    def call(i: int) -> tuple:
        barrier.wait(600)
        return outcome(models[i % len(models)], audios[i], CALLS[i])

    with ThreadPoolExecutor(len(CALLS)) as pool:
        return list(pool.map(call, range(len(CALLS))))


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_calls_and_models_do_not_disturb_each_other(threads):
    models = [WhisperModel("nano", threads=threads) for _ in range(2)]
    audios = recordings()
    alone = [outcome(models[0], audio, options) for audio, options in zip(audios, CALLS, strict=True)]
    assert all(segments for _, segments, _ in alone)
    for used in (models[:1], models):
        assert at_once(used, audios) == alone


def test_one_transcript_read_by_several_threads(nano):
    demo = np.tile(whisperlite.load_audio(whisperlite.demo_audio()), 6)
    options = {"language": "en", "temperature": 0.0}
    expected = nano.transcribe(demo, **options).segments
    shared = nano.transcribe(demo, **options)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: tuple(shared), range(4)):
            assert found == expected
