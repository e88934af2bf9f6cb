"""Voice detection by energy over an adaptive noise floor: no weights.

In: samples. Out: a probability of speech for each window of 512 samples.
Knows nothing of: what speech sounds like beyond being louder than what lasts.

A window's power is taken in six octaves. The floor of an octave is its least power of the last two seconds: speech
pauses between syllables, noise does not. Where all octaves have been steady for a third of a second they are noise,
however quiet it was before: what came earlier no longer counts. The score is the mean excess of the four loudest
octaves.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from whisperlite.audio.vad.detector import VoiceStream, probabilities_of
from whisperlite.audio.vad.options import SAMPLE_RATE, WINDOW_SAMPLES

HALF = WINDOW_SAMPLES // 2
BAND_EDGES_HZ = (100, 250, 500, 1000, 2000, 4000, 7000)
QUIETEST_DB = -80.0  # of a band; digital silence is no noise floor
LOUDEST_EXCESS_DB = 40.0
SMOOTHED_WINDOWS = 3
FLOOR_WINDOWS = 62  # two seconds
STEADY_WINDOWS = 10
STEADY_DB = 5.0  # least to greatest smoothed power of a band
N_LOUDEST = 4
MIDDLE_DB = 6.0  # excess with probability 1/2; steady noise stays below 4, tests/test_vad_energy.py
SLOPE_DB = 1.5

N_HISTORY = FLOOR_WINDOWS - 1 + SMOOTHED_WINDOWS - 1


class EnergyDetector:
    """Detector without weights; each probability depends on the last two seconds alone."""

    def probabilities(self, audio: np.ndarray) -> np.ndarray:
        """See ``VoiceDetector``."""
        return probabilities_of(self.stream(), audio)

    def stream(self) -> VoiceStream:
        """See ``VoiceDetector``."""
        return VoiceStream(HALF, _Floor().judge)

    def __repr__(self) -> str:
        return "EnergyDetector()"


class _Floor:
    """The noise floor of one stream."""

    def __init__(self) -> None:
        n_bands = len(BAND_EDGES_HZ) - 1
        self._history = np.empty((0, n_bands))  # band powers of the windows before, dB
        self._least = np.full(n_bands, -np.inf)  # since it was last steady

    def judge(self, samples: np.ndarray) -> np.ndarray:
        power = band_powers(samples)
        known = np.concatenate((self._history, power))  # (history + windows, bands)
        smooth = _past(known, SMOOTHED_WINDOWS, fill=None).mean(axis=-1)
        floor = _past(smooth, FLOOR_WINDOWS, fill=np.inf).min(axis=-1)
        recent = _past(smooth, STEADY_WINDOWS, fill=np.inf)  # infinite until there are enough
        least = recent.min(axis=-1)
        steady = (recent.max(axis=-1) - least < STEADY_DB).all(axis=-1)
        n_before = len(self._history)
        for i in range(n_before, len(known)):
            self._least = least[i] if steady[i] else np.minimum(self._least, smooth[i])
            np.maximum(floor[i], self._least, out=floor[i])
        excess = np.clip(known - np.maximum(floor, QUIETEST_DB), 0, LOUDEST_EXCESS_DB)[n_before:]
        self._history = known[-N_HISTORY:]
        score = np.sort(excess, axis=-1)[:, -N_LOUDEST:].mean(axis=-1)
        return (1 / (1 + np.exp((MIDDLE_DB - score) / SLOPE_DB))).astype(np.float32)


def band_powers(samples: np.ndarray) -> np.ndarray:
    """Power of octaves in dB, each the mean of two half-overlapping spectra.

    Parameters
    ----------
    samples : ndarray (256 + 512 * n_windows,)
        Half a window before the first.

    Returns
    -------
    ndarray (n_windows, 6)
        0 for white noise of mean square 1; at least -90.
    """
    spans = sliding_window_view(samples, WINDOW_SAMPLES)[::HALF]  # (2 * windows, 512)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)
    spectra = np.fft.rfft(spans * taper.astype(np.float32))
    power = spectra.real**2 + spectra.imag**2
    power = (power[0::2] + power[1::2]) / 2  # (windows, 257)
    edges = np.round(np.array(BAND_EDGES_HZ) * WINDOW_SAMPLES / SAMPLE_RATE).astype(int)
    sums = np.add.reduceat(power, edges, axis=1)[:, :-1]
    means = sums / np.diff(edges) / (taper**2).sum()
    return 10 * np.log10(means.astype(np.float64) + 1e-9)


def _past(rows: np.ndarray, n: int, fill: float | None) -> np.ndarray:
    """(rows, bands, n): each row with the n - 1 before it; before the first ``fill``, or the first again."""
    first = rows[:1] if fill is None else np.full((1, rows.shape[1]), fill)
    return sliding_window_view(np.concatenate((np.repeat(first, n - 1, axis=0), rows)), n, axis=0)
