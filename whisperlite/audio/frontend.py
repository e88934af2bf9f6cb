"""Log-mel frames of audio that arrives in pieces.

In: mono float32 samples at 16 kHz, in chunks of any size. Out: the frames of ``log_mel_spectrogram``.
Knows nothing of: microphones, files, windows of a transcription.

A frame is computed once, as soon as the last of its samples is there. What is kept is raw, log10 of the mel power:
the floor of Whisper's spectrogram hangs from the maximum over all of the input, which nobody knows while it grows.
So ``window`` asks for a policy each time it floors and scales frames, and never changes the raw ones.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np

from whisperlite.audio import mel
from whisperlite.audio.mel import EDGE, HOP_LENGTH, N_FFT
from whisperlite.audio.samples import checked_samples
from whisperlite.errors import AudioError, OptionError

MaximumPolicy = Literal["window", "running"]

_FIRST_FRAMES = 512
_FIRST_SAMPLES = 8192


class _Spans(Protocol):
    def run(self, samples: np.ndarray, begin: int, frames: np.ndarray, column: int, n_frames: int) -> None:
        """Write ``n_frames`` columns of ``frames``: frame f reads 400 samples from ``begin + 160*f`` on."""
        ...


class MelFrontend:
    """Incremental log-mel: push samples, take frames.

    Parameters
    ----------
    n_mels : int
        80 or 128 (large-v3, turbo).

    Raises
    ------
    OptionError
        ``n_mels`` is out of range.

    Notes
    -----
    After ``finish``, ``frames(0, n_frames)`` holds the values of ``log_mel_power`` over the joined chunks, and
    ``window(0, n_frames)`` those of ``log_mel_spectrogram``, under either policy: bit for bit with compiled
    kernels, within 1e-5 on the NumPy backend. Memory grows with the frames kept; see ``forget``.
    """

    def __init__(self, n_mels: int = 80):
        mel.mel_filters(n_mels)  # refuses a wrong n_mels
        self.n_mels = n_mels
        self._spans: _Spans = _CompiledSpans(n_mels) if mel.uses_kernels() else _NumpySpans()
        self._frames = _empty_frames(n_mels, _FIRST_FRAMES)
        self._base = 0  # frame in column 0
        self._first = 0  # first frame not forgotten
        self._end = 0  # frames determined
        self._n_samples = 0
        # Samples from 160*end - 200 on lie at begin .. stop; the first 200 mirror those that follow.
        self._samples = np.zeros(_FIRST_SAMPLES, np.float32)
        self._begin, self._stop = 0, EDGE
        self._maximum = mel.SILENT_LOG_POWER
        self._n_measured = 0  # frames that the maximum knows
        self._finished = False

    @property
    def n_samples(self) -> int:
        """Samples pushed; ``finish`` adds its padding."""
        return self._n_samples

    @property
    def n_frames(self) -> int:
        """Frames determined so far, forgotten ones included; frame f is centred on sample ``160*f``."""
        return self._end

    @property
    def first_frame(self) -> int:
        """The first frame that is still kept."""
        return self._first

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def maximum(self) -> float:
        """Largest log10 power of all frames so far, forgotten ones included; -10 before the first."""
        if self._n_measured < self._end:
            new = self._frames[:, self._n_measured - self._base : self._end - self._base]
            self._maximum = max(self._maximum, float(new.max()))
            self._n_measured = self._end
        return self._maximum

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add samples.

        Parameters
        ----------
        samples : ndarray (n,) float
            Finite; may be empty.

        Returns
        -------
        ndarray (n_mels, F) float32
            The frames that these samples completed, raw; a view, which ``push``, ``finish`` and ``forget`` may
            change: copy what must stay.

        Raises
        ------
        AudioError
            Samples of another kind, NaN or infinite ones, or ``finish`` was called. Nothing is taken then.
        """
        if self._finished:
            raise AudioError("the frontend is finished; make a new one for the next audio")
        samples = checked_samples(samples)
        self._take(samples)
        start = self._end
        n_new = (self._stop - self._begin - N_FFT) // HOP_LENGTH + 1
        if n_new > 0 and self._n_samples > EDGE:
            if start == 0:
                self._samples[:EDGE] = self._samples[2 * EDGE : EDGE : -1]
            self._reserve(n_new)
            self._spans.run(self._samples, self._begin, self._frames, start - self._base, n_new)
            self._end = start + n_new
            self._begin += n_new * HOP_LENGTH
        return self._frames[:, start - self._base : self._end - self._base]

    def finish(self, padding: int = 0) -> np.ndarray:
        """End the audio: the last frames, which see its mirror image.

        Parameters
        ----------
        padding : int
            Zero samples to add first; 480000 when a whole file is transcribed.

        Returns
        -------
        ndarray (n_mels, F) float32
            The remaining frames up to ``n_samples // 160``, raw; a view.

        Raises
        ------
        AudioError
            Fewer than 201 samples with padding, or ``finish`` was called before.
        OptionError
            ``padding`` is negative.
        """
        if self._finished:
            raise AudioError("the frontend is finished; make a new one for the next audio")
        if padding < 0:
            raise OptionError(f"padding={padding}: give 0 or more samples")
        n_total = self._n_samples + padding
        if n_total <= EDGE:
            raise AudioError(
                f"audio of {self._n_samples} samples with {padding} of padding; log-mel needs {EDGE + 1}: "
                f"give padding={mel.N_SAMPLES}"
            )
        start = self._end
        n_frames = n_total // HOP_LENGTH
        n_silent = min(n_frames - start, max(0, n_frames - -(-(self._n_samples + EDGE) // HOP_LENGTH)))
        n_heard = n_frames - start - n_silent
        self._reserve(n_frames - start)
        if n_heard > 0:
            # What is held of the audio suffices: the mirror image of these frames never reaches further back.
            held = self._samples[max(self._begin, EDGE if start == 0 else 0) : self._stop]
            first, last = start * HOP_LENGTH - EDGE, (start + n_heard - 1) * HOP_LENGTH + EDGE
            span = mel.mirrored(held, self._n_samples - len(held), n_total, first, last)
            self._spans.run(span, 0, self._frames, start - self._base, n_heard)
        self._frames[:, n_frames - n_silent - self._base : n_frames - self._base] = mel.SILENT_LOG_POWER
        self._end, self._n_samples, self._finished = n_frames, n_total, True
        return self._frames[:, start - self._base : n_frames - self._base]

    def frames(self, start: int, stop: int) -> np.ndarray:
        """Raw frames ``start .. stop - 1``: log10 of the mel power, at least -10.

        Returns
        -------
        ndarray (n_mels, stop - start) float32, a view

        Raises
        ------
        OptionError
            A frame is forgotten or not determined yet.
        """
        if not self._first <= start <= stop <= self._end:
            raise OptionError(
                f"frames {start} to {stop}: the frontend holds {self._first} to {self._end}; ask within them"
            )
        return self._frames[:, start - self._base : stop - self._base]

    def window(self, start: int, stop: int, maximum: MaximumPolicy | float = "window") -> np.ndarray:
        """Frames ``start .. stop - 1`` as the encoder takes them: ``(max(raw, maximum - 8) + 4) / 4``.

        Parameters
        ----------
        start, stop : int
        maximum : {"window", "running"} or float
            Where the floor hangs: from the largest value of these frames; from the largest of all frames so far
            (then the same frames may come out differently later); or from a log10 power of the caller's.

        Returns
        -------
        ndarray (n_mels, stop - start) float32, a copy

        Raises
        ------
        OptionError
            A frame is forgotten or not determined yet; no such policy.
        """
        raw = self.frames(start, stop)
        if maximum == "window":
            level = float(raw.max(initial=mel.SILENT_LOG_POWER))
        elif maximum == "running":
            level = self.maximum
        elif isinstance(maximum, str) or not math.isfinite(maximum):
            raise OptionError(f"maximum={maximum!r}: give 'window', 'running' or a log10 power")
        else:
            level = float(maximum)
        return mel.floor_and_scale(raw.copy(), level)

    def forget(self, before: int) -> None:
        """Drop the frames before ``before``, an index that may lie ahead of ``n_frames``.

        Memory stays within a fixed amount and a few times the most frames kept at once.
        """
        if self._first < before:
            _ = self.maximum  # measured while the frames are there
            self._first = min(before, self._end)

    def _take(self, samples: np.ndarray) -> None:
        """Put samples behind those held."""
        n_held = self._stop - self._begin
        if self._stop + len(samples) > len(self._samples):
            held = self._samples[self._begin : self._stop]
            if 2 * (n_held + len(samples)) > len(self._samples):
                self._samples = np.zeros(2 * (n_held + len(samples)), np.float32)
            self._samples[:n_held] = held.copy()
            self._begin, self._stop = 0, n_held
        self._samples[self._stop : self._stop + len(samples)] = samples
        self._stop += len(samples)
        self._n_samples += len(samples)

    def _reserve(self, n_new: int) -> None:
        """Room for ``n_new`` more columns: over forgotten frames, or in a larger array."""
        if self._end + n_new - self._base <= self._frames.shape[1]:
            return
        kept = self._frames[:, self._first - self._base : self._end - self._base]
        n_kept = kept.shape[1]
        if 2 * (n_kept + n_new) > self._frames.shape[1]:
            self._frames = _empty_frames(self.n_mels, 2 * (n_kept + n_new))
            self._frames[:, :n_kept] = kept
        else:
            self._frames[:, :n_kept] = kept.copy()
        self._base = self._first


def _empty_frames(n_mels: int, n_frames: int) -> np.ndarray:
    """At least so many columns, in rows that do not all fall into the same cache sets."""
    return np.empty((n_mels, -(-n_frames // 32) * 32 + 16), np.float32)


class _NumpySpans:
    def run(self, samples: np.ndarray, begin: int, frames: np.ndarray, column: int, n_frames: int) -> None:
        from whisperlite.kernels.reference.log_mel import log_mel_frames

        out = frames[:, column : column + n_frames]
        log_mel_frames(samples[begin:], mel._window(), mel.mel_filters(len(out)), out)


class _CompiledSpans:
    """The log-mel kernel with its constants in place: calling it by name costs more than a chunk of 100 ms."""

    def __init__(self, n_mels: int):
        import ctypes

        from whisperlite.kernels import log_mel
        from whisperlite.kernels.registry import CLAIMS, SYNC_WORDS

        kernel = log_mel.log_mel_f32
        packed, workspace = mel.packed(n_mels), log_mel.Workspace(1)
        constants = packed.words | workspace.words
        self._words = (ctypes.c_int64 * len(kernel.params))(*[constants.get(name, 0) for name in kernel.params])
        self._changing = tuple(kernel.params.index(name) for name in ("samples", "n_frames", "out", "ldo"))
        self._sync = (ctypes.c_int64 * SYNC_WORDS)()
        self._claims = CLAIMS // 8
        self._kept = (packed, workspace)
        self._addresses = (ctypes.addressof(self._words), ctypes.addressof(self._sync))
        self._entry = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(kernel.address())

    def run(self, samples: np.ndarray, begin: int, frames: np.ndarray, column: int, n_frames: int) -> None:
        at_samples, at_frames, at_out, at_ldo = self._changing
        words = self._words
        words[at_samples] = samples.ctypes.data + 4 * begin
        words[at_frames] = n_frames
        words[at_out] = frames.ctypes.data + 4 * column
        words[at_ldo] = frames.strides[0]
        self._sync[self._claims] = 0
        self._entry(*self._addresses, 0, 1)
