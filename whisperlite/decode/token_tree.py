"""Which tokens of a vocabulary a grammar allows next.

In: a ``Matcher``, the bytes of the text tokens. Out: ``TokenMatcher``: allowed tokens of a state.
Knows nothing of: logits, models.

The vocabulary is a tree of class strings. One walk of the tree, level by level, finds the tokens a state allows;
the answer is kept.
"""

from __future__ import annotations

import codecs
import threading
import weakref
from collections import OrderedDict
from typing import Protocol

import numpy as np

from whisperlite.decode.automaton import DEAD, Matcher, State, completions
from whisperlite.decode.gbnf import Grammar

_MAX_CACHED_STATES = 256


class TokenSource(Protocol):
    """A vocabulary: ids below ``eot`` are text."""

    @property
    def eot(self) -> int: ...

    def token_bytes(self, token: int) -> bytes: ...


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
        reached = np.zeros(len(self._node_class), dtype=np.int64)  # state at each node; DEAD.stacks elsewhere
        reached[0] = state.stacks
        live = np.zeros(1, dtype=np.int64)
        while state.stacks != DEAD.stacks and len(live):
            counts = self._n_children[live]
            firsts = self._first_child[live] - (np.cumsum(counts) - counts)
            children = np.repeat(firsts, counts) + np.arange(counts.sum())
            states = matcher.steps(np.repeat(reached[live], counts), self._node_class[children])
            reached[children] = states
            live = children[states != DEAD.stacks]
        allowed = (reached != DEAD.stacks)[self._leaf] & table.sound
        cut = table.cut
        states = reached[self._leaf[cut]]
        allowed[cut] &= matcher.completes(states, table.cut_lowest, table.cut_highest)
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
