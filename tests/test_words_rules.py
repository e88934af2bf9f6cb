"""Punctuation, the rules on overlong words, and where the next window begins: no model."""

from __future__ import annotations

import pytest

from whisperlite.transcribe.segments import Piece, WindowPlace
from whisperlite.transcribe.words import (
    TimedPiece,
    WordTiming,
    add_word_timestamps,
    last_word_end,
    merge_punctuations,
    seek_after_words,
)

EOT, STAMP = 1000, 1200


def timings(*words: tuple[str, float, float]) -> list[WordTiming]:
    """Words of one token each: token i is word i."""
    return [WordTiming(word, (i,), start, end, 0.5 + i / 100) for i, (word, start, end) in enumerate(words)]


def piece(start: float, end: float, tokens) -> Piece:
    return Piece(start, end, (STAMP, *tokens, STAMP))


def timed(*words: tuple[str, float, float], start=0.0, end=100.0, offset=0.0, last=0.0) -> TimedPiece:
    """One segment of all the words."""
    segment = piece(start, end, range(len(words)))
    [result] = add_word_timestamps(
        [segment], timings(*words), eot=EOT, time_offset=offset, last_speech_timestamp=last
    )
    return result


def times(result: TimedPiece) -> list[tuple[float, float]]:
    return [(pytest.approx(word.start), pytest.approx(word.end)) for word in result.words]


# punctuation


@pytest.mark.parametrize(
    ("words", "merged"),
    [
        ([" One", ".", " Two", "!"], [" One.", " Two!"]),
        ([' "', "Yes", '"', " he"], [' "Yes"', " he"]),
        ([" (", "a", ")", "."], [" (a).",]),
        ([" ¿", "Qué", "?"], [" ¿Qué?"]),
        ([' "', " (", "a"], [' " (a']),
        (["五", "四", "。"], ["五", "四。"]),
        ([" a", "-", "b"], [" a", "-", "b"]),  # prepended only with its space
        ([" a ", "."], [" a ", "."]),
        ([" a", '"', ".", ","], [' a".,']),
        (["."], ["."]),
        ([" ("], [" ("]),
        ([], []),
    ],
)  # fmt: skip
def test_punctuation_joins_its_word(words, merged):
    given = timings(*[(word, i, i + 1) for i, word in enumerate(words)])
    result = merge_punctuations(given)
    assert [t.word for t in result] == merged
    assert [token for t in result for token in t.tokens] == list(range(len(words)))


def test_a_joined_word_keeps_its_own_time_and_probability():
    before, word, after = timings((" (", 0, 1), ("a", 1, 2), (")", 2, 3))
    [joined] = merge_punctuations([before, word, after])
    assert (joined.start, joined.end, joined.probability) == (word.start, word.end, word.probability)


def test_other_marks_can_be_given():
    given = timings((" #", 0, 1), ("tag", 1, 2), ("~", 2, 3), (".", 3, 4))
    assert [t.word for t in merge_punctuations(given, "#", "~")] == [" #tag~", "."]
    [result] = add_word_timestamps(
        [piece(0, 9, range(4))], given, eot=EOT, time_offset=0, prepend_punctuations="#", append_punctuations="~"
    )
    assert [word.word for word in result.words] == [" #tag~", "."]


# rules on times; the median duration of these words is 0.4 s


SHORT = [(" b", 1.0, 1.4), (" c", 1.4, 1.8), (" d", 1.8, 2.2)]


def test_plain_words_are_shifted_and_rounded():
    result = timed((" a", 0.6, 1.0), *SHORT, offset=28.4, last=28.9)
    assert times(result) == [(29.0, 29.4), (29.4, 29.8), (29.8, 30.2), (30.2, 30.6)]
    assert [word.probability for word in result.words] == [0.5, 0.51, 0.52, 0.53]
    assert (result.start, result.end) == (29.0, 30.6)


