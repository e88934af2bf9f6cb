"""A draft model changes how many passes decoding takes, and nothing of what comes out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import encoded_once, golden_entries
from fake_model import FakeDims, FakeModel, FakeTokenizer, follow, one_window
from tiny_checkpoint import RandomCheckpoint

from whisperlite import WhisperModel
from whisperlite.decode import (
    DecodingOptions,
    Draft,
    FallbackOptions,
    WindowInput,
    decode,
    decode_with_fallback,
    make_draft_model,
)
from whisperlite.decode.options import RuleOptions
from whisperlite.errors import OptionError
from whisperlite.model import Whisper
from whisperlite.results import Attempt, DraftUse, Window
from whisperlite.writers import record_lines

TOKENIZER = FakeTokenizer()
EOT, ts = TOKENIZER.eot, TOKENIZER.ts
SPOKEN = [ts(0), 2, 3, 4, ts(1.0), ts(1.0), 5, 6, 7, 8, ts(2.0), ts(2.0), 9, 10, ts(3.0)]


def wobbly(*windows, seed: int = 0):
    """The tokens of ``follow``, with other logits beside them that depend on what was said."""
    right = follow(*windows)

    def script(audio: int, tokens: list[int]) -> dict[int, float]:
        if TOKENIZER.sot not in tokens:  # a row that has ended and keeps the others company
            return {}
        noise = np.random.default_rng([seed, audio, *tokens]).uniform(0, 3, 40)
        return dict(enumerate(noise.tolist())) | right(audio, tokens)

    return script


def mistaken(script, every: int):
    """A script that says something else after each ``every`` tokens."""

    def wrong(audio: int, tokens: list[int]) -> dict[int, float]:
        logits = script(audio, tokens)
        return {17: 20.0} if len(tokens) % every == 0 else logits

    return wrong


def pair(script, draft_script, n: int = 1, **options):
    """Results without and with a draft an eighth as costly, and the model of each."""
    plain, model, draft = FakeModel(script), FakeModel(script), FakeModel(draft_script, FakeDims(n_text_state=1))
    options = DecodingOptions(language="en", **options)
    features = one_window(model, n=n)
    expected = decode(plain, TOKENIZER, features, replace(options, draft_tokens=None))
    drafted = decode(
        model, TOKENIZER, features, options, draft=Draft(make_draft_model(model, draft), one_window(draft, n=n))
    )
    return expected, drafted, plain, model


def same(expected, drafted) -> None:
    """Bit for bit: a scripted model's logits do not depend on how many rows it reads."""
    for want, got in zip(expected, drafted, strict=True):
        assert got.draft is not None
        assert replace(got, options=want.options, draft=None) == want


@pytest.mark.parametrize("draft_tokens", [1, 2, 3, 5, 12, None])
@pytest.mark.parametrize("every", [1, 2, 3, 7, 1000])
def test_the_same_result_whatever_is_drafted(draft_tokens, every):
    script = wobbly(SPOKEN)
    expected, drafted, _, _ = pair(script, mistaken(script, every), draft_tokens=draft_tokens, alternatives=3)
    same(expected, drafted)
    assert expected[0].tokens == tuple(SPOKEN)


def test_a_perfect_draft_saves_passes():
    script = wobbly(SPOKEN)
    _, [result], plain, model = pair(script, script, draft_tokens=3)
    # 16 tokens with the end: one from the context, then four to a pass; the last round ends where its draft did
    assert plain.n_steps == 15
    assert result.draft == DraftUse(drafted=12, accepted=12)
    assert len(model.prompts) - 1 == 4 and model.n_steps == 0


def test_the_draft_reads_only_what_it_has_not_read():
    """After a rejection the model's token alone: a step. After a round taken whole, its own last one too."""
    script = wobbly(SPOKEN)
    for says, prompts in ((lambda audio, tokens: {17: 20.0}, 0), (script, 4)):
        model, draft = FakeModel(script), FakeModel(says)
        options = DecodingOptions(language="en", draft_tokens=2)
        decode(
            model, TOKENIZER, one_window(model), options,
            draft=Draft(make_draft_model(model, draft), one_window(draft)),
        )  # fmt: skip
        assert len(draft.prompts) - 1 == prompts
        assert all(len(prompt) == 2 for prompt in draft.prompts[1:])


