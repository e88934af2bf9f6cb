"""Greedy and sampled search: every row goes its own way.

In: masked logits, one row per trajectory. Out: the next token of each row; candidates at the end.
Knows nothing of: models, rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whisperlite.decode.choose import RowPeaks, sample
from whisperlite.decode.rank import Candidate
from whisperlite.kernels.reference.logits import row_peaks


class GreedySearch:
    """The most probable token at temperature 0; a drawn one above.

    Parameters
    ----------
    n_audio, n_group : int
        Windows, and trajectories per window: row ``a * n_group + g``.
    temperature : float
    eot : int
        Token that ends a row.
    randoms : sequence of numpy.random.Generator
        One per row, so that a row draws the same whatever it is batched with.
    peaks : RowPeaks
        How a row is read.
    """

    # ref: openai/whisper decoding.py GreedyDecoder

    def __init__(
        self,
        n_audio: int,
        n_group: int,
        temperature: float,
        eot: int,
        randoms: Sequence[np.random.Generator] = (),
        peaks: RowPeaks = row_peaks,
    ) -> None:
        self._n_audio = n_audio
        self._n_group = n_group
        self._temperature = temperature
        self._eot = eot
        self._randoms = randoms
        self._peaks = peaks
        n_rows = n_audio * n_group
        self._rows = list(range(n_rows))  # in the batch
        self._tokens = np.empty((n_rows, 64), dtype=np.int32)  # of these, as far as ``_n_sampled``
        self._n_sampled = 0
        self._sampled: list[list[int]] = [[] for _ in range(n_rows)]
        self._sums = [0.0] * n_rows
        self._ended = [False] * n_rows

    @property
    def sampled(self) -> np.ndarray:
        """Tokens so far (B, U) of the rows in the batch, end tokens included."""
        return self._tokens[:, : self._n_sampled]

    def update(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Choose a token for each row from masked logits (B, V).

        Returns
        -------
        tokens : (B,) int32
        source_rows : None
            Rows keep their place.
        """
        tokens = []
        for row, values in zip(self._rows, logits, strict=True):
            token, logprob = self._choose(row, values)
            tokens.append(token)
            self._sampled[row].append(token)
            self._sums[row] += logprob
            self._ended[row] = token == self._eot
        if self._n_sampled == self._tokens.shape[1]:
            self._tokens = np.concatenate([self._tokens, np.empty_like(self._tokens)], axis=1)
        self._tokens[:, self._n_sampled] = tokens
        self._n_sampled += 1
        return np.array(tokens, dtype=np.int32), None

    def _choose(self, row: int, logits: np.ndarray) -> tuple[int, float]:
        if self._ended[row]:
            return self._eot, 0.0
        peaks = self._peaks(logits, 0)
        if peaks.log_sum == -np.inf:  # the rules leave no token: the row ends here
            return self._eot, 0.0
        if self._temperature == 0:
            return peaks.top_index, peaks.top - peaks.log_sum
        token = sample(logits, self._temperature, self._randoms[row])
        return token, float(logits[token]) - peaks.log_sum

    def close(self, audio: int) -> None:
        """End the rows of a window as they are."""
        for row in range(audio * self._n_group, (audio + 1) * self._n_group):
            self._ended[row] = True

    def closed(self, audio: int) -> bool:
        """Whether all rows of a window have ended."""
        return all(self._ended[audio * self._n_group : (audio + 1) * self._n_group])

    def keep(self, audios: Sequence[int]) -> None:
        """From now on only these windows have rows in the batch; the others must have ended."""
        rows = [audio * self._n_group + member for audio in audios for member in range(self._n_group)]
        self._tokens = self._tokens[[self._rows.index(row) for row in rows]]
        self._rows = rows

    @property
    def completed(self) -> bool:
        return all(self._ended)

    def candidates(self) -> list[list[Candidate]]:
        """Per window, the trajectories up to their end token."""
        rows = [
            Candidate(tuple(tokens[: tokens.index(self._eot)] if self._eot in tokens else tokens), total)
            for tokens, total in zip(self._sampled, self._sums, strict=True)
        ]
        return [rows[a * self._n_group : (a + 1) * self._n_group] for a in range(self._n_audio)]
