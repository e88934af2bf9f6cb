"""Edges of speech found in a stream are those of the whole recording."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.audio import load_audio
from whisperlite.audio.vad import WINDOW_SAMPLES, EnergyDetector, VadOptions, speech_spans
from whisperlite.audio.vad.detector import VoiceStream
from whisperlite.stream.gate import Edge, VoiceGate


class Scripted:
    """A detector whose probabilities are written down."""

    def __init__(self, probabilities: list[float]) -> None:
        self._probabilities = np.array(probabilities, np.float32)

    def probabilities(self, audio: np.ndarray) -> np.ndarray:
        return self._probabilities

    def stream(self) -> VoiceStream:
        left = iter(self._probabilities)
        return VoiceStream(0, lambda s: np.array([next(left) for _ in range(len(s) // WINDOW_SAMPLES)], np.float32))


def edges_of(gate: VoiceGate, samples: np.ndarray, sizes: list[int]) -> list[Edge]:
    edges, at, i = [], 0, 0
    while at < len(samples):
        size = sizes[i % len(sizes)]
        edges += gate.push(samples[at : at + size])
        at, i = at + size, i + 1
    return edges + gate.finish(len(samples))


def spans_of(edges: list[Edge]) -> list[tuple[int, int]]:
    assert [edge.is_start for edge in edges] == [True, False] * (len(edges) // 2)
    return [(edges[i].sample, edges[i + 1].sample) for i in range(0, len(edges), 2)]


@settings(deadline=None)
@given(
    probabilities=st.lists(st.sampled_from([0.0, 0.2, 0.34, 0.36, 0.5, 0.9]), min_size=1, max_size=60),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5),
    shortest=st.sampled_from([0, 30, 100, 250]),
    silence=st.sampled_from([0, 32, 100, 300]),
)
def test_edges_are_the_spans_of_the_whole(probabilities, sizes, shortest, silence):
    options = VadOptions(min_speech_duration_ms=shortest, min_silence_duration_ms=silence, speech_pad_ms=0)
    samples = np.zeros(WINDOW_SAMPLES * len(probabilities), np.float32)
    found = spans_of(edges_of(VoiceGate(Scripted(probabilities), options), samples, sizes))
    assert found == speech_spans(np.array(probabilities), len(samples), options)


def test_edges_of_a_recording(audio_file):
    samples = load_audio(audio_file("words_tts_a"))
    options = VadOptions(min_silence_duration_ms=500, speech_pad_ms=0)
    found = spans_of(edges_of(VoiceGate(EnergyDetector(), options), samples, [1000]))
    assert found == speech_spans(EnergyDetector().probabilities(samples), len(samples), options)
    assert len(found) == 4


def test_silence_is_seen_before_speech_ends():
    gate = VoiceGate(Scripted([0.9, 0.9, 0.1, 0.1, 0.9]), VadOptions(min_silence_duration_ms=500))
    gate.push(np.zeros(2 * WINDOW_SAMPLES, np.float32))
    assert gate.speaking and gate.silent_from is None
    gate.push(np.zeros(2 * WINDOW_SAMPLES, np.float32))
    assert gate.speaking and gate.silent_from == 2 * WINDOW_SAMPLES
    gate.push(np.zeros(WINDOW_SAMPLES, np.float32))
    assert gate.silent_from is None


@pytest.mark.parametrize("n_samples", [0, 100])
def test_nothing_heard_has_no_edges(n_samples):
    gate = VoiceGate(EnergyDetector(), VadOptions())
    assert edges_of(gate, np.zeros(n_samples, np.float32), [50]) == []
