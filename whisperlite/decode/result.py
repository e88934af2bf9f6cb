"""What decoding a window returns.

In: tokens, text, log-probabilities. Out: ``DecodingResult``; the compression ratio of a text.
Knows nothing of: how they were found.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from whisperlite.decode.options import DecodingOptions
from whisperlite.results import Alternatives, DraftUse


@dataclass(frozen=True)
class DecodingResult:
    """One decoded window.

    Attributes
    ----------
    language : str
        Given, or the most probable one.
    language_probs : dict or None
        Probability of every language, where the language was detected.
    tokens : tuple of int
        Sampled ids, timestamps included, up to but not including the end token.
    text : str
        Stripped text of the tokens.
    avg_logprob : float
        Sum of the tokens' log-probabilities (the end token included) over ``len(tokens) + 1``.
    no_speech_prob : float
        Probability of the no-speech token at the start-of-transcript position, before any rule.
    temperature : float
        Used in sampling.
    compression_ratio : float
        Bytes of the text over bytes of its zlib form: high where the text repeats itself.
    options : DecodingOptions
        What it was decoded with.
    alternatives : tuple of Alternatives, or None where they were not asked for
        One for each token and one for the end token; that one is missing where the text was cut at its greatest
        length.
    draft : DraftUse, or None where there is no draft model
    """

    language: str
    language_probs: dict[str, float] | None
    tokens: tuple[int, ...]
    text: str
    avg_logprob: float
    no_speech_prob: float
    temperature: float
    compression_ratio: float
    options: DecodingOptions
    alternatives: tuple[Alternatives, ...] | None = None
    draft: DraftUse | None = None


def compression_ratio(text: str) -> float:
    """Bytes of ``text`` in UTF-8 over bytes of its zlib form; 0 for an empty text."""
    encoded = text.encode("utf-8")
    return len(encoded) / len(zlib.compress(encoded))
