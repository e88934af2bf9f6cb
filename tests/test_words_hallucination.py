"""Improbable words and the silence around them: no model."""

from __future__ import annotations

import pytest

from whisperlite.results import Word
from whisperlite.transcribe.hallucination import (
    is_segment_anomaly,
    next_words_segment,
    skip_silence,
    word_anomaly_score,
)
from whisperlite.transcribe.segments import WindowPlace
from whisperlite.transcribe.words import TimedPiece


def word(start: float, end: float, probability: float = 0.9, text: str = " a") -> Word:
    return Word(text, start, end, probability)


def piece(*words: Word, start: float | None = None, end: float | None = None) -> TimedPiece:
    start = words[0].start if start is None else start
    return TimedPiece(start, words[-1].end if end is None else end, (1,), words)


def good(start: float) -> TimedPiece:
    return piece(*[word(start + 0.4 * i, start + 0.4 * (i + 1)) for i in range(4)])


def odd(start: float) -> TimedPiece:
    return piece(word(start, start + 0.1, 0.1), word(start + 0.1, start + 0.2, 0.1))


@pytest.mark.parametrize(
    ("given", "score"),
    [
        (word(1, 1.4), 0.0),
        (word(1, 1.4, 0.15), 0.0),
        (word(1, 1.4, 0.149), 1.0),
        (word(1, 1.033), 1.5),
        (word(1, 4.5), 1.5),
        (word(1, 1.0, 0.0), 1 + 0.133 * 15),
    ],
)
def test_word_score(given, score):
    assert word_anomaly_score(given) == pytest.approx(score)


@pytest.mark.parametrize(
    ("pieces", "odd"),
    [
        ([word(1, 1.4)], False),
        ([word(1, 1.4, 0.1)], True),  # one of one
        ([word(1, 1.4, 0.1), word(2, 2.4)], False),
        ([word(i, i + 0.4, 0.1) for i in range(3)] + [word(9, 9.4)] * 5, True),  # three of eight
        ([word(1, 1.4)] * 8 + [word(1, 1.4, 0.1)] * 8, False),  # only eight count
        ([word(1, 1.4), word(2, 7.0)], True),  # very long
        ([word(1, 1.4), word(2, 2, 0.0, ".")], False),  # punctuation does not count
        ([word(1, 1.4, text=".")], True),  # nothing but punctuation
        ([], False),
    ],
)
def test_segment_anomaly(pieces, odd):
    assert is_segment_anomaly(TimedPiece(0, 30, (), tuple(pieces))) is odd


def test_no_segment_is_no_anomaly():
    assert not is_segment_anomaly(None)


def test_next_segment_with_words():
    silent = TimedPiece(0, 1, (), ())
    assert next_words_segment([silent, good(2), good(4)]) == good(2)
    assert next_words_segment([silent]) is None
    assert next_words_segment([]) is None


PLACE = WindowPlace(seek=1000, n_frames=3000, frames_per_token=2)  # 10 s to 40 s


def skip(*pieces: TimedPiece, place=PLACE, **given):
    options = {
        "seek": 4000, "threshold": 2.0, "single_timestamp_ending": True, "last_speech_timestamp": 9.8,
        "content_frames": 10000,
    }  # fmt: skip
    return skip_silence(pieces, place, **options | given)


def test_probable_text_stays():
    kept = skip(good(10.2), good(20), good(38))
    assert (kept.pieces, kept.seek, kept.restart, kept.reason) == (
        (good(10.2), good(20), good(38)),
        4000,
        False,
        None,
    )


def test_window_without_words():
    assert skip().seek == 4000
    empty = TimedPiece(12.0, 13.0, (), ())
    assert skip(empty).pieces == (empty,)


@pytest.mark.parametrize(
    ("last", "single_ending", "seek"),
    [
        (30.0, False, 3160),  # long silence after the last word: the next window begins there
        (37.0, False, 4000),  # short silence: the whole window is done with
        (30.0, True, 4000),
    ],
)
def test_silence_after_the_last_word(last, single_ending, seek):
    assert skip(good(10.2), good(last), single_timestamp_ending=single_ending, seek=1234 + 2766).seek == seek


def test_window_cut_short_by_a_clip_is_done_with_whole():
    place = WindowPlace(seek=1000, n_frames=500, frames_per_token=2)
    assert skip(good(38.0), place=place, single_timestamp_ending=False, seek=1400).seek == 1500


def test_silence_before_improbable_text_is_skipped_and_the_window_restarts():
    kept = skip(odd(15.5), good(20))
    assert (kept.pieces, kept.seek, kept.restart) == ((), 1550, True)
    assert kept.reason == "improbable text after 5.50 s without words"
    assert not skip(odd(11.9), good(20)).restart  # the gap is shorter than the threshold


def test_restart_always_moves():
    kept = skip(odd(10.003), threshold=0.001)
    assert (kept.seek, kept.restart) == (1001, True)


def test_improbable_text_between_silences_is_dropped_with_what_follows():
    kept = skip(good(10.2), odd(18), good(25))
    assert (kept.pieces, kept.seek, kept.restart) == ((good(10.2),), 1800, False)
    assert kept.reason == "improbable text between silences, 8.00 s into the window"


def test_text_follows_at_once():
    assert len(skip(good(10.2), odd(18), good(19)).pieces) == 3


def test_text_ends_just_before():
    assert len(skip(good(10.2), good(16), odd(18), good(25)).pieces) == 4


def test_more_improbable_text_counts_as_silence_after():
    assert skip(good(10.2), odd(18), odd(19)).pieces == (good(10.2),)


def test_edges_of_the_window_count_as_silence():
    assert skip(odd(10.4), good(25), last_speech_timestamp=10.3).pieces == ()  # just after the start
    assert skip(good(10.2), good(30), odd(38.5)).pieces == (good(10.2), good(30))  # just before the end
    assert skip(odd(1.5), place=WindowPlace(0, 3000, 2), last_speech_timestamp=1.0).pieces == ()  # start of audio


def test_the_last_segment_is_followed_by_the_end_of_the_audio_in_the_window():
    place = WindowPlace(seek=1000, n_frames=1000, frames_per_token=2)
    assert skip(good(10.2), odd(15), place=place).pieces == (good(10.2),)
    assert len(skip(good(10.2), odd(18.5), place=place).pieces) == 2


def test_the_next_window_begins_a_second_on_at_least():
    assert skip(odd(10.4), good(25)).seek == 1100


def test_improbable_text_at_the_end_of_the_audio_ends_it():
    assert skip(good(10.2), odd(38.5), content_frames=4000).seek == 4000
    assert skip(good(10.2), odd(37), content_frames=4010).seek == 3700


def test_segments_without_words_are_passed_over():
    empty = TimedPiece(17.9, 18.0, (), ())
    assert skip(good(10.2), empty, odd(18), good(25)).pieces == (good(10.2), empty)
