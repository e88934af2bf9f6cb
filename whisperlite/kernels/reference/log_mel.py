"""Log-mel power of overlapping frames, in NumPy.

In: samples, window, mel filters. Out: log10 of the mel power of each frame, at least -10.
Knows nothing of: padding, the global maximum, audio formats.
"""

from __future__ import annotations

import numpy as np

N_FFT, HOP = 400, 160
FRAMES_AT_ONCE = 1024  # keeps the spectra in cache


def log_mel_frames(samples: np.ndarray, window: np.ndarray, filters: np.ndarray, out: np.ndarray) -> None:
    """Frame f reads samples ``160*f .. 160*f + 399``.

    Parameters
    ----------
    samples : ndarray (>= 160 * n_frames + 240,) float32
    window : ndarray (400,) float32
    filters : ndarray (n_mels, 201) float32
    out : ndarray (n_mels, n_frames) float32
        Written.
    """
    n_frames = out.shape[1]
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP][:n_frames]  # (F, 400)
    for start in range(0, n_frames, FRAMES_AT_ONCE):
        spectra = np.fft.rfft(frames[start : start + FRAMES_AT_ONCE] * window)  # (f, 201) complex64
        power = spectra.real**2 + spectra.imag**2
        mel_power = filters @ power.T  # (n_mels, f)
        out[:, start : start + FRAMES_AT_ONCE] = np.log10(np.maximum(mel_power, 1e-10))
