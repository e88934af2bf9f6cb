"""Options that reach decoding: rules by name, hotwords, alternatives, what each window is told."""

from __future__ import annotations

import numpy as np
import pytest
from fake_model import FLOOR, FakeDims, FakeModel, FakeTokenizer, follow, one_window, sampled_part

from whisperlite.decode import DecodingOptions, RuleOptions, WindowInput, choose_language, decode
from whisperlite.decode import make_decoding_options as make
from whisperlite.decode.gbnf import parse_grammar
from whisperlite.decode.prompt import initial_tokens
from whisperlite.decode.rules import make_rules
from whisperlite.errors import OptionError

TOKENIZER = FakeTokenizer()
EOT, ts = TOKENIZER.eot, TOKENIZER.ts


def run(script, n: int = 1, inputs=None, dims=None, **options):
    options = {"language": "en", "without_timestamps": True, **options}
    model = FakeModel(script, dims)
    return decode(model, TOKENIZER, one_window(model, 0, n), make(**options), inputs=inputs)


def wishes(*ranked: int):
    """At every position: these tokens in order of preference, then the end."""

    def script(audio, tokens):
        if tokens[-1] == TOKENIZER.sot:
            return {TOKENIZER.no_speech: FLOOR}
        if len(sampled_part(tokens)) >= 4:
            return {EOT: 40.0}
        return {token: 12.0 - 2 * i for i, token in enumerate(ranked)}

    return script


# rules


def test_plain_decoding_repeats_the_favourite():
    assert run(wishes(2, 3))[0].tokens == (2, 2, 2, 2)


def test_repetition_penalty():
    assert run(wishes(2, 3), repetition_penalty=1.5)[0].tokens == (2, 3, 2, 2)
    assert run(wishes(2, 3), repetition_penalty=1.0)[0].tokens == (2, 2, 2, 2)


def test_no_repeat_ngram_size():
    assert run(wishes(2, 3, 4, 5), no_repeat_ngram_size=1)[0].tokens == (2, 3, 4, 5)
    assert run(wishes(2, 3), no_repeat_ngram_size=2)[0].tokens[:3] == (2, 2, 3)


def test_suppress_regex():
    assert run(wishes(2, 3), suppress_regex=" (one|three)")[0].tokens == (3, 3, 3, 3)


def test_grammar():
    text = 'root ::= " two" " one"'
    assert run(wishes(2, 3), grammar=text)[0].tokens == (3, 2)
    assert run(wishes(2, 3), grammar=parse_grammar(text))[0].tokens == (3, 2)
    named = 'other ::= " one" " one" " two"\n' + text
    assert run(wishes(2, 3), grammar=named, grammar_rule="other")[0].tokens == (2, 2, 3)
    assert run(wishes(2, 3), grammar=text, grammar_penalty=0.0)[0].tokens == (2, 2, 2, 2)
    with_times = run(wishes(ts(0), 2, 3), grammar=text, without_timestamps=False)[0].tokens
    assert with_times[0] == ts(0) and [t for t in with_times if t < EOT] == [3, 2]


def test_grammar_with_beams():
    assert run(wishes(2, 3), grammar='root ::= " two" (" one" | " three")', beam_size=3)[0].tokens == (3, 2)


def test_logit_filters_come_first_and_see_what_was_sampled():
    seen = []

    def ban_one(logits, tokens):
        seen.append((tokens.tolist(), bool(np.isfinite(logits).all())))
        logits[:, 2] = -np.inf

    assert run(wishes(2, 3), logit_filters=ban_one)[0].tokens == (3, 3, 3, 3)
    assert seen[0] == ([[]], True) and seen[2] == ([[3, 3]], True)
    assert run(wishes(2, 3), logit_filters=[ban_one, lambda logits, tokens: logits - 1])[0].tokens[0] == 3
    assert make(logit_filters=None).rules == RuleOptions()


def test_rules_stand_in_order():
    options = make(
        logit_filters=[print], repetition_penalty=2.0, no_repeat_ngram_size=2, suppress_regex="x",
        grammar='root ::= "a"', language="en",
    )  # fmt: skip
    names = [type(rule).__name__ for rule in make_rules(TOKENIZER, options, FakeDims())]
    assert names == [
        "UserFilter", "RepetitionPenalty", "NoRepeatNgram", "SuppressBlank", "SuppressRegex", "SuppressTokens",
        "TimestampRules", "GrammarRule",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"suppress_regex": "("}, "suppress_regex='\\('"),
        ({"grammar": "root = 1"}, "grammar|::="),
        ({"grammar": 'a ::= "b"'}, "root"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size=-1"),
        ({"hotwords": 3}, "hotwords=3"),
        ({"max_new_tokens": 3, "sample_len": 4}, "max_new_tokens=3 with sample_len=4"),
        ({"temprature": 0.0}, "temprature is not an option"),
        ({"rules": RuleOptions(), "grammar_penalty": 1.0}, "rules=RuleOptions"),
        ({"alternatives": -1, "without_timestamps": True}, "alternatives=-1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty=0.0"),
    ],
)
def test_options_that_cannot_be_honoured(options, message):
    with pytest.raises(OptionError, match=message):
        run(wishes(2), **options)


