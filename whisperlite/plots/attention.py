"""Attention of the alignment heads, and the path through it that gives words their times.

In: a model, audio, a text or a transcript. Out: a figure.
Knows nothing of: search, files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whisperlite.audio import FRAMES_PER_SECOND, HOP_LENGTH, N_FRAMES, TOKENS_PER_SECOND, AudioSource, load_audio
from whisperlite.errors import OptionError
from whisperlite.kernels.reference.dtw import dtw, median_filter
from whisperlite.plots.figures import ACCENT, FAINT, INK, bare, fonts, new_figure
from whisperlite.transcribe.timing import chosen_heads
from whisperlite.transcribe.windows import make_content
from whisperlite.transcribe.words import alignment_weights, forced_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from whisperlite.api import WhisperModel

WIDTH, HEAD_HEIGHT = 12.0, 1.7  # inches
HEADS_PER_ROW, MAX_HEADS = 4, 12
MEDFILT_WIDTH = 7


def plot_attention(
    model: WhisperModel,
    audio: AudioSource,
    text: str | Sequence[int] | None = None,
    *,
    start: float = 0.0,
    language: str | None = None,
    task: str = "transcribe",
    heads: int | Sequence[tuple[int, int]] | None = None,
    **options: Any,
) -> Figure:
    """Draw one window: what each token attends to in the audio, in the mean of the alignment heads and in each.

    Parameters
    ----------
    model : WhisperModel
    audio : path, file object, bytes or ndarray
        See ``whisperlite.load_audio``.
    text : str or sequence of int, optional
        What is said in the window, or its tokens; transcribed where it is not given.
    start : float
        Seconds; the window holds up to 30 s from there.
    language : str, optional
        Detected when not given.
    task : str
    heads : sequence of (layer, head), or int, optional
        Of the decoder, or all of that many top-most layers; default: the model's alignment heads.
    **options
        Of ``WhisperModel.transcribe``, where no text is given.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        The audio is shorter than ``start``, nothing is said in the window, or the text does not fit the model.
    BackendError
        matplotlib is not installed.
    """
    figure = new_figure(WIDTH, 1)
    samples = load_audio(audio)
    content = make_content(samples, model.dims.n_mels)
    seek = round(start * FRAMES_PER_SECOND)
    if not 0 <= seek < content.n_frames:
        raise OptionError(f"start={start:g}: the audio lasts {content.duration:.2f} s")
    if text is None:
        transcript = model.transcribe(samples[seek * HOP_LENGTH :], language=language, task=task, **options)
        language = transcript.language
        window = next(iter(transcript.iter_windows()), None)
        text = [token for segment in (window.segments if window else ()) for token in segment.tokens]
    tokenizer = model.tokenizer(language, task)
    tokens = tokenizer.encode(" " + text.strip()) if isinstance(text, str) else list(text)
    tokens = [token for token in tokens if token < tokenizer.eot]
    if not tokens:
        raise OptionError(f"start={start:g}: nothing is said in this window")

    n_frames = min(N_FRAMES, content.n_frames - seek)
    cross = model.cross_kv(model.encode(content.window(seek, n_frames)[None]))  # (1, M, F) -> (1, T, D)
    chosen = list(chosen_heads(model, heads) or model.alignment_heads)
    scores, _ = forced_scores(model, tokenizer, tokens, cross, heads=chosen)
    weights = alignment_weights(scores, len(tokenizer.sot_sequence), n_frames)  # (H, n_text + 1, T)
    weights = median_filter(weights, MEDFILT_WIDTH)
    _, word_tokens = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    labels = [tokenizer.decode_with_timestamps([token]) for token in tokens] + ["end"]
    bounds = np.cumsum([0, *(len(ids) for ids in word_tokens)])
    _draw(figure, weights, labels, bounds, start, chosen)
    return figure


def _draw(
    figure: Figure,
    weights: np.ndarray,
    labels: list[str],
    bounds: np.ndarray,
    start: float,
    heads: list[tuple[int, int]],
) -> None:
    mean = weights.mean(axis=0)
    path_rows, path_steps = dtw(-mean)
    n_tokens, n_steps = mean.shape
    shown = heads[:MAX_HEADS] if len(heads) > 1 else []
    head_rows = -(-len(shown) // HEADS_PER_ROW)
    main_height = min(max(3.0, 0.17 * n_tokens + 0.8), 14.0)
    figure.set_size_inches(WIDTH, main_height + HEAD_HEIGHT * head_rows)
    main, *small = _panels(figure, main_height, len(shown), head_rows)

    _image(main, mean, start)
    seconds = start + path_steps / TOKENS_PER_SECOND
    main.step(seconds, path_rows, where="post", color=ACCENT, linewidth=1.6, label="path of dynamic time warping")
    starts = seconds[np.diff(path_rows, prepend=-1) > 0]  # of each row
    for row in bounds[1:-1]:
        main.hlines(row - 0.5, start, start + n_steps / TOKENS_PER_SECOND, colors="white", linewidth=0.3, alpha=0.6)
        main.vlines(starts[row], row - 0.5, n_tokens - 0.5, colors=ACCENT, linewidth=0.5, alpha=0.5, linestyles=":")
    size = float(np.clip(72 * (main_height - 0.8) / n_tokens * 0.75, 4, 10))
    main.set_yticks(range(n_tokens), [label.replace(" ", "\u00b7") for label in labels])
    for label in main.get_yticklabels():
        label.set(fontsize=size, family=fonts(), parse_math=False)
    main.tick_params(axis="x", labelsize=8)
    main.set_xlabel("seconds", fontsize=9, color=INK)
    layer, head = heads[0]
    of = f"mean of {len(heads)} heads" if len(heads) > 1 else f"decoder layer {layer}, head {head}"
    main.set_title(f"Attention of each token: {of}", fontsize=10, loc="left", color=INK)
    main.legend(loc="upper right", fontsize=8, frameon=True, framealpha=0.85, edgecolor="none")
    for ax, (layer, head), weight in zip(small, shown, weights, strict=False):
        _image(ax, weight, start)
        ax.plot(seconds, path_rows, color=ACCENT, linewidth=0.7, alpha=0.8)
        ax.set_yticks([])
        ax.set_title(f"decoder layer {layer}, head {head}", fontsize=8, color=INK)
        ax.tick_params(axis="x", labelsize=7)
    if len(heads) > MAX_HEADS:
        small[-1].set_xlabel(f"{MAX_HEADS} of {len(heads)} heads", fontsize=8, color=FAINT)


def _panels(figure: Figure, main_height: float, n_small: int, n_rows: int) -> list[Any]:
    if not n_small:
        return [figure.subplots()]
    panels: Any = figure.subfigures(2, 1, height_ratios=[main_height, HEAD_HEIGHT * n_rows])
    upper, lower = panels
    main = upper.subplots()
    columns = min(n_small, HEADS_PER_ROW)
    small = lower.subplots(n_rows, columns, squeeze=False).ravel().tolist()
    for ax in small[n_small:]:
        ax.set_visible(False)
    return [main, *small[:n_small]]


def _image(ax: Any, weights: np.ndarray, start: float) -> None:
    n_tokens, n_steps = weights.shape
    # Most is near the least; the few cells that stand out decide.
    low, high = np.quantile(weights, [0.5, 0.998])
    ax.imshow(
        weights, aspect="auto", cmap="Blues", interpolation="nearest", vmin=low, vmax=max(high, low + 1e-6),
        extent=(start, start + n_steps / TOKENS_PER_SECOND, n_tokens - 0.5, -0.5),
    )  # fmt: skip
    bare(ax)