def test_punctuation_is_cut_to_twice_the_median():
    # The mark is joined to its word and its own time is lost; the word after it keeps its start.
    result = timed((" a", 0.6, 1.0), *SHORT, (".", 2.2, 5.0), (" e", 5.0, 5.4), last=0.5)
    assert times(result)[3:] == [(1.8, 2.2), (5.0, 5.4)]
    alone = timed((" a", 0.6, 1.0), (" b", 1.0, 1.4), (". ", 1.4, 1.8), ("?", 1.8, 4.8), last=0.5)
    assert times(alone)[3:] == [(1.8, 2.6)]


def test_a_long_word_after_a_sentence_end_starts_later():
    result = timed((" a", 0.6, 1.0), *SHORT, (".", 2.2, 2.6), (" e", 2.6, 5.6), last=0.5)
    assert times(result)[4] == (4.8, 5.6)


def test_a_long_word_inside_a_sentence_is_left_alone():
    assert times(timed((" a", 0.6, 1.0), *SHORT, (" e", 2.2, 5.2), last=0.5))[4] == (2.2, 5.2)


def test_median_is_capped():
    words = [(" a", 0.0, 2.0), (" b", 2.0, 4.0), (".", 4.0, 4.0), (" c", 4.0, 9.0)]
    assert times(timed(*words))[2] == (9.0 - 2 * 0.7, 9.0)


def test_words_without_length_do_not_count_in_the_median():
    words = [(" a", 0.6, 1.0), *SHORT, *[(" z", 2.2, 2.2)] * 9, (".", 2.2, 2.2), (" e", 2.2, 5.2)]
    assert times(timed(*words, last=0.5))[-1] == (4.4, 5.2)


def test_no_word_has_length():
    result = timed((" a", 1.0, 1.0), (" b", 1.0, 1.0))
    assert times(result) == [(1.0, 1.0), (1.0, 1.0)]


def test_first_word_after_a_pause_is_cut():
    words = [(" a", 0.0, 9.0), (" b", 9.0, 9.4), (" c", 9.4, 9.8), (" d", 9.8, 10.2)]
    assert times(timed(*words, offset=10, last=5))[0] == (18.2, 19.0)
    # no pause: the last speech is just before
    assert times(timed(*words, offset=10, last=17.5))[0] == (10.0, 19.0)


def test_first_two_words_after_a_pause_share_their_time():
    words = [(" a", 4.0, 4.4), (" b", 4.4, 9.0), (" c", 9.0, 9.4), (" d", 9.4, 9.8)]
    assert times(timed(*words))[:2] == [(7.4, 8.2), (8.2, 9.0)]
    # early in the audio half of the second word's end comes first
    words = [(" a", 0.2, 0.6), (" b", 0.6, 2.0), (" c", 2.0, 2.1), (" d", 2.1, 2.2)]
    assert times(timed(*words, last=-5.0))[:2] == [(1.0, 1.5), (1.5, 2.0)]


def test_times_do_not_become_negative():
    words = [(" a", 0.0, 0.3), (" b", 0.3, 0.9), (" c", 0.9, 1.1), (" d", 1.1, 1.3)]
    assert all(word.start >= 0 for word in timed(*words, last=-5.0).words)


def test_a_first_word_long_before_its_segment_starts_with_it():
    # ends inside the segment, starts more than 0.5 s before it
    words = [(" a", 0.6, 1.4), (" b", 1.4, 1.8), (" c", 1.8, 2.2)]
    result = timed(*words, start=1.2, last=0.5)
    assert result.start == 1.2
    assert times(result)[0] == (1.0, 1.4)  # at least a median long
    words = [(" a", 0.0, 2.0), (" b", 2.0, 2.4), (" c", 2.4, 2.8)]
    assert times(timed(*words, start=1.2, last=0.5))[0] == (1.2, 2.0)


