"""A log-mel spectrogram whose frames are computed when they are asked for.

In: mono float32 samples at 16 kHz. Out: (n_mels, frames) float32, any stretch of it.
Knows nothing of: files, windows of a transcription, models.
"""

from __future__ import annotations

import numpy as np

from whisperlite.audio.mel import HOP_LENGTH, N_FRAMES, SILENT_LOG_POWER, floor_and_scale, log_mel_power
from whisperlite.errors import AudioError

_MARGIN = 2  # frames beside a stretch, so that none of its own reaches over the edge of the samples it is made from


class LogMel:
    """The values of ``log_mel_spectrogram``, in memory that does not grow with the audio: samples are all it holds.

    The maximum over all frames, from which the floor hangs, is found once, block by block.

    Parameters
    ----------
    audio : ndarray (n,) float
    n_mels, padding, threads : int
        As in ``log_mel_spectrogram``.

    Attributes
    ----------
    n_frames : int
        Frames there are, those of the padding counted.

    Raises
    ------
    AudioError, OptionError
        As in ``log_mel_spectrogram``.

    Notes
    -----
    Bit for bit with compiled kernels, within 1e-5 on the NumPy backend.
    """

    def __init__(self, audio: np.ndarray, n_mels: int = 80, padding: int = 0, threads: int | None = None) -> None:
        if audio.ndim != 1:
            raise AudioError(f"audio of shape {audio.shape}; log-mel takes (n,): pass it through load_audio")
        self._audio = audio
        self._n_mels = n_mels
        self._threads = threads
        self._n_total = len(audio) + padding
        self.n_frames = self._n_total // HOP_LENGTH
        self._maximum = SILENT_LOG_POWER
        for start in range(0, max(self.n_frames, 1), N_FRAMES):  # too little audio is refused here
            self._maximum = max(self._maximum, float(self._power(start, start + N_FRAMES).max()))

    def frames(self, start: int, end: int) -> np.ndarray:
        """Frames (n_mels, F) from ``start`` to ``end``, or to the last one."""
        return floor_and_scale(self._power(start, end), self._maximum, self._threads)

    def _power(self, start: int, end: int) -> np.ndarray:
        end = max(start, min(end, self.n_frames))
        first = max(start - _MARGIN, 0)
        stop = (end + _MARGIN) * HOP_LENGTH if end + _MARGIN < self.n_frames else self._n_total
        samples = self._audio[first * HOP_LENGTH : min(stop, len(self._audio))]
        padding = stop - first * HOP_LENGTH - len(samples)
        power = log_mel_power(samples, self._n_mels, padding, self._threads)
        return np.ascontiguousarray(power[:, start - first : end - first])
