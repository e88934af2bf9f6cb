"""Beam search: a true top-k over all beams of a window.

In: masked logits, ``beam_size`` rows per window. Out: next tokens, the row each continues; candidates.
Knows nothing of: models, rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whisperlite.decode.choose import RowPeaks, top_k
from whisperlite.decode.rank import Candidate
from whisperlite.kernels.reference.logits import row_peaks

_Scored = tuple[float, int, int]  # summed log-probability, source row, token


class BeamSearch:
    """Keep the ``beam_size`` best unfinished beams; finished ones take no slot.

    Parameters
    ----------
    n_audio, beam_size : int
        Windows, and beams per window: row ``a * beam_size + j``.
    eot : int
        Token that ends a beam.
    patience : float or None
        The search of a window ends with ``round(beam_size * patience)`` finished beams (arXiv:2204.05424).
    peaks : RowPeaks
        How a row is read.
    """

    # ref: openai/whisper decoding.py BeamSearchDecoder

    def __init__(
        self,
        n_audio: int,
        beam_size: int,
        eot: int,
        patience: float | None = None,
        peaks: RowPeaks = row_peaks,
    ) -> None:
        self._audios = list(range(n_audio))  # in the batch
        self._beam_size = beam_size
        self._eot = eot
        self._peaks = peaks
        self._max_finished = round(beam_size * (patience or 1.0))
        n_rows = n_audio * beam_size
        self._beams: list[tuple[int, ...]] = [()] * n_rows
        self._sums = [0.0] * n_rows
        self._finished: list[list[Candidate]] = [[] for _ in range(n_audio)]
        self._closed: list[list[Candidate] | None] = [None] * n_audio

    @property
    def sampled(self) -> np.ndarray:
        """Tokens of the live beams so far (B, U)."""
        return np.array(self._beams, dtype=np.int32).reshape(len(self._beams), -1)

    def update(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Continue the best beams of each window from masked logits (B, V).

        Returns
        -------
        tokens, source_rows : (B,) int32
            Row b now continues what row ``source_rows[b]`` was, with ``tokens[b]``.
        """
        kept: list[_Scored] = []
        for place, audio in enumerate(self._audios):
            kept += self._continue(audio, place * self._beam_size, logits)
        self._beams = [(*self._beams[source], token) for _, source, token in kept]
        self._sums = [total for total, _, _ in kept]
        for audio in self._audios:
            if len(self._finished[audio]) >= self._max_finished:
                self.close(audio)
        tokens = np.array([token for _, _, token in kept], dtype=np.int32)
        return tokens, np.array([source for _, source, _ in kept], dtype=np.int32)

    def _continue(self, audio: int, first: int, logits: np.ndarray) -> list[_Scored]:
        rows = range(first, first + self._beam_size)
        if self._closed[audio] is not None:  # its rows idle until the other windows end
            return [(self._sums[row], row, self._eot) for row in rows]
        scored: list[_Scored] = []
        # Before the first token all beams are one and the same.
        for row in rows if self._beams[first] else rows[-1:]:
            normaliser = self._peaks(logits[row], 0).log_sum
            if normaliser == -np.inf:  # the rules leave no token: the beam ends here
                scored.append((self._sums[row], row, self._eot))
            for token in top_k(logits[row], self._beam_size + 1):
                # A masked id only fills a slot: it can win nothing.
                logprob = float(logits[row, token]) - normaliser if logits[row, token] > -np.inf else -np.inf
                scored.append((self._sums[row] + logprob, row, token))
        scored.sort(key=lambda item: item[0], reverse=True)
        kept: list[_Scored] = []
        ended: list[_Scored] = []
        for item in scored:
            if item[2] == self._eot:
                if item[0] > -np.inf:
                    ended.append(item)
                continue
            kept.append(item)
            if len(kept) == self._beam_size:
                break
        room = self._max_finished - len(self._finished[audio])
        self._finished[audio] += [Candidate(self._beams[source], total) for total, source, _ in ended[:room]]
        return kept

    def close(self, audio: int) -> None:
        """End the search of a window with what it has."""
        if self._closed[audio] is None:
            self._closed[audio] = self._close(audio)

    def closed(self, audio: int) -> bool:
        """Whether the search of a window has ended."""
        return self._closed[audio] is not None

    def keep(self, audios: Sequence[int]) -> None:
        """From now on only these windows have rows in the batch; the others must have ended."""
        rows = [row for audio in audios for row in self._rows(audio)]
        self._beams, self._sums = [self._beams[row] for row in rows], [self._sums[row] for row in rows]
        self._audios = list(audios)

    def _rows(self, audio: int) -> range:
        first = self._audios.index(audio) * self._beam_size
        return range(first, first + self._beam_size)

    def _close(self, audio: int) -> list[Candidate]:
        """Finished beams, topped up with the best live ones where fewer than ``beam_size`` finished."""
        rows = self._rows(audio)
        live = sorted(rows, key=lambda row: self._sums[row], reverse=True)
        missing = max(self._beam_size - len(self._finished[audio]), 0)
        return self._finished[audio] + [Candidate(self._beams[r], self._sums[r]) for r in live[:missing]]

    @property
    def completed(self) -> bool:
        return all(closed is not None for closed in self._closed)

    def candidates(self) -> list[list[Candidate]]:
        """Per window, the finished beams, topped up with live ones where fewer than ``beam_size`` finished."""
        return [closed if closed is not None else self._close(audio) for audio, closed in enumerate(self._closed)]
