"""Against openai-whisper's tokenizer (tiktoken), live. Skipped where it is not installed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.text import LANGUAGES, TO_LANGUAGE_CODE, Tokenizer, load_vocabulary, tokenizer_for

theirs = pytest.importorskip("whisper.tokenizer", reason="openai-whisper is not installed")
pytestmark = pytest.mark.peer

NAMES = (
    "eot", "sot", "transcribe", "translate", "sot_lm", "sot_prev", "no_speech", "no_timestamps", "timestamp_begin",
    "sot_sequence", "sot_sequence_including_notimestamps", "non_speech_tokens", "special_tokens",
)  # fmt: skip
TEXTS = (
    " The quick brown fox, it's 3.50$ — isn't it?", " 五四二七二。六。四。", "これはテストです。",
    " ¿Qué tal? ¡Olé!", " สวัสดีครับ ทดสอบ", " Здравствуйте, мир!", " ♪ la la ♪ [applause] (laughs)",
    " 🤗🤗 a👨‍👩‍👧b", " ພາສາລາວ", " မြန်မာ",
)  # fmt: skip
VOCABULARIES = {n_vocab: load_vocabulary(n_vocab) for n_vocab in (51864, 51865, 51866)}


def pair(n_vocab: int, language: str | None = None, task: str | None = None):
    vocabulary = VOCABULARIES[n_vocab]
    upstream = theirs.get_tokenizer(
        vocabulary.is_multilingual, num_languages=vocabulary.num_languages, language=language, task=task
    )
    return tokenizer_for(vocabulary, language, task), upstream


def test_languages():
    assert list(LANGUAGES.items()) == list(theirs.LANGUAGES.items())
    assert TO_LANGUAGE_CODE == theirs.TO_LANGUAGE_CODE


@pytest.mark.parametrize("n_vocab", VOCABULARIES)
def test_all_ids(n_vocab):
    tasks = (("de", "translate"), ("en", "transcribe"), (None, None)) if n_vocab > 51864 else ((None, None),)
    for language, task in tasks:
        ours, upstream = pair(n_vocab, language, task)
        for name in NAMES:
            assert getattr(ours, name) == getattr(upstream, name), name
        assert ours.all_language_tokens == tuple(sorted(upstream.all_language_tokens))  # theirs are in set order
        assert set(ours.all_language_codes) == set(upstream.all_language_codes)
    for token in range(n_vocab):
        assert ours.vocabulary.token_bytes(token) == upstream.encoding.decode_single_token_bytes(token)


def same_words(ours: Tokenizer, upstream, tokens: list[int]) -> None:
    try:
        expected = upstream.split_to_word_tokens(tokens)
    except IndexError:
        return  # upstream trips over broken bytes; ours keeps every token
    if [token for word in expected[1] for token in word] == tokens:
        assert ours.split_to_word_tokens(list(tokens)) == expected


@pytest.mark.parametrize("language", ["en", "zh", "ja", "th", "lo", "my", "de"])
def test_words_of_texts(language):
    ours, upstream = pair(51865, language)
    for text in TEXTS:
        tokens = [*ours.encode(text), ours.eot]
        assert tokens == [*upstream.encode(text), upstream.eot]
        assert ours.split_to_word_tokens(list(tokens)) == upstream.split_to_word_tokens(tokens)


@given(st.text() | st.text("aA 'sS\n\t\u00a0中🤗éß1½<|>en", max_size=60), st.sampled_from(list(VOCABULARIES)))
@settings(max_examples=500, deadline=None)
def test_any_text(text, n_vocab):
    ours, upstream = pair(n_vocab)
    assert ours.encode(text) == upstream.encoding.encode_ordinary(text)


@given(st.lists(st.integers(0, 51864), max_size=40), st.sampled_from(["en", "zh"]))
@settings(max_examples=500, deadline=None)
def test_any_ids(tokens, language):
    ours, upstream = pair(51865, language)
    assert ours.decode(tokens) == upstream.decode(tokens)
    assert ours.decode_with_timestamps(tokens) == upstream.decode_with_timestamps(tokens)
    same_words(ours, upstream, tokens)


def test_many_characters():
    """A sample of all code points, alone and between others: the two regex engines agree on what a letter is."""
    ours, upstream = pair(51865)
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    for point in random.Random(0).sample(points, 20_000) + points[:3000]:
        text = f"a{chr(point)}b 1{chr(point)} {chr(point)}"
        assert ours.encode(text) == upstream.encoding.encode_ordinary(text), hex(point)
