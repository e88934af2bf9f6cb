"""Grammars in GBNF, the notation of whisper.cpp.

In: text of a grammar, name of its start rule. Out: ``Grammar``, immutable and checked.
Knows nothing of: tokens, logits, how a text is matched.

Notation: ``name ::= alternatives``, one rule per line; ``|`` between alternatives; ``"literal"``; ``[a-z]`` and
``[^a-z]``; ``( )``, inside which a rule may run over several lines; ``*``, ``+``, ``?`` after an item;
``# comment``. Escapes: ``\\t \\r \\n \\\\ \\" \\[ \\]``, ``\\xHH``, ``\\uHHHH``, ``\\UHHHHHHHH``. A name has
letters, digits and ``-``. As in whisper.cpp, there is no ``{m,n}`` and no ``.``.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from whisperlite.errors import OptionError

LAST_CHARACTER = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_NAME = frozenset(string.ascii_letters + string.digits + "-")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True)
class Characters:
    """One character out of a set.

    Attributes
    ----------
    ranges : tuple of (int, int)
        First and last code point of each range, ascending and apart.
    """

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Reference:
    """What rule number ``rule`` describes."""

    rule: int


Item = Characters | Reference
Sequence = tuple[Item, ...]


@dataclass(frozen=True)
class Rule:
    """Alternatives, any of which may be empty. A group or a repetition is a rule with the name of its parent."""

    name: str
    alternatives: tuple[Sequence, ...]


@dataclass(frozen=True)
class Grammar:
    """Rules by number, and the number of the one a text has to follow. Equal grammars hash alike."""

    rules: tuple[Rule, ...]
    start: int


def parse_grammar(text: str, start: str = "root") -> Grammar:
    """Read a grammar.

    Parameters
    ----------
    text : str
    start : str
        Rule that the transcript follows.

    Raises
    ------
    OptionError
        With line and column: the text is not GBNF; a rule is missing, defined twice, refers to itself before
        any character (left recursion), or can never end.
    """
    # ref: ggml-org/whisper.cpp examples/grammar-parser.cpp
    if not isinstance(text, str):
        raise OptionError(f"grammar={text!r}: give a text in GBNF")
    return _parse(text, start)


@lru_cache(maxsize=16)
def _parse(text: str, start: str) -> Grammar:
    try:
        return _Parser(text).grammar(start)
    except RecursionError:
        raise OptionError("grammar: groups are nested too deep; give inner ones a rule of their own") from None


class _Parser:
    """Recursive descent over the characters of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._numbers: dict[str, int] = {}
        self._first_use: dict[int, int] = {}
        self._defined_at: dict[int, int] = {}
        self._rules: dict[int, Rule] = {}
        self._repeats: set[int] = set()
        self._n_rules = 0

    def grammar(self, start: str) -> Grammar:
        self._skip(newlines=True)
        while self._at < len(self._text):
            self._rule()
        for name, number in self._numbers.items():
            if number not in self._rules:
                raise self._error(f"rule {name!r} is not defined", self._first_use[number])
        if start not in self._numbers:
            known = ", ".join(self._numbers) or "none"
            raise OptionError(f"grammar: there is no rule {start!r} to start from; its rules: {known}")
        rules = tuple(self._rules[number] for number in range(self._n_rules))
        self._check_ends(rules)
        self._check_left_recursion(rules)
        return Grammar(rules, self._numbers[start])

    def _rule(self) -> None:
        begin = self._at
        name = self._name()
        number = self._number(name, begin)
        if number in self._rules:
            first_line, _ = self._position(self._defined_at[number])
            raise self._error(f"rule {name!r} is defined in line {first_line} already", begin)
        self._skip(newlines=False)
        if not self._text.startswith("::=", self._at):
            raise self._error(f"expected ::= after {name!r}, found {self._found()}")
        self._at += 3
        self._skip(newlines=True)
        self._defined_at[number] = begin
        self._rules[number] = Rule(name, self._alternatives(name, nested=False))
        if self._at < len(self._text) and self._peek() not in "\r\n":
            raise self._error(f"expected an item, | or the end of the line, found {self._found()}")
        self._skip(newlines=True)

    def _alternatives(self, name: str, nested: bool) -> tuple[Sequence, ...]:
        found = [self._sequence(name, nested)]
        while self._peek() == "|":
            self._at += 1
            self._skip(newlines=True)
            found.append(self._sequence(name, nested))
        return tuple(found)

    def _sequence(self, name: str, nested: bool) -> Sequence:
        items: list[Item] = []
        last: int | None = None  # where the item that a repetition would repeat begins
        while True:
            character = self._peek()
            if character == '"':
                last = len(items)
                items += self._literal()
            elif character == "[":
                last = len(items)
                items.append(self._characters())
            elif character == "(":
                last = len(items)
                items.append(self._group(name))
            elif character in _NAME:
                begin, last = self._at, len(items)
                items.append(Reference(self._number(self._name(), begin)))
            elif character and character in "*+?":
                if last is None:
                    raise self._error(f"{character} has nothing before it to repeat")
                items[last:] = [self._repetition(name, character, tuple(items[last:]))]
                self._at += 1
            else:
                return tuple(items)
            self._skip(newlines=nested)

    def _group(self, name: str) -> Reference:
        begin = self._at
        self._at += 1
        self._skip(newlines=True)
        number = self._new_number(begin)
        self._rules[number] = Rule(name, self._alternatives(name, nested=True))
        if self._peek() != ")":
            raise self._error(f"expected ) or an item, found {self._found()}")
        self._at += 1
        return Reference(number)

    def _repetition(self, name: str, operator: str, repeated: Sequence) -> Reference:
        number = self._new_number(self._at)
        again = () if operator == "?" else (Reference(number),)
        enough = repeated if operator == "+" else ()
        self._rules[number] = Rule(name, ((*repeated, *again), enough))
        if again:
            self._repeats.add(number)
        return Reference(number)

    def _literal(self) -> Iterator[Characters]:
        begin = self._at
        self._at += 1
        while self._peek() != '"':
            point = self._character(begin, "literal")
            yield Characters(((point, point),))
        self._at += 1

    def _characters(self) -> Characters:
        begin = self._at
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while self._peek() != "]":
            at = self._at
            first = last = self._character(begin, "set of characters")
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                last = self._character(begin, "set of characters")
            if last < first:
                raise self._error(f"the range {chr(first)!r}-{chr(last)!r} is backwards", at)
            ranges.append((first, last))
        self._at += 1
        merged = _complement(ranges) if negated else _complement(_complement(ranges))
        if not ranges or not merged:
            raise self._error("the set has no characters", begin)
        return Characters(tuple(merged))

    def _character(self, begin: int, inside: str) -> int:
        at = self._at
        character = self._peek()
        if character in ("", "\r", "\n"):
            raise self._error(f"the {inside} is not closed in its line; a line break is written \\n", begin)
        self._at += 1
        if character != "\\":
            return ord(character)
        escape = self._peek()
        self._at += 1
        if escape in _ESCAPED:
            return ord(_ESCAPED[escape])
        if escape not in _HEX_DIGITS:
            raise self._error(f"unknown escape \\{escape}; there are {_KNOWN}", at)
        n_digits = _HEX_DIGITS[escape]
        digits = self._text[self._at : self._at + n_digits]
        if len(digits) < n_digits or not set(digits) <= set(string.hexdigits):
            raise self._error(f"\\{escape} needs {n_digits} hexadecimal digits", at)
        self._at += n_digits
        point = int(digits, 16)
        if point > LAST_CHARACTER or _SURROGATES[0] <= point <= _SURROGATES[1]:
            raise self._error(f"\\{escape}{digits} is not a character", at)
        return point

    def _name(self) -> str:
        begin = self._at
        while self._peek() in _NAME:
            self._at += 1
        if self._at == begin:
            raise self._error(f"expected the name of a rule, found {self._found()}")
        return self._text[begin : self._at]

    def _number(self, name: str, at: int) -> int:
        if name not in self._numbers:
            self._numbers[name] = self._new_number(at)
        return self._numbers[name]

    def _new_number(self, at: int) -> int:
        self._first_use[self._n_rules] = at
        self._n_rules += 1
        return self._n_rules - 1

    def _skip(self, newlines: bool) -> None:
        """Skip blanks and comments."""
        while (character := self._peek()) and (character in " \t#" or (newlines and character in "\r\n")):
            if character == "#":
                while self._peek() not in ("", "\r", "\n"):
                    self._at += 1
            else:
                self._at += 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _found(self) -> str:
        found = self._peek()
        return _FOUND.get(found, repr(found))

    def _check_ends(self, rules: tuple[Rule, ...]) -> None:
        ending = _closure(rules, lambda item, ending: isinstance(item, Characters) or item.rule in ending)
        for number, rule in enumerate(rules):
            if number not in ending:
                at = self._defined_at.get(number, self._first_use[number])
                raise self._error(f"rule {rule.name!r} can never end: every alternative needs itself", at)

    def _check_left_recursion(self, rules: tuple[Rule, ...]) -> None:
        empty = _closure(rules, lambda item, empty: isinstance(item, Reference) and item.rule in empty)
        leftmost: list[set[int]] = []
        for number, rule in enumerate(rules):
            found: set[int] = set()
            for alternative in rule.alternatives:
                for item in alternative:
                    if isinstance(item, Reference):
                        found.add(item.rule)
                    if isinstance(item, Characters) or item.rule not in empty:
                        break
            # A repetition ends in itself, so to repeat nothing leads back to the same place, not deeper.
            leftmost.append(found - {number} if number in self._repeats else found)
        for number, rule in enumerate(rules):
            if number in self._defined_at and (path := _way_back(number, leftmost)):
                names = [rules[via].name for via in path]
                shown = [name for i, name in enumerate(names) if i == 0 or path[i] in self._defined_at]
                raise self._error(
                    f"rule {rule.name!r} refers to itself before any character ({' -> '.join(shown)}); "
                    "put the character first, or use * or +",
                    self._defined_at[number],
                )

    def _error(self, message: str, at: int | None = None) -> OptionError:
        line, column = self._position(self._at if at is None else at)
        return OptionError(f"grammar {line}:{column}: {message}")

    def _position(self, at: int) -> tuple[int, int]:
        before = self._text[:at].replace("\r\n", "\n").replace("\r", "\n")
        return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


