"""A draft model: a smaller one that proposes tokens for the model to check; how many, and when.

In: two models, options, what became of earlier proposals. Out: ``DraftModel``, ``Draft``, ``DraftLength``.
Knows nothing of: how proposals are made and checked (``speculative.py``), vocabularies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whisperlite.decode.options import DecodingOptions
from whisperlite.decode.protocols import DecoderModel, ModelDims
from whisperlite.errors import OptionError

MAX_DRAFT_TOKENS = 12
# What one more row costs the model, as a part of a step: 0.07 to 0.15 in tiny, base and small on one core.
ROW_COST = 0.1
# What is believed before anything is known: this part of so many tokens was accepted.
PRIOR_ACCEPTED, PRIOR_TESTED = 0.8, 5.0
AUDIO_POSITIONS = 1500


@dataclass(frozen=True)
class DraftModel:
    """A model that drafts for another.

    Attributes
    ----------
    model : DecoderModel
    shares_encoder : bool
        Its encoder is the other's, weight for weight: audio features of one are those of both.
    step_cost : float
        A step of the draft as a part of a step of the model.
    """

    model: DecoderModel
    shares_encoder: bool
    step_cost: float


@dataclass(frozen=True)
class Draft:
    """A draft model and what it hears of the windows: audio features (A, T, D); None where it was not asked."""

    by: DraftModel
    features: np.ndarray | None

    def of(self, audios: Sequence[int]) -> Draft:
        """The same of some of the windows."""
        return self if self.features is None else Draft(self.by, self.features[list(audios)])


def make_draft_model(model: DecoderModel, draft: DecoderModel, shares_encoder: bool = False) -> DraftModel:
    """A draft model, checked.

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
    return DraftModel(draft, shares_encoder, step_reads(draft.dims) / step_reads(model.dims))


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


class DraftLength:
    """How many tokens to draft next.

    Parameters
    ----------
    step_cost : float
        A step of the draft as a part of a step of the model.
    fixed : int or None
        Always so many; None weighs what a round is expected to give against what it costs.

    Notes
    -----
    With tokens accepted independently with probability p, a round of k drafts gives ``(1 - p**(k+1)) / (1 - p)``
    tokens (Leviathan et al., arXiv:2211.17192) and costs ``1 + k * (step_cost + ROW_COST)`` steps. p is estimated
    from the rounds so far. Where no k gives more than one token for the cost of a step, the length is 0.
    """

    def __init__(self, step_cost: float, fixed: int | None = None) -> None:
        self._fixed = fixed
        self._costs = 1 + np.arange(MAX_DRAFT_TOKENS + 1) * (step_cost + ROW_COST)
        self._accepted, self._tested = PRIOR_ACCEPTED * PRIOR_TESTED, PRIOR_TESTED

    def note(self, accepted: int, tested: int) -> None:
        """Of ``tested`` drafted tokens that the model came to, ``accepted`` were its own choice."""
        self._accepted += accepted
        self._tested += tested

    @property
    def acceptance(self) -> float:
        """The estimate of p."""
        return self._accepted / self._tested

    def next(self) -> int:
        if self._fixed is not None:
            return self._fixed
        gained = np.cumsum(self.acceptance ** np.arange(MAX_DRAFT_TOKENS + 1))
        return int(np.argmax(gained / self._costs))
