"""Greedy decoding with a draft model: the tokens of greedy decoding, several to a pass of the model.

In: model, contexts, rules, a draft. Out: candidates and no-speech probabilities; drafted and accepted counts.
Knows nothing of: temperatures above 0, beams, audio.

A round: the draft proposes k tokens one after the other, the model reads them in one pass, and its k + 1 rows of
logits are taken in order through the same rules and the same choice as without a draft, up to and including the
first token that is not the proposed one. What was read beyond it is forgotten.

ref: Leviathan et al., arXiv:2211.17192, at temperature 0.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from whisperlite.decode.alternatives import AlternativesRecorder
from whisperlite.decode.choose import RowPeaks, probability
from whisperlite.decode.draft import Draft
from whisperlite.decode.draft_length import DraftLength, PassCosts
from whisperlite.decode.grammar import GrammarRule
from whisperlite.decode.greedy import GreedySearch
from whisperlite.decode.options import DecodingOptions
from whisperlite.decode.penalties import UserFilter
from whisperlite.decode.prefill import Batch, prefill
from whisperlite.decode.prompt import InitialTokens
from whisperlite.decode.protocols import DecoderModel
from whisperlite.decode.rank import Candidate
from whisperlite.decode.rules import Rule
from whisperlite.results import Alternatives, DraftUse


@dataclass(frozen=True)
class Found:
    """What came of one window."""

    candidate: Candidate
    no_speech_prob: float
    draft: DraftUse | None
    alternatives: tuple[Alternatives, ...] | None


class _Window:
    """One window under way: the search over its single row, exactly as without a draft."""

    def __init__(
        self, initial: InitialTokens, rules: Sequence[Rule], eot: int, alternatives: int | None, peaks: RowPeaks
    ) -> None:
        self._rules = rules
        self._search = GreedySearch(1, 1, 0.0, eot, peaks=peaks)
        self._recorder = None if alternatives is None else AlternativesRecorder(1, alternatives, eot)
        self._sample_len = initial.sample_len
        self.tokens = list(initial.tokens)  # context and sampled
        self.n_context = len(initial.tokens)
        self.n_drafted = self.n_accepted = 0

    @property
    def ended(self) -> bool:
        return self._search.completed

    @property
    def room(self) -> int:
        """Tokens it may still sample."""
        return self._sample_len - (len(self.tokens) - self.n_context)

    @property
    def sampled(self) -> np.ndarray:
        return self._search.sampled

    def take(self, logits: np.ndarray) -> int:
        """Choose the next token from the model's logits (V,), changed in place."""
        row, sampled = logits[None], self._search.sampled
        for rule in self._rules:
            rule(row, sampled)
        chosen, sources = self._search.update(row)
        if self._recorder is not None:
            self._recorder.record(row, sampled, chosen, sources)
        self.tokens.append(int(chosen[0]))
        if self.room == 0:
            self._search.close(0)
        return self.tokens[-1]

    def check(self, proposed: Sequence[int], logits: np.ndarray) -> tuple[int, int]:
        """Take tokens from logits (k+1, V) while they are the k proposed ones; how many were, of how many seen."""
        self.n_drafted += len(proposed)
        for i, row in enumerate(logits):
            token = self.take(row)
            agrees = i < len(proposed) and token == proposed[i]
            self.n_accepted += agrees
            if self.ended or not agrees:
                return i + agrees, min(i + 1, len(proposed))
        raise AssertionError("unreachable: the last row has no proposal")

    def found(self, no_speech_prob: float, reason: str) -> Found:
        [[candidate]] = self._search.candidates()
        alternatives = None
        if self._recorder is not None:
            alternatives = self._recorder.of(0, candidate.tokens)[: self._sample_len]
        use = DraftUse(self.n_drafted, self.n_accepted, reason)
        return Found(candidate, no_speech_prob, use, alternatives)


