"""Each reason to try a hotter temperature, and each reason not to."""

from __future__ import annotations

import math

import pytest
from fake_model import FLOOR, FakeModel, FakeTokenizer, follow, one_window, sampled_part

from whisperlite.decode import DecodingOptions, FallbackOptions, decode_with_fallback
from whisperlite.errors import OptionError

TOKENIZER = FakeTokenizer()
EOT, ts = TOKENIZER.eot, TOKENIZER.ts
REPEATED = [ts(0), *[5] * 60, ts(5.0)]


def unsure(audio, tokens):
    """Every word as probable as any other, then the end: mean log-probability near -2."""
    if tokens[-1] == TOKENIZER.sot:
        return {TOKENIZER.no_speech: FLOOR}
    n = len(sampled_part(tokens))
    if n == 0:
        return {ts(0): 10.0}
    return {EOT: 30.0} if n > 12 else dict.fromkeys(range(1, 16), 10.0)


def run(script, model=None, n: int = 1, options=None, **fallback):
    model = model or FakeModel(script)
    options = options or DecodingOptions(language="en")
    return decode_with_fallback(model, TOKENIZER, one_window(model, 0, n), options, FallbackOptions(**fallback))


def verdicts(decoded) -> list[str]:
    return [attempt.verdict for attempt in decoded.attempts]


def test_a_good_result_is_accepted_at_once():
    [decoded] = run(follow([ts(0), 2, 3, ts(1.0)]))
    assert verdicts(decoded) == ["accepted"]
    assert decoded.result.temperature == 0


def test_repetition_is_rejected():
    [decoded] = run(follow(REPEATED), temperatures=(0.0, 0.2))
    assert verdicts(decoded) == ["rejected: compression_ratio 17.59 > 2.4"] * 2
    assert [attempt.temperature for attempt in decoded.attempts] == [0.0, 0.2]
    assert decoded.result.temperature == 0.2


def test_low_probability_is_rejected():
    [decoded] = run(unsure, temperatures=(0.0, 0.5), compression_ratio_threshold=None)
    assert verdicts(decoded)[0].startswith("rejected: avg_logprob -2.")
    assert len(decoded.attempts) == 2


def test_both_reasons_are_named():
    [decoded] = run(follow(REPEATED), temperatures=(0.0,), logprob_threshold=1.0)
    assert "compression_ratio" in verdicts(decoded)[0] and "avg_logprob" in verdicts(decoded)[0]


def silent(audio, tokens):
    logits = unsure(audio, tokens)
    return {TOKENIZER.no_speech: 20.0} if tokens[-1] == TOKENIZER.sot else logits


def test_silence_is_not_tried_again():
    [decoded] = run(silent)
    assert len(decoded.attempts) == 1
    assert verdicts(decoded)[0].startswith("accepted as silence: no_speech_prob 1.00 > 0.6, avg_logprob -2.")


def test_silence_exception_needs_both_thresholds():
    assert len(run(silent, no_speech_threshold=None)[0].attempts) == 6
    assert len(run(follow(REPEATED, no_speech=30.0), logprob_threshold=None)[0].attempts) == 6


def test_thresholds_can_be_off():
    [decoded] = run(follow(REPEATED), compression_ratio_threshold=None)
    assert verdicts(decoded) == ["accepted"]


def test_only_rejected_windows_are_decoded_again():
    good = [ts(0), 2, ts(1.0)]
    model = FakeModel(follow(good, REPEATED, good, REPEATED))
    decoded = run(None, model=model, n=4, temperatures=(0.0, 0.2))
    assert [len(window.attempts) for window in decoded] == [1, 2, 1, 2]
    assert len(model.prompts) == 4 + 2
    assert decoded[1].result.tokens == tuple(REPEATED) and decoded[2].result.tokens == tuple(good)


def test_beams_at_zero_and_samples_above():
    options = DecodingOptions(language="en", beam_size=3, patience=1.0)
    model = FakeModel(unsure)
    [decoded] = run(None, model=model, options=options, temperatures=(0.0, 0.5), best_of=4)
    assert len(model.prompts) == 2
    assert decoded.result.options.best_of == 4
    assert decoded.result.options.beam_size is None and decoded.result.options.patience is None


@pytest.mark.parametrize(
    ("fallback", "message"),
    [
        ({"temperatures": ()}, "at least one temperature"),
        ({"temperatures": (0.0, -1.0)}, "temperature=-1.0"),
        ({"temperatures": (0.0,), "best_of": 5}, "best_of=5 needs a temperature above 0"),
        ({"logprob_threshold": math.nan}, "logprob_threshold=nan"),
    ],
)
def test_options_that_cannot_be_honoured(fallback, message):
    with pytest.raises(OptionError, match=message):
        FallbackOptions(**fallback)
