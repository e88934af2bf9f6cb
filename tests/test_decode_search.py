"""Search with a scripted model: prompts, greedy, sampling, beams, batches, languages."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_model import FLOOR, FakeModel, FakeTokenizer, follow, one_window, sampled_part

from whisperlite.decode import DecodingOptions, WindowInput, compression_ratio, decode, detect_language
from whisperlite.decode.choose import log_normaliser, sample, top_k
from whisperlite.decode.options import RuleOptions
from whisperlite.decode.prompt import initial_tokens
from whisperlite.decode.rank import Candidate, best_candidate
from whisperlite.errors import OptionError

TOKENIZER = FakeTokenizer()
EOT, ts = TOKENIZER.eot, TOKENIZER.ts
SOT = list(TOKENIZER.sot_sequence)


def run(script, audio: int = 0, n: int = 1, model: FakeModel | None = None, **options):
    model = model or FakeModel(script)
    options.setdefault("language", "en")
    return decode(model, TOKENIZER, one_window(model, audio, n), DecodingOptions(**options))


# prompt


def initial(**options) -> list[int]:
    return list(initial_tokens(TOKENIZER, DecodingOptions(**options), 448).tokens)


def test_initial_tokens():
    assert initial() == SOT
    assert initial(without_timestamps=True) == [*SOT, TOKENIZER.no_timestamps]
    assert initial(prefix=" one two") == [*SOT, 2, 3]
    assert initial(prompt=[5, 6]) == [TOKENIZER.sot_prev, 5, 6, *SOT]
    assert initial(prompt="", prefix=()) == SOT


def test_prompt_keeps_its_last_223_tokens():
    prompt = [i % 15 for i in range(300)]
    assert initial(prompt=prompt) == [TOKENIZER.sot_prev, *prompt[-223:], *SOT]


def test_prefix_keeps_what_the_sample_length_leaves():
    prefix = [i % 15 for i in range(30)]
    assert initial(prefix=prefix, sample_len=204) == [*SOT, *prefix[-20:]]
    assert initial(prefix=prefix) == [*SOT, *prefix]
    assert initial(prefix=prefix, sample_len=400) == [*SOT, *prefix]


def test_context_that_does_not_fit():
    with pytest.raises(OptionError, match="the model holds 448"):
        initial(prefix=[1] * 446)


def test_full_context_ends_the_search():
    prefix = [1] * 440
    [result] = run(lambda audio, tokens: {3: 10.0}, prefix=prefix, without_timestamps=True)
    # 3 + 1 + 440 tokens of 448, and the last sampled one is never fed back
    assert len(result.tokens) == 5


def test_prompt_ids_outside_the_vocabulary():
    with pytest.raises(OptionError, match="id 5000 is not in the vocabulary of 1532"):
        run(follow([3]), prompt=[5000])


# greedy


def test_greedy_follows_the_most_probable():
    tokens = [ts(0), 2, 3, ts(1.0), ts(1.0), 4, ts(2.0)]
    [result] = run(follow(tokens))
    assert result.tokens == tuple(tokens)
    assert result.text == "one two three"
    assert result.language == "en" and result.language_probs is None
    assert result.compression_ratio == compression_ratio("one two three")


def test_average_logprob_counts_the_end_token():
    def script(audio, tokens):
        return {2: 0.0, 3: -1.0} if not sampled_part(tokens) else {EOT: 0.0, 2: -2.0}

    [result] = run(script, without_timestamps=True, suppress_tokens="", suppress_blank=False)
    first = -math.log(1 + math.exp(-1) + 1530 * math.exp(FLOOR))
    second = -math.log(1 + math.exp(-2) + 1530 * math.exp(FLOOR))
    assert result.avg_logprob == pytest.approx((first + second) / 2, abs=1e-5)


def test_no_speech_is_read_at_the_sot_position_before_any_rule():
    [result] = run(follow([ts(0), 2, ts(1.0)], no_speech=5.0), prompt=[5, 6])
    assert result.no_speech_prob == pytest.approx(0.5, abs=1e-4)


def test_sample_len_ends_the_search():
    model = FakeModel(follow([2] * 50))
    [result] = run(None, model=model, without_timestamps=True, sample_len=5)
    assert result.tokens == (2,) * 5
    assert model.n_steps == 4


def test_row_without_any_allowed_token_ends():
    everything = list(range(TOKENIZER.n_vocab))
    for options in ({}, {"beam_size": 2}, {"temperature": 0.5}):
        [result] = run(follow([2]), suppress_tokens=everything, **options)
        assert result.tokens == ()
        assert result.avg_logprob == 0


def test_windows_of_a_batch_do_not_see_each_other():
    long, short = [ts(0), 2, 3, 4, 5, ts(2.0)], [ts(0), 6, ts(1.0)]
    model = FakeModel(follow(short, long, short))
    batch = run(None, model=model, n=3)
    assert batch == [run(follow(short, long, short), audio=a)[0] for a in range(3)]
    assert batch[1].tokens == tuple(long)


LENGTHS = (3, 40, 1, 2, 9, 3, 20, 1)  # words of each window


def of_lengths(audio, tokens):
    n = len(sampled_part(tokens))
    if n >= LENGTHS[audio]:
        return {EOT: 10.0}
    word = 1 + (7 * audio + n * (n + 3)) % 17
    return {word: 4.0, 1 + word % 17: 3.0 + 0.1 * (n % 5)}


def test_windows_that_ended_leave_the_batch():
    model = FakeModel(of_lengths)
    run(None, model=model, n=8, without_timestamps=True, suppress_tokens="")
    # As soon as a quarter has ended: two of eight, three of six, one of three, one of two.
    assert model.n_rows_of_steps == [8] + 2 * [6] + 6 * [3] + 11 * [2] + 20 * [1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beam_size": 3},
        {"beam_size": 2, "patience": 2.0, "alternatives": 2},
        {"alternatives": 2, "rules": RuleOptions(repetition_penalty=1.1, no_repeat_ngram_size=3)},
        {"temperature": 0.8, "best_of": 3, "alternatives": 1},
        {"sample_len": 12},
    ],
    ids=["greedy", "beams", "patience", "penalties", "best_of", "cut"],
)
def test_windows_that_go_on_do_not_see_others_leave(options):
    decoding = DecodingOptions(language="en", without_timestamps=True, suppress_tokens="", **options)
    model, inputs = FakeModel(of_lengths), [WindowInput(key=key) for key in range(8)]
    batch = decode(model, TOKENIZER, one_window(model, 0, 8), decoding, inputs=inputs)
    n_group = decoding.beam_size or decoding.best_of or 1
    assert model.n_rows_of_steps[0] == 8 * n_group and model.n_rows_of_steps[-1] < 4 * n_group
    for audio, result in enumerate(batch):
        [alone] = decode(model, TOKENIZER, one_window(model, audio), decoding, inputs=inputs[audio : audio + 1])
        assert result == alone


# sampling


def flat(audio, tokens):
    n = len(sampled_part(tokens))
    return {EOT: 10.0} if n >= 6 else dict.fromkeys(range(1, 16), 1.0)


def test_sampling_repeats_with_the_same_seed_only():
    options = {"temperature": 1.0, "without_timestamps": True}
    assert run(flat, seed=1, **options) == run(flat, seed=1, **options)
    assert run(flat, seed=1, **options)[0].tokens != run(flat, seed=2, **options)[0].tokens


def test_sampling_does_not_depend_on_the_batch():
    model, options = FakeModel(flat), DecodingOptions(language="en", temperature=0.7, without_timestamps=True)
    batch = decode(
        model, TOKENIZER, one_window(model, 0, 3), options, inputs=[WindowInput(key=key) for key in (0, 10, 20)]
    )
    [alone] = decode(model, TOKENIZER, one_window(model, 1), options, inputs=[WindowInput(key=10)])
    assert batch[1] == alone
    assert len({result.tokens for result in batch}) == 3


def test_best_of_keeps_the_best_ranked():
    options = {"temperature": 1.0, "without_timestamps": True, "seed": 3}
    singles = run(flat, best_of=8, **options)[0]
    assert singles.avg_logprob >= run(flat, **options)[0].avg_logprob


def test_sample_draws_by_probability():
    random = np.random.default_rng(0)
    row = np.log(np.array([0.5, 0.0, 0.25, 0.25, 0.0], dtype=np.float32) + 1e-30)
    row[[1, 4]] = -np.inf
    drawn = np.bincount([sample(row, 1.0, random) for _ in range(4000)], minlength=5) / 4000
    np.testing.assert_allclose(drawn, [0.5, 0, 0.25, 0.25, 0], atol=0.03)
    assert all(sample(row, 1e-6, random) == 0 for _ in range(20))


# beams


def test_beam_finds_what_greedy_misses():
    # greedy takes 2 and then has only unlikely words; 3 leads to a sure one
    def script(audio, tokens):
        sampled = sampled_part(tokens)
        if not sampled:
            return {2: 1.0, 3: 0.9}
        if len(sampled) == 1:
            return dict.fromkeys(range(4, 16), 0.0) if sampled == [2] else {9: 10.0}
        return {EOT: 10.0}

    options = {"without_timestamps": True}
    assert run(script, **options)[0].tokens[0] == 2
    assert run(script, beam_size=2, **options)[0].tokens == (3, 9)


def reference_beam(script, beam_size: int, patience: float = 1.0, sample_len: int = 8):
    """Beam search by sorting every continuation of every beam."""
    live, finished = [((), 0.0)], []
    for _ in range(sample_len):
        scored = []
        for tokens, total in live:
            logits = np.full(TOKENIZER.n_vocab, FLOOR)
            for token, logit in script(0, [*SOT, TOKENIZER.no_timestamps, *tokens]).items():
                logits[token] = logit
            logits -= np.log(np.exp(logits).sum())
            scored += [(total + logits[t], tokens, t) for t in np.argsort(-logits)[: beam_size + 1]]
        scored.sort(key=lambda item: -item[0])
        live = []
        for total, tokens, token in scored:
            if token == EOT:
                if len(finished) < round(beam_size * patience):
                    finished.append((tokens, total))
            else:
                live.append(((*tokens, int(token)), total))
            if len(live) == beam_size:
                break
        if len(finished) >= round(beam_size * patience):
            break
    finished += live[: max(beam_size - len(finished), 0)]
    return max(finished, key=lambda item: item[1] / max(len(item[0]), 1))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("beam_size", "patience"), [(1, None), (2, None), (5, None), (5, 2.0), (4, 0.5)])
def test_beam_equals_a_search_that_sorts_everything(seed, beam_size, patience):
    def script(audio, tokens):
        random = np.random.default_rng([seed, *sampled_part(tokens)])
        ids = random.choice(np.arange(1, 18), size=6, replace=False)
        logits = dict(zip(ids.tolist(), random.normal(0, 2, 6), strict=True))
        return {**logits, EOT: random.normal(0, 2)}

    [result] = run(
        script,
        beam_size=beam_size,
        patience=patience,
        sample_len=8,
        without_timestamps=True,
        suppress_tokens="",
        suppress_blank=False,
    )
    tokens, total = reference_beam(script, beam_size, patience or 1.0)
    assert result.tokens == tokens
    assert result.avg_logprob == pytest.approx(total / (len(tokens) + 1), abs=1e-4)


def test_beams_of_a_batch_do_not_see_each_other():
    def script(audio, tokens):
        random = np.random.default_rng([audio, *sampled_part(tokens)])
        end = {EOT: 4.0} if len(sampled_part(tokens)) > 2 * audio + 1 else {}
        return {**dict(enumerate(random.normal(0, 2, 12), start=1)), **end}

    options = {"beam_size": 3, "patience": 0.67, "without_timestamps": True, "sample_len": 20}
    batch = run(script, n=3, **options)
    assert batch == [run(script, audio=a, **options)[0] for a in range(3)]


def test_length_penalty_changes_the_winner():
    candidates = [Candidate((1,), -1.0), Candidate((1, 2, 3, 4), -3.0)]
    assert best_candidate(candidates, None).sum_logprob == -3.0
    assert best_candidate(candidates, 0.5).sum_logprob == -1.0


def test_empty_candidate_does_not_divide_by_zero():
    assert best_candidate([Candidate((), -0.5), Candidate((1,), -3.0)], None).tokens == ()


def test_top_k_and_normaliser_against_sorting():
    random = np.random.default_rng(0)
    for n in (5, 70, 1532, 51865):
        row = random.normal(0, 3, n).astype(np.float32)
        assert top_k(row, 5) == np.argsort(-row, kind="stable")[:5].tolist()
        assert log_normaliser(row) == pytest.approx(np.log(np.exp(row.astype(np.float64)).sum()), abs=1e-5)
    assert top_k(np.zeros(200, dtype=np.float32), 3)[0] in range(200)
    assert log_normaliser(np.full(9, -np.inf, dtype=np.float32)) == -np.inf


# language


def spanish(audio, tokens):
    if tokens[-1] == TOKENIZER.sot:
        return {23: 3.0, 22: 1.0, 5: 50.0}
    return {ts(0): 9.0} if not sampled_part(tokens) else {EOT: 9.0}


def test_language_is_detected_and_used():
    model = FakeModel(spanish)
    [result] = decode(model, TOKENIZER, one_window(model), DecodingOptions())
    assert result.language == "es"
    assert list(result.language_probs) == ["es", "en", "de"]
    assert sum(result.language_probs.values()) == pytest.approx(1)
    assert model.prompts == [[TOKENIZER.sot], [TOKENIZER.sot, 23, TOKENIZER.transcribe]]


def english_only() -> tuple[FakeModel, FakeTokenizer]:
    def script(audio, tokens):
        sampled = tokens[tokens.index(TOKENIZER.sot) + 1 :]
        if not sampled:
            return {TOKENIZER.no_speech: 6.0, ts(0): 6.0}
        return {2: 9.0} if len(sampled) == 1 else {EOT: 9.0}

    model, tokenizer = FakeModel(script), FakeTokenizer()
    model.is_multilingual = False
    tokenizer.sot_sequence = (tokenizer.sot,)
    return model, tokenizer


def test_english_only_model_refuses_detection():
    model, tokenizer = english_only()
    with pytest.raises(OptionError, match="English-only"):
        detect_language(model, tokenizer, one_window(model), 1)


def test_english_only_context_ends_with_the_sot_token():
    """Its logits give both the no-speech probability, unmasked, and the first token."""
    model, tokenizer = english_only()
    for options in ({}, {"beam_size": 3}):
        [result] = decode(model, tokenizer, one_window(model), DecodingOptions(**options))
        assert result.language == "en"
        assert result.tokens[:2] == (ts(0), 2)
        assert result.no_speech_prob == pytest.approx(0.5, abs=1e-3)
    assert model.prompts == [[TOKENIZER.sot]] * 2


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "sing"}, "task='sing'"),
        ({"temperature": -1}, "temperature=-1: give at least 0"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"beam_size": 0}, "beam_size=0"),
        ({"beam_size": 2, "best_of": 2, "temperature": 1.0}, "give one of them"),
        ({"best_of": 2}, "needs a temperature above 0"),
        ({"beam_size": 2, "temperature": 0.5}, "needs temperature 0"),
        ({"patience": 1.0}, "needs beam_size"),
        ({"beam_size": 2, "patience": 0.1}, "ends the search before it starts"),
        ({"length_penalty": 2.0}, "length_penalty=2.0"),
        ({"suppress_tokens": "a,b"}, "suppress_tokens='a,b'"),
        ({"sample_len": 0}, "sample_len=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_options_that_cannot_be_honoured(options, message):
    with pytest.raises(OptionError, match=message):
        DecodingOptions(**options)