def test_a_batch_with_an_adaptive_draft():
    """Steps without it come first: it then has several tokens to read, more than the shortest window has."""
    windows = [SPOKEN, [], [ts(0), 2], [ts(0), *range(2, 15), ts(4.0)]]
    script = wobbly(*windows)
    for every in (1, 3, 1000):
        expected, drafted, _, _ = pair(script, mistaken(script, every), n=4)
        same(expected, drafted)
        assert drafted[0].draft.drafted > 0


def test_windows_of_a_batch_accept_different_numbers():
    windows = [SPOKEN, [ts(0), 2, ts(1.0)], [ts(0), *range(2, 15), ts(4.0)]]
    script = wobbly(*windows)

    def draft(audio, tokens):
        return mistaken(script, 2 + audio)(audio, tokens)

    expected, drafted, _, _ = pair(script, draft, n=3, draft_tokens=4)
    same(expected, drafted)
    assert [result.tokens for result in drafted] == [tuple(window) for window in windows]
    assert len({result.draft.accepted for result in drafted}) == 3
    alone = [pair(script, draft, n=1, draft_tokens=4)[1][0]]
    assert alone[0].tokens == drafted[0].tokens


@pytest.mark.parametrize("sample_len", [1, 2, 5, 8, 9])
def test_cut_at_the_greatest_length(sample_len):
    script = wobbly(SPOKEN)
    expected, drafted, _, _ = pair(script, script, draft_tokens=4, sample_len=sample_len, alternatives=1)
    same(expected, drafted)
    assert len(drafted[0].tokens) == sample_len
    assert len(drafted[0].alternatives) == sample_len


@pytest.mark.parametrize("n_prefix", [436, 440, 443, 444])
def test_a_context_that_is_almost_full(n_prefix):
    """The fake cache refuses a position beyond the context."""
    options = {"prefix": [1] * n_prefix, "without_timestamps": True, "draft_tokens": 6}
    expected, drafted, _, _ = pair(lambda a, t: {3: 10.0 + len(t) % 3}, lambda a, t: {3: 10.0}, **options)
    same(expected, drafted)
    assert len(drafted[0].tokens) == 445 - n_prefix


def test_rules_of_every_kind():
    grammar = 'root ::= (" two" | " three" | " four" | " five")+'
    for rules in (
        RuleOptions(repetition_penalty=1.3),
        RuleOptions(no_repeat_ngram_size=2),
        RuleOptions(suppress_regex=" (two|three)"),
        RuleOptions(grammar=grammar),
    ):
        script = wobbly([2, 3, 2, 3, 2, 4, 5, 4, 5, 2])
        options = {"rules": rules, "without_timestamps": True, "draft_tokens": 4, "sample_len": 12}
        expected, drafted, _, _ = pair(script, mistaken(script, 3), **options)
        same(expected, drafted)


def test_a_user_filter_is_called_as_without_a_draft():
    """At each position of the result once, in order, and never with tokens that were rejected."""
    seen: list[list[list[int]]] = []

    def record(logits, sampled):
        seen[-1].append(sampled[0].tolist())

    script = wobbly(SPOKEN)
    plain, model, draft = FakeModel(script), FakeModel(script), FakeModel(mistaken(script, 3))
    options = DecodingOptions(language="en", rules=RuleOptions(logit_filters=record))
    seen.append([])
    decode(plain, TOKENIZER, one_window(plain), options)
    seen.append([])
    decode(
        model, TOKENIZER, one_window(model), replace(options, draft_tokens=4),
        draft=Draft(make_draft_model(model, draft), one_window(draft)),
    )  # fmt: skip
    assert len(seen[0]) == len(SPOKEN) + 1
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"temperature": 0.4}, "temperature 0.4"),
        ({"beam_size": 5}, "beam_size 5"),
        ({"draft_tokens": 0}, "draft_tokens 0"),
    ],
)
def test_where_it_is_not_used_the_record_says_so(options, reason):
    script = wobbly(SPOKEN)
    expected, [result], _, model = pair(script, script, **options)
    assert result.draft == DraftUse(0, 0, reason)
    assert result.tokens == expected[0].tokens and model.n_steps > 0