def test_max_new_tokens():
    assert make(max_new_tokens=3) == DecodingOptions(sample_len=3) == make(max_new_tokens=3, sample_len=3)


# hotwords


def context(n_text_ctx: int = 448, **options) -> list[int]:
    return list(initial_tokens(TOKENIZER, make(language="en", **options), n_text_ctx).tokens)


def test_hotwords_come_before_the_prompt():
    assert context(hotwords="seven eight", prompt=[5, 6])[:6] == [TOKENIZER.sot_prev, 8, 9, 5, 6, TOKENIZER.sot]
    assert context(hotwords="seven")[:3] == [TOKENIZER.sot_prev, 8, TOKENIZER.sot]
    assert context(hotwords="seven", prefix=[5])[0] == TOKENIZER.sot


def test_hotwords_take_their_room_from_the_prompt():
    long = list(range(1, 15)) * 3
    assert context(20, hotwords="seven eight", prompt=long)[1:10] == [8, 9, *long[-7:]]
    assert context(20, hotwords="one " * 30, prompt=long)[1:10] == [2] * 9


# alternatives


def test_alternatives_of_each_token():
    [plain] = run(wishes(2, 3))
    assert plain.alternatives is None
    for options in ({}, {"beam_size": 2}, {"temperature": 0.5, "best_of": 3}):
        [result] = run(wishes(2, 3, 4), alternatives=2, **options)
        assert [item.token for item in result.alternatives] == [*result.tokens, EOT]
        assert result.alternatives[0].ids == (2, 3)
        assert sum(a.logprob for a in result.alternatives) / 5 == pytest.approx(result.avg_logprob, abs=1e-5)
    [cut] = run(wishes(2), alternatives=0, sample_len=3)
    assert [item.token for item in cut.alternatives] == [2, 2, 2] and cut.alternatives[0].ids == ()


# what each window is told


def test_prompts_and_languages_of_their_own():
    model = FakeModel(follow([2], [3, 4, 5], [6]))
    inputs = [WindowInput((7, 8), "es"), WindowInput(()), WindowInput((9,), "de", key=4)]
    options = make(language="en", without_timestamps=True, prompt=[1])
    batch = decode(model, TOKENIZER, one_window(model, 0, 3), options, inputs=inputs)
    assert [result.language for result in batch] == ["es", "en", "de"]
    assert [result.tokens for result in batch] == [(2,), (3, 4, 5), (6,)]
    sot, prev = TOKENIZER.sot, TOKENIZER.sot_prev
    assert sorted(prompt[:4] for prompt in model.prompts) == sorted(
        [[prev, 7, 8, sot], [sot, 22, 26, 30], [prev, 9, sot, 24]]
    )
    alone = [
        decode(model, TOKENIZER, one_window(model, a), options, inputs=[window])[0]
        for a, window in enumerate(inputs)
    ]
    assert alone == batch
    [default] = decode(model, TOKENIZER, one_window(model), options)
    assert model.prompts[-1][:2] == [prev, 1] and default.language == "en"


def test_unknown_language_of_a_window():
    with pytest.raises(OptionError, match="language='xx'"):
        run(wishes(2), inputs=[WindowInput(language="xx")])


def test_a_window_that_runs_out_of_room_ends_and_the_others_go_on():
    """Contexts of 14 and 4 in 20: one may sample 7 tokens, the other 10."""
    inputs = [WindowInput(tuple(range(1, 10))), WindowInput(())]
    script = follow([2] * 30, [3] * 30)
    batch = run(script, n=2, inputs=inputs, dims=FakeDims(n_text_ctx=20), alternatives=1)
    assert [len(result.tokens) for result in batch] == [7, 10]
    assert [len(result.alternatives) for result in batch] == [7, 10]
    for options in ({"beam_size": 2}, {"temperature": 0.3}):
        batch = run(script, n=2, inputs=inputs, dims=FakeDims(n_text_ctx=20), **options)
        assert [len(result.tokens) for result in batch] == [7, 10]


# languages


def windows(*rows):
    codes = ("en", "es", "de")
    for row in rows:
        yield dict(sorted(zip(codes, row, strict=True), key=lambda item: -item[1]))


def test_the_first_sure_window_decides_and_no_more_are_heard():
    def heard():
        yield {"en": 0.4, "es": 0.3}
        yield {"de": 0.9, "en": 0.1}
        raise AssertionError("not needed")

    assert choose_language(heard(), 0.5) == {"de": 0.9, "en": 0.1}
    assert choose_language(heard(), None) == {"en": 0.4, "es": 0.3}


def test_votes_decide_where_none_is_sure():
    found = choose_language(windows((0.4, 0.3, 0.3), (0.2, 0.45, 0.35), (0.3, 0.5, 0.2)), 0.8)
    assert next(iter(found)) == "es" and found["es"] == 0.5
    assert next(iter(choose_language(windows((0.4, 0.3, 0.3), (0.3, 0.45, 0.25)), 0.8))) == "en"
