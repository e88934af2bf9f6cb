"""Log-probabilities, alternatives and entropy, against float64; kept through a search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from whisperlite.decode.alternatives import AlternativesRecorder, distribution, entropy
from whisperlite.decode.beam import BeamSearch
from whisperlite.decode.greedy import GreedySearch
from whisperlite.errors import OptionError

EOT, V = 4, 6


def log_softmax(row: np.ndarray) -> np.ndarray:
    values = row.astype(np.float64)
    values = values - values.max()
    return values - np.log(np.exp(values).sum())


rows = arrays(
    np.float32, st.integers(1, 300), elements=st.floats(-40, 40, width=32) | st.just(-np.inf), fill=st.nothing()
)


@settings(deadline=None)
@given(rows, st.integers(0, 8))
def test_distribution(row, k):
    found = distribution(row, k)
    if row.max() == -np.inf:
        assert (found.normaliser, found.entropy, found.ids, found.logprobs) == (-np.inf, 0.0, (), ())
        return
    logprobs = log_softmax(row)
    order = np.lexsort((np.arange(len(row)), -row.astype(np.float64)))
    expected = [int(token) for token in order[:k] if row[token] > -np.inf]
    assert list(found.ids) == expected
    np.testing.assert_allclose(found.logprobs, logprobs[expected], atol=1e-4)
    finite = logprobs[logprobs > -np.inf]
    assert found.entropy == pytest.approx(-(np.exp(finite) * finite).sum(), abs=1e-4)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_equal_values_go_by_id(k):
    row = np.zeros(64 * 20, dtype=np.float32)
    row[[1000, 700, 3, 21, 402, 9]] = 40
    assert list(distribution(row, k).ids) == [3, 9, 21, 402, 700, 1000][:k]


def test_entropy_is_in_nats():
    assert entropy(np.zeros(8, dtype=np.float32)) == pytest.approx(np.log(8))
    assert entropy(np.float32([3, -np.inf, -np.inf])) == 0.0
    assert entropy(np.full(3, -np.inf, dtype=np.float32)) == 0.0


def test_distribution_of_a_whole_vocabulary():
    row = np.random.default_rng(0).normal(scale=4, size=51865).astype(np.float32)
    logprobs = log_softmax(row)
    found = distribution(row, 5)
    assert list(found.ids) == np.argsort(-row, kind="stable")[:5].tolist()
    np.testing.assert_allclose(found.logprobs, logprobs[list(found.ids)], atol=1e-5)
    assert found.entropy == pytest.approx(-(np.exp(logprobs) * logprobs).sum(), abs=1e-4)


def logits_after(audio: int, tokens: tuple[int, ...]) -> np.ndarray:
    """Any logits that depend on the window and the tokens before; the end comes sooner or later."""
    seed = [audio, len(tokens), *tokens]
    row = np.random.default_rng(seed).normal(scale=2, size=V).astype(np.float32)
    row[5] = -np.inf
    row[EOT] += len(tokens) - 3
    return row


def run(search, n_group: int, k: int = 3, n_steps: int = 40) -> tuple[AlternativesRecorder, bool]:
    recorder = AlternativesRecorder(n_group, k, EOT)
    for _ in range(n_steps):
        sampled = search.sampled
        logits = np.stack(
            [logits_after(row // n_group, tuple(tokens)) for row, tokens in enumerate(sampled.tolist())]
        )
        tokens, source_rows = search.update(logits)
        recorder.record(logits, sampled, tokens, source_rows)
        if search.completed:
            return recorder, True
    return recorder, False


def searches():
    generators = [np.random.default_rng(i) for i in range(6)]
    return [
        (GreedySearch(2, 1, 0.0, EOT), 1),
        (GreedySearch(2, 3, 1.0, EOT, generators), 3),
        (BeamSearch(2, 3, EOT), 3),
    ]


@pytest.mark.parametrize("which", range(3), ids=["greedy", "best_of", "beams"])
def test_alternatives_of_every_candidate(which):
    search, n_group = searches()[which]
    recorder, completed = run(search, n_group)
    assert completed
    for audio, candidates in enumerate(search.candidates()):
        for candidate in candidates:
            found = recorder.of(audio, candidate.tokens)
            if len(found) == len(candidate.tokens) + 1:  # a beam that was cut off has no end
                assert sum(one.logprob for one in found) == pytest.approx(candidate.sum_logprob, abs=1e-4)
            assert [one.token for one in found] == [*candidate.tokens, EOT][: len(found)]
            for at, one in enumerate(found):
                logprobs = log_softmax(logits_after(audio, candidate.tokens[:at]))
                assert one.logprob == pytest.approx(logprobs[one.token], abs=1e-5)
                assert list(one.ids) == np.argsort(-logprobs)[:3].tolist()
                np.testing.assert_allclose(one.logprobs, np.sort(logprobs)[::-1][:3], atol=1e-5)
                finite = logprobs[:5]
                assert one.entropy == pytest.approx(-(np.exp(finite) * finite).sum(), abs=1e-5)


def test_a_result_cut_at_its_length_has_no_end():
    search = GreedySearch(1, 1, 0.0, EOT)
    recorder, completed = run(search, 1, n_steps=2)
    [[candidate]] = search.candidates()
    assert not completed and len(candidate.tokens) == 2
    assert [one.token for one in recorder.of(0, candidate.tokens)] == list(candidate.tokens)


def test_a_row_without_tokens_left_ends_at_no_cost():
    search = GreedySearch(1, 1, 0.0, EOT)
    recorder = AlternativesRecorder(1, 2, EOT)
    logits, sampled = np.full((1, V), -np.inf, dtype=np.float32), search.sampled
    recorder.record(logits, sampled, *search.update(logits))
    [end] = recorder.of(0, ())
    assert (end.token, end.logprob, end.entropy, end.ids) == (EOT, 0.0, 0.0, ())


def test_no_alternatives_still_give_the_probability_taken():
    search = GreedySearch(1, 1, 0.0, EOT)
    recorder, _ = run(search, 1, k=0)
    [[candidate]] = search.candidates()
    assert {one.ids for one in recorder.of(0, candidate.tokens)} == {()}


@pytest.mark.parametrize("k", [-1, 2.0, True])
def test_number_of_alternatives_that_is_none(k):
    with pytest.raises(OptionError, match="alternatives="):
        AlternativesRecorder(1, k, EOT)
