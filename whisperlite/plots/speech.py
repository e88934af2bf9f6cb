"""The wave of a recording with the spans of speech in it, and the probabilities behind them.

In: audio, a voice detector. Out: a figure.
Knows nothing of: how detectors work, transcription.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from whisperlite.audio import SAMPLE_RATE, AudioSource, load_audio
from whisperlite.audio.vad import WINDOW_SAMPLES, VadOptions, VoiceDetector, speech_spans
from whisperlite.plots.figures import ACCENT, FAINT, INK, SPEECH, bare, new_figure
from whisperlite.transcribe import find_detector

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 12.0, 3.6  # inches
COLUMNS = 2400  # of the wave


def plot_speech(
    audio: AudioSource,
    vad_parameters: VadOptions | Mapping[str, Any] | None = None,
    vad_model: str | os.PathLike[str] | VoiceDetector | None = None,
) -> Figure:
    """Draw the wave with spans of speech, and under it the probability of speech with its thresholds.

    Parameters
    ----------
    audio : path, file object, bytes or ndarray
        See ``whisperlite.load_audio``.
    vad_parameters : VadOptions or mapping, optional
    vad_model : optional
        ``energy``, ``silero``, a path or a detector, as in ``WhisperModel.transcribe``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError, CheckpointError
        An option or the detector cannot be used.
    BackendError
        matplotlib is not installed.
    """
    figure = new_figure(WIDTH, HEIGHT)
    options = VadOptions.of(vad_parameters)
    detector = find_detector(vad_model)
    samples = load_audio(audio)
    probabilities = detector.probabilities(samples)
    spans = speech_spans(probabilities, len(samples), options)
    duration = len(samples) / SAMPLE_RATE

    wave, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.3])
    _wave(wave, samples)
    for start, end in spans:
        for ax in (wave, below):
            ax.axvspan(start / SAMPLE_RATE, end / SAMPLE_RATE, color=SPEECH, alpha=0.18, linewidth=0, zorder=0)
            ax.axvline(start / SAMPLE_RATE, color=SPEECH, linewidth=0.8)
            ax.axvline(end / SAMPLE_RATE, color=SPEECH, linewidth=0.8)
    _probabilities(below, probabilities, options, duration)
    wave.set_xlim(0, duration)
    spoken = sum(end - start for start, end in spans) / SAMPLE_RATE
    name = "span" if len(spans) == 1 else "spans"
    wave.set_title(
        f"Speech: {spoken:.2f} of {duration:.2f} s in {len(spans)} {name}", fontsize=10, loc="left", color=INK
    )
    return figure


def _wave(ax: Any, samples: np.ndarray) -> None:
    """The least and the greatest sample of each column."""
    n = max(1, -(-len(samples) // COLUMNS))
    padded = np.pad(samples, (0, -len(samples) % n), mode="edge").reshape(-1, n)  # (n,) -> (columns, n)
    seconds = (np.arange(len(padded)) + 0.5) * n / SAMPLE_RATE
    ax.fill_between(seconds, padded.min(axis=1), padded.max(axis=1), color=INK, linewidth=0.4, step="mid")
    most = max(float(np.abs(samples).max()), 1e-3) * 1.05
    ax.set_ylim(-most, most)
    ax.set_yticks([])
    bare(ax, ("top", "right", "left"))


def _probabilities(ax: Any, probabilities: np.ndarray, options: VadOptions, duration: float) -> None:
    seconds = (np.arange(len(probabilities)) + 0.5) * WINDOW_SAMPLES / SAMPLE_RATE
    ax.plot(seconds, probabilities, color=INK, linewidth=0.9)
    for value, name, above in ((options.threshold, "speech begins", True), (options.end_threshold, "ends", False)):
        ax.axhline(value, color=ACCENT, linewidth=0.7, linestyle="--")
        ax.text(
            duration, value + (0.02 if above else -0.02), f" {name} ", fontsize=7, color=ACCENT, ha="right",
            va="bottom" if above else "top",
            bbox={"facecolor": "white", "alpha": 0.6, "pad": 0.5, "edgecolor": "none"},
        )  # fmt: skip
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.5, 1])
    ax.set_ylabel("probability\nof speech", fontsize=8, color=INK)
    ax.set_xlabel("seconds", fontsize=9, color=INK)
    ax.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.5)
    bare(ax)
