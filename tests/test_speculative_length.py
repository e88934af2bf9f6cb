"""How many tokens are drafted: by what passes cost, told by a clock that only the scripted models move."""

from __future__ import annotations

import random

import numpy as np
import pytest
from fake_model import FakeDims, FakeModel, FakeTokenizer, follow, one_window

from whisperlite.decode import DecodingOptions, Draft, decode, make_draft_model
from whisperlite.decode.draft_length import (
    FIRST_LOOK,
    LENGTHS,
    LOOKING_PART,
    MARGIN,
    MAX_DEBT,
    MAX_DRAFT_TOKENS,
    DraftHistory,
    PassCosts,
    Recent,
)

TOKENIZER = FakeTokenizer()
SPOKEN = [2 + i % 12 for i in range(60)]
SCRIPT = follow(SPOKEN)
SMALL, HALF = (
    FakeDims(n_text_state=1),
    FakeDims(n_text_state=4),
)  # an eighth and almost half of what the model reads


class Clock:
    """Seconds that pass when it is told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class TimedModel(FakeModel):
    """A fake model whose passes take time: ``step``, or ``check`` and ``row`` for each of several tokens."""

    def __init__(self, script, clock, step, check=0.0, row=0.0, encoder=0.0, dims=None):
        super().__init__(script, dims)
        self._clock, self.costs = clock, {"step": step, "check": check, "row": row, "encoder": encoder}

    def encode(self, mel):
        self._clock.seconds += self.costs["encoder"]
        return super().encode(mel)

    def prefill(self, tokens, *arguments, **named):
        self._clock.seconds += self.costs["check"] + tokens.shape[1] * self.costs["row"]
        return super().prefill(tokens, *arguments, **named)

    def step(self, *arguments, **named):
        self._clock.seconds += self.costs["step"]
        return super().step(*arguments, **named)


class Talk:
    """Windows decoded one after the other with a draft that is right with some probability."""

    def __init__(self, draft_step, check=1.1, row=0.1, encoder=0.0, dims=SMALL):
        self.clock = Clock()
        self.model = TimedModel(SCRIPT, self.clock, 1.0, check, row)
        self.draft = TimedModel(self._says, self.clock, draft_step, draft_step, 0.0, encoder, dims)
        self.by = make_draft_model(self.model, self.draft, clock=self.clock)
        self.right, self._random = 1.0, random.Random(0)
        self.plain = self.window(draft_tokens=0)[1]

    def _says(self, audio, tokens):
        return SCRIPT(audio, tokens) if self._random.random() < self.right else {17: 20.0}

    def _heard(self):
        return self.draft.encode(np.zeros((1, 80, 3000), np.float32))

    def window(self, **options):
        """The result, and what it took."""
        started = self.clock()
        chosen = DecodingOptions(language="en", without_timestamps=True, **options)
        [result] = decode(self.model, TOKENIZER, one_window(self.model), chosen, draft=Draft(self.by, self._heard))
        assert result.tokens == tuple(SPOKEN)
        return result, self.clock() - started

    def gain(self, n):
        """How many times faster than without the draft so many windows are."""
        return n * self.plain / sum(self.window()[1] for _ in range(n))


def test_the_median_of_the_last_few():
    recent = Recent(skipped=1, needed=2)
    found = []
    for value in (100, 3, 5, 9, 4, 6, 7, 8):
        recent.note(value)
        found.append(recent.value)
    assert found == [None, None, 3, 5, 4, 5, 6, 7]  # the lower one of two


def test_costs_by_sizes_until_they_are_measured():
    costs = PassCosts(step_cost=0.2)
    by_sizes = costs.rounds()
    assert by_sizes[0] == 1 and by_sizes[1] == pytest.approx(1.6) and np.diff(by_sizes[1:]) == pytest.approx(0.3)
    for _ in range(2):
        costs.plain.note(10.0)
    assert costs.rounds() == pytest.approx(10 * by_sizes)
    for _ in range(3):
        costs.draft_step.note(1.0)
        costs.catch_up.note(4.0)
    assert costs.rounds()[1:] == pytest.approx(10 * (1.3 + 0.1 * np.arange(1, 13)) + 4 + np.arange(12))


def test_costs_of_checks_between_those_measured():
    costs = PassCosts(step_cost=0.1)
    for _ in range(3):
        costs.plain.note(10.0)
        costs.catch_up.note(1.0)
        costs.checks[3].note(20.0)
        costs.checks[7].note(30.0)
    checks = costs.rounds()[1:] - np.arange(1, 13)
    assert checks == pytest.approx([18, 19, 20, 22.5, 25, 27.5, 30, 31, 32, 33, 34, 35])
    for _ in range(3):
        costs.checks[4].note(90.0)  # disturbed: seven tokens are checked in 30
    assert (costs.rounds()[1:] - np.arange(1, 13))[3] == pytest.approx(30)


def measured(draft_step: float, check: float, row: float) -> DraftHistory:
    """What is known after a window that lost ten steps."""
    history = DraftHistory(step_cost=0.1, clock=Clock())
    costs = history.costs(1)
    for _ in range(3):
        costs.plain.note(1.0)
        costs.catch_up.note(draft_step)
        costs.draft_step.note(draft_step)
        for k in range(1, MAX_DRAFT_TOKENS + 1):
            costs.checks[k].note(check + k * row)
    history.went_with(1, n_tokens=50, seconds=60.0)
    return history


@pytest.mark.parametrize(
    ("draft_step", "check", "accepted", "expected"),
    [
        (0.1, 1.2, 0.5, 2),
        (0.1, 1.2, 0.9, 7),
        (0.1, 1.2, 0.4, 2),  # 1.04 tokens for the time of one: of 40 tokens half as well
        (0.1, 1.2, 0.3, None),
        (0.1, 1.2, 0.1, None),
        (0.57, 2.5, 0.9, None),
        (0.02, 1.0, 1.0, 11),
    ],
)
def test_the_length_that_promises_most(draft_step, check, accepted, expected):
    history = measured(draft_step, check, 0.05)
    history.note(round(1000 * accepted), 1000)
    length = history.length(1)
    assert (length and length.next()) == expected
    fixed = history.length(1, fixed=5)
    assert [fixed.next() for _ in range(3)] == [5, 5, 5]
    p = accepted + (accepted * (1 - accepted) / 40) ** 0.5
    best = max(sum(p**i for i in range(k + 1)) / (check + k * (0.05 + draft_step)) for k in LENGTHS)
    assert (best > MARGIN) == (expected is not None)


def test_a_few_rejections_are_no_reason_to_give_up():
    """Of a draft that promises much; what is believed of one that was never tried is not raised."""
    history = measured(0.1, 1.2, 0.05)
    assert history.possible_acceptance == history.acceptance == 0.8
    for _ in range(4):
        history.note(0, 1)
    assert history.acceptance < 0.45 and history.pays(1)
    for _ in range(8):
        history.note(0, 1)
    assert not history.pays(1)


def test_acceptance_of_late():
    history = DraftHistory(0.1)
    assert history.acceptance == 0.8
    for _ in range(50):
        history.note(4, 4)
    assert history.acceptance > 0.98
    for _ in range(10):
        history.note(0, 4)
    assert history.acceptance < 0.5


def test_a_start_that_a_window_does_not_win_back():
    """The gain of its tokens counts, and how many tokens windows have had of late."""
    history = measured(0.1, 1.2, 0.05)
    assert history.pays(1)
    for seconds in (0.0, 20.0):
        history.costs(1).start.note(seconds)
    assert history.pays(1)
    for _ in range(5):
        history.went_without(20)
    assert not history.pays(1) and history.length(1) is None


def test_a_useless_draft_is_left_alone():
    """With nothing to go by but rejections the rest of the window is decoded without it, and so is the next."""
    talk = Talk(draft_step=0.125)
    talk.right = 0.0
    [result, seconds] = talk.window()
    assert result.draft.accepted == 0 and 4 < result.draft.drafted < 30
    assert result.draft.reason.startswith("does not pay at acceptance 0.")
    assert talk.model.n_steps > 20 and seconds < 1.4 * talk.plain
    [result, seconds] = talk.window()
    assert result.draft.drafted == 0 and result.draft.reason.startswith("does not pay at acceptance 0.")
    assert seconds == pytest.approx(talk.plain)


def test_a_good_draft_is_used_to_the_end():
    talk = Talk(draft_step=0.125)
    talk.window()
    [result, seconds] = talk.window()
    assert result.draft.reason == "" and result.draft.accepted == result.draft.drafted > 40
    assert seconds < talk.plain / 2


@pytest.mark.parametrize("right", [0.0, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_a_draft_half_as_costly_never_costs_much(right):
    """As base with tiny: no number of tokens pays. What it loses is one look at a time, each paid for before."""
    talk = Talk(draft_step=0.57, check=2.3, row=0.1, encoder=35.0, dims=HALF)
    talk.right = right
    assert talk.gain(150) > 1 - 0.03
    assert (
        1 <= talk.draft.n_encoded <= LOOKING_PART * talk.clock() / 35
    )  # it is not even heard where it is not used


@pytest.mark.parametrize("right", [0.0, 0.3, 0.6, 0.8, 0.9, 1.0])
def test_a_draft_that_promises_more_than_it_keeps(right):
    """By sizes an eighth of the model, by the clock four fifths of it: refused once it is measured."""
    talk = Talk(draft_step=0.8, check=2.0, encoder=20.0)
    talk.right = right
    seconds = [talk.window()[1] for _ in range(150)]
    assert sum(seconds) < (1 + LOOKING_PART) * 150 * talk.plain + 2 * MAX_DEBT
    assert sum(seconds[20:]) < 1.03 * 130 * talk.plain


def test_what_pays_follows_the_acceptance():
    """A draft that became good is found by a look; what looking costs until then is small."""
    talk = Talk(draft_step=0.125, encoder=5.0)
    talk.right = 0.0
    talk.window()
    assert talk.gain(100) > 0.97
    talk.right = 0.95
    gains = [talk.gain(5) for _ in range(20)]
    assert min(gains[-3:]) > 1.5


def test_the_first_look_waits_until_it_is_paid_for():
    talk = Talk(draft_step=0.02, check=1.0, row=0.0, dims=HALF)  # by its size it does not pay; it does
    n_plain = 0
    while not talk.window()[0].draft.drafted:
        n_plain += 1
    assert n_plain == np.ceil(FIRST_LOOK / LOOKING_PART / len(SPOKEN))
    assert talk.gain(20) > 3


def test_debt_stops_what_promises_and_loses():
    history = measured(0.1, 1.2, 0.05)
    assert history.pays(1) and history.length(1) is not None
    history.went_with(1, n_tokens=50, seconds=50 + MAX_DEBT)
    assert history.pays(1) and history.length(1) is None
    for _ in range(100):
        history.went_without(50)
    assert history.length(1) is not None


def test_costs_are_of_one_number_of_windows():
    history = measured(0.57, 2.5, 0.05)
    history.note(900, 1000)
    assert not history.pays(1) and history.pays(2) and history.costs(2).plain.value is None
    assert history.costs(1) is history.costs(1)
