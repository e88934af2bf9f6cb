"""Samples to log-mel spectrogram.

In: mono float32 samples at 16 kHz. Out: (n_mels, n_frames) float32.
Knows nothing of: files, windows of a transcription, models.

Two steps, so that a caller who gets audio in pieces can use them apart: ``log_mel_span`` sees the samples of its
frames only; ``floor_and_scale`` needs the maximum over everything.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from whisperlite import knobs, trace
from whisperlite.errors import AudioError, OptionError
from whisperlite.runtime.threads import checked_threads

if TYPE_CHECKING:
    from whisperlite.kernels.log_mel import Constants

SAMPLE_RATE = 16000
N_FFT = 400
HOP_LENGTH = 160
CHUNK_LENGTH = 30  # seconds
N_SAMPLES = CHUNK_LENGTH * SAMPLE_RATE  # 480000 samples in a window
N_FRAMES = N_SAMPLES // HOP_LENGTH  # 3000 mel frames in a window
N_SAMPLES_PER_TOKEN = HOP_LENGTH * 2  # the encoder's second convolution has stride 2
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH
TOKENS_PER_SECOND = SAMPLE_RATE // N_SAMPLES_PER_TOKEN

MIN_SHARED_FRAMES = 512  # fewer are computed by the caller alone: waking a team costs as much as some 250 frames
EDGE = N_FFT // 2  # a frame reaches this many samples to both sides of its time
SILENT_LOG_POWER = -10.0  # log10 of the smallest power kept


@lru_cache(maxsize=8)
def mel_filters(n_mels: int) -> np.ndarray:
    """Mel filter bank with Slaney's scale and normalisation, for 400-point spectra at 16 kHz.

    Parameters
    ----------
    n_mels : int
        1 .. 200; Whisper models use 80 and 128.

    Returns
    -------
    ndarray (n_mels, 201) float32, read-only

    Raises
    ------
    OptionError
        ``n_mels`` is out of range.
    """
    # ref: librosa filters.py mel; openai/whisper audio.py mel_filters
    if not 1 <= n_mels <= N_FFT // 2:
        raise OptionError(f"n_mels={n_mels!r}: give 1 to {N_FFT // 2}; Whisper models have 80 or 128")
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)  # Hz
    edges = _mel_to_hz(np.linspace(0, _hz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    widths = np.diff(edges)
    rising = (bins - edges[:-2, None]) / widths[:-1, None]  # (n_mels, 201)
    falling = (edges[2:, None] - bins) / widths[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= (2 / (edges[2:] - edges[:-2]))[:, None]  # equal area
    filters.flags.writeable = False
    return filters


# Slaney's mel scale: linear to 1000 Hz (mel 15), then 27 steps for each factor of 6.4.
_LINEAR_HZ, _BREAK_HZ, _BREAK_MEL, _LOG_STEP = 200 / 3, 1000.0, 15.0, np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return _BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP if hz >= _BREAK_HZ else hz / _LINEAR_HZ


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel >= _BREAK_MEL, logarithmic, _LINEAR_HZ * mel)


def pad_or_trim(array: np.ndarray, length: int = N_SAMPLES, *, axis: int = -1) -> np.ndarray:
    """Cut ``axis`` to ``length`` or fill it up with zeros at its end.

    Parameters
    ----------
    array : ndarray
    length : int
        480000 samples (30 s) when not given.
    axis : int

    Returns
    -------
    ndarray
        A view where nothing had to be added.
    """
    # ref: openai/whisper audio.py pad_or_trim
    size = array.shape[axis]
    if size >= length:
        index = [slice(None)] * array.ndim
        index[axis] = slice(0, length)
        return array[tuple(index)]
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - size)
    return np.pad(array, widths)


def log_mel_spectrogram(
    audio: np.ndarray, n_mels: int = 80, padding: int = 0, threads: int | None = None
) -> np.ndarray:
    """Log-mel spectrogram as Whisper was trained on.

    Parameters
    ----------
    audio : ndarray (n,) float
        Mono at 16 kHz, finite (``load_audio`` sees to that).
    n_mels : int
        80 or 128 (large-v3, turbo).
    padding : int
        Zero samples to add at the end; 480000 when a whole file is transcribed.
    threads : int, optional
        Members of the thread team; default ``WHISPERLITE_THREADS`` or all CPUs of the process. The result does not
        depend on it, and the NumPy backend ignores it.

    Returns
    -------
    ndarray (n_mels, (n + padding) // 160) float32
        ``(max(log10 power, maximum over all - 8) + 4) / 4``.

    Raises
    ------
    AudioError
        Not one axis of floats, or fewer than 201 samples with padding: the mirrored edges need 200 beside
        the first.
    OptionError
        ``padding`` is negative, or ``n_mels`` or ``threads`` out of range.
    """
    # ref: openai/whisper audio.py log_mel_spectrogram
    if uses_kernels():
        return _compiled_log_mel(audio, n_mels, padding, threads, scale=True)
    log_mel = log_mel_power(audio, n_mels, padding)
    return floor_and_scale(log_mel, log_mel.max(initial=SILENT_LOG_POWER))


def log_mel_power(audio: np.ndarray, n_mels: int = 80, padding: int = 0, threads: int | None = None) -> np.ndarray:
    """log10 of the mel power of every frame, at least -10; parameters and errors of ``log_mel_spectrogram``.

    Frame f is centred on sample ``160*f``. Beyond its ends the padded audio is mirrored.
    """
    if uses_kernels():
        return _compiled_log_mel(audio, n_mels, padding, threads, scale=False)
    from whisperlite.kernels.reference import log_mel as reference

    out, spans = _spans(audio, n_mels, padding)
    for samples, frames in spans:
        reference.log_mel_frames(samples, _window(), mel_filters(n_mels), frames)
    return out


def _compiled_log_mel(audio: np.ndarray, n_mels: int, padding: int, threads: int | None, scale: bool) -> np.ndarray:
    """``log_mel_spectrogram``, or without ``scale`` ``log_mel_power``: the team is woken once."""
    from whisperlite.kernels import log_mel as kernels
    from whisperlite.runtime.team import run_kernels

    out, spans = _spans(audio, n_mels, padding)
    n_threads = _shared_by(out, threads)
    workspace = kernels.Workspace(n_threads)
    calls = [
        (kernels.log_mel_f32, kernels.log_mel_arguments(samples, packed(n_mels), frames, workspace))
        for samples, frames in spans
    ]
    if scale:
        calls.append((kernels.floor_and_scale_f32, kernels.floor_and_scale_arguments(out, workspace)))
    run_kernels(calls, n_threads)
    return out


def _spans(audio: np.ndarray, n_mels: int, padding: int) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """An array for all frames, with those past the audio silent; samples and frames of the others, span by span.

    Frames within the audio come first and are read in place, those at the edges from a copy.
    """
    audio = _checked_audio(audio, padding)
    mel_filters(n_mels)  # refuses a wrong n_mels
    n_total = len(audio) + padding
    n_frames = n_total // HOP_LENGTH
    out = np.empty((n_mels, n_frames), np.float32)
    n_head = min(-(-EDGE // HOP_LENGTH), n_frames)
    inner_end = max(n_head, min((len(audio) - EDGE) // HOP_LENGTH + 1, n_frames))
    silent_start = max(inner_end, min(-(-(len(audio) + EDGE) // HOP_LENGTH), n_frames))
    out[:, silent_start:] = SILENT_LOG_POWER
    spans = []
    if n_head < inner_end:
        spans.append((audio[n_head * HOP_LENGTH - EDGE :], out[:, n_head:inner_end]))
    for start, end in ((0, n_head), (inner_end, silent_start)):
        if start < end:
            span = mirrored(audio, 0, n_total, start * HOP_LENGTH - EDGE, (end - 1) * HOP_LENGTH + EDGE)
            spans.append((span, out[:, start:end]))
    return out, spans


def log_mel_span(samples: np.ndarray, out: np.ndarray, threads: int | None = 1) -> None:
    """log10 of the mel power of consecutive frames, at least -10.

    Parameters
    ----------
    samples : ndarray (>= 160 * F + 240,) float32, dense
        Frame f of the F frames of ``out`` reads ``160*f .. 160*f + 399``; nothing is padded.
    out : ndarray (n_mels, F) float32, dense rows
        Written.
    threads : int, optional
        As in ``log_mel_spectrogram``.
    """
    if uses_kernels():
        from whisperlite.kernels import log_mel
        from whisperlite.runtime.team import run_kernel

        n_threads = _shared_by(out, threads)
        workspace = log_mel.Workspace(n_threads)
        arguments = log_mel.log_mel_arguments(samples, packed(len(out)), out, workspace)
        run_kernel(log_mel.log_mel_f32, n_threads, **arguments)
    else:
        from whisperlite.kernels.reference import log_mel as reference

        reference.log_mel_frames(samples, _window(), mel_filters(len(out)), out)


def floor_and_scale(log_mel: np.ndarray, maximum: float, threads: int | None = 1) -> np.ndarray:
    """``(max(log_mel, maximum - 8) + 4) / 4`` of (n_mels, F) float32, in place; gives ``log_mel``."""
    if uses_kernels():
        from whisperlite.kernels import log_mel as kernels
        from whisperlite.runtime.team import run_kernel

        n_threads = _shared_by(log_mel, threads)
        workspace = kernels.Workspace(n_threads, maximum)
        arguments = kernels.floor_and_scale_arguments(log_mel, workspace)
        run_kernel(kernels.floor_and_scale_f32, n_threads, **arguments)
        return log_mel
    np.maximum(log_mel, np.float32(maximum) - np.float32(8), out=log_mel)
    log_mel += np.float32(4)
    log_mel *= np.float32(0.25)
    return log_mel


def _shared_by(frames: np.ndarray, threads: int | None) -> int:
    """How many threads work on these frames."""
    n_threads = checked_threads(threads)
    return n_threads if frames.shape[1] >= MIN_SHARED_FRAMES else 1


def _checked_audio(audio: np.ndarray, padding: int) -> np.ndarray:
    if padding < 0:
        raise OptionError(f"padding={padding}: give 0 or more samples")
    audio = np.asarray(audio)
    if audio.ndim != 1 or audio.dtype.kind != "f":
        raise AudioError(
            f"audio is {audio.dtype} of shape {audio.shape}; log-mel takes (n,) float32: pass it through load_audio"
        )
    if len(audio) + padding <= EDGE:
        raise AudioError(
            f"audio of {len(audio)} samples with {padding} of padding; log-mel needs {EDGE + 1}: "
            f"give padding={N_SAMPLES}"
        )
    return np.ascontiguousarray(audio, np.float32)


def mirrored(audio: np.ndarray, first: int, n_total: int, start: int, end: int) -> np.ndarray:
    """Samples ``start .. end - 1`` of the audio, filled with zeros to ``n_total`` and mirrored at both ends.

    ``audio`` is what is there from sample ``first`` on, and no mirror image may reach further back.
    """
    low = max(0, min(start, 2 * (n_total - 1) - (end - 1)))
    high = max(min(end, n_total), 1 - start)
    samples = np.zeros(high - low, np.float32)  # low .. high - 1: all that is used, mirrored or not
    held_start, held_end = max(low, first), min(high, first + len(audio))
    if held_start < held_end:
        samples[held_start - low : held_end - low] = audio[held_start - first : held_end - first]
    parts = [samples[max(start, 0) - low : min(end, n_total) - low]]
    if start < 0:
        parts.insert(0, samples[-start:0:-1])
    if end > n_total:
        parts.append(samples[2 * (n_total - 1) - (end - 1) - low : n_total - 1 - low][::-1])
    return np.concatenate(parts)


@cache
def _window() -> np.ndarray:
    """Periodic Hann window (400,) float32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


@lru_cache(maxsize=8)
def packed(n_mels: int) -> Constants:
    """Window and filters in the form of the compiled kernel."""
    from whisperlite.kernels.log_mel import Constants

    return Constants(_window(), mel_filters(n_mels))


def uses_kernels() -> bool:
    """Whether log-mel runs compiled, by ``WHISPERLITE_BACKEND`` and whether Numba is there."""
    return knobs.BACKEND.get() == "numba" and _numba_works()


@cache
def _numba_works() -> bool:
    from whisperlite.kernels.cpu import check_numba

    try:
        check_numba()
    except ImportError as error:
        trace.debug(1, f"log-mel runs in NumPy: numba cannot be imported ({error})")
        return False
    return True
