"""Choosing among the candidates of one window.

In: token sequences and their summed log-probabilities. Out: the index of the best.
Knows nothing of: how the candidates were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Candidate:
    """A sampled sequence, without its end token, and the sum of its log-probabilities with it."""

    tokens: tuple[int, ...]
    sum_logprob: float


def best_candidate(candidates: Sequence[Candidate], length_penalty: float | None) -> Candidate:
    """Highest mean log-probability, or with a length penalty (arXiv:1609.08144) the highest score.

    An empty sequence counts as length 1 in the mean.
    """
    # ref: openai/whisper decoding.py MaximumLikelihoodRanker

    def score(candidate: Candidate) -> float:
        length = len(candidate.tokens)
        if length_penalty is None:
            return candidate.sum_logprob / max(length, 1)
        return candidate.sum_logprob / ((5 + length) / 6) ** length_penalty

    return candidates[int(np.argmax([score(candidate) for candidate in candidates]))]
