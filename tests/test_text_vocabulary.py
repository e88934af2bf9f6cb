"""The same vocabulary from every source, and sources that do not fit."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from whisperlite.checkpoint import resolve
from whisperlite.errors import TokenizerError
from whisperlite.text import Vocabulary, load_tokenizer, load_vocabulary
from whisperlite.text.bpe import ALPHABET, bytes_of, merges_of, piece_of
from whisperlite.text.packaged import known_merges, packaged_pieces, unpack_pieces

JSON = resolve("nano") / "tokenizer.json"
TEXTS = (" Hello, world's end!", "Füße 北京 ทดสอบ 🤗\n\n  x", "don't  DON'T 12345 ½²", "\u200b\u00a0\t ", "a" * 300)


def tokens_of(vocabulary: Vocabulary) -> list[bytes]:
    return [vocabulary.token_bytes(token) for token in range(vocabulary.eot)]


def write_ranks(path: Path, tokens: list[bytes]) -> Path:
    path.write_text("".join(f"{base64.b64encode(t).decode() or '='} {i}\n" for i, t in enumerate(tokens)))
    return path


@pytest.fixture(scope="module")
def english() -> Vocabulary:
    return Vocabulary.packaged(51864)


@pytest.fixture(scope="module")
def multilingual() -> Vocabulary:
    return Vocabulary.packaged(51865)


@pytest.mark.parametrize("n_vocab", [51864, 51865, 51866])
def test_all_sources_agree(tmp_path, n_vocab):
    whole = Vocabulary.packaged(n_vocab)
    tokens = tokens_of(whole)
    others = [
        Vocabulary.from_ranks(write_ranks(tmp_path / "x.tiktoken", tokens), n_vocab),
        Vocabulary.from_tokens(tokens, n_vocab),
        Vocabulary.from_tokens([*tokens, b"[_extra_]"], n_vocab),
    ]
    if n_vocab > 51864:
        others += [Vocabulary.from_tokenizer_json(JSON, n_vocab), Vocabulary.from_tokens(tokens[:-1], n_vocab)]
    for other in others:
        assert tokens_of(other) == tokens
        assert other.special_tokens == whole.special_tokens
        assert [other.encode(text) for text in TEXTS] == [whole.encode(text) for text in TEXTS]


def test_merges_are_found_again(english, multilingual):
    for is_multilingual in (False, True):
        pieces = list(packaged_pieces(is_multilingual))
        assert merges_of(pieces) == known_merges(pieces)
    assert sorted(ord(character) for _, character in ALPHABET) == sorted({ord(c) for _, c in ALPHABET})
    assert [byte for byte, _ in ALPHABET[:3]] == [33, 34, 35]
    assert bytes_of(piece_of(bytes(range(256)))) == bytes(range(256))


def test_a_vocabulary_unlike_openais_has_its_own_merges(multilingual):
    """Two tokens of equal length swapped: ids follow, by merges derived from the ranks."""
    tokens = tokens_of(multilingual)
    rng = random.Random(0)
    first, second = rng.sample(range(40000, 50000), 2)
    tokens[first], tokens[second] = tokens[second], tokens[first]
    vocabulary = Vocabulary.from_tokens(tokens, 51865)
    text = tokens[first].decode("utf-8", "replace")
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.encode(" Hello") == multilingual.encode(" Hello")


def test_old_tokenizer_json_with_merges_as_strings(tmp_path):
    content = json.loads(JSON.read_text())
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    del content["model"]["vocab"][""]
    content["model"]["vocab"]["<|endoftext|>"] = 50257
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    vocabulary = Vocabulary.from_tokenizer_json(path, 51865)
    assert vocabulary.encode(TEXTS[0]) == Vocabulary.packaged(51865).encode(TEXTS[0])


@pytest.mark.parametrize(
    "content, words",
    [
        ("", "is not a tokenizer.json"),
        ("[]", "is not a tokenizer.json"),
        ("[" * 100_000, "is not a tokenizer.json"),
        ('{"model": {"vocab": {"<|endoftext|>": 50257}}}', "is not a tokenizer.json"),
        ('{"model": {"vocab": {"a": [1], "<|endoftext|>": 50257}, "merges": []}}', "is not a tokenizer.json"),
        ('{"model": {"vocab": {"<|endoftext|>": 50257}, "merges": ["a b c"]}}', "is not a tokenizer.json"),
        ('{"model": {"vocab": {}, "merges": [], "type": "WordPiece"}}', "is a WordPiece tokenizer"),
        (
            '{"model": {"vocab": {"a": 0}, "merges": []}}',
            "has <|endoftext|> at None; n_vocab 51865 needs it at 50257",
        ),
        (
            '{"model": {"vocab": {"a": 0, "<|endoftext|>": 50257}, "merges": []}}',
            "lacks 50255 of 50257 text tokens, 1 the first",
        ),
    ],
)
def test_damaged_tokenizer_json(tmp_path, content, words):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(TokenizerError) as caught:
        Vocabulary.from_tokenizer_json(path, 51865)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_tokenizer_json_of_another_kind_beside_the_model(tmp_path):
    """A folder of downloads may hold any tokenizer.json: one that is not byte-level is passed over."""
    content = json.loads(JSON.read_text())
    content["model"]["vocab"]["\u2581the"] = content["model"]["vocab"].pop("the")
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    with pytest.raises(TokenizerError, match="has tokens that are no bytes"):
        Vocabulary.from_tokenizer_json(path, 51865)
    assert load_vocabulary(51865, [path]).encode("the") == Vocabulary.packaged(51865).encode("the")


def test_merges_that_name_no_token(tmp_path):
    content = json.loads(JSON.read_text())
    content["model"]["merges"][0] = ["nonesuch-a", "nonesuch-b"]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    with pytest.raises(TokenizerError, match="merges are damaged"):
        Vocabulary.from_tokenizer_json(path, 51865).encode("a")
    with pytest.raises(TokenizerError, match="merge 1 names the piece 999 before it is made"):
        unpack_pieces(np.array([[0, 1], [999, 0]], np.uint16))


@pytest.mark.parametrize("content", ["a b\n", "YQ== x\n", "YQ== 5\n", "!!! 0 0\n"])
def test_damaged_ranks(tmp_path, content):
    path = tmp_path / "gpt2.tiktoken"
    path.write_text(content)
    with pytest.raises(TokenizerError, match="is not a file of ranks"):
        Vocabulary.from_ranks(path, 51864)
    with pytest.raises(TokenizerError, match="cannot be read"):
        Vocabulary.from_ranks(tmp_path / "none", 51864)


@pytest.mark.parametrize("n_vocab", [0, 32000, 51863, 51867])
def test_sizes_that_are_not_whispers(n_vocab):
    with pytest.raises(
        TokenizerError, match=f"n_vocab is {n_vocab}; Whisper's vocabularies have 51864, 51865, 51866"
    ):
        load_vocabulary(n_vocab)


def test_too_few_tokens():
    with pytest.raises(TokenizerError, match="has 3 text tokens; n_vocab 51865 needs 50257"):
        Vocabulary.from_tokens([b"a", b"b", b"c"], 51865)


def test_a_lossy_vocabulary_decodes_but_does_not_encode_what_it_lacks(multilingual):
    """As in whisper.cpp's for-tests files: single bytes above 127 are U+FFFD."""
    tokens = [token.decode("utf-8", "replace").encode() for token in tokens_of(multilingual)]
    vocabulary = Vocabulary.from_tokens(tokens, 51865)
    assert vocabulary.decode(multilingual.encode(" Hello")) == " Hello"
    assert vocabulary.encode(" Hello") == multilingual.encode(" Hello")
    with pytest.raises(TokenizerError, match="of the 256 single bytes"):
        vocabulary.encode("你")


