"""Change of sampling rate by a rational factor.

In: mono float32 samples at one rate, whole or in pieces. Out: the same sound at another rate.
Knows nothing of: files, channels, mel.
"""

from __future__ import annotations

import math
import operator
from functools import lru_cache
from typing import Any

import numpy as np

from whisperlite.errors import AudioError

MIN_RATE, MAX_RATE = 1000, 768_000

# The filter stops at the lower of the two Nyquist frequencies and is flat up to 91 % of it. What folds back lies
# 90 dB down, below the 80 dB under its maximum that a log-mel spectrogram keeps.
ZERO_CROSSINGS = 64
STOPBAND_DB = 90.0
_KAISER_BETA = 0.1102 * (STOPBAND_DB - 8.7)
_TRANSITION = (STOPBAND_DB - 8.0) / (2.285 * 2 * ZERO_CROSSINGS * math.pi)  # fraction of Nyquist
_CUTOFF = 1.0 - _TRANSITION / 2

_PIECE = 1 << 18  # samples of an array taken at once; windows overlap, so their copy is larger
_GROUP = 64  # outputs that one matrix product gives
_SMALL_PRODUCT = 1 << 18  # multiplications; BLAS splits larger ones over threads, which stalls where cores are busy


def checked_rate(rate: Any, name: str) -> int:
    """``rate`` as an int.

    Raises
    ------
    AudioError
        It is not a whole number of Hz in 1000 .. 768000.
    """
    try:
        whole = operator.index(rate) if not isinstance(rate, float) else int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = -1
    if whole != rate or not MIN_RATE <= whole <= MAX_RATE:
        raise AudioError(f"{name}={rate!r}: give whole Hz from {MIN_RATE} to {MAX_RATE}")
    return whole


class Resampler:
    """Resample a stream piece by piece; the pieces' sizes do not change the result.

    The filter is a Kaiser-windowed sinc. Output k lies at input position ``k * down / up``, so the phases repeat
    every ``up`` outputs. A group of outputs is a dense matrix times the window of inputs that they need, and the
    groups of one block are the groups of all blocks.

    Parameters
    ----------
    source_rate, target_rate : int
        Hz, 1000 .. 768000.

    Raises
    ------
    AudioError
        A rate is out of range.
    """

    def __init__(self, source_rate: int, target_rate: int):
        source_rate = checked_rate(source_rate, "source_rate")
        target_rate = checked_rate(target_rate, "sampling_rate")
        common = math.gcd(source_rate, target_rate)
        self.up, self.down = target_rate // common, source_rate // common
        self._half = math.ceil(ZERO_CROSSINGS * max(1.0, self.down / self.up))
        self._n_in = self._n_out = 0
        self._waiting = np.zeros(self._half - 1, np.float32)
        if self.up == self.down:
            return
        repeat = math.ceil(_GROUP / self.up)
        self._block_in, self._block_out = self.down * repeat, self.up * repeat
        self._groups = _group_matrices(self.up, self.down, self._half, self._block_out)
        self._reach = max(first + len(matrix) for first, matrix in self._groups)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take samples (n,) float32; give those outputs that are complete, (m,) float32."""
        self._n_in += len(samples)
        if self.up == self.down:
            return samples
        buffer = np.concatenate([self._waiting, samples])
        n_blocks = max(0, (len(buffer) - self._reach) // self._block_in + 1)
        self._waiting = buffer[n_blocks * self._block_in :].copy()
        out = self._filter(buffer, n_blocks)
        self._n_out += len(out)
        return out

    def finish(self) -> np.ndarray:
        """The outputs that still need input, as if silence followed; the total is ``ceil(n*up/down)``."""
        missing = -(-self._n_in * self.up // self.down) - self._n_out
        if self.up == self.down:
            return np.zeros(0, np.float32)
        n_blocks = math.ceil(missing / self._block_out)
        buffer = np.zeros(max(0, n_blocks - 1) * self._block_in + self._reach, np.float32)
        buffer[: len(self._waiting)] = self._waiting[: len(buffer)]
        return self._filter(buffer, n_blocks)[:missing]

    def _filter(self, buffer: np.ndarray, n_blocks: int) -> np.ndarray:
        """Outputs (n_blocks * block_out,) of a buffer that begins ``half - 1`` samples before the first one."""
        out = np.empty((n_blocks, self._block_out), np.float32)
        k = 0
        for first, matrix in self._groups if n_blocks else ():
            width, n_outputs = matrix.shape
            windows = np.lib.stride_tricks.sliding_window_view(buffer[first:], width)[:: self._block_in]
            windows = np.ascontiguousarray(windows[:n_blocks])  # (n_blocks, width)
            rows = max(1, _SMALL_PRODUCT // matrix.size)
            whole = n_blocks // rows * rows
            products = windows[:whole].reshape(-1, rows, width) @ matrix
            out[:whole, k : k + n_outputs] = products.reshape(whole, n_outputs)
            out[whole:, k : k + n_outputs] = windows[whole:] @ matrix
            k += n_outputs
        return out.reshape(-1)


def resample(samples: np.ndarray, source_rate: int, target_rate: int = 16000) -> np.ndarray:
    """Resample mono samples.

    Parameters
    ----------
    samples : ndarray (n,) float32
    source_rate, target_rate : int
        Hz, 1000 .. 768000.

    Returns
    -------
    ndarray (ceil(n * target_rate / source_rate),) float32

    Raises
    ------
    AudioError
        A rate is out of range.
    """
    resampler = Resampler(source_rate, target_rate)
    samples = np.asarray(samples, np.float32)
    pieces = [resampler.push(samples[i : i + _PIECE]) for i in range(0, len(samples), _PIECE)]
    return np.concatenate([*pieces, resampler.finish()])


@lru_cache(maxsize=4)
def _group_matrices(up: int, down: int, half: int, block_out: int) -> list[tuple[int, np.ndarray]]:
    """For each group of outputs of a block: its first input, and the matrix (inputs, outputs) float32."""
    phases = _phase_filters(up, down, half)
    k = np.arange(block_out)
    base, phase = k * down // up, k * down % up
    groups = []
    for members in np.array_split(k, math.ceil(block_out / _GROUP)):
        first = int(base[members[0]])
        matrix = np.zeros((base[members[-1]] - first + 2 * half, len(members)), np.float32)
        for column, member in enumerate(members):
            start = base[member] - first
            matrix[start : start + 2 * half, column] = phases[phase[member]]
        groups.append((first, matrix))
    return groups


def _phase_filters(up: int, down: int, half: int) -> np.ndarray:
    """Filters (up, 2*half) float32: row p gives the value p/up of a sample after the window's middle."""
    band = min(1.0, up / down)  # the lower Nyquist frequency, in units of the source's
    rows = np.empty((up, 2 * half), np.float32)
    for first in range(0, up, 256):  # float64 for a few phases at a time
        phase = np.arange(first, min(first + 256, up))[:, None]
        t = np.arange(1 - half, half + 1) - phase / up  # (phases, 2*half), in source samples
        window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (t / half) ** 2, 0, None)))
        taps = np.sinc(_CUTOFF * band * t) * window
        rows[first : first + 256] = taps / taps.sum(axis=1, keepdims=True)  # a constant stays what it is
    return rows
