"""Each rule that masks logits, made to fire."""

from __future__ import annotations

import numpy as np
import pytest
from fake_model import FakeDims, FakeTokenizer

from whisperlite.decode import DecodingOptions
from whisperlite.decode.rules import SuppressBlank, SuppressTokens, TimestampRules, make_rules
from whisperlite.errors import OptionError

TOKENIZER = FakeTokenizer()
V, EOT, BEGIN = TOKENIZER.n_vocab, TOKENIZER.eot, TOKENIZER.timestamp_begin
ts = TOKENIZER.ts


def row(**at: float) -> np.ndarray:
    return np.zeros((1, V), dtype=np.float32)


def text_favoured() -> np.ndarray:
    """Logits where the most probable text beats all timestamps together."""
    logits = np.zeros((1, V), dtype=np.float32)
    logits[:, 3] = 50
    return logits


def apply(rule, logits: np.ndarray, sampled: list[int]) -> set[int]:
    """Ids that are masked afterwards."""
    rule(logits, np.array([sampled], dtype=np.int32).reshape(1, -1))
    return set(np.flatnonzero(logits[0] == -np.inf).tolist())


def test_blank_masks_space_and_end_at_the_first_position_only():
    rule = SuppressBlank(TOKENIZER)
    assert apply(rule, row(), []) == {0, EOT}
    assert apply(rule, row(), [3]) == set()


def test_suppress_masks_its_ids_everywhere():
    rule = SuppressTokens([4, 7])
    assert apply(rule, row(), []) == {4, 7}
    assert apply(rule, row(), [3, 5]) == {4, 7}


def test_first_position_allows_timestamps_up_to_the_limit():
    masked = apply(TimestampRules(TOKENIZER, 50), row(), [])
    assert masked == set(range(BEGIN)) | set(range(BEGIN + 51, V))


def test_first_position_without_limit_allows_every_timestamp():
    assert apply(TimestampRules(TOKENIZER, None), row(), []) == set(range(BEGIN))


def test_text_follows_an_opening_timestamp():
    masked = apply(TimestampRules(TOKENIZER, None), text_favoured(), [ts(1.0)])
    assert masked == {TOKENIZER.no_timestamps} | set(range(BEGIN, V))


def test_text_follows_a_pair():
    masked = apply(TimestampRules(TOKENIZER, None), text_favoured(), [ts(0), 3, ts(1.0), ts(1.0)])
    assert masked == {TOKENIZER.no_timestamps} | set(range(BEGIN, V))


def test_a_closing_timestamp_is_followed_by_a_timestamp_or_the_end():
    logits = row()
    logits[:, EOT] = 50
    masked = apply(TimestampRules(TOKENIZER, None), logits, [ts(0), 3, ts(1.0)])
    # the same time may open the next segment
    assert masked == set(range(EOT)) | {TOKENIZER.no_timestamps} | set(range(BEGIN, ts(1.0)))


def test_a_segment_has_length():
    masked = apply(TimestampRules(TOKENIZER, None), text_favoured(), [ts(1.0), 3])
    assert masked == {TOKENIZER.no_timestamps} | set(range(BEGIN, ts(1.0) + 1))


def test_timestamps_never_decrease_after_a_pair():
    masked = apply(TimestampRules(TOKENIZER, None), text_favoured(), [ts(0), 3, ts(1.0), ts(2.0), 4])
    assert masked == {TOKENIZER.no_timestamps} | set(range(BEGIN, ts(2.0) + 1))


def test_timestamps_win_when_more_probable_together():
    logits = row()
    logits[:, 3] = 6.0  # below log(1501) = 7.3
    masked = apply(TimestampRules(TOKENIZER, None), logits, [ts(0), 3])
    assert set(range(BEGIN)) <= masked
    logits = row()
    logits[:, 3] = 8.0
    assert 3 not in apply(TimestampRules(TOKENIZER, None), logits, [ts(0), 3])


def test_rules_treat_rows_apart():
    logits = np.concatenate([text_favoured(), text_favoured()])
    TimestampRules(TOKENIZER, None)(logits, np.array([[ts(1.0), 3], [ts(0), ts(0)]], dtype=np.int32))
    assert logits[0, ts(1.02)] == 0 and logits[0, ts(1.0)] == -np.inf
    assert np.all(logits[1, BEGIN:] == -np.inf)


def names(**options) -> list[str]:
    return [type(rule).__name__ for rule in make_rules(TOKENIZER, DecodingOptions(**options), FakeDims())]


def test_rules_in_order():
    assert names() == ["SuppressBlank", "SuppressTokens", "TimestampRules"]
    assert names(suppress_blank=False, suppress_tokens="") == ["TimestampRules"]
    assert names(suppress_tokens=None, without_timestamps=True) == ["SuppressBlank"]


def test_suppressed_ids():
    always = {TOKENIZER.transcribe, TOKENIZER.translate, 21, 28, 27, 29}
    [rule] = make_rules(TOKENIZER, DecodingOptions(suppress_blank=False, without_timestamps=True), FakeDims())
    assert apply(rule, row(), []) == always | {18, 19}
    [rule] = make_rules(
        TOKENIZER,
        DecodingOptions(suppress_blank=False, without_timestamps=True, suppress_tokens=[5]),
        FakeDims(),
    )
    assert apply(rule, row(), []) == always | {5}


def test_suppressed_id_outside_the_vocabulary():
    with pytest.raises(OptionError, match="id 99999 is not in the vocabulary"):
        names(suppress_tokens=[99999])


@pytest.mark.parametrize(("seconds", "last"), [(1.0, 50), (0.2, 10), (0.03, 2), (0.0, None), (None, None)])
def test_max_initial_timestamp_in_steps(seconds, last):
    options = DecodingOptions(suppress_blank=False, suppress_tokens="", max_initial_timestamp=seconds)
    [rule] = make_rules(TOKENIZER, options, FakeDims())
    allowed = set(range(V)) - apply(rule, row(), [])
    assert max(allowed) == (V - 1 if last is None else BEGIN + last)
