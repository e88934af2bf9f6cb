"""States of a grammar and the tokens they allow, against derivatives of regular expressions."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.decode.automaton import DEAD, Matcher, State, completions
from whisperlite.decode.gbnf import parse_grammar
from whisperlite.decode.token_tree import TokenMatcher, TokenTable, token_matcher
from whisperlite.text.vocabulary import Vocabulary

ALPHABET = "abéê你佡😀"
NOTHING = ("none",)
EMPTY = ("empty",)

# A grammar as an expression: ("set", characters, negated), ("cat", x, y), ("alt", x, y), ("star", x), EMPTY.


def cat(x, y):
    if NOTHING in (x, y):
        return NOTHING
    return y if x == EMPTY else x if y == EMPTY else ("cat", x, y)


def alt(x, y):
    return y if x == NOTHING else x if y in (NOTHING, x) else ("alt", x, y)


def may_end(e) -> bool:
    match e:
        case ("empty",) | ("star", _):
            return True
        case ("cat", x, y):
            return may_end(x) and may_end(y)
        case ("alt", x, y):
            return may_end(x) or may_end(y)
    return False


@cache
def after(e, character: str):
    """What may follow the character (Brzozowski); NOTHING where it cannot come."""
    match e:
        case ("set", characters, negated):
            return EMPTY if (character in characters) != negated else NOTHING
        case ("cat", x, y):
            rest = cat(after(x, character), y)
            return alt(rest, after(y, character)) if may_end(x) else rest
        case ("alt", x, y):
            return alt(after(x, character), after(y, character))
        case ("star", x):
            return cat(after(x, character), e)
    return NOTHING


def written(e) -> str:
    match e:
        case ("set", characters, negated):
            return f"[{'^' * negated}{''.join(sorted(characters))}]"
        case ("cat", x, y):
            return f"({written(x)} {written(y)})"
        case ("alt", x, y):
            return f"({written(x)} | {written(y)})"
        case ("star", x):
            return f"{written(x)}*"
    return '""'


@cache
def characters_from(begun: bytes) -> list[str]:
    """Characters whose bytes begin so: those of the alphabet and some others."""
    points = [*range(0x80, 0xD800), *range(0xE000, 0x10000), *range(0x10001, 0x110000, 64)]
    found = [character for character in map(chr, points) if character.encode().startswith(begun)]
    mentioned = [c for c in ALPHABET if c.encode().startswith(begun)]
    return mentioned + [c for c in found if c not in ALPHABET][:1]


def oracle(e, data: bytes) -> tuple[bool, bool]:
    """(some text of the grammar begins with these bytes, they are one)."""
    n_begun = next((n for n in range(4) if is_text(data[: len(data) - n])), None)
    if n_begun is None:
        return False, False
    text, begun = data[: len(data) - n_begun].decode(), data[len(data) - n_begun :]
    for character in text:
        e = after(e, character)
    if not begun:
        return e != NOTHING, may_end(e)
    return any(after(e, character) != NOTHING for character in characters_from(begun)), False


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


sets = st.builds(
    lambda characters, negated: ("set", characters, negated),
    st.frozensets(st.sampled_from(ALPHABET), min_size=1, max_size=3),
    st.booleans(),
)
expressions = st.recursive(
    sets | st.just(EMPTY),
    lambda inner: (
        st.builds(lambda x: ("star", x), inner)
        | st.builds(lambda x, y: ("cat", x, y), inner, inner)
        | st.builds(lambda x, y: ("alt", x, y), inner, inner)
    ),
    max_leaves=8,
)


def pieces(text: str, cuts: list[int]) -> list[bytes]:
    data = text.encode()
    bounds = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[a:b] for a, b in pairwise(bounds) if a < b]


texts = st.text(alphabet=ALPHABET, max_size=5)
cut_texts = st.builds(pieces, texts, st.lists(st.integers(0, 30), max_size=5))


@settings(max_examples=150, deadline=None)
@given(expressions, cut_texts)
def test_states_of_a_text_cut_anywhere(e, parts):
    matcher = Matcher(parse_grammar("root ::= " + written(e)))
    state, data = matcher.start, b""
    assert matcher.ends(state) == may_end(e)
    for part in parts:
        state, data = matcher.accept(state, part), data + part
        assert (state != DEAD, matcher.ends(state)) == oracle(e, data)
    assert state == matcher.accept(matcher.start, data)


# Pieces of the alphabet's characters, other characters, and bytes no text has.
VOCABULARY = sorted(
    {bytes([byte]) for character in ALPHABET for byte in character.encode()}
    | {character.encode()[a:b] for character in ALPHABET for a in range(4) for b in range(a + 1, 5)}
    | {(x + y).encode() for x in ALPHABET for y in ALPHABET}
    | {(x + y).encode()[a:b] for x in "a你😀" for y in "bé佡" for a in range(3) for b in (-1, -2)}
    | {b"\xff", b"\xc0", b"a\xff", b"\xa0\xffa", b"\xed\xa0", b"\xed", b"\xf4\x90", "ab你é".encode(), b"z", b"\x00"}
)
TABLE = TokenTable(VOCABULARY)


@settings(max_examples=60, deadline=None)
@given(expressions, cut_texts)
def test_allowed_tokens_are_those_that_keep_a_text_possible(e, parts):
    matcher = TokenMatcher(parse_grammar("root ::= " + written(e)), TABLE)
    state, data = matcher.start, b""
    bytewise = Matcher(parse_grammar("root ::= " + written(e)))
    for part in [b"", *parts]:
        data += part
        inner = bytewise.accept(bytewise.start, data)
        if inner == DEAD:
            assert not oracle(e, data)[0]
            break
        state = token_state(matcher, data)
        expected = [len(token) > 0 and oracle(e, data + token)[0] for token in VOCABULARY]
        assert matcher.allowed(state).tolist() == expected
        for token in np.flatnonzero(expected):
            assert matcher.accept(state, int(token)) != DEAD


def token_state(matcher: TokenMatcher, data: bytes) -> State:
    state = matcher.start
    for byte in data:
        state = matcher.accept(state, VOCABULARY.index(bytes([byte])))
    return state


def test_a_grammar_that_nests():
    matcher = Matcher(parse_grammar('root ::= "(" root? ")" root?'))

    def possible(text: str) -> tuple[bool, bool]:
        depth = 0
        for bracket in text:
            depth += 1 if bracket == "(" else -1
            if depth < 0:
                return False, False
        return True, depth == 0 and bool(text)

    for n in range(7):
        for number in range(2**n):
            text = "".join("()"[number >> i & 1] for i in range(n))
            state = matcher.accept(matcher.start, text)
            assert (state != DEAD, matcher.ends(state)) == possible(text)


def test_states_of_equal_texts_are_equal():
    matcher = Matcher(parse_grammar('root ::= (" " ("one" | "two"))+'))
    assert matcher.accept(matcher.start, " one") == matcher.accept(matcher.start, " two one")


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        (b"\xc3", (0xC0, 0xFF)),
        (b"\xe0", (0x800, 0xFFF)),
        (b"\xe4\xbd", (0x4F40, 0x4F7F)),
        (b"\xed", (0xD000, 0xD7FF)),
        (b"\xee", (0xE000, 0xEFFF)),
        (b"\xf0", (0x10000, 0x3FFFF)),
        (b"\xf0\x9f\x98", (0x1F600, 0x1F63F)),
        (b"\xf4", (0x100000, 0x10FFFF)),
    ],
)
def test_completions(begun, expected):
    assert completions(begun) == expected


def test_the_beginning_of_a_surrogate_completes_to_nothing():
    lowest, highest = completions(b"\xed\xa0")
    assert lowest > highest


def test_an_empty_token_is_never_allowed():
    matcher = TokenMatcher(parse_grammar("root ::= [a]*"), TokenTable([b"a", b""]))
    assert matcher.allowed(matcher.start).tolist() == [True, False]


def test_what_is_kept_is_bounded_and_right(monkeypatch):
    monkeypatch.setattr("whisperlite.decode.token_tree._MAX_CACHED_STATES", 2)
    matcher = TokenMatcher(parse_grammar('root ::= "a" "b" "a" "b"'), TokenTable([b"a", b"b", b"ab"]))
    for _ in range(2):
        state, seen = matcher.start, []
        for token in (0, 1, 0, 1):
            seen.append(matcher.allowed(state).tolist())
            state = matcher.accept(state, token)
        assert seen == [[True, False, True], [False, True, False], [True, False, True], [False, True, False]]
        assert not matcher.allowed(state).any() and matcher.ends(state)
        assert len(matcher._allowed) == 2


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.packaged(51865)


def test_a_matcher_is_made_once_for_a_grammar_and_a_vocabulary(vocabulary):
    first = token_matcher(parse_grammar('root ::= "a"'), vocabulary)
    assert token_matcher(parse_grammar('root ::= "a"'), vocabulary) is first
    for other in "bcdef":
        token_matcher(parse_grammar(f'root ::= "{other}"'), vocabulary)
    assert token_matcher(parse_grammar('root ::= "a"'), vocabulary) is not first


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ('root ::= (" " [0-9]+)+ "."', " 12 345 6."),
        ("root ::= [^\\n]*", " Straße 你好 😀"),
        ('root ::= (" " word)+\nword ::= [A-Z]? [a-zß]+ | [一-龥]+', " Hello Straße 你好"),
    ],
)
def test_real_tokens(vocabulary, grammar, text):
    """Every token of the vocabulary, after every token of a text, against following it alone."""
    parsed = parse_grammar(grammar)
    matcher, alone = token_matcher(parsed, vocabulary), Matcher(parsed)
    state, plain = matcher.start, alone.start
    data = [vocabulary.token_bytes(token) for token in range(vocabulary.eot)]
    ids = vocabulary.encode(text)
    for i, token in enumerate([*ids, None]):
        if i in (0, len(ids) // 2, len(ids)) or state.begun:
            expected = [len(piece) > 0 and alone.accept(plain, piece) != DEAD for piece in data]
            assert matcher.allowed(state).tolist() == expected
        if token is not None:
            assert matcher.allowed(state)[token]
            state, plain = matcher.accept(state, token), alone.accept(plain, data[token])
    assert matcher.ends(state)
