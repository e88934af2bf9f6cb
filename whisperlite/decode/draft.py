"""A draft model: a smaller one that proposes tokens for the model to check; whether it fits, and when it helps.

In: two models, options. Out: ``DraftModel``, ``Draft``.
Knows nothing of: how proposals are made and checked (``speculative.py``), how many (``draft_length.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from whisperlite.decode.draft_length import DraftHistory
from whisperlite.decode.options import DecodingOptions
from whisperlite.decode.protocols import DecoderModel, ModelDims
from whisperlite.errors import OptionError

AUDIO_POSITIONS = 1500


@dataclass(frozen=True)
class DraftModel:
    """A model that drafts for another.

    Attributes
    ----------
    model : DecoderModel
    shares_encoder : bool
        Its encoder is the other's, weight for weight: audio features of one are those of both.
    history : DraftHistory
        What it cost and how many of its tokens were accepted so far: kept from window to window, never a part of
        what is decoded.
    """

    model: DecoderModel
    shares_encoder: bool
    history: DraftHistory


@dataclass(frozen=True)
class Draft:
    """A draft model and what it hears of the windows.

    Attributes
    ----------
    by : DraftModel
    features : float32 (A, T, D), callable or None
        Audio features, or what gives them when the draft is first used; None where it has not heard the audio.
    """

    by: DraftModel
    features: np.ndarray | Callable[[], np.ndarray] | None

    def heard(self) -> np.ndarray:
        """Audio features (A, T, D) of all windows."""
        assert self.features is not None, "the draft has heard nothing"
        return self.features() if callable(self.features) else self.features

    def of(self, audios: Sequence[int]) -> Draft:
        """The same of some of the windows."""
        if self.features is None:
            return self
        if callable(self.features):
            return Draft(self.by, lambda: self.heard()[list(audios)])
        return Draft(self.by, self.features[list(audios)])


def make_draft_model(
    model: DecoderModel,
    draft: DecoderModel,
    shares_encoder: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> DraftModel:
    """A draft model, checked.

    Parameters
    ----------
    model, draft : DecoderModel
    shares_encoder : bool
    clock : callable
        Seconds, by which passes of both are weighed.

    Raises
    ------
    OptionError
        Sizes that both must share differ.
    """
    for name, meaning in (
        ("n_vocab", "ids of tokens"),
        ("n_mels", "mel bands"),
        ("n_audio_ctx", "audio positions"),
    ):
        own, other = getattr(model.dims, name), getattr(draft.dims, name)
        if own != other:
            raise OptionError(f"draft: it has {other} {meaning}; the model has {own}; give a draft with the same")
    if draft.dims.n_text_ctx < model.dims.n_text_ctx:
        raise OptionError(
            f"draft: it holds {draft.dims.n_text_ctx} tokens; the model holds {model.dims.n_text_ctx}; "
            "give a draft that holds as many"
        )
    step_cost = step_reads(draft.dims) / step_reads(model.dims)
    return DraftModel(draft, shares_encoder, DraftHistory(step_cost, clock))


def step_reads(dims: ModelDims) -> int:
    """Numbers that a decoder step reads: token embedding, weights of each layer, keys and values of the audio."""
    weights = 14 * dims.n_text_state**2  # self-attention 4, cross-attention 2, the two of the MLP 8
    return dims.n_text_state * (
        dims.n_vocab + dims.n_text_layer * (weights // dims.n_text_state + 2 * AUDIO_POSITIONS)
    )


def not_used_because(options: DecodingOptions) -> str:
    """Why a draft cannot help with these options; empty where it can."""
    if options.draft_tokens == 0:
        return "draft_tokens 0"
    if options.temperature > 0:
        return f"temperature {options.temperature:g}"
    if (options.beam_size or 1) > 1:
        return f"beam_size {options.beam_size}"
    return ""