_KNOWN = " ".join("\\" + name + "H" * _HEX_DIGITS.get(name, 0) for name in (*_ESCAPED, *_HEX_DIGITS))
_FOUND = {
    "": "the end of the grammar",
    "\r": "the end of the line",
    "\n": "the end of the line",
    "_": "'_'; a name has letters, digits and -",
    "{": "'{', which this notation lacks; write the repetition out",
    ".": "'.', which this notation lacks; write [^\\n]",
}


def _complement(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The code points in none of the ranges, ascending and apart."""
    free = []
    first = 0
    for low, high in sorted(ranges):
        if low > first:
            free.append((first, low - 1))
        first = max(first, high + 1)
    if first <= LAST_CHARACTER:
        free.append((first, LAST_CHARACTER))
    return free


def _closure(rules: tuple[Rule, ...], holds: Callable[[Item, set[int]], bool]) -> set[int]:
    """The least set of rules that have an alternative all of whose items hold, given the set."""
    found: set[int] = set()
    while True:
        more = {
            number
            for number, rule in enumerate(rules)
            if any(all(holds(item, found) for item in alternative) for alternative in rule.alternatives)
        }
        if more == found:
            return found
        found = more


def _way_back(number: int, edges: list[set[int]]) -> list[int]:
    """Shortest path of one step or more from ``number`` to itself; empty where there is none."""
    came_from: dict[int, int] = {}
    reached = [number]
    for node in reached:
        for target in sorted(edges[node]):
            if target == number:
                path = [number, node]
                while path[-1] != number:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if target not in came_from:
                came_from[target] = node
                reached.append(target)
    return []
