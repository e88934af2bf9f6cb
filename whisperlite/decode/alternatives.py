"""How sure each token was: log-probability, the next best tokens, entropy.

In: logits after the rules (B, V) float32, as the search saw them; which tokens it took. Out: ``Alternatives``,
one for each token of a result. Knows nothing of: rules, how a token is chosen.

Temperature does not enter: the figures are those that ``avg_logprob`` is the mean of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whisperlite.decode.choose import log_normaliser, top_k
from whisperlite.errors import OptionError
from whisperlite.results import Alternatives


@dataclass(frozen=True)
class Distribution:
    """What is kept of one row of logits: normaliser, entropy (nats), most probable ids with log-probabilities."""

    normaliser: float
    entropy: float
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


def distribution(row: np.ndarray, k: int = 0) -> Distribution:
    """Entropy and the ``k`` most probable ids of a row of logits (V,); ``-inf`` has probability 0.

    A row without any id left has normaliser ``-inf``, entropy 0 and no ids.
    """
    normaliser = log_normaliser(row)
    if normaliser == -np.inf:
        return Distribution(-np.inf, 0.0, (), ())
    ids = [token for token in (top_k(row, k) if k else ()) if row[token] > -np.inf]
    logprobs = tuple(float(row[token]) - normaliser for token in ids)
    return Distribution(normaliser, entropy(row, normaliser), tuple(ids), logprobs)


def entropy(row: np.ndarray, normaliser: float | None = None) -> float:
    """Entropy in nats of the softmax of a row of logits (V,); ``-inf`` has probability 0."""
    normaliser = log_normaliser(row) if normaliser is None else normaliser
    if normaliser == -np.inf:
        return 0.0
    logprobs = row - np.float32(normaliser)
    probabilities = np.exp(logprobs)
    # 0 * -inf would be NaN.
    np.copyto(logprobs, 0.0, where=probabilities == 0)
    return max(0.0, -float(np.dot(probabilities, logprobs)))


class AlternativesRecorder:
    """Keep the alternatives of every position a search visits, until its results are known.

    Positions are known by the tokens before them, so beams may be reordered, dropped and finished at will.

    Parameters
    ----------
    n_group : int
        Rows per window.
    k : int
        Alternatives of each token.
    eot : int
        Rows that ended in it are passed over.

    Raises
    ------
    OptionError
        ``k`` is not an integer of at least 0.
    """

    def __init__(self, n_group: int, k: int, eot: int) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 0:
            raise OptionError(f"alternatives={k!r}: give the number of alternatives of a token, at least 0")
        self._n_group = n_group
        self._k = k
        self._eot = eot
        self._seen: dict[tuple[int, tuple[int, ...]], Distribution] = {}
        self._logits: dict[tuple[int, tuple[int, ...]], dict[int, float]] = {}

    def record(
        self,
        logits: np.ndarray,
        sampled: np.ndarray,
        tokens: np.ndarray,
        source_rows: np.ndarray | None,
        audios: Sequence[int] | None = None,
    ) -> None:
        """Note one step of a search.

        Parameters
        ----------
        logits : (B, V) float32
            After the rules.
        sampled : (B, U) int32
            Tokens before the step.
        tokens, source_rows : (B,) int32
            What ``search.update(logits)`` returned.
        audios : (B / n_group,) int, optional
            Windows in the batch; default 0, 1, 2, ...
        """
        of = range(len(sampled)) if audios is None else audios
        rows = [(of[row // self._n_group], tuple(before)) for row, before in enumerate(sampled.tolist())]
        for values, key in zip(logits, rows, strict=True):
            if key not in self._seen and self._eot not in key[1][-1:]:
                self._seen[key] = distribution(values, self._k)
                # A beam may finish here without ending a row: its end is no row's token.
                self._logits[key] = {self._eot: float(values[self._eot])}
        sources = range(len(rows)) if source_rows is None else source_rows.tolist()
        for source, token in zip(sources, tokens.tolist(), strict=True):
            if (taken := self._logits.get(rows[source])) is not None:
                taken[token] = float(logits[source, token])

    def of(self, audio: int, tokens: tuple[int, ...]) -> tuple[Alternatives, ...]:
        """The alternatives along a result of window ``audio``: one for each of its tokens, one for its end.

        The last one is missing where the result was cut at its greatest length.
        """
        found = []
        for at, token in enumerate((*tokens, self._eot)):
            key = (audio, tokens[:at])
            if (seen := self._seen.get(key)) is None:
                break
            # Where the rules leave no token a search ends the row at no cost.
            logprob = self._logits[key][token] - seen.normaliser if seen.normaliser > -np.inf else 0.0
            found.append(Alternatives(token, logprob, seen.entropy, seen.ids, seen.logprobs))
        return tuple(found)
