"""Ids, texts and words with the packaged vocabularies and the goldens; no other engine needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite import text as room
from whisperlite.checkpoint import open_checkpoint, resolve
from whisperlite.errors import OptionError, TokenizerError
from whisperlite.text import LANGUAGES, TO_LANGUAGE_CODE, Vocabulary, language_code, tokenizer_for

GOLDENS = json.loads((Path(__file__).parent / "fixtures" / "openai_whisper.json").read_text())
SIZES = (51864, 51865, 51866)


def joined(lists: list[list[int]]) -> list[int]:
    return [token for tokens in lists for token in tokens]


@pytest.fixture(scope="module")
def vocabularies() -> dict[int, Vocabulary]:
    return {n_vocab: room.load_vocabulary(n_vocab) for n_vocab in SIZES}


@pytest.fixture(scope="module")
def multilingual(vocabularies) -> Vocabulary:
    return vocabularies[51865]


# Written out from openai/whisper's three tokenizers: eot, sot, last language, translate .. first timestamp
@pytest.mark.parametrize(
    "n_vocab, eot, sot, last, others",
    [
        (51864, 50256, 50257, 50356, (50357, 50358, 50359, 50360, 50361, 50362, 50363)),
        (51865, 50257, 50258, 50357, (50358, 50359, 50360, 50361, 50362, 50363, 50364)),
        (51866, 50257, 50258, 50358, (50359, 50360, 50361, 50362, 50363, 50364, 50365)),
    ],
)
def test_special_ids_of_all_three(vocabularies, n_vocab, eot, sot, last, others):
    tokenizer = tokenizer_for(vocabularies[n_vocab])
    assert (tokenizer.eot, tokenizer.sot, tokenizer.all_language_tokens[-1]) == (eot, sot, last)
    assert others == (
        tokenizer.translate, tokenizer.transcribe, tokenizer.sot_lm, tokenizer.sot_prev, tokenizer.no_speech,
        tokenizer.no_timestamps, tokenizer.timestamp_begin,
    )  # fmt: skip
    assert tokenizer.all_language_tokens[0] == sot + 1
    assert tokenizer.all_language_codes == tuple(LANGUAGES)[: tokenizer.num_languages]
    assert len(tokenizer.special_tokens) == n_vocab - eot
    assert tokenizer.decode_with_timestamps([n_vocab - 1]) == "<|30.00|>"
    assert tokenizer.decode_with_timestamps([tokenizer.timestamp_begin + 54]) == "<|1.08|>"


def test_sot_sequences(vocabularies):
    v2, v3 = vocabularies[51865], vocabularies[51866]
    assert tokenizer_for(v2).sot_sequence == (50258, 50259, 50359)
    assert tokenizer_for(v2, "German", "translate").sot_sequence == (50258, 50261, 50358)
    assert tokenizer_for(v2, "de").sot_sequence_including_notimestamps == (50258, 50261, 50359, 50363)
    assert tokenizer_for(v3, "yue").sot_sequence == (50258, 50358, 50360)
    assert tokenizer_for(vocabularies[51864], "en", "transcribe").sot_sequence == (50257,)
    assert tokenizer_for(v2, "de").with_options("fr").language_token == 50265
    assert tokenizer_for(v2, "de").with_options("fr").vocabulary is v2


def test_options_that_cannot_be_honoured(vocabularies):
    english, v2 = vocabularies[51864], vocabularies[51865]
    with pytest.raises(OptionError, match="language 'yue' is not among this model's 99"):
        tokenizer_for(v2, "cantonese")
    with pytest.raises(OptionError, match="language 'klingon' is not one of Whisper's 100"):
        tokenizer_for(v2, "klingon")
    with pytest.raises(OptionError, match="task is 'summarise'; give transcribe or translate"):
        tokenizer_for(v2, "en", "summarise")
    with pytest.raises(OptionError, match="language 'de' needs a multilingual model"):
        tokenizer_for(english, "de")
    with pytest.raises(OptionError, match="task 'translate' needs a multilingual model"):
        tokenizer_for(english, "en", "translate")
    with pytest.raises(OptionError, match="has no language"):
        _ = tokenizer_for(english).language_token


def test_languages():
    assert len(LANGUAGES) == 100 and list(LANGUAGES)[-1] == "yue"
    assert [language_code(name) for name in ("EN", "German", " castilian ", "Mandarin", "haitian creole")] == [
        "en", "de", "es", "zh", "ht",
    ]  # fmt: skip
    assert set(TO_LANGUAGE_CODE.values()) == set(LANGUAGES)
    with pytest.raises(OptionError):
        language_code("")


def golden_texts() -> list[tuple[str, list[int], str]]:
    rows = [(key, entry["tokens"], entry["text"]) for key, entry in GOLDENS["decode"].items()]
    for key, entry in GOLDENS["transcribe"].items():
        rows += [(key, segment["tokens"], segment["text"]) for segment in entry["segments"]]
    return rows


def test_goldens_decode_to_their_texts(multilingual):
    tokenizer = tokenizer_for(multilingual)
    assert len(golden_texts()) > 150
    for key, tokens, text in golden_texts():
        decoded = tokenizer.decode(token for token in tokens if token < tokenizer.eot)
        assert decoded.strip() == text.strip(), key


def test_golden_texts_encode_to_their_tokens(multilingual):
    """All but the text where nano repeats itself: it writes four full stops, BPE has one token for them."""
    tokenizer = tokenizer_for(multilingual)
    for key, entry in GOLDENS["transcribe"].items():
        for segment in entry["segments"]:
            ids = [token for token in segment["tokens"] if token < tokenizer.eot]
            assert tokenizer.decode(tokenizer.encode(segment["text"])) == segment["text"]
            if ".." not in segment["text"]:
                assert tokenizer.encode(segment["text"]) == ids, key


def test_golden_words_are_the_split(multilingual):
    n_words = 0
    for key, entry in GOLDENS["transcribe"].items():
        if not key.endswith("/words"):
            continue
        tokenizer = tokenizer_for(multilingual, entry["language"])
        for segment in entry["segments"]:
            ids = [token for token in segment["tokens"] if token < tokenizer.eot]
            words, word_tokens = tokenizer.split_to_word_tokens(ids)
            assert joined(word_tokens) == ids
            assert "".join(words) == "".join(word["word"] for word in segment["words"]), key
            n_words += len(words)
    assert n_words > 80


def test_known_ids(vocabularies):
    assert vocabularies[51864].encode(" Hello world") == [18435, 995]
    assert vocabularies[51865].encode(" Hello world") == [2425, 1002]
    assert vocabularies[51865].encode("") == []


@pytest.mark.parametrize("n_vocab", SIZES)
def test_special_looking_text_is_text(vocabularies, n_vocab):
    vocabulary = vocabularies[n_vocab]
    for name in ("<|endoftext|>", "<|en|>", "<|0.00|>", "<|startoftranscript|>"):
        ids = vocabulary.encode(f"a {name} b")
        assert max(ids) < vocabulary.eot
        assert vocabulary.decode(ids) == f"a {name} b"


def test_decode_drops_timestamps_and_names_specials(multilingual):
    tokenizer = tokenizer_for(multilingual)
    tokens = [
        tokenizer.sot,
        tokenizer.timestamp_begin,
        *tokenizer.encode(" hi"),
        tokenizer.timestamp_begin + 5,
        tokenizer.eot,
    ]
    assert tokenizer.decode(tokens) == "<|startoftranscript|> hi<|endoftext|>"
    assert tokenizer.decode_with_timestamps(tokens) == "<|startoftranscript|><|0.00|> hi<|0.10|><|endoftext|>"


def test_half_a_character_is_replaced(multilingual):
    ids = multilingual.encode("🤗")
    assert len(ids) > 1
    assert multilingual.decode(ids) == "🤗"
    assert multilingual.decode(ids[:1]) == "\ufffd"


@pytest.mark.parametrize("token", [-1, 51865])
def test_ids_beyond_the_vocabulary(multilingual, token):
    with pytest.raises(TokenizerError, match=f"token {token} is not in the vocabulary of 51865"):
        multilingual.decode([token])


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_text_survives_the_way_there_and_back(vocabularies, text):
    for vocabulary in vocabularies.values():
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_lone_surrogates_become_replacements(multilingual):
    assert multilingual.decode(multilingual.encode("a\ud800b")) == "a\ufffdb"
    assert multilingual.decode(multilingual.encode("\ud83e\udd17")) == "🤗"


def test_non_speech_tokens(vocabularies):
    """Counts and samples from openai/whisper's default suppress list, less its six special tokens."""
    for n_vocab, vocabulary in vocabularies.items():
        tokens = vocabulary.non_speech_tokens
        assert list(tokens) == sorted(set(tokens)) and max(tokens) < vocabulary.eot
        assert len(tokens) == (84 if n_vocab == 51864 else 82)
        assert {vocabulary.encode("[")[0], vocabulary.encode(" (")[0], vocabulary.encode("♪")[0]} <= set(tokens)
        assert not {vocabulary.encode(",")[0], vocabulary.encode("-")[0], vocabulary.encode("'")[0]} & set(tokens)


