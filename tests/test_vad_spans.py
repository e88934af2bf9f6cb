"""From probabilities to spans: every rule, faster-whisper's own function where installed, refused options."""

from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.audio.vad import VadOptions, speech_spans
from whisperlite.errors import OptionError

W = 512
BARE = {"min_silence_duration_ms": 0, "speech_pad_ms": 0}


def probabilities(text: str) -> np.ndarray:
    """``#`` speech, ``-`` neither, ``.`` silence."""
    return np.array([{"#": 0.9, "-": 0.4, ".": 0.1}[letter] for letter in text], np.float32)


def windows(text: str, n_samples: int | None = None, **options) -> list[tuple[float, float]]:
    """Spans in windows."""
    n_samples = len(text) * W if n_samples is None else n_samples
    spans = speech_spans(probabilities(text), n_samples, VadOptions(**options))
    return [(start / W, end / W) for start, end in spans]


def ms(n_windows: float) -> float:
    return n_windows * 32


def test_speech_begins_at_the_threshold_and_ends_below_the_lower_one():
    assert windows("..##--##..", **BARE) == [(2, 8)]
    assert windows("..--##..##", **BARE) == [(4, 6), (8, 10)]
    assert windows("..##--##..", neg_threshold=0.45, **BARE) == [(2, 4), (6, 8)]
    assert windows("..##--##..", threshold=0.95, **BARE) == []
    assert windows("", **BARE) == [] and windows("....", **BARE) == []


def test_short_silence_does_not_end_speech():
    options = {"speech_pad_ms": 0, "min_silence_duration_ms": ms(3)}
    assert windows("##...##....", **options) == [(0, 7)]  # ends at the window that makes it three windows long
    assert windows("##....##....", **options) == [(0, 2), (6, 8)]


def test_silence_is_not_broken_by_what_is_neither():
    options = {"speech_pad_ms": 0, "min_silence_duration_ms": ms(3)}
    assert windows("##.--.##", **options) == [(0, 2), (6, 8)]
    assert windows("##----##", **options) == [(0, 8)]


def test_short_speech_is_dropped():
    options = {**BARE, "min_speech_duration_ms": ms(2)}
    assert windows(".##..###..##", **options) == [(5, 8)]  # two windows are not longer than two
    assert windows(".##..###..###", **options) == [(5, 8), (10, 13)]


def test_padding():
    options = {"min_silence_duration_ms": 0, "speech_pad_ms": ms(2)}
    assert windows("...##.....", **options) == [(1, 7)]
    assert windows(".##......##.", **options) == [(0, 5), (7, 12)]
    assert windows(".##..##.", **options) == [(0, 4), (4, 8)]  # the silence between is shared
    assert windows(".##...##.", **options) == [(0, 4.5), (4.5, 9)]


def test_speech_lasts_to_the_end_of_the_audio_not_of_its_windows():
    assert speech_spans(probabilities("..##"), 4 * W - 100, VadOptions(**BARE)) == [(2 * W, 4 * W - 100)]
    assert speech_spans(probabilities("..##."), 4 * W, VadOptions(**BARE)) == [(2 * W, 4 * W)]


def test_long_speech_is_cut_where_it_is():
    options = {"speech_pad_ms": 0, "max_speech_duration_s": 5 * W / 16000}  # a window is kept back
    assert windows("############", **options) == [(0, 5), (6, 11)]


def test_long_speech_is_cut_at_its_last_long_silence():
    options = {"speech_pad_ms": 0, "max_speech_duration_s": 12 * W / 16000}
    assert windows("###.....########", **options) == [(0, 3), (8, 16)]  # speech went on: a new span from there
    assert windows("###............#", **options) == [(0, 3), (15, 16)]  # it did not
    assert windows("###...##########", **options) == [(0, 12), (13, 16)]  # 98 ms of silence or less is no place


def test_number_of_windows_must_fit():
    speech_spans(np.zeros(3), 2 * W, VadOptions())  # faster-whisper's window of padding
    for n_samples in (W, 2 * W - 1, 4 * W):
        with pytest.raises(OptionError, match=f"3 probabilities for {n_samples} samples"):
            speech_spans(np.zeros(3), n_samples)


