"""Cut audio and the way back: exact to the sample, in order, every second accounted for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlite.audio.vad import SpeechMap
from whisperlite.errors import OptionError


@st.composite
def maps(draw: st.DrawFn) -> SpeechMap:
    edges = sorted(draw(st.lists(st.integers(0, 400), unique=True, max_size=12)))
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    if spans and draw(st.booleans()):  # spans that touch
        start, end = spans.pop()
        middle = (start + end) // 2
        spans += [(start, middle), (middle, end)] if start < middle < end else [(start, end)]
    return SpeechMap(spans, draw(st.integers(max([0, *edges]), 420)))


@given(maps())
def test_every_kept_sample_is_found_again(speech):
    cut = speech.cut(np.arange(speech.n_samples))
    assert len(cut) == speech.n_kept == sum(end - start for start, end in speech.kept)
    assert [speech.original_sample(i) for i in range(len(cut))] == cut.tolist()
    for i, sample in enumerate(cut.tolist()):  # an end lies behind the last sample
        assert speech.original_sample(i + 1, is_end=True) == sample + 1
        assert speech.original_time(i / 16000) == sample / 16000


@given(maps())
def test_kept_and_removed_cover_everything_once(speech):
    seen = np.zeros(speech.n_samples, int)
    for start, end in (*speech.kept, *speech.removed):
        assert start < end
        seen[start:end] += 1
    assert (seen == 1).all()
    assert speech.removed_seconds == tuple((a / 16000, b / 16000) for a, b in speech.removed)


@given(maps(), st.lists(st.integers(-5, 500), min_size=2, max_size=20))
def test_order_is_kept(speech, samples):
    samples.sort()
    for is_end in (False, True):
        found = [speech.original_sample(sample, is_end) for sample in samples]
        assert found == sorted(found) and found[0] >= 0 and found[-1] <= speech.n_samples
    times = [sample / 16000 for sample in samples]
    for start, end in pairwise(times):
        for first, last in (speech.original_times(start, end), speech.original_word_times(start, end)):
            assert 0 <= first <= last <= speech.n_samples / 16000


@given(maps(), st.lists(st.integers(0, 500), min_size=2, max_size=20))
def test_words_stay_in_one_span_and_in_order(speech, samples):
    times = [sample / 16000 for sample in sorted(samples)]
    words = [speech.original_word_times(*pair) for pair in pairwise(times)]
    for (_, end), (start, _) in pairwise(words):
        assert end <= start or start == end
    for start, end in words:
        start, end = round(start * 16000), round(end * 16000)
        assert not any(start < a and b < end for a, b in speech.removed)


@given(maps(), st.integers(0, 450), st.integers(0, 450))
def test_a_stretch_is_made_of_its_samples(speech, start, end):
    spans = speech.original_spans(start / 16000, end / 16000)
    samples = [i for a, b in spans for i in range(round(a * 16000), round(b * 16000))]
    assert samples == speech.cut(np.arange(speech.n_samples))[start:end].tolist()


def test_a_seam_has_two_sides():
    speech = SpeechMap([(16000, 32000), (80000, 96000)], 160000)
    assert speech.original_time(1.0) == 5.0 and speech.original_time(1.0, is_end=True) == 2.0
    assert speech.original_times(0.5, 1.0) == (1.5, 2.0)
    assert speech.original_times(1.0, 1.0) == (5.0, 5.0)  # never ends before it starts
    assert speech.original_times(0.5, 1.5) == (1.5, 5.5)
    assert speech.original_word_times(0.9, 1.3) == (5.0, 5.3)  # its middle is in the second span
    assert speech.original_word_times(0.7, 1.2) == (1.7, 2.0)
    assert speech.removed == ((0, 16000), (32000, 80000), (96000, 160000))
    assert speech.original_time(2.5, is_end=True) == 6.5  # beyond the cut audio: what follows its last span
    assert speech.original_time(30.0) == 10.0


def test_times_off_the_grid_go_to_the_nearest_sample():
    speech = SpeechMap([(8000, 16000)], 16000)
    assert speech.original_time(0.1 + 0.2) == 0.8
    assert speech.original_time(0.02 * 7) == 10240 / 16000


def test_nothing_kept_and_everything_kept():
    speech = SpeechMap([], 100)
    assert speech.removed == ((0, 100),) and speech.n_kept == 0
    assert speech.cut(np.zeros(100, np.float32)).dtype == np.float32
    assert speech.original_sample(7) == 7 and speech.original_word_times(0.0, 1.0) == (0.0, 100 / 16000)
    whole = SpeechMap([(0, 100)], 100)
    assert whole.removed == () and whole.cut(np.arange(100)).tolist() == list(range(100))


@pytest.mark.parametrize(
    "spans", [[(5, 5)], [(5, 4)], [(0, 101)], [(-1, 5)], [(0, 10), (9, 12)], [(20, 30), (0, 10)]]
)
def test_refuses_spans(spans):
    with pytest.raises(OptionError, match="give spans in order"):
        SpeechMap(spans, 100)


def test_refuses_other_audio():
    with pytest.raises(OptionError, match="this map is of 100 samples"):
        SpeechMap([], 100).cut(np.zeros(99))
