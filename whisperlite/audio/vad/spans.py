"""Probabilities of speech to spans of speech.

In: one probability for each window of 512 samples, options. Out: spans ``(start, end)`` in samples.
Knows nothing of: who judged the windows, what is done with the spans.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from whisperlite.audio.vad.options import SAMPLE_RATE, WINDOW_SAMPLES, VadOptions
from whisperlite.errors import OptionError

Span = tuple[int, int]

# A silence this long is a place to cut speech that outgrows max_speech_duration_s.
CUT_SILENCE_SAMPLES = SAMPLE_RATE * 98 / 1000


def speech_spans(probabilities: np.ndarray, n_samples: int, options: VadOptions | None = None) -> list[Span]:
    """Where there is speech.

    Parameters
    ----------
    probabilities : ndarray (n_windows,)
        Window i holds samples ``512*i .. 512*i + 511``; the last one may reach past the audio, and one window
        of nothing but padding is allowed, as faster-whisper adds it.
    n_samples : int
        Length of the audio.
    options : VadOptions, optional

    Returns
    -------
    list of (int, int)
        Samples ``start .. end - 1``; in order, disjoint, within the audio.

    Raises
    ------
    OptionError
        The number of windows does not fit the length.
    """
    # ref: faster-whisper vad.py get_speech_timestamps
    options = options or VadOptions()
    n_windows = len(probabilities)
    if n_windows not in (-(-n_samples // WINDOW_SAMPLES), n_samples // WINDOW_SAMPLES + 1):
        raise OptionError(
            f"{n_windows} probabilities for {n_samples} samples; give one for each {WINDOW_SAMPLES} of them"
        )
    values = np.asarray(probabilities, np.float32).tolist()
    return _padded(_bare_spans(values, n_samples, options), n_samples, options)


def _bare_spans(probabilities: Iterable[float], n_samples: int, options: VadOptions) -> list[list[int]]:
    """Spans before padding."""
    pad = SAMPLE_RATE * options.speech_pad_ms / 1000
    longest = SAMPLE_RATE * options.max_speech_duration_s - WINDOW_SAMPLES - 2 * pad
    shortest = SAMPLE_RATE * options.min_speech_duration_ms / 1000
    min_silence = SAMPLE_RATE * options.min_silence_duration_ms / 1000
    threshold, end_threshold = (float(np.float32(p)) for p in (options.threshold, options.end_threshold))

    spans: list[list[int]] = []
    start: int | None = None  # of the speech we are in
    silent_from = 0  # where it may have ended; 0 for not silent
    cut_at = 0  # its last silence long enough to be cut at, and where speech went on after it
    resumed_at = 0
    for i, probability in enumerate(probabilities):
        at = WINDOW_SAMPLES * i
        if probability >= threshold and silent_from:
            silent_from = 0
            if resumed_at < cut_at:
                resumed_at = at
        if probability >= threshold and start is None:
            start = at
            continue
        if start is None:
            continue
        if at - start > longest:
            spans.append([start, cut_at or at])
            start = resumed_at if cut_at and resumed_at >= cut_at else None
            cut_at = resumed_at = silent_from = 0
            if start is None:
                continue
        if probability < end_threshold:
            silent_from = silent_from or at
            if at - silent_from > CUT_SILENCE_SAMPLES:
                cut_at = silent_from
            if at - silent_from >= min_silence:
                if silent_from - start > shortest:
                    spans.append([start, silent_from])
                start = None
                cut_at = resumed_at = silent_from = 0
    if start is not None and n_samples - start > shortest:
        spans.append([start, n_samples])
    return spans


def _padded(spans: list[list[int]], n_samples: int, options: VadOptions) -> list[Span]:
    pad = SAMPLE_RATE * options.speech_pad_ms / 1000
    if spans:
        spans[0][0] = int(max(0, spans[0][0] - pad))
        spans[-1][1] = int(min(n_samples, spans[-1][1] + pad))
    for before, after in pairwise(spans):
        silence = after[0] - before[1]
        if silence < 2 * pad:
            before[1] += silence // 2
            after[0] = max(0, after[0] - silence // 2)
        else:
            before[1] = int(min(n_samples, before[1] + pad))
            after[0] = int(max(0, after[0] - pad))
    return [(start, end) for start, end in spans]
