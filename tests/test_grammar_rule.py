"""The rule that keeps decoding in a grammar: on written logits, and on nano."""

from __future__ import annotations

import re

import numpy as np
import pytest

from whisperlite.audio import load_audio, log_mel_spectrogram, pad_or_trim
from whisperlite.checkpoint import open_checkpoint, resolve
from whisperlite.decode import DecodingOptions
from whisperlite.decode.gbnf import parse_grammar
from whisperlite.decode.grammar import GrammarRule
from whisperlite.decode.rules import make_rules
from whisperlite.decode.token_tree import TokenMatcher, TokenTable, token_matcher
from whisperlite.errors import OptionError
from whisperlite.model import Whisper
from whisperlite.text import load_vocabulary, tokenizer_for

# 0..5 text, 6 the empty token, 7 end, 8 and 9 special, 10 and 11 timestamps
TOKENS = [b" one", b" two", b".", b" t", b"\xc3", b"\xa9", b""]
EOT, BEGIN, V = 7, 10, 12
WORDS = 'root ::= (" one" | " two")+ ("." | "é")'


def rule(penalty: float = np.inf, grammar: str = WORDS, timestamps: bool = True) -> GrammarRule:
    matcher = TokenMatcher(parse_grammar(grammar), TokenTable(TOKENS))
    return GrammarRule(matcher, BEGIN if timestamps else None, penalty)


def after(made: GrammarRule, *rows: list[int]) -> list[list[int]]:
    """Ids left unmasked after the tokens of each row."""
    logits = np.zeros((len(rows), V), dtype=np.float32)
    made(logits, np.array(rows, dtype=np.int32).reshape(len(rows), -1))
    return [np.flatnonzero(row > -np.inf).tolist() for row in logits]


@pytest.mark.parametrize(
    ("tokens", "left"),
    [
        ([], [0, 1, 3]),  # " t" may become " two"; the end must wait
        ([0], [0, 1, 2, 3, 4]),  # half an é as well
        ([0, 4], [5]),
        ([0, 4, 5], [EOT]),
        ([0, 2], [EOT]),
        ([10, 0, 11], [0, 1, 2, 3, 4]),  # timestamps are not text
    ],
)
def test_what_may_follow(tokens, left):
    assert after(rule(), tokens) == [[*left, 10, 11]]
    assert after(rule(timestamps=False), tokens) == [left]


def test_penalty_is_subtracted_once():
    logits = np.full((1, V), 3.0, dtype=np.float32)
    logits[0, 2] = -np.inf
    rule(penalty=2.5)(logits, np.zeros((1, 0), dtype=np.int32))
    np.testing.assert_array_equal(
        logits[0], np.float32([3, 3, -np.inf, 3, 0.5, 0.5, 0.5, 0.5, -np.inf, -np.inf, 3, 3])
    )


def test_no_penalty_leaves_text_alone():
    logits = np.arange(V, dtype=np.float32)[None]
    rule(penalty=0)(logits, np.zeros((1, 0), dtype=np.int32))
    np.testing.assert_array_equal(logits[0, : EOT + 1], np.arange(EOT + 1))


def test_a_text_that_left_the_grammar_is_free_and_one_that_ended_is_passed_over():
    everything = list(range(V))
    assert after(rule(penalty=1.0), [2, 0], [0, EOT]) == [everything, everything]


def test_beams_that_change_places():
    made = rule()
    for texts in ([[], [], []], [[0], [1], [0]], [[0, 1], [1, 4], [0, 2]]):
        after(made, *texts)
    # Row 0 goes on from row 1, and rows 1 and 2 from row 2.
    reordered = [[1, 4, 5], [0, 2, EOT], [0, 2, EOT]]
    assert after(made, *reordered) == after(rule(), *reordered)
    # Another search with the same rule begins anew, at any length.
    assert after(made, [], [])[0] == after(rule(), [])[0]
    assert after(made, [1, 4], [0, 0]) == after(rule(), [1, 4], [0, 0])


def test_rows_at_different_places_of_the_grammar():
    assert after(rule(), [0, 2], [1, 4]) == [[EOT, 10, 11], [5, 10, 11]]


@pytest.mark.parametrize("penalty", [-1.0, float("nan"), True, "100", None])
def test_penalty_that_is_none(penalty):
    with pytest.raises(OptionError, match="grammar_penalty="):
        rule(penalty=penalty)


# The example of the documentation: groups of spoken digits.
DIGITS = """
root  ::= group+
group ::= (" " digit)+ "."
digit ::= [Zz] "ero" | [Oo] "ne" | [Tt] ("wo" | "hree") | [Ff] ("our" | "ive") | [Ss] ("ix" | "even") |
          [Ee] "ight" | [Nn] "ine"
"""
DIGITS_TEXT = re.compile(r"(( (zero|one|two|three|four|five|six|seven|eight|nine))+\.)+", re.IGNORECASE)


@pytest.fixture(scope="module")
def whisper():
    checkpoint = open_checkpoint(resolve("nano"))
    vocabulary = load_vocabulary(checkpoint.dims.n_vocab, checkpoint.tokenizer_files)
    return Whisper(checkpoint), tokenizer_for(vocabulary, "en")


def greedy(whisper, path, options: DecodingOptions, rules) -> str:
    model, tokenizer = whisper
    mel = pad_or_trim(log_mel_spectrogram(load_audio(path), model.dims.n_mels), 3000)
    cross = model.cross_kv(model.encode(mel[None]))
    context = [*tokenizer.sot_sequence, *([tokenizer.no_timestamps] if options.without_timestamps else [])]
    rules = [*make_rules(tokenizer, options, model.dims), *rules]
    cache, sampled = model.new_cache(1), []
    logits = model.prefill(np.array([context]), cache, cross)[:, 0]
    for _ in range(100):
        for each in rules:
            each(logits, np.array([sampled], dtype=np.int32).reshape(1, -1))
        sampled.append(int(logits[0].argmax()))
        if sampled[-1] == tokenizer.eot:
            break
        logits = model.step(np.array(sampled[-1:]), cache, cross)
    return tokenizer.decode(token for token in sampled if token != tokenizer.eot)


@pytest.mark.parametrize("penalty", [100.0, np.inf])
@pytest.mark.parametrize("without_timestamps", [True, False])
def test_nano_hears_nothing_but_digits(whisper, audio_file, penalty, without_timestamps):
    options = DecodingOptions(language="en", without_timestamps=without_timestamps)
    free = greedy(whisper, audio_file("words_tts_a"), options, [])
    assert not DIGITS_TEXT.fullmatch(free)  # letters are spelled there too
    tokenizer = whisper[1]
    matcher = token_matcher(parse_grammar(DIGITS), tokenizer.vocabulary)
    made = GrammarRule(matcher, None if without_timestamps else tokenizer.timestamp_begin, penalty)
    text = greedy(whisper, audio_file("words_tts_a"), options, [made])
    assert DIGITS_TEXT.fullmatch(text)
    assert "Five three one." in text  # what are digits stay what they were