def test_one_beam_is_greedy():
    script = wobbly(SPOKEN)
    [expected], [result], _, _ = pair(script, mistaken(script, 4), beam_size=1, draft_tokens=3)
    assert result.draft.accepted > 0
    assert result.tokens == expected.tokens
    assert result.avg_logprob == pytest.approx(expected.avg_logprob, abs=1e-6)


def test_fallback_and_its_record():
    """The repeating window is decoded again at 0.4, without the draft."""
    script = wobbly([ts(0), *[2] * 60, ts(3.0)], SPOKEN)
    model, draft = FakeModel(script), FakeModel(script)
    kept = decode_with_fallback(
        model, TOKENIZER, one_window(model, n=2), DecodingOptions(language="en", draft_tokens=4),
        FallbackOptions(temperatures=(0.0, 0.4)), inputs=[WindowInput(), WindowInput(key=1)],
        draft=Draft(make_draft_model(model, draft), one_window(draft, n=2)),
    )  # fmt: skip
    first, second = (decoded.attempts for decoded in kept)
    assert first[0].draft.accepted > 40 and first[1].draft == DraftUse(0, 0, "temperature 0.4")
    assert len(second) == 1 and second[0].draft.reason == ""


def test_record_lines():
    attempt = Attempt(0.0, -0.2, 1.1, 0.0, "accepted", DraftUse(20, 16))
    window = Window(0, 0.0, 30.0, "transcribed", (attempt,), (), 3000)
    assert record_lines(window) == ["[00:00.000 --> 00:30.000] (draft: 16 of 20 tokens accepted)"]
    unused = replace(attempt, draft=DraftUse(0, 0, "beam_size 5"))
    assert record_lines(replace(window, attempts=(unused,)))[0].endswith("(draft: not used; beam_size 5)")
    assert record_lines(replace(window, attempts=(replace(attempt, draft=None),))) == []


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        (FakeDims(n_vocab=1533), "it has 1533 ids of tokens; the model has 1532"),
        (FakeDims(n_mels=128), "it has 128 mel bands; the model has 80"),
        (FakeDims(n_audio_ctx=750), "it has 750 audio positions; the model has 1500"),
        (FakeDims(n_text_ctx=224), "it holds 224 tokens; the model holds 448"),
    ],
)
def test_a_draft_that_does_not_fit(dims, message):
    with pytest.raises(OptionError, match=message):
        make_draft_model(FakeModel(follow(SPOKEN)), FakeModel(follow(SPOKEN), dims))


def test_draft_tokens_without_a_draft(nano):
    with pytest.raises(OptionError, match="draft_tokens=4 needs"):
        nano.transcribe(np.zeros(16000, np.float32), draft_tokens=4)
    with pytest.raises(OptionError, match="draft_tokens=4 needs"):
        nano.transcribe_many([np.zeros(16000, np.float32)], draft_tokens=4)
    model = FakeModel(follow(SPOKEN))
    with pytest.raises(OptionError, match="draft_tokens=4 needs"):
        decode(model, TOKENIZER, one_window(model), DecodingOptions(language="en", draft_tokens=4))
    for wrong in (-1, True, 1.5):
        with pytest.raises(OptionError, match="draft_tokens"):
            DecodingOptions(draft_tokens=wrong)


# on the built-in model

ENTRIES = {
    name: entry
    for name, entry in golden_entries("decode").items()
    if not entry["options"].get("temperature") and (entry["options"].get("beam_size") or 1) == 1
}
# Random weights agree with nothing: every token costs a whole round.
WITH_RANDOM_DRAFT = [name for name in ENTRIES if name.endswith("/greedy")][:4]
LOGPROB_TOLERANCE = 1e-5  # of float32 sums in another order, where a pass has more rows than a step


