"""Decoding that follows a grammar.

In: logits and the tokens sampled so far. Out: ``GrammarRule``, which lowers the logits of tokens not allowed.
Knows nothing of: how a grammar is matched, models, how a token is chosen.
"""

from __future__ import annotations

import math

import numpy as np

from whisperlite.decode.automaton import DEAD, State
from whisperlite.decode.token_tree import TokenMatcher
from whisperlite.errors import OptionError


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