def test_words_at_spaces(multilingual):
    tokenizer = tokenizer_for(multilingual, "en")
    ids = tokenizer.encode(" Hello, world's end! Ünïcödé 🤗.")
    words, word_tokens = tokenizer.split_to_word_tokens([*ids, tokenizer.eot])
    assert words == [" Hello", ",", " world's", " end", "!", " Ünïcödé", " 🤗", ".", "<|endoftext|>"]
    assert joined(word_tokens) == [*ids, tokenizer.eot]


@pytest.mark.parametrize("language", ["zh", "ja", "th", "lo", "my"])
def test_characters_where_there_are_no_spaces(multilingual, language):
    tokenizer = tokenizer_for(multilingual, language)
    words, word_tokens = tokenizer.split_to_word_tokens(tokenizer.encode("五四二魑魅𠮷。"))
    assert "".join(words) == "五四二魑魅𠮷。" and all(word_tokens) and "\ufffd" not in "".join(words)
    assert len(words) >= 4
    assert len(tokenizer.with_options("en").split_to_word_tokens(tokenizer.encode("五四二"))[0]) == 1


@given(st.lists(st.integers(0, 51864), max_size=30), st.sampled_from(["en", "zh"]))
@settings(max_examples=300, deadline=None)
def test_every_token_is_in_exactly_one_word(multilingual, tokens, language):
    words, word_tokens = tokenizer_for(multilingual, language).split_to_word_tokens(tokens)
    assert joined(word_tokens) == tokens
    assert len(words) == len(word_tokens) and all(word_tokens)