class _Rows:
    """A model's cache, one row to a window. Rows of windows that have ended hold nothing between passes."""

    def __init__(self, model: DecoderModel, batch: Batch) -> None:
        self.model = model
        self._batch = batch
        self._cache = model.new_cache(len(batch.initial))
        self._held = np.zeros(len(batch.initial), dtype=np.int32)

    @property
    def held(self) -> np.ndarray:
        """Tokens in each row, (A,)."""
        return self._held

    def prefill(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the contexts: logits (A, V) after the start of the transcript, and at the end."""
        self._held += [len(initial.tokens) for initial in self._batch.initial]
        return prefill(self.model, self._batch, self._cache, np.arange(len(self._held)))

    def read(self, tokens: np.ndarray, last_only: bool = False) -> np.ndarray:
        """Read tokens (A, U): logits (A, U, V), or (A, 1, V) of the last; overwritten by the next read."""
        n_new = tokens.shape[1]
        self._held += n_new
        if n_new == 1:
            return self.model.step(tokens[:, 0], self._cache, self._batch.cross, copy=False)[:, None]
        at = (-1,) if last_only else range(n_new)
        return self.model.prefill(tokens, self._cache, self._batch.cross, logits_at=at)

    def keep(self, lengths: Sequence[int]) -> None:
        """Forget what each row holds beyond so many tokens."""
        while len(rows := np.flatnonzero(self._held > lengths)):
            self._cache.forget(rows)
            self._held[rows] -= 1


class _Drafter:
    """The draft model at work: proposes tokens from what it reads of the transcripts."""

    def __init__(
        self,
        rows: _Rows,
        windows: Sequence[_Window],
        rules: Sequence[Rule],
        eot: int,
        costs: PassCosts,
        clock: Callable[[], float],
    ) -> None:
        self._rows = rows
        self._windows = windows
        # A user's filter may count its calls. A grammar keeps where it stands, and here that is ahead of the model.
        self._rules = [
            copy.copy(rule) if isinstance(rule, GrammarRule) else rule
            for rule in rules
            if not isinstance(rule, UserFilter)
        ]
        self._eot = eot
        self._costs, self._clock = costs, clock
        rows.prefill()

    def propose(self, count: int) -> np.ndarray:
        """Tokens (A, k), k at most ``count``; fewer where every window has come to its end."""
        windows = self._windows
        started, note = self._clock(), self._costs.catch_up.note
        sampled = [window.sampled[0].tolist() for window in windows]
        active = [row for row, window in enumerate(windows) if not window.ended]
        # Of what it proposed and the model took it has not read the last; of steps without it, nothing.
        n_new = max(max(1, len(windows[row].tokens) - int(self._rows.held[row])) for row in active)
        self._rows.keep([0 if window.ended else len(window.tokens) - n_new for window in windows])
        unread = [[self._eot] * n_new if window.ended else window.tokens[-n_new:] for window in windows]
        logits = self._rows.read(np.array(unread), last_only=True)
        proposed: list[list[int]] = [[] for _ in windows]
        while True:
            for row, window in enumerate(windows):
                proposed[row].append(self._eot if window.ended else self._choice(logits[row], sampled[row]))
                sampled[row].append(proposed[row][-1])
            newest = [tokens[-1] for tokens in proposed]
            now = self._clock()
            note(now - started)
            started, note = now, self._costs.draft_step.note
            if len(proposed[0]) == count or all(token == self._eot for token in newest):
                return np.array(proposed, dtype=np.int32)
            logits = self._rows.read(np.array(newest)[:, None])

    def _choice(self, logits: np.ndarray, sampled: list[int]) -> int:
        before = np.array([sampled], dtype=np.int32)
        for rule in self._rules:
            rule(logits, before)
        return int(logits[0].argmax())


def search_with_draft(
    model: DecoderModel,
    batch: Batch,
    draft: Draft,
    length: DraftLength,
    rules: Sequence[Rule],
    eot: int,
    options: DecodingOptions,
    peaks: RowPeaks,
) -> list[Found]:
    """Decode windows greedily, with a draft.

    Parameters
    ----------
    model : DecoderModel
    batch : Batch
        One row to a window.
    draft : Draft
        With features of the same windows.
    length : DraftLength
        How many tokens to draft; told what passes cost and how many tokens were accepted.
    rules : sequence of Rule
    eot : int
    options : DecodingOptions
    peaks : RowPeaks
        How a row is read.

    Returns
    -------
    list of Found
        One per window.
    """
    main = _Rows(model, batch)
    windows = [_Window(initial, rules, eot, options.alternatives, peaks) for initial in batch.initial]
    at_sot, logits = main.prefill()  # (A, V) each
    no_speech_probs = [probability(row, batch.no_speech) for row in at_sot]
    for window, row in zip(windows, logits, strict=True):
        window.take(row)
    clock, costs = length.history.clock, length.costs
    drafter, is_bound = None, False
    began = started = clock()
    while not all(window.ended for window in windows):
        count = _possible(windows, model.dims.n_text_ctx, length.next())
        main.keep([0 if window.ended else len(window.tokens) - 1 for window in windows])
        last = np.array([[window.tokens[-1]] for window in windows], dtype=np.int32)
        proposed = np.zeros((len(windows), 0), dtype=np.int32)
        if count:
            if drafter is None:
                rows = _Rows(draft.by.model, replace(batch, cross=draft.by.model.cross_kv(draft.heard())))
                drafter = _Drafter(rows, windows, rules, eot, costs, clock)
                costs.start.note(clock() - started)
            proposed = drafter.propose(count)
            started = clock()
        logits = main.read(np.concatenate([last, proposed], axis=1))  # (A, k + 1, V)
        for window, tokens, rows_of in zip(windows, proposed.tolist(), logits, strict=True):
            if not window.ended:
                length.history.note(*window.check(tokens, rows_of))
        ended = clock()
        if n_drafted := proposed.shape[1]:
            costs.checks[n_drafted].note(ended - started)
        elif is_bound:  # the first step of a cache is bound to it
            costs.plain.note(ended - started)
        is_bound = is_bound or not n_drafted
        started = ended
    if not length.is_fixed:
        n_tokens = max(len(window.tokens) - window.n_context for window in windows) - 1
        length.history.went_with(len(windows), n_tokens, clock() - began)
    return [window.found(p, length.reason) for window, p in zip(windows, no_speech_probs, strict=True)]


def _possible(windows: Sequence[_Window], n_text_ctx: int, wanted: int) -> int:
    """Tokens to draft: no more than any window can use, or the context of each can hold."""
    active = [window for window in windows if not window.ended]
    useful = max(window.room for window in active) - 1
    holds = n_text_ctx - max(len(window.tokens) for window in active)
    return max(0, min(wanted, useful, holds))