@pytest.fixture(scope="module")
def drafts(nano):
    """Nano with itself as its draft, with its int8 form, and with random weights of its sizes."""
    random = WhisperModel("nano")
    random._model = Whisper(RandomCheckpoint(nano.dims, seed=1))
    found = {
        "itself": WhisperModel("nano", draft=nano),
        "int8": WhisperModel("nano", draft=WhisperModel("nano", compute_type="int8")),
        "random": WhisperModel("nano", draft=random),
    }
    with encoded_once(nano, *found.values()):
        yield found


@pytest.fixture(scope="module")
def mels(nano, audio_file):
    known = {}

    def mel(name):
        if name not in known:
            known[name] = nano.log_mel(audio_file(name))[None]
        return known[name]

    return mel


@pytest.mark.skipif(not ENTRIES, reason="no goldens: neither ../shared nor tests/fixtures has openai_whisper.json")
@pytest.mark.parametrize("name", ENTRIES or ["none"])
def test_goldens(nano, drafts, mels, name):
    mel, options = mels(name.split("/")[0]), ENTRIES[name]["options"]
    [expected] = nano.decode(mel, **options)
    for kind, model in drafts.items():
        if kind == "random" and name not in WITH_RANDOM_DRAFT:
            continue
        [result] = model.decode(mel, draft_tokens=4, **options)
        assert result.tokens == expected.tokens, kind
        assert result.text == expected.text
        assert result.avg_logprob == pytest.approx(expected.avg_logprob, abs=LOGPROB_TOLERANCE)
        assert result.no_speech_prob == expected.no_speech_prob
        assert result.draft.drafted > 0
        if kind == "itself":
            assert result.draft.accepted == result.draft.drafted


def test_transcribe_with_a_draft(nano, drafts, audio_file):
    """The whole path: one file, and two in a batch."""
    file = audio_file("words_tts_b")
    expected = list(nano.transcribe(file, language="en", temperature=0))
    model = drafts["int8"]
    transcript = model.transcribe(file, language="en", temperature=0, draft_tokens=3)
    segments = list(transcript)
    assert [s.tokens for s in segments] == [s.tokens for s in expected]
    logprobs = [segment.avg_logprob for segment in expected]
    assert [segment.avg_logprob for segment in segments] == pytest.approx(logprobs, abs=LOGPROB_TOLERANCE)
    assert all(window.attempts[0].draft.drafted > 0 for window in transcript.windows)
    files = [file, np.zeros(24000, np.float32)]
    batched = list(model.transcribe_many(files, batch_size=2, language="en", temperature=0, draft_tokens=3))
    assert [s.tokens for s in batched[0]] == [s.tokens for s in expected]


def test_a_draft_that_is_not_used_hears_nothing(drafts, mels, audio_file, monkeypatch):
    """By its size it costs what the model costs, so its encoder does not run."""
    model = drafts["random"]

    def encode(mel):
        raise AssertionError("the draft encodes audio")

    monkeypatch.setattr(model._draft.model, "encode", encode)
    [result] = model.decode(mels("words_tts_b"), language="en")
    assert result.draft.drafted == 0 and result.draft.reason.startswith("does not pay at acceptance")
    transcript = model.transcribe(audio_file("words_tts_b"), language="en", temperature=0)
    assert list(transcript)
    assert all(window.attempts[0].draft.drafted == 0 for window in transcript.windows)


def test_audio_features_are_shared_where_the_encoders_are_the_same(drafts, mels, monkeypatch):
    assert drafts["itself"]._draft.shares_encoder
    assert not drafts["int8"]._draft.shares_encoder and not drafts["random"]._draft.shares_encoder
    mel = mels("words_tts_b")
    features = drafts["int8"].encode(mel)
    [result] = drafts["int8"].decode(features, language="en", draft_tokens=4)
    assert result.draft == DraftUse(0, 0, "it has not heard the audio")
    [result] = drafts["itself"].decode(features, language="en", draft_tokens=4)
    assert result.draft.accepted > 0


def test_a_draft_with_another_vocabulary(nano):
    english = WhisperModel("nano")
    english._vocabulary = type(english._vocabulary).packaged(51864)
    with pytest.raises(OptionError, match="give a draft with the same vocabulary"):
        WhisperModel("nano", draft=english)