def test_the_file_that_fits_is_taken(tmp_path, english, monkeypatch, capsys):
    monkeypatch.setenv("WHISPERLITE_DEBUG", "1")
    ranks = write_ranks(tmp_path / "gpt2.tiktoken", tokens_of(english))
    assert load_vocabulary(51864, [JSON, ranks]).encode(TEXTS[0]) == english.encode(TEXTS[0])
    assert "vocabulary skipped: " in capsys.readouterr().err
    assert load_vocabulary(51864, [JSON]).encode(TEXTS[0]) == english.encode(TEXTS[0])
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{")
    with pytest.raises(TokenizerError, match=r"is not a tokenizer\.json"):
        load_vocabulary(51865, [broken])


def write_list(path: Path, vocabulary: Vocabulary) -> Path:
    pieces = [piece_of(token) for token in tokens_of(vocabulary)] + list(vocabulary.special_tokens)
    text = json.dumps(pieces) if path.suffix == ".json" else "\n".join(pieces) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["vocabulary.json", "vocabulary.txt"])
def test_the_list_of_ctranslate2(tmp_path, name, english, multilingual):
    path = write_list(tmp_path / name, multilingual)
    found = load_vocabulary(51865, [path])
    assert tokens_of(found) == tokens_of(multilingual)
    assert found.encode(TEXTS[0]) == multilingual.encode(TEXTS[0])
    assert tokens_of(load_vocabulary(51864, [path])) == tokens_of(english)  # it does not fit, and is passed over
    path.write_text('["a", 5]' if path.suffix == ".json" else "a\nb\n")
    with pytest.raises(TokenizerError, match="is not a list of Whisper's tokens"):
        load_vocabulary(51865, [path])