def test_tokens_left_at_the_end_are_a_word(multilingual):
    """Broken bytes whose halves decode to more replacements than the whole: upstream fails on these."""
    split = [multilingual.encode(text) for text in ("你", "🤗")]
    broken = [split[1][0], split[1][0], *split[0], split[1][0]]
    tokens = [256 - 68 + 94, *broken]
    words, word_tokens = tokenizer_for(multilingual, "zh").split_to_word_tokens(tokens)
    assert joined(word_tokens) == tokens and len(words) == len(word_tokens)


def test_loading_is_lazy_and_does_little_for_each_token():
    code = "import sys, whisperlite.text; print({'tokenizers', 'numba', 'huggingface_hub'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
    calls: list[str] = []
    with open_checkpoint(resolve("nano")) as checkpoint:
        room.load_tokenizer(checkpoint).encode("a word")  # imports what it needs
        sys.setprofile(lambda frame, event, argument: calls.append(event) if "return" not in event else None)
        try:
            tokenizer = room.load_tokenizer(checkpoint)
            n_loading = len(calls)
            tokenizer.encode("a word")
        finally:
            sys.setprofile(None)
    n_tokens = tokenizer.vocabulary.n_vocab
    assert n_tokens > 51000
    assert n_loading < n_tokens / 5  # nothing is done for each token
    assert len(calls) - n_loading < 3 * n_tokens  # 1: the merges, asked for by the first text
    assert calls[n_loading:].count("call") < 1000  # and no function of ours for each of them
