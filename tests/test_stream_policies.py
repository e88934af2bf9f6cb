"""When words are committed, on hypotheses that are written down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlite.errors import OptionError
from whisperlite.results import Word
from whisperlite.stream.hypothesis import HeardWord, Hypothesis
from whisperlite.stream.options import AgreementOptions, AlignAttOptions, make_stream_options
from whisperlite.stream.policies import AlignAtt, AttentionStop, LocalAgreement, make_policy


def hypothesis(
    words: list[tuple[int, ...]], attended: list[int] | None = None, n_positions: int = 200
) -> Hypothesis:
    heard = tuple(HeardWord(tokens, Word(" x", 0.0, 0.0, 1.0)) for tokens in words)
    places = None if attended is None else tuple(attended)
    return Hypothesis(heard, (), places, n_positions, 0, None)  # type: ignore[arg-type]


def test_two_hypotheses_must_agree_from_the_beginning():
    policy = LocalAgreement(AgreementOptions())
    assert policy.n_certain(hypothesis([(1,), (2,)])) == 0
    assert policy.n_certain(hypothesis([(1,), (2,), (3,)])) == 2
    policy.forget(2)  # they were committed; what follows is counted from there
    assert policy.n_certain(hypothesis([(3,), (4,)])) == 1


def test_a_changed_word_holds_back_those_after_it():
    policy = LocalAgreement(AgreementOptions())
    policy.n_certain(hypothesis([(1,), (2,), (3,)]))
    assert policy.n_certain(hypothesis([(1,), (9,), (3,)])) == 1


def test_a_word_is_its_tokens_all_of_them():
    policy = LocalAgreement(AgreementOptions())
    policy.n_certain(hypothesis([(1, 2)]))
    assert policy.n_certain(hypothesis([(1, 2, 3)])) == 0


def test_three_must_agree_where_asked_for():
    policy = LocalAgreement(AgreementOptions(agreement=3))
    assert [policy.n_certain(hypothesis([(1,), (2,)])) for _ in range(3)] == [0, 0, 2]


def test_a_new_buffer_agrees_with_nothing():
    policy = LocalAgreement(AgreementOptions())
    policy.n_certain(hypothesis([(1,)]))
    policy.forget(None)
    assert policy.n_certain(hypothesis([(1,)])) == 0


@given(st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=2, max_size=6))
def test_what_is_committed_was_in_both(heard):
    policy = LocalAgreement(AgreementOptions())
    before: list[int] | None = None
    for words in heard:
        n_certain = policy.n_certain(hypothesis([(word,) for word in words]))
        if before is None:
            assert n_certain == 0
        else:
            assert words[:n_certain] == before[:n_certain]
            assert words[n_certain : n_certain + 1] != before[n_certain : n_certain + 1] or n_certain == len(words)
        policy.forget(n_certain)
        before = words[n_certain:]


def test_a_token_at_the_end_of_the_audio_holds_back_its_word():
    policy = AlignAtt(AlignAttOptions(frame_threshold=25))
    words = [(1,), (2, 3), (4,)]
    assert policy.n_certain(hypothesis(words, [10, 60, 174, 190])) == 2
    assert policy.n_certain(hypothesis(words, [10, 60, 175, 190])) == 1
    assert policy.n_certain(hypothesis(words, [10, 60, 90, 120])) == 3


def test_attention_that_jumps_back_holds_back():
    policy = AlignAtt(AlignAttOptions(frame_threshold=5, rewind_threshold=50))
    assert policy.n_certain(hypothesis([(1,), (2,), (3,)], [100, 120, 60])) == 2
    assert policy.n_certain(hypothesis([(1,), (2,), (3,)], [100, 120, 71])) == 3


class Reader:
    def __init__(self, positions: list[int]) -> None:
        self.positions = positions
        self.asked = 0

    def attended(self, tokens):
        self.asked += 1
        return tuple(self.positions[: len(tokens)])


def test_decoding_stops_once_attention_reaches_the_end():
    reader = Reader([10, 20, 30, 40, 50, 60, 99, 70, 80])
    rule = AttentionStop(reader, 90, eot=3)  # type: ignore[arg-type]
    for n_sampled in range(8):
        logits = np.zeros((1, 5), np.float32)
        rule(logits, np.ones((1, n_sampled), np.int32))
        assert not np.isinf(logits).any()
    rule(logits, np.ones((1, 8), np.int32))
    assert np.isfinite(logits[0, 3]) and np.isinf(logits[0, [0, 1, 2, 4]]).all()
    assert reader.asked == 2  # it costs a pass: not after every token


def test_policies_by_name():
    assert isinstance(make_policy(make_stream_options().policy), LocalAgreement)
    assert isinstance(make_policy(make_stream_options("align-att", frame_threshold=4).policy), AlignAtt)
    assert make_policy(make_stream_options("local-agreement").policy).stop is None


REFUSED = {
    "policy": ({"policy": "guess"}, "local-agreement or align-att"),
    "unknown": ({"chunk_second": 1}, "did you mean chunk_seconds"),
    "not for streams": ({"temperature": 0.5}, "not an option of a stream"),
    "hotwords": ({"hotwords": "x"}, "not an option of a stream"),
    "other policy's": ({"frame_threshold": 4}, "not an option of policy 'local-agreement'"),
    "agreement of align-att": ({"policy": "align-att", "agreement": 2}, "not an option of policy 'align-att'"),
    "beams of align-att": ({"policy": "align-att", "beam_size": 2}, "beam_size=2"),
    "one agrees with itself": ({"agreement": 1}, "at least 2"),
    "chunk": ({"chunk_seconds": 0}, "chunk_seconds=0"),
    "buffer": ({"max_buffer_seconds": 31.0}, "max_buffer_seconds=31"),
    "buffer and chunk": ({"max_buffer_seconds": 29.0, "chunk_seconds": 2.0}, "at most 28"),
    "audio_ctx": ({"audio_ctx": "some"}, "audio_ctx='some'"),
    "vad off": ({"vad": False, "vad_parameters": {"threshold": 0.3}}, "leave one of them out"),
    "vad name": ({"vad_parameters": {"treshold": 0.3}}, "treshold"),
    "vad length": ({"vad_parameters": {"max_speech_duration_s": 20.0}}, "max_buffer_seconds"),
    "prompt": ({"prompt_tokens": 0}, "prompt_tokens=0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_cannot_be_honoured(name):
    options, message = REFUSED[name]
    with pytest.raises(OptionError, match=message):
        make_stream_options(**options)


def test_vad_parameters_change_the_defaults_of_streams():
    options = make_stream_options(vad_parameters={"min_silence_duration_ms": 300}).gate.options()
    assert options.min_silence_duration_ms == 300 and options.speech_pad_ms == 200