def test_tokens_of_the_model_file_come_first(tmp_path, multilingual, capsys, monkeypatch):
    tokens = [*tokens_of(multilingual)]
    tokens[1000] = b" whisperlite"
    assert load_vocabulary(51865, [JSON], tokens).decode([1000]) == " whisperlite"
    monkeypatch.setenv("WHISPERLITE_DEBUG", "1")
    assert load_vocabulary(51865, [JSON], tokens[:9]).decode([1000]) == multilingual.decode([1000])
    assert "vocabulary skipped" in capsys.readouterr().err


def test_tokenizer_of_a_checkpoint():
    checkpoint = SimpleNamespace(dims=SimpleNamespace(n_vocab=51866), tokenizer_files=(), tokens=None)
    tokenizer = load_tokenizer(checkpoint, "cantonese", "translate")
    assert (tokenizer.language, tokenizer.task, tokenizer.n_vocab) == ("yue", "translate", 51866)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHISPERLITE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_with_the_packaged_vocabulary_is_parsed_once(cache, monkeypatch):
    first = load_vocabulary(51865, [JSON])
    monkeypatch.setattr(json, "loads", None)
    assert tokens_of(load_vocabulary(51865, [JSON])) == tokens_of(first)
    assert load_vocabulary(51866, [JSON]).n_vocab == 51866
    with pytest.raises(TokenizerError):  # what does not fit is looked at again, for the message
        load_vocabulary(51864, [JSON])


@pytest.mark.parametrize("part", ["vocab", "merges"])
def test_a_file_with_another_vocabulary_is_parsed_each_time(cache, tmp_path, part):
    content = json.loads(JSON.read_text())
    model = content["model"]
    if part == "vocab":
        model["vocab"]["the"], model["vocab"]["and"] = model["vocab"]["and"], model["vocab"]["the"]
    else:
        model["merges"][300], model["merges"][301] = model["merges"][301], model["merges"][300]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    own = Vocabulary.from_tokenizer_json(path, 51865)
    assert not own.is_packaged and Vocabulary.packaged(51865).is_packaged
    for _ in range(2):
        again = load_vocabulary(51865, [path])
        assert tokens_of(again) == tokens_of(own) and not again.is_packaged
    load_vocabulary(51865, [JSON])
    assert len(list((cache / "vocabularies").iterdir())) == 2


def test_a_cache_folder_that_cannot_be_written_to_keeps_no_notes(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WHISPERLITE_CACHE_DIR", str(tmp_path / "file"))
    assert load_vocabulary(51865, [JSON]).encode("the") == Vocabulary.packaged(51865).encode("the")


@pytest.mark.parametrize("n_vocab", [51864, 51865])
def test_what_is_known_of_a_packaged_vocabulary_is_what_its_encoder_finds(n_vocab):
    packaged = Vocabulary.packaged(n_vocab)
    same = Vocabulary(list(packaged_pieces(n_vocab > 51864)), n_vocab)
    assert packaged.non_speech_tokens == same.non_speech_tokens
    for byte in range(128):
        assert packaged.encode(chr(byte)) == same.encode(chr(byte))


def test_packaged_pieces_are_a_sequence():
    made = packaged_pieces(True)
    whole = list(made)
    assert [made[index] for index in range(-len(made), len(made))] == whole + whole
    assert made[300:310] == whole[300:310] and made == whole and made != whole[:-1]
    with pytest.raises(IndexError):
        made[len(made)]