OPTIONS = st.fixed_dictionaries(
    {
        "threshold": st.floats(0.02, 0.98),
        "min_speech_duration_ms": st.sampled_from([0, 32, 100, 250]),
        "min_silence_duration_ms": st.sampled_from([0, 32, 98, 100, 200, 2000]),
        "speech_pad_ms": st.sampled_from([0, 1, 30, 33, 400]),
        "max_speech_duration_s": st.sampled_from([math.inf, 0.9, 1.5, 3]),
    }
)


@settings(max_examples=300, deadline=None)
@given(values=st.lists(st.floats(0, 1, width=32), max_size=120), short=st.integers(0, W - 1), options=OPTIONS)
def test_spans_are_in_order_and_within_the_audio(values, short, options):
    n_samples = max(0, len(values) * W - short)
    spans = speech_spans(np.array(values, np.float32), n_samples, VadOptions(**options))
    before = 0
    for start, end in spans:
        assert isinstance(start, int) and isinstance(end, int) and before <= start <= end <= n_samples
        before = end


@pytest.mark.peer
@settings(max_examples=500, deadline=None)
@given(
    levels=st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(1, 9)), max_size=60),
    short=st.integers(0, W - 1),
    options=OPTIONS,
)
def test_faster_whisper_gives_the_same(levels, short, options):
    vad = pytest.importorskip("faster_whisper.vad")
    values = np.repeat([level for level, _ in levels], [n for _, n in levels]).astype(np.float32)
    n_samples = max(0, len(values) * W - short)
    if n_samples % W == 0:  # it judges one more window, all padding
        values = np.append(values, np.float32(0.01))
    with mock.patch.object(vad, "get_vad_model", lambda: lambda padded: values):
        expected = vad.get_speech_timestamps(np.zeros(n_samples, np.float32), vad.VadOptions(**options))
    found = speech_spans(values, n_samples, VadOptions(**options))
    assert found == [(span["start"], span["end"]) for span in expected]


# --- options


def test_defaults_are_faster_whisper_s():
    options = VadOptions()
    assert (options.threshold, options.neg_threshold, options.min_speech_duration_ms) == (0.5, None, 0)
    assert (options.max_speech_duration_s, options.min_silence_duration_ms) == (math.inf, 2000)
    assert options.speech_pad_ms == 400 and options.end_threshold == pytest.approx(0.35)
    assert VadOptions(threshold=0.1).end_threshold == 0.01
    assert VadOptions(neg_threshold=0.2).end_threshold == 0.2


@pytest.mark.peer
def test_names_and_defaults_of_faster_whisper():
    vad = pytest.importorskip("faster_whisper.vad")
    assert vars(vad.VadOptions()) == vars(VadOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.1}, "threshold=1.1: give a probability from 0 to 1"),
        ({"threshold": "0.5"}, "threshold='0.5': give a number"),
        ({"threshold": math.nan}, "threshold=nan: give a number"),
        ({"threshold": True}, "threshold=True: give a number"),
        ({"threshold": None}, "threshold=None: give a number"),
        ({"neg_threshold": -0.1}, "neg_threshold=-0.1: give a probability"),
        ({"neg_threshold": 0.6}, "neg_threshold=0.6: give at most threshold=0.5"),
        ({"min_speech_duration_ms": -1}, "min_speech_duration_ms=-1: give 0 or more"),
        ({"min_silence_duration_ms": math.inf}, "min_silence_duration_ms=inf: give 0 or more"),
        ({"speech_pad_ms": -3}, "speech_pad_ms=-3: give 0 or more"),
        ({"max_speech_duration_s": 0.8}, "max_speech_duration_s=0.8: a window and speech_pad_ms=400 .* 0.832 s"),
        ({"max_speech_duration_s": -1, "speech_pad_ms": 0}, "max_speech_duration_s=-1"),
        ({"min_speach": 1}, "vad_parameters: 'min_speach' is unknown; use threshold, neg_threshold"),
        (7, "vad_parameters=7: give VadOptions or a mapping"),
    ],
)
def test_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        VadOptions.of(options)


def test_of():
    options = VadOptions(threshold=0.3)
    assert VadOptions.of(options) is options
    assert VadOptions.of(None) == VadOptions() and VadOptions.of({"threshold": 0.3}) == options
