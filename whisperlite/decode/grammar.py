"""Decoding that follows a grammar.

In: a ``Grammar``, the bytes of the text tokens; logits and the tokens sampled so far. Out: ``Matcher`` and its
states; which tokens may follow; ``GrammarRule``, which lowers the logits of all others.
Knows nothing of: the notation of grammars, models, how a token is chosen.

A state is the set of stacks of a pushdown automaton (what may still come), interned as a number, so that states
are values: beams share them and reordering costs nothing. Characters are folded into the few classes the grammar
tells apart, and the vocabulary into a tree of class strings. One walk of the tree, level by level, finds the tokens
a state allows; the answer is kept.
"""

from __future__ import annotations

import codecs
import math
import threading
import weakref
from bisect import bisect_right
from collections import OrderedDict
from typing import NamedTuple, Protocol

import numpy as np

from whisperlite.decode.gbnf import LAST_CHARACTER, Characters, Grammar
from whisperlite.errors import OptionError

_END = -1  # of an alternative
_EMPTY = 0  # the stack with nothing to come
_DEAD = 0  # the state with no stacks
_UNKNOWN = -1  # a transition not computed yet
_MAX_CACHED_STATES = 256


class TokenSource(Protocol):
    """A vocabulary: ids below ``eot`` are text."""

    @property
    def eot(self) -> int: ...

    def token_bytes(self, token: int) -> bytes: ...


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
        if begun and not self._completes(np.array([stacks]), *completions(begun))[0]:
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

    def _steps(self, states: np.ndarray, character_classes: np.ndarray) -> np.ndarray:
        """``_step`` for many: states and classes (N,) to states (N,)."""
        following = self._next[states, character_classes]
        unknown = following == _UNKNOWN
        if unknown.any():
            for pair in np.unique(states[unknown] * self.n_classes + character_classes[unknown]).tolist():
                self._step(*divmod(pair, self.n_classes))
            following = self._next[states, character_classes]
        return following

    def _completes(self, states: np.ndarray, lowest: np.ndarray | int, highest: np.ndarray | int) -> np.ndarray:
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


class TokenTable:
    """The text tokens of a vocabulary as characters.

    Parameters
    ----------
    tokens : sequence of bytes
        By id.

    Attributes
    ----------
    tokens : list of bytes
    points : (N,) int64
        Code points of the whole characters of all tokens, end to end.
    lengths : (V,) int64
        How many of them each token has.
    sound : (V,) bool
        False where a token is empty or can only follow the beginning of a character, or nothing at all.
    cut : (C,) int64
        Sound tokens that end inside a character.
    cut_lowest, cut_highest : (C,) int64
        Code points which that character may become.
    inner : list of int
        Tokens that begin inside a character.
    """

    def __init__(self, tokens: list[bytes]) -> None:
        self.tokens = tokens
        texts = [""] * len(tokens)
        self.sound = np.ones(len(tokens), dtype=bool)
        self.inner = []
        cuts = []
        for token, data in enumerate(tokens):
            try:
                texts[token], n_used = codecs.utf_8_decode(data, "strict", False)
            except UnicodeDecodeError:
                n_used = 0
                self.sound[token] = False
                if 0x80 <= data[0] < 0xC0:
                    self.inner.append(token)
                continue
            if n_used < len(data):
                cuts.append((token, *completions(data[n_used:])))
            self.sound[token] = len(data) > 0
        self.lengths = np.array([len(text) for text in texts], dtype=np.int64)
        self.points = np.frombuffer("".join(texts).encode("utf-32-le"), dtype="<u4").astype(np.int64)
        self.cut, self.cut_lowest, self.cut_highest = np.array(cuts, dtype=np.int64).reshape(-1, 3).T


