"""A grammar as an automaton: what may still come after a text.

In: a ``Grammar``, text. Out: ``Matcher`` and its states.
Knows nothing of: vocabularies, logits, the notation of grammars.

A state is the set of stacks of a pushdown automaton (what may still come), interned as a number, so that states
are values: beams share them and reordering costs nothing. Characters are folded into the few classes the grammar
tells apart.
"""

from __future__ import annotations

import codecs
from bisect import bisect_right
from typing import NamedTuple

import numpy as np

from whisperlite.decode.gbnf import LAST_CHARACTER, Characters, Grammar

_END = -1  # of an alternative
_EMPTY = 0  # the stack with nothing to come
_DEAD = 0  # the state with no stacks
_UNKNOWN = -1  # a transition not computed yet


class State(NamedTuple):
    """Where in a grammar a text is. ``stacks`` is 0 where the text has left the grammar.

    ``begun`` are the bytes of a character that is not whole yet: a token may end inside one.
    """

    stacks: int
    begun: bytes = b""


DEAD = State(_DEAD)


class Matcher:
    """Follows texts through a grammar, character by character.

    Parameters
    ----------
    grammar : Grammar

    Attributes
    ----------
    start : State
        Of the empty text.
    """

    # ref: ggml-org/whisper.cpp src/whisper.cpp whisper_grammar_advance_stack, whisper_grammar_accept

    def __init__(self, grammar: Grammar) -> None:
        sets: dict[Characters, int] = {}
        # Alternatives laid end to end: twice the number of a set, twice that of a rule plus one, or _END.
        self._items: list[int] = []
        self._alternatives: list[list[int]] = []
        for rule in grammar.rules:
            starts = []
            for alternative in rule.alternatives:
                starts.append(len(self._items))
                for item in alternative:
                    if isinstance(item, Characters):
                        self._items.append(2 * sets.setdefault(item, len(sets)))
                    else:
                        self._items.append(2 * item.rule + 1)
                self._items.append(_END)
            self._alternatives.append(starts)
        self._fold_characters(list(sets))
        self._stacks: list[tuple[int, int]] = [(_END, _EMPTY)]
        self._stack_ids: dict[tuple[int, int], int] = {}
        self._states: list[tuple[int, ...]] = []
        self._state_ids: dict[tuple[int, ...], int] = {}
        self._expanded: dict[frozenset[int], int] = {}
        self._next = np.empty((16, self.n_classes), dtype=np.int32)
        self._state([])
        self.start = State(self._state([self._push(at, _EMPTY) for at in self._alternatives[grammar.start]]))

    def accept(self, state: State, text: bytes | str) -> State:
        """The state after more text. ``DEAD`` where the grammar has no text that goes on like that."""
        data = state.begun + (text.encode() if isinstance(text, str) else text)
        try:
            whole, n_used = codecs.utf_8_decode(data, "strict", False)
        except UnicodeDecodeError:
            return DEAD
        stacks = state.stacks
        for character in whole:
            stacks = self._step(stacks, self._class_list[bisect_right(self._bound_list, ord(character)) - 1])
            if stacks == _DEAD:
                return DEAD
        begun = data[n_used:]
        if begun and not self.completes(np.array([stacks]), *completions(begun))[0]:
            return DEAD
        return State(stacks, begun)

    def ends(self, state: State) -> bool:
        """Whether the text may end here."""
        return not state.begun and _EMPTY in self._states[state.stacks]

    def classes(self, points: np.ndarray) -> np.ndarray:
        """Class of each code point: the grammar does not tell characters of one class apart."""
        return self._class_of_interval[np.searchsorted(self._bounds, points, side="right") - 1]

    def _fold_characters(self, sets: list[Characters]) -> None:
        """Cut the code points where a range begins or ends; intervals that the same sets hold are one class."""
        cuts = {0}
        for characters in sets:
            for first, last in characters.ranges:
                cuts |= {first, last + 1}
        self._bounds = np.array(sorted(cuts - {LAST_CHARACTER + 1}), dtype=np.int64)  # first of each interval
        inside = np.zeros((len(sets), len(self._bounds)), dtype=bool)
        for row, characters in zip(inside, sets, strict=True):
            for first, last in characters.ranges:
                row |= (self._bounds >= first) & (self._bounds <= last)
        if not sets:
            self._class_of_interval = np.zeros(len(self._bounds), dtype=np.intp)
            self._in_set = inside
        else:
            self._in_set, inverse = np.unique(inside, axis=1, return_inverse=True)
            self._class_of_interval = inverse.reshape(-1)
        self.n_classes = int(self._class_of_interval.max()) + 1
        self._bound_list: list[int] = self._bounds.tolist()  # for one character at a time
        self._class_list: list[int] = self._class_of_interval.tolist()

    def _push(self, at: int, rest: int) -> int:
        if self._items[at] == _END:
            return rest
        key = (at, rest)
        if key not in self._stack_ids:
            self._stack_ids[key] = len(self._stacks)
            self._stacks.append(key)
        return self._stack_ids[key]

    def _state(self, pending: list[int]) -> int:
        """Number of the state of these stacks, after replacing rules on top by what they may begin with."""
        given = frozenset(pending)
        if given in self._expanded:
            return self._expanded[given]
        seen = set(given)
        found = []
        while pending:
            stack = pending.pop()
            at, rest = self._stacks[stack]
            item = self._items[at] if stack != _EMPTY else 0
            if item % 2 == 0:
                found.append(stack)
                continue
            below = self._push(at + 1, rest)
            for begin in self._alternatives[item // 2]:
                if (stack := self._push(begin, below)) not in seen:
                    seen.add(stack)
                    pending.append(stack)
        key = tuple(sorted(found))
        if key not in self._state_ids:
            self._state_ids[key] = len(self._states)
            self._states.append(key)
            self._add_row(key)
        self._expanded[given] = self._state_ids[key]
        return self._state_ids[key]

    def _add_row(self, stacks: tuple[int, ...]) -> None:
        number = self._state_ids[stacks]
        if number == len(self._next):
            self._next = np.concatenate([self._next, np.empty_like(self._next)])
        tops = {self._items[self._stacks[stack][0]] // 2 for stack in stacks if stack != _EMPTY}
        accepted = self._in_set[sorted(tops)].any(axis=0) if tops else False
        self._next[number] = np.where(accepted, _UNKNOWN, _DEAD)

    def _step(self, state: int, character_class: int) -> int:
        if self._next[state, character_class] == _UNKNOWN:
            pending = []
            for stack in self._states[state]:
                at, rest = self._stacks[stack]
                if stack != _EMPTY and self._in_set[self._items[at] // 2, character_class]:
                    pending.append(self._push(at + 1, rest))
            following = self._state(pending)  # may move the table
            self._next[state, character_class] = following
        return int(self._next[state, character_class])

    def steps(self, states: np.ndarray, character_classes: np.ndarray) -> np.ndarray:
        """``_step`` for many: states and classes (N,) to states (N,)."""
        following = self._next[states, character_classes]
        unknown = following == _UNKNOWN
        if unknown.any():
            for pair in np.unique(states[unknown] * self.n_classes + character_classes[unknown]).tolist():
                self._step(*divmod(pair, self.n_classes))
            following = self._next[states, character_classes]
        return following

    def completes(self, states: np.ndarray, lowest: np.ndarray | int, highest: np.ndarray | int) -> np.ndarray:
        """Whether each state (N,) accepts some code point from ``lowest`` to ``highest`` (both (N,) or one)."""
        distinct, inverse = np.unique(states, return_inverse=True)
        accepted = self._next[distinct][:, self._class_of_interval] != _DEAD  # (states, intervals)
        n_before = np.zeros((len(distinct), len(self._bounds) + 1), dtype=np.int32)
        np.cumsum(accepted, axis=1, out=n_before[:, 1:])
        first = np.searchsorted(self._bounds, lowest, side="right") - 1
        last = np.searchsorted(self._bounds, highest, side="right") - 1
        possible = np.asarray(lowest) <= np.asarray(highest)
        return possible & (n_before[inverse, last + 1] > n_before[inverse, first])


def completions(begun: bytes) -> tuple[int, int]:
    """Lowest and highest code point whose UTF-8 begins with ``begun``; lowest above highest where none does."""
    n_bytes = 2 if begun[0] < 0xE0 else 3 if begun[0] < 0xF0 else 4
    value = begun[0] & (0x7F >> n_bytes)
    for byte in begun[1:]:
        value = value << 6 | byte & 0x3F
    n_free_bits = 6 * (n_bytes - len(begun))
    lowest, highest = value << n_free_bits, (value + 1 << n_free_bits) - 1
    lowest = max(lowest, (0x80, 0x800, 0x10000)[n_bytes - 2])
    highest = min(highest, LAST_CHARACTER)
    if 0xD000 <= lowest <= 0xDFFF:  # surrogates are not characters
        highest = min(highest, 0xD7FF)
    return lowest, highest
