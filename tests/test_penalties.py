"""Rules against repetition, by pattern and by the user; tokens of hotwords."""

from __future__ import annotations

import numpy as np
import pytest
from fake_model import FakeTokenizer
from hypothesis import given
from hypothesis import strategies as st

from whisperlite.decode.penalties import (
    NoRepeatNgram,
    RepetitionPenalty,
    SuppressRegex,
    UserFilter,
    hotword_tokens,
)
from whisperlite.errors import OptionError
from whisperlite.text.vocabulary import Vocabulary

NONE_SAMPLED = np.zeros((1, 0), dtype=np.int32)


def tokens(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int32)


def test_repetition_penalty_lowers_each_sampled_token_once():
    logits = np.float32([[2, -2, 4, 0, -np.inf], [2, -2, 4, 0, 1]])
    RepetitionPenalty(2.0)(logits, tokens([0, 0, 1, 4], [2, 3, 3, 2]))
    np.testing.assert_array_equal(logits, np.float32([[1, -4, 4, 0, -np.inf], [2, -2, 2, 0, 1]]))


def test_repetition_penalty_below_one_rewards():
    logits = np.float32([[2, -2]])
    RepetitionPenalty(0.5)(logits, tokens([0, 1]))
    np.testing.assert_array_equal(logits, np.float32([[4, -1]]))


def test_repetition_penalty_at_the_first_position():
    logits = np.float32([[2, -2]])
    RepetitionPenalty(2.0)(logits, NONE_SAMPLED)
    np.testing.assert_array_equal(logits, np.float32([[2, -2]]))


@pytest.mark.parametrize("penalty", [0, -1.0, float("nan"), float("inf"), True, "1.1"])
def test_repetition_penalty_that_is_none(penalty):
    with pytest.raises(OptionError, match="repetition_penalty="):
        RepetitionPenalty(penalty)


def masked(size: int, *rows: list[int]) -> list[list[int]]:
    logits = np.zeros((len(rows), 10), dtype=np.float32)
    NoRepeatNgram(size)(logits, tokens(*rows))
    return [np.flatnonzero(row == -np.inf).tolist() for row in logits]


@pytest.mark.parametrize(
    ("size", "sampled", "expected"),
    [
        (3, [1, 2, 3, 1, 2], [3]),
        (3, [1, 2, 3, 1, 2, 4, 1, 2], [3, 4]),
        (3, [1, 2], []),
        (2, [1, 1], [1]),
        (2, [1], []),
        (1, [1, 5, 1], [1, 5]),
    ],
)
def test_no_repeat_ngram(size, sampled, expected):
    assert masked(size, sampled) == [expected]


def test_no_repeat_ngram_of_each_row():
    assert masked(2, [1, 2, 1], [3, 4, 5], [4, 4, 4]) == [[2], [], [4]]


@given(st.integers(1, 4), st.lists(st.integers(0, 3), max_size=12))
def test_no_repeat_ngram_masks_what_would_repeat(size, sampled):
    def repeats(sequence):
        ngrams = [tuple(sequence[i : i + size]) for i in range(len(sequence) - size + 1)]
        return ngrams[-1:] != [] and ngrams[-1] in ngrams[:-1]

    assert masked(size, sampled) == [[token for token in range(10) if repeats([*sampled, token])]]


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3"])
def test_no_repeat_ngram_that_is_none(size):
    with pytest.raises(OptionError, match="no_repeat_ngram_size="):
        NoRepeatNgram(size)


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.packaged(51865)


def test_suppress_regex_matches_whole_tokens(vocabulary):
    rule = SuppressRegex(r" ?[0-9]+", vocabulary)
    logits = np.zeros((2, vocabulary.n_vocab), dtype=np.float32)
    rule(logits, tokens([1], [2]))
    assert {" 7", "7", "00"} <= {vocabulary.decode([token]) for token in rule.ids}
    for row in logits:
        np.testing.assert_array_equal(np.flatnonzero(row == -np.inf), rule.ids)
    for text in ("x", " one"):
        assert vocabulary.encode(text)[0] not in rule.ids