class TokenMatcher:
    """Which tokens of a vocabulary may follow a state of a grammar. Threads may share it.

    Parameters
    ----------
    grammar : Grammar
    table : TokenTable
    """

    def __init__(self, grammar: Grammar, table: TokenTable) -> None:
        self._matcher = Matcher(grammar)
        self._table = table
        self._allowed: OrderedDict[State, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._grow_tree()

    @property
    def start(self) -> State:
        return self._matcher.start

    @property
    def n_tokens(self) -> int:
        return len(self._table.tokens)

    def accept(self, state: State, token: int) -> State:
        """The state after a text token."""
        with self._lock:
            return self._matcher.accept(state, self._table.tokens[token])

    def ends(self, state: State) -> bool:
        """Whether the text may end here."""
        return self._matcher.ends(state)

    def allowed(self, state: State) -> np.ndarray:
        """Tokens that keep the text in the grammar: (V,) bool, read-only. An empty token is never one."""
        with self._lock:
            found = self._allowed.get(state)
            if found is None:
                found = self._find_inner(state) if state.begun else self._walk(state)
                found.setflags(write=False)
                self._allowed[state] = found
                if len(self._allowed) > _MAX_CACHED_STATES:
                    self._allowed.popitem(last=False)
            self._allowed.move_to_end(state)
            return found

    def _grow_tree(self) -> None:
        """The tree of the tokens' class strings, breadth first, so that the children of a node lie together."""
        table = self._table
        n_classes = self._matcher.n_classes
        classes = self._matcher.classes(table.points)
        begins = np.cumsum(table.lengths) - table.lengths
        self._leaf = np.zeros(self.n_tokens, dtype=np.int64)  # node of each token; 0 is the root
        node_classes, node_parents = [np.zeros(1, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
        n_nodes = 1
        for depth in range(int(table.lengths.max(initial=0))):
            longer = np.flatnonzero(table.lengths > depth)
            keys = self._leaf[longer] * n_classes + classes[begins[longer] + depth]
            distinct, inverse = np.unique(keys, return_inverse=True)
            self._leaf[longer] = n_nodes + inverse
            parents, of_class = np.divmod(distinct, n_classes)
            node_parents.append(parents)
            node_classes.append(of_class)
            n_nodes += len(distinct)
        self._node_class = np.concatenate(node_classes)
        parents = np.concatenate(node_parents)[1:]
        self._n_children = np.bincount(parents, minlength=n_nodes)
        self._first_child = 1 + np.cumsum(self._n_children) - self._n_children

    def _walk(self, state: State) -> np.ndarray:
        table, matcher = self._table, self._matcher
        reached = np.zeros(len(self._node_class), dtype=np.int64)  # state at each node; _DEAD elsewhere
        reached[0] = state.stacks
        live = np.zeros(1, dtype=np.int64)
        while state.stacks != _DEAD and len(live):
            counts = self._n_children[live]
            firsts = self._first_child[live] - (np.cumsum(counts) - counts)
            children = np.repeat(firsts, counts) + np.arange(counts.sum())
            states = matcher._steps(np.repeat(reached[live], counts), self._node_class[children])
            reached[children] = states
            live = children[states != _DEAD]
        allowed = (reached != _DEAD)[self._leaf] & table.sound
        cut = table.cut
        states = reached[self._leaf[cut]]
        allowed[cut] &= matcher._completes(states, table.cut_lowest, table.cut_highest)
        return allowed

    def _find_inner(self, state: State) -> np.ndarray:
        """Inside a character only the few tokens that go on with it can follow."""
        allowed = np.zeros(self.n_tokens, dtype=bool)
        for token in self._table.inner:
            allowed[token] = self._matcher.accept(state, self._table.tokens[token]) != DEAD
        return allowed


_tables: weakref.WeakKeyDictionary[TokenSource, TokenTable] = weakref.WeakKeyDictionary()
_matchers: weakref.WeakKeyDictionary[TokenSource, OrderedDict[Grammar, TokenMatcher]] = weakref.WeakKeyDictionary()
_building = threading.Lock()
_MAX_GRAMMARS = 4  # kept for each vocabulary


def token_matcher(grammar: Grammar, vocabulary: TokenSource) -> TokenMatcher:
    """The matcher of a grammar and a vocabulary, made once for both."""
    with _building:
        if vocabulary not in _tables:
            _tables[vocabulary] = TokenTable([vocabulary.token_bytes(token) for token in range(vocabulary.eot)])
            _matchers[vocabulary] = OrderedDict()
        made = _matchers[vocabulary]
        if grammar not in made:
            made[grammar] = TokenMatcher(grammar, _tables[vocabulary])
            if len(made) > _MAX_GRAMMARS:
                made.popitem(last=False)
        made.move_to_end(grammar)
        return made[grammar]


class GrammarRule:
    """Lower the logits of tokens that lead out of a grammar.

    The grammar describes the text of a window after its prefix, with the space it begins with; timestamps may stand
    anywhere in it and are left alone. Special tokens between the end and the timestamps are masked: whisper.cpp
    always does, and they would win where the audio does not fit the grammar. The end token counts as rejected while
    the grammar is not at an end. A text that has left the grammar all the same is left alone from there on.

    Differences from whisper.cpp: it never penalises the end token; it takes a token's unfinished character for a
    mismatch of ``[^...]`` as soon as the set holds a character with the same first bytes, here any possible
    completion will do; it leaves the empty token alone, here that is always rejected.

    Comes after ``TimestampRules``, which compares timestamps with all text.

    Parameters
    ----------
    matcher : TokenMatcher
    timestamp_begin : int or None
        Id of the first timestamp. None, for decoding without timestamps, masks these too, as whisper.cpp does.
    penalty : float
        Subtracted from rejected logits. ``inf`` masks them: then a token that the grammar needs must not be
        among ``suppress_tokens``, or the text ends there.

    Raises
    ------
    OptionError
        The penalty is negative or not a number.

    Examples
    --------
    Groups of spoken digits, such as `` Five three one. Two.``::

        root  ::= group+
        group ::= (" " digit)+ "."
        digit ::= [Zz] "ero" | [Oo] "ne" | [Tt] ("wo" | "hree") | [Ff] ("our" | "ive") |
                  [Ss] ("ix" | "even") | [Ee] "ight" | [Nn] "ine"
    """

    # ref: ggml-org/whisper.cpp src/whisper.cpp whisper_suppress_invalid_grammar

    def __init__(self, matcher: TokenMatcher, timestamp_begin: int | None, penalty: float = 100.0) -> None:
        if isinstance(penalty, bool) or not isinstance(penalty, (int, float)) or not penalty >= 0:
            raise OptionError(f"grammar_penalty={penalty!r}: give a number of at least 0; inf allows nothing else")
        self._matcher = matcher
        self._specials = slice(matcher.n_tokens + 1, timestamp_begin)
        self._penalty = np.float32(penalty)
        self._states: dict[tuple[int, ...], State] = {(): matcher.start}

    def __call__(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        eot = self._matcher.n_tokens
        rows = [tuple(tokens) for tokens in sampled.tolist()]
        self._states = {tokens: self._state(tokens) for tokens in rows}
        for row, tokens in zip(logits, rows, strict=True):
            state = self._states[tokens]
            if state == DEAD or eot in tokens[-1:]:
                continue
            row[self._specials] = -np.inf
            rejected = ~self._matcher.allowed(state)
            text = row[:eot]
            if math.isinf(self._penalty):
                text[rejected] = -np.inf
            else:
                np.subtract(text, self._penalty, out=text, where=rejected)
            if not self._matcher.ends(state):
                row[eot] -= self._penalty

    def _state(self, tokens: tuple[int, ...]) -> State:
        """State after these tokens: one step on from the last call, whichever row they were in then."""
        if (state := self._states.get(tokens)) is not None:
            return state
        n_known = len(tokens) - 1 if tokens[:-1] in self._states else 0
        state = self._states[tokens[:-1]] if n_known else self._matcher.start
        for token in tokens[n_known:]:
            if token < self._matcher.n_tokens and state != DEAD:
                state = self._matcher.accept(state, token)
        return state
