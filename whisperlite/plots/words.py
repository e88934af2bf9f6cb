"""The mel of a recording with its words over it, coloured by probability.

In: audio, and its words or a model to find them. Out: a figure.
Knows nothing of: how words are found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from whisperlite.audio import FRAMES_PER_SECOND, SAMPLE_RATE, AudioSource, load_audio, log_mel_spectrogram
from whisperlite.errors import OptionError
from whisperlite.plots.figures import FAINT, INK, bare, fonts, new_figure, one_warning
from whisperlite.results import Segment, Word

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from whisperlite.api import WhisperModel

WIDTH, ROW_HEIGHT = 12.0, 2.1  # inches
MAX_SECONDS = 300.0
_LANES = 3
_CONTRAST = 1.6  # of the 2 that a log-mel spans: the faintest is noise
_COLOURS = "RdYlBu"  # red is improbable, blue is sure; told apart by colour-blind eyes too


def plot_words(
    audio: AudioSource,
    words: Iterable[Word | Segment] | None = None,
    *,
    model: WhisperModel | None = None,
    start: float = 0.0,
    end: float | None = None,
    seconds_per_row: float = 10.0,
    **options: Any,
) -> Figure:
    """Draw the mel with each word over it at its time.

    Parameters
    ----------
    audio : path, file object, bytes or ndarray
        See ``whisperlite.load_audio``.
    words : iterable of Word or Segment, optional
        A transcript made with ``word_timestamps=True``, or the words of ``align``.
    model : WhisperModel, optional
        Transcribes the audio where no words are given.
    start, end : float
        Seconds to draw; at most 300 of them.
    seconds_per_row : float
        At most; all rows are of one length.
    **options
        Of ``WhisperModel.transcribe``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        Neither words nor a model are given, a segment has no words, or the range is empty or too long.
    BackendError
        matplotlib is not installed.
    """
    figure = new_figure(WIDTH, 1)
    samples = load_audio(audio)
    end = min(len(samples) / SAMPLE_RATE, math.inf if end is None else end)
    if not 0 <= start < end:
        raise OptionError(f"start={start:g}, end={end:g}: nothing lies between them; the audio ends there")
    if end - start > MAX_SECONDS:
        raise OptionError(
            f"{end - start:.0f} s are too many for a picture; choose {MAX_SECONDS:g} s by start and end"
        )
    if not seconds_per_row >= 1:
        raise OptionError(f"seconds_per_row={seconds_per_row!r}: give at least 1")
    if words is None:
        if model is None:
            raise OptionError("give words, or a model to find them")
        words = model.transcribe(samples, **{"word_timestamps": True, **options})
    flat = [word for word in _words(words) if word.end > start and word.start < end]
    mel = log_mel_spectrogram(samples)  # (80, F)

    n_rows = math.ceil((end - start) / seconds_per_row - 1e-9)
    seconds_per_row = (end - start) / n_rows
    figure.set_size_inches(WIDTH, ROW_HEIGHT * n_rows + 0.4)
    axes = figure.subplots(n_rows, 1, squeeze=False)[:, 0]
    for i, ax in enumerate(axes):
        _row(ax, mel, flat, start + i * seconds_per_row, seconds_per_row, end)
    axes[-1].set_xlabel("seconds", fontsize=9, color=INK)
    _colour_bar(figure, axes)
    with one_warning():
        figure.draw_without_rendering()  # widths of the words are known from here on
    for ax in axes:
        _deal_lanes(ax)
    return figure


def _words(given: Iterable[Word | Segment]) -> list[Word]:
    found: list[Word] = []
    for item in given:
        if isinstance(item, Word):
            found.append(item)
        elif item.words is not None:
            found.extend(item.words)
        elif item.text:
            raise OptionError("a segment has no words; transcribe with word_timestamps=True")
    return found


def _row(ax: Any, mel: np.ndarray, words: list[Word], start: float, seconds: float, end: float) -> None:
    from matplotlib import colormaps

    first, last = (round(t * FRAMES_PER_SECOND) for t in (start, min(start + seconds, end)))
    # The mel's 80 bands, and above them as much room as _LANES lanes of words need.
    ax.imshow(
        mel[:, first:last], origin="lower", aspect="auto", cmap="Greys", interpolation="nearest",
        extent=(first / FRAMES_PER_SECOND, last / FRAMES_PER_SECOND, 0, 80),
        vmin=mel.max() - _CONTRAST, vmax=mel.max(),
    )  # fmt: skip
    ax.set_xlim(start, start + seconds)
    ax.set_ylim(0, 80 + 22 * _LANES)
    ax.set_yticks([])
    bare(ax, ("top", "right", "left"))
    colours = colormaps[_COLOURS]
    for word in words:
        if not (start <= word.start < start + seconds or word.start < start < word.end):
            continue
        colour = colours(_position(word.probability))
        left, right = max(word.start, start), min(word.end, start + seconds, end)
        ax.add_patch(_box(left, 80, max(right - left, 0.01), 7, colour))
        ax.vlines([left, right], 0, 87, colors=[colour], linewidth=0.8, alpha=0.9)
        if word.start >= start:
            text = ax.text(
                word.start, 95, word.word.strip(), fontsize=10, color=INK, family=fonts(), parse_math=False,
                va="bottom", ha="left", bbox={"facecolor": colour, "alpha": 0.45, "pad": 1.5, "edgecolor": "none"},
            )  # fmt: skip
            text.set_in_layout(False)
            text.set_gid("word")


def _position(probability: float) -> float:
    """On the colour scale: half of it for probabilities above 0.75, where most are."""
    return float(np.clip(probability, 0, 1)) ** 2.4


def _box(x: float, y: float, width: float, height: float, colour: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", linewidth=0.6)


def _deal_lanes(ax: Any) -> None:
    """Lift words that would cover the one before them."""
    renderer = ax.figure.canvas.get_renderer()
    to_data = ax.transData.inverted()
    gap = 0.004 * (ax.get_xlim()[1] - ax.get_xlim()[0])
    ends = [-math.inf] * _LANES
    for text in (text for text in ax.texts if text.get_gid() == "word"):
        (left, _), (right, _) = to_data.transform(text.get_window_extent(renderer).get_points())
        free = [lane for lane in range(_LANES) if ends[lane] <= left]
        lane = free[0] if free else int(np.argmin(ends))
        ends[lane] = right + gap
        text.set_y(92 + 20 * lane)
        if lane:
            ax.vlines(text.get_position()[0], 87, 92 + 20 * lane, colors=FAINT, linewidth=0.5, zorder=0)


def _colour_bar(figure: Figure, axes: Any) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import FuncNorm

    # The same scale as _position.
    norm = FuncNorm((lambda p: np.clip(p, 0, 1) ** 2.4, lambda x: np.clip(x, 0, 1) ** (1 / 2.4)), vmin=0, vmax=1)
    bar = figure.colorbar(
        ScalarMappable(norm, colormaps[_COLOURS]), ax=list(axes), shrink=min(1.0, 1.6 / len(axes)), aspect=18,
        pad=0.01, fraction=0.03, ticks=[0, 0.5, 0.75, 0.9, 1],
    )  # fmt: skip
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, color=FAINT)
    bar.set_label("probability", fontsize=8, color=INK)