def test_suppress_regex_leaves_special_tokens(vocabulary):
    assert SuppressRegex(r"(?s).*", vocabulary).ids.tolist() == list(range(vocabulary.eot))


def test_suppress_regex_sees_part_of_a_character_as_a_replacement(vocabulary):
    ids = SuppressRegex("\ufffd+", vocabulary).ids
    assert len(ids) and all("\ufffd" in vocabulary.decode([token]) for token in ids)


@pytest.mark.parametrize("pattern", ["(", "[a", 5])
def test_suppress_regex_that_is_none(vocabulary, pattern):
    with pytest.raises(OptionError, match="suppress_regex="):
        SuppressRegex(pattern, vocabulary)


def test_user_filter_in_place_and_returned():
    def in_place(logits, sampled):
        logits[:, 1] = -np.inf

    def returned(logits, sampled):
        return (logits + sampled.sum(axis=1)[:, None]).astype(np.float64)

    logits = np.zeros((2, 3), dtype=np.float32)
    UserFilter(in_place)(logits, tokens([1], [2]))
    UserFilter(returned)(logits, tokens([1], [2]))
    np.testing.assert_array_equal(logits, np.float32([[1, -np.inf, 1], [2, -np.inf, 2]]))


def test_user_filter_cannot_change_what_was_sampled():
    sampled = tokens([1, 2])

    def scribble(logits, given):
        given[:] = 0

    UserFilter(scribble)(np.zeros((1, 3), dtype=np.float32), sampled)
    np.testing.assert_array_equal(sampled, tokens([1, 2]))


def all_masked(logits, sampled):
    logits[:] = -np.inf


def test_user_filter_may_mask_everything():
    UserFilter(all_masked)(np.zeros((1, 3), dtype=np.float32), NONE_SAMPLED)


def of_nan(logits, sampled):
    logits[1, 2] = np.nan


def of_infinity(logits, sampled):
    logits[0, 1] = np.inf


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (of_nan, "logit filter of_nan gave nan at row 1, token 2"),
        (of_infinity, "logit filter of_infinity gave inf at row 0, token 1"),
        (lambda logits, sampled: logits[0], r"returned shape \(3,\); return None or logits \(2, 3\)"),
        (lambda logits, sampled: 1.0, r"returned shape \(\)"),
        (lambda logits, sampled: "ok", "returned str; return None or logits"),
        (lambda logits, sampled: np.full((2, 3), np.nan), "gave nan at row 0, token 0"),
    ],
)
def test_user_filter_that_goes_wrong(function, message):
    with pytest.raises(OptionError, match=message):
        UserFilter(function)(np.zeros((2, 3), dtype=np.float32), tokens([1], [2]))


def test_user_filter_that_is_no_function():
    with pytest.raises(OptionError, match="logit_filters: 5 is not callable"):
        UserFilter(5)  # type: ignore[arg-type]


def test_an_error_of_the_user_is_the_user_s():
    with pytest.raises(ZeroDivisionError):
        UserFilter(lambda logits, sampled: 1 / 0)(np.zeros((1, 3), dtype=np.float32), NONE_SAMPLED)


def test_hotwords():
    tokenizer = FakeTokenizer()
    assert hotword_tokens(tokenizer, "  one two ", 448) == tokenizer.encode(" one two")
    assert hotword_tokens(tokenizer, None, 448) == hotword_tokens(tokenizer, "", 448) == []
    assert hotword_tokens(tokenizer, "one", 448, prefix="two") == []
    assert hotword_tokens(tokenizer, "one", 448, prefix=[1]) == []
    assert hotword_tokens(tokenizer, "one", 448, prefix="") == tokenizer.encode(" one")


@pytest.mark.parametrize(("n_given", "n_kept"), [(222, 222), (223, 223), (224, 223), (500, 223)])
def test_hotwords_are_cut_at_their_end(n_given, n_kept):
    words = ["one"] * n_kept + ["two"] * (n_given - n_kept)
    assert hotword_tokens(FakeTokenizer(), " ".join(words), 448) == FakeTokenizer().encode(" one" * n_kept)
