"""Trying hotter temperatures until a window's result is believable.

In: model, features of A windows, decoding and fallback options. Out: per window the result kept and
every ``Attempt``. Knows nothing of: audio, seek, segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from whisperlite.decode.draft import Draft
from whisperlite.decode.options import DecodingOptions, WindowInput, count, number
from whisperlite.decode.protocols import DecoderModel, DecoderTokenizer
from whisperlite.decode.result import DecodingResult
from whisperlite.decode.search import decode
from whisperlite.errors import OptionError
from whisperlite.results import Attempt


@dataclass(frozen=True)
class FallbackOptions:
    """When a result is not believed, and what is tried next. Names and defaults are OpenAI's.

    Attributes
    ----------
    temperatures : tuple of float
        Tried in this order.
    compression_ratio_threshold : float or None
        Above it the text repeats itself too much.
    logprob_threshold : float or None
        Below it the mean log-probability is too low.
    no_speech_threshold : float or None
        Above it, and with too low a mean log-probability, the window is silent: nothing hotter is tried.
    best_of : int or None
        Independent samples at the temperatures above 0 (beam size and patience hold at 0).
    """

    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    best_of: int | None = None

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise OptionError("temperature=(): give at least one temperature")
        for temperature in self.temperatures:
            if temperature is None:
                raise OptionError("temperature=None: give a number, or several")
            number("temperature", temperature, low=0.0)
        number("compression_ratio_threshold", self.compression_ratio_threshold)
        number("logprob_threshold", self.logprob_threshold)
        number("no_speech_threshold", self.no_speech_threshold)
        count("best_of", self.best_of)
        if self.best_of is not None and not any(self.temperatures):
            raise OptionError(f"best_of={self.best_of} needs a temperature above 0; give temperature=(0, 0.2)")


@dataclass(frozen=True)
class Decoded:
    """The result kept for a window, and every try in order; the last one is the one kept."""

    result: DecodingResult
    attempts: tuple[Attempt, ...]


def decode_with_fallback(
    model: DecoderModel,
    tokenizer: DecoderTokenizer,
    features: np.ndarray,
    options: DecodingOptions,
    fallback: FallbackOptions,
    *,
    cross: Any = None,
    inputs: Sequence[WindowInput] | None = None,
    draft: Draft | None = None,
) -> list[Decoded]:
    """Decode windows, each at the first temperature that gives a result to believe, or at the last.

    Only the windows whose result was rejected are decoded again. ``options`` hold at temperature 0;
    above it beam size and patience give way to ``fallback.best_of``. See ``decode`` for the parameters.
    """
    # ref: openai/whisper transcribe.py decode_with_fallback
    n_audio = len(features)
    inputs = [WindowInput()] * n_audio if inputs is None else inputs
    attempts: list[list[Attempt]] = [[] for _ in range(n_audio)]
    kept: dict[int, DecodingResult] = {}
    cross = model.cross_kv(features) if cross is None else cross
    tried: list[int] = []
    waiting = list(range(n_audio))
    for temperature in fallback.temperatures:
        if tried and len(waiting) < len(tried):
            left = [tried.index(audio) for audio in waiting]
            features = features[left]
            cross = model.cross_kv(features)
            draft = draft and draft.of(left)
        tried = waiting
        at_temperature = _at_temperature(options, fallback, temperature)
        results = decode(
            model, tokenizer, features, at_temperature, cross=cross, inputs=[inputs[audio] for audio in tried],
            draft=draft,
        )  # fmt: skip
        waiting = []
        for audio, result in zip(tried, results, strict=True):
            rejected, verdict = judge(result, fallback)
            kept[audio] = result
            attempts[audio].append(_attempt(result, verdict))
            if rejected:
                waiting.append(audio)
        if not waiting:
            break
    return [Decoded(kept[audio], tuple(attempts[audio])) for audio in range(n_audio)]


def judge(result: DecodingResult, fallback: FallbackOptions) -> tuple[bool, str]:
    """Whether a result is rejected, and the rule that decided, with its figures."""
    ratio, ratio_limit = result.compression_ratio, fallback.compression_ratio_threshold
    logprob, logprob_limit = result.avg_logprob, fallback.logprob_threshold
    silence, silence_limit = result.no_speech_prob, fallback.no_speech_threshold
    reasons = []
    if ratio_limit is not None and ratio > ratio_limit:
        reasons.append(f"compression_ratio {ratio:.2f} > {ratio_limit:g}")
    if logprob_limit is not None and logprob < logprob_limit:
        reasons.append(f"avg_logprob {logprob:.2f} < {logprob_limit:g}")
        if silence_limit is not None and silence > silence_limit:
            return False, f"accepted as silence: no_speech_prob {silence:.2f} > {silence_limit:g}, {reasons[-1]}"
    if reasons:
        return True, "rejected: " + ", ".join(reasons)
    return False, "accepted"


def _at_temperature(options: DecodingOptions, fallback: FallbackOptions, temperature: float) -> DecodingOptions:
    if temperature > 0:
        return replace(options, temperature=temperature, beam_size=None, patience=None, best_of=fallback.best_of)
    return replace(options, temperature=temperature, best_of=None)


def _attempt(result: DecodingResult, verdict: str) -> Attempt:
    return Attempt(
        temperature=result.temperature,
        avg_logprob=result.avg_logprob,
        compression_ratio=result.compression_ratio,
        no_speech_prob=result.no_speech_prob,
        verdict=verdict,
        draft=result.draft,
    )