def test_a_segment_takes_the_start_of_a_first_word_near_it():
    words = [(" a", 0.6, 1.4), (" b", 1.4, 1.8), (" c", 1.8, 2.2)]
    assert timed(*words, start=1.0, last=0.5).start == 0.6
    assert timed(*words, start=3.0, last=0.5).start == 0.6  # not inside the segment at all


def test_a_last_word_long_after_its_segment_ends_with_it():
    words = [(" a", 0.6, 1.0), (" b", 1.0, 1.4), (" c", 1.4, 3.4)]
    result = timed(*words, end=2.4, last=0.5)
    assert (result.end, times(result)[-1]) == (2.4, (1.4, 2.4))
    result = timed(*words, end=1.5, last=0.5)
    assert (result.end, times(result)[-1]) == (1.5, (1.4, 1.8))  # at least a median long


def test_a_segment_takes_the_end_of_a_last_word_near_it():
    words = [(" a", 0.6, 1.0), (" b", 1.0, 1.4), (" c", 1.4, 3.4)]
    assert timed(*words, end=3.0, last=0.5).end == 3.4
    assert timed(*words, end=1.3, last=0.5).end == 3.4


def test_words_are_dealt_out_to_segments():
    given = timings((" a", 0.6, 1.0), (".", 1.0, 1.1), (" b", 3.0, 3.4), (" c", 3.4, 3.8))
    segments = [piece(0, 2, [0, 1]), piece(2, 2.5, []), piece(2.5, 5, [2, 3])]
    result = add_word_timestamps(segments, given, eot=EOT, time_offset=0)
    assert [[word.word for word in segment.words] for segment in result] == [[" a."], [], [" b", " c"]]
    assert (result[1].start, result[1].end) == (2, 2.5)
    assert [segment.tokens for segment in result] == [segment.tokens for segment in segments]


def test_the_pause_is_measured_from_the_segment_before():
    given = timings((" a", 0.0, 0.4), (" b", 0.4, 0.8), (" c", 0.8, 5.0), (" d", 5.0, 5.4))
    segments = [piece(0, 0.8, [0, 1]), piece(0.8, 6, [2, 3])]
    result = add_word_timestamps(segments, given, eot=EOT, time_offset=0)
    assert times(result[1])[0] == (4.2, 5.0)


def test_punctuation_that_opens_a_segment_may_join_the_one_before():
    given = timings((" a", 0.0, 0.4), (".", 0.4, 0.5), (" b", 0.5, 0.9))
    result = add_word_timestamps([piece(0, 1, [0]), piece(1, 2, [1, 2])], given, eot=EOT, time_offset=0)
    assert [[word.word for word in segment.words] for segment in result] == [[" a."], [" b"]]


def test_nothing_to_time():
    assert add_word_timestamps([], [], eot=EOT, time_offset=0) == []
    [result] = add_word_timestamps([piece(1, 2, [])], [], eot=EOT, time_offset=0)
    assert (result.start, result.end, result.words) == (1, 2, ())


# seek


PLACE = WindowPlace(seek=1000, n_frames=3000, frames_per_token=2)


def test_end_of_the_last_word():
    spoken = timed((" a", 1.0, 2.0), last=0.9)
    silent = TimedPiece(3.0, 4.0, (), ())
    assert last_word_end([]) is None
    assert last_word_end([silent]) == 4.0
    assert last_word_end([spoken, silent]) == 2.0


@pytest.mark.parametrize(
    ("end", "single_ending", "seek"),
    [
        (12.34, False, 1234),
        (12.34, True, 2500),  # nothing follows the last timestamp
        (10.0, False, 2500),
        (10.004, False, 2500),  # would stand still
        (9.0, False, 2500),
    ],
)
def test_next_window_begins_at_the_last_word(end, single_ending, seek):
    pieces = [TimedPiece(9.0, end, (), ())]
    assert seek_after_words(pieces, PLACE, 2500, single_ending) == seek
    assert seek_after_words([], PLACE, 2500, single_ending) == 2500
