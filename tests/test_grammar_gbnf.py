"""The notation of grammars: what it reads, and what it refuses, with line and column."""

from __future__ import annotations

import pytest

from whisperlite.decode.automaton import DEAD, Matcher
from whisperlite.decode.gbnf import Characters, Grammar, Reference, Rule, parse_grammar
from whisperlite.errors import OptionError


def matches(grammar: str, text: str, start: str = "root") -> bool:
    matcher = Matcher(parse_grammar(grammar, start))
    return matcher.ends(matcher.accept(matcher.start, text))


def one(*points: int) -> tuple[Characters, ...]:
    return tuple(Characters(((point, point),)) for point in points)


def test_rules_are_numbered_in_order_of_their_first_use():
    assert parse_grammar('root ::= "a" b\nb ::= | "c"') == Grammar(
        (Rule("root", ((*one(97), Reference(1)),)), Rule("b", ((), one(99)))), 0
    )


def test_a_grammar_is_a_value():
    first, second = parse_grammar('root ::= "a"'), parse_grammar('root  ::=  "a"  # same')
    assert first == second and hash(first) == hash(second)


def test_another_start_rule():
    grammar = 'root ::= init "."\ninit ::= "a"'
    assert matches(grammar, "a.") and not matches(grammar, "a")
    assert matches(grammar, "a", "init") and not matches(grammar, "a.", "init")


@pytest.mark.parametrize(
    ("escaped", "character"),
    [
        (r"\t", "\t"), (r"\r", "\r"), (r"\n", "\n"), (r"\\", "\\"), (r"\"", '"'), (r"\[", "["), (r"\]", "]"),
        (r"\x41", "A"), (r"\u4f60", "你"), (r"\U0001F600", "😀"),
    ],
)  # fmt: skip
def test_escapes_in_literals_and_sets(escaped, character):
    assert matches(f'root ::= "{escaped}"', character)
    assert matches(f"root ::= [{escaped}]", character)
    assert not matches(f"root ::= [^{escaped}]", character)


@pytest.mark.parametrize(
    ("given", "inside", "outside"),
    [
        ("[a-c]", "abc", "d`-"),
        ("[^a-c]", "d`-é你😀", "abc"),
        ("[a-cx-z_]", "abcxyz_", "dw"),
        ("[a-]", "a-", "b"),
        ("[-a]", "-a", "b"),
        ("[a^]", "a^", "b"),
        ("[é-你]", "é你ʃ", "z😀"),
        ("[c-ea-d]", "abcde", "f"),
    ],
)
def test_sets(given, inside, outside):
    assert all(matches(f"root ::= {given}", character) for character in inside)
    assert not any(matches(f"root ::= {given}", character) for character in outside)


@pytest.mark.parametrize(
    ("grammar", "inside", "outside"),
    [
        ('root ::= "ab"*', ("", "ab", "abab"), ("a", "abb")),
        ('root ::= "ab"+', ("ab", "abab"), ("", "aba")),
        ('root ::= "ab"?', ("", "ab"), ("a", "abab")),
        ('root ::= ("a" | "b" "c")*', ("", "a", "bca"), ("b", "c")),
        ('root ::= ("a" "b"?)? "c"', ("c", "ac", "abc"), ("bc", "ab")),
        ('root ::= "a" |', ("a", ""), ("b",)),
        ('root ::= ""', ("",), ("a",)),
        ('root ::= "(" root ")" | "x"', ("x", "(x)", "((x))"), ("(x", "x)")),
        ('root ::= ("a"?)*', ("", "a", "aaa"), ("b",)),
        ('root ::= (("a"?)* "b"?)+ "c"', ("c", "abac", "bbc"), ("a", "ca")),
    ],
)
def test_operators(grammar, inside, outside):
    assert all(matches(grammar, text) for text in inside)
    assert not any(matches(grammar, text) for text in outside)


