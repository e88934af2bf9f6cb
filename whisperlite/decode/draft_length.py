"""How many tokens to draft next: by what passes have cost of late, and by the part of drafts that was accepted.

In: seconds of passes, accepted counts, tokens of windows. Out: ``DraftHistory``, ``PassCosts``, ``DraftLength``.
Knows nothing of: models, tokens' ids, how proposals are made and checked (``speculative.py``).

No number here changes what is decoded: only how many passes it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

MAX_DRAFT_TOKENS = 12
# With the token before them they fill register tiles: passes of 2, 3, 4, 5, 8 and 12 rows.
LENGTHS = (1, 2, 3, 4, 7, 11)
# Until measured, in steps of the model: what a pass of several rows costs beyond a step, and each drafted token.
CHECK_COST, ROW_COST = 0.3, 0.1
# What is believed before anything is known: this part of so many tokens was accepted, windows have so many tokens.
PRIOR_ACCEPTED, PRIOR_TESTED, PRIOR_TOKENS = 0.8, 5.0, 50.0
# Older tokens fade: the part accepted is that of about so many.
REMEMBERED_TOKENS = 40.0
# In steps of the model. Where a draft does not pay, looking again may cost this part of what is decoded without it;
# the first look at one that does not pay by its size is taken to cost FIRST_LOOK. Where it should pay and yet
# loses, it stops at MAX_DEBT.
LOOKING_PART, FIRST_LOOK, MAX_DEBT = 0.02, 75.0, 150.0
# The best of several estimates promises too much: it must promise this many times what steps without a draft give.
MARGIN = 1.05
LOOK_ROUNDS = 4  # the first of a length is not counted, two are needed to know its cost
PLAIN_STEPS, ROUNDS_BETWEEN, PLAIN_STEPS_BETWEEN = 4, 48, 2  # steps without a draft, to know what they cost


class Recent:
    """The lower median of the last five values, None before there are ``needed``.

    ``skipped`` values come first and are not counted: a first call makes plans and touches new memory.
    """

    def __init__(self, skipped: int = 0, needed: int = 1) -> None:
        self._skipped, self._needed = skipped, needed
        self._values: tuple[float, ...] = ()  # replaced as a whole: windows may be decoded by several threads

    def note(self, value: float) -> None:
        if self._skipped:
            self._skipped -= 1
        else:
            self._values = (*self._values[-4:], value)

    @property
    def value(self) -> float | None:
        values = sorted(self._values)
        return values[(len(values) - 1) // 2] if len(values) >= self._needed else None


class PassCosts:
    """Seconds of passes over one number of windows; steps of the model while its own step is not measured.

    Attributes
    ----------
    plain : Recent
        A step of the model with the choice of its token.
    start : Recent
        What the draft does before its first token: its encoder, keys and values of the audio, the context.
    catch_up, draft_step : Recent
        The first token of a proposal, and each one after.
    checks : list of Recent
        By drafted tokens: the model's pass over them, with the choice of tokens.
    """

    def __init__(self, step_cost: float) -> None:
        self._step_cost = step_cost
        self.plain = Recent(needed=2)
        self.start = Recent(skipped=1)
        self.catch_up, self.draft_step = Recent(1, 2), Recent(1, 2)
        self.checks = [Recent(1, 2) for _ in range(MAX_DRAFT_TOKENS + 1)]

    def rounds(self) -> np.ndarray:
        """A round by the number of drafted tokens, (13,); the first is a step without a draft."""
        plain = self.plain.value
        if plain is None:  # by the models' sizes
            lengths = np.arange(MAX_DRAFT_TOKENS + 1)
            return 1 + (lengths > 0) * CHECK_COST + lengths * (ROW_COST + self._step_cost)
        step = self.draft_step.value or self._step_cost * plain
        proposals = (self.catch_up.value or step) + step * np.arange(MAX_DRAFT_TOKENS)
        return np.concatenate([[plain], self._checks(plain) + proposals])

    def _checks(self, plain: float) -> np.ndarray:
        """Checking 1, 2, ... tokens: what is not measured lies as many rows from what is."""
        found = [self.checks[k].value for k in range(1, MAX_DRAFT_TOKENS + 1)]
        at = [k for k, seconds in enumerate(found) if seconds is not None]
        rows = ROW_COST * plain * np.arange(1, MAX_DRAFT_TOKENS + 1)
        if not at:
            return plain * (1 + CHECK_COST) + rows
        beyond = np.array([seconds for seconds in found if seconds is not None]) - rows[at]
        checks = np.interp(np.arange(MAX_DRAFT_TOKENS), at, beyond) + rows
        checks[at] = beyond + rows[at]
        # A pass of fewer rows never costs more: one that was disturbed does not rule out its length for good.
        return np.maximum(plain, np.minimum.accumulate(checks[::-1])[::-1])


class DraftHistory:
    """What is known of a model and its draft, over all windows so far.

    Parameters
    ----------
    step_cost : float
        A step of the draft as a part of a step of the model, by their sizes: believed until it is measured.
    clock : callable
        Seconds.

    Notes
    -----
    With tokens accepted independently with probability p, a round of k drafts gives ``(1 - p**(k+1)) / (1 - p)``
    tokens (Leviathan et al., arXiv:2211.17192). p is the part accepted of late, what a round costs is measured.

    A draft is used where some k gives more tokens for the time than steps without it, and where a window's gain is
    more than the draft costs before its first token; for both p is taken as high as it may well be. Elsewhere
    windows go without it, but for looks now and then.
    What drafting loses is kept as a debt, in steps, which windows without a draft pay off with ``LOOKING_PART`` of
    their own: with debt there is no look, and above ``MAX_DEBT`` no draft, whatever it promises.
    """

    def __init__(self, step_cost: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.step_cost, self.clock = step_cost, clock
        self._accepted, self._tested = PRIOR_ACCEPTED * PRIOR_TESTED, PRIOR_TESTED
        self._costs: dict[int, PassCosts] = {}
        self._has_tested = False
        self._n_tokens = Recent()
        self._debt = 0.0 if self.pays(1) else FIRST_LOOK

    def costs(self, n_windows: int) -> PassCosts:
        """Of passes over so many windows."""
        return self._costs.setdefault(n_windows, PassCosts(self.step_cost))

    @property
    def acceptance(self) -> float:
        """The estimate of p."""
        return self._accepted / self._tested

    @property
    def possible_acceptance(self) -> float:
        """What p may well be: a few tokens are no reason to give up. What is believed untested is not doubted."""
        p = self.acceptance
        return min(1.0, p + float(np.sqrt(p * (1 - p) / self._tested))) if self._has_tested else p

    def note(self, accepted: int, tested: int) -> None:
        """Of ``tested`` drafted tokens that the model came to, ``accepted`` were its own choice."""
        self._has_tested = self._has_tested or tested > 0
        self._accepted += accepted
        self._tested += tested
        self._fade(REMEMBERED_TOKENS)

    def _fade(self, n_tokens: float) -> None:
        part = min(1.0, n_tokens / self._tested)
        self._accepted, self._tested = self._accepted * part, self._tested * part

    def rates(self, n_windows: int, acceptance: float) -> np.ndarray:
        """Tokens of a window for the time, by the number of drafted ones, (13,)."""
        gained = np.cumsum(acceptance ** np.arange(MAX_DRAFT_TOKENS + 1))
        return gained / self.costs(n_windows).rounds()

    def pays(self, n_windows: int) -> bool:
        """Whether a window may well be decoded faster with the draft than without."""
        rates, costs = self.rates(n_windows, self.possible_acceptance), self.costs(n_windows)
        gain = 1 / rates[0] - MARGIN / rates[list(LENGTHS)].max()  # of each token
        start = (costs.start.value or 0.0) if costs.plain.value is not None else 0.0
        return bool(gain > 0 and (self._n_tokens.value or PRIOR_TOKENS) * gain > start)

    def length(self, n_windows: int, fixed: int | None = None) -> DraftLength | None:
        """For windows to be decoded: how many tokens to draft in them; None where they go without."""
        if fixed is not None:
            return DraftLength(self, n_windows, fixed)
        if self.pays(n_windows):
            return DraftLength(self, n_windows) if self._debt <= MAX_DEBT else None
        if self._debt > 0:
            return None
        self._fade(PRIOR_TESTED)  # what is known of acceptance is old
        return DraftLength(self, n_windows, looks=True)

    @property
    def refusal(self) -> str:
        """Why windows go without."""
        return f"does not pay at acceptance {self.acceptance:.2f}"

    def went_without(self, n_tokens: int) -> None:
        """Windows were decoded without the draft, the longest in so many steps."""
        self._n_tokens.note(n_tokens)
        self._debt = max(0.0, self._debt - LOOKING_PART * n_tokens)

    def went_with(self, n_windows: int, n_tokens: int, seconds: float) -> None:
        """Windows were decoded in so many seconds with the draft, the longest of them of so many tokens."""
        self._n_tokens.note(n_tokens)
        plain = self.costs(n_windows).plain.value
        if plain is not None:
            self._debt = max(0.0, self._debt + seconds / plain - n_tokens)


class DraftLength:
    """How many tokens to draft next in the windows at hand: ``DraftHistory.length`` gives one.

    Parameters
    ----------
    history : DraftHistory
    n_windows : int
    fixed : int or None
        Always so many; None weighs what a round is expected to give against what it costs.
    looks : bool
        Draft for some rounds though it is not expected to pay.

    Attributes
    ----------
    reason : str
        Why there is no more drafting; empty while there is.
    """

    def __init__(
        self, history: DraftHistory, n_windows: int, fixed: int | None = None, looks: bool = False
    ) -> None:
        self.history, self.costs = history, history.costs(n_windows)
        self.reason = ""
        self.is_fixed = fixed is not None
        self._n_windows, self._fixed = n_windows, fixed
        learns = looks or self.costs.plain.value is None
        self._least_rounds = LOOK_ROUNDS if learns else 0
        self._n_rounds = 0
        self._n_plain = PLAIN_STEPS if learns else 0

    def next(self) -> int:
        """Tokens to draft; 0 for a step of the model, to know its cost or, with a ``reason``, for good."""
        if self._fixed is not None:
            return self._fixed
        if self.reason or self._n_plain:
            self._n_plain = max(0, self._n_plain - 1)
            return 0
        history, lengths = self.history, list(LENGTHS)
        best = LENGTHS[int(np.argmax(history.rates(self._n_windows, history.acceptance)[lengths]))]
        possible = history.rates(self._n_windows, history.possible_acceptance)
        if possible[lengths].max() <= MARGIN * possible[0] and self._n_rounds >= self._least_rounds:
            self.reason = self.history.refusal
            return 0
        self._n_rounds += 1
        if self._n_rounds % ROUNDS_BETWEEN == 0:
            self._n_plain = PLAIN_STEPS_BETWEEN
        return best