def test_a_rule_runs_over_lines_in_groups_and_after_bars():
    grammar = """
# commands
root ::=   # a comment after the sign
  "a" |
  "b" (
    "c"   # inside a group
    | "d"
  )\r
x ::= "unused"
"""
    for text in ("a", "bc", "bd"):
        assert matches(grammar, text)
    assert not matches(grammar, "ad")


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ('root ::= "a', "1:10: the literal is not closed"),
        ('root ::= "a\nb ::= "c"', "1:10: the literal is not closed"),
        ("root ::= [a", "1:10: the set of characters is not closed"),
        ('root ::= "b"\n\nx ::=  [z-a]', "3:9: the range 'z'-'a' is backwards"),
        ("root ::= []", "1:10: the set has no characters"),
        (r"root ::= [^\x00-\U0010FFFF]", "1:10: the set has no characters"),
        (r'root ::= "\q"', r"1:11: unknown escape \\q"),
        (r'root ::= "\x4"', r"1:11: \\x needs 2 hexadecimal digits"),
        (r'root ::= "\uD800"', r"1:11: \\uD800 is not a character"),
        (r'root ::= "\U00110000"', r"1:11: \\U00110000 is not a character"),
        ("root ::= *", r"1:10: \* has nothing before it"),
        ('root ::= "a" | +', r"1:16: \+ has nothing before it"),
        ('root ::= ("a"', r"1:14: expected \) or an item, found the end of the grammar"),
        ('root ::= "a" )', r"1:14: expected an item, | or the end of the line, found '\)'"),
        ('root ::= "a"{3}', "1:13: .*which this notation lacks"),
        ("root ::= .", "1:10: .*which this notation lacks"),
        ('root "a"', "1:6: expected ::= after 'root'"),
        ('my_rule ::= "a"', "1:3: expected ::= after 'my', found '_'; a name has letters"),
        ('root ::= "a"\n| "b"', "2:1: expected the name of a rule"),
        ('root ::= "a"\r\nroot ::= "b"', "2:1: rule 'root' is defined in line 1 already"),
        ('root ::= "a"\n  |x', "2:3: expected the name"),
        ("root ::= a\na ::= b", "2:7: rule 'b' is not defined"),
        ('root ::= root "a" | "b"', r"1:1: rule 'root' refers to itself before any character \(root -> root\)"),
        ('root ::= "x"\na ::= b "c" | "c"\nb ::= "d"* (a)', r"2:1: rule 'a' refers .*\(a -> b -> a\)"),
        ('root ::= ("x"? root) "a" | "b"', "1:1: rule 'root' refers to itself"),
        ('root ::= "x" root', "1:1: rule 'root' can never end"),
        ('foo ::= "a"', "no rule 'root' to start from; its rules: foo"),
        ("", "no rule 'root' to start from; its rules: none"),
        ('root ::= "a" b\nb ::= (' + "(" * 5000, "nested too deep"),
    ],
)  # fmt: skip
def test_refusals(grammar, message):
    with pytest.raises(OptionError, match=message) as caught:
        parse_grammar(grammar)
    assert "\n" not in str(caught.value)


def test_a_grammar_is_text():
    with pytest.raises(OptionError, match="give a text in GBNF"):
        parse_grammar(["root"])  # type: ignore[arg-type]


def test_chess_as_in_whisper_cpp():
    grammar = """
root   ::= init move move? "."
# leading space is very important!
init ::= " rook to b4"
move ::= ", " ((piece | "king") " " "to "?)? [a-h] [1-8]
piece ::= "bishop" | "rook"
"""
    matcher = Matcher(parse_grammar(grammar))
    assert matcher.ends(matcher.accept(matcher.start, " rook to b4, bishop to c3, d4."))
    assert matcher.accept(matcher.start, " rook to b4, king d9") == DEAD
    assert not matcher.ends(matcher.accept(matcher.start, " rook to b4"))
