"""Which language is spoken in a window.

In: model, tokenizer, cross keys and values of A windows. Out: the probability of every language, per window.
Knows nothing of: search; thresholds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whisperlite.decode.protocols import DecoderModel, DecoderTokenizer
from whisperlite.errors import OptionError


def detect_language(
    model: DecoderModel, tokenizer: DecoderTokenizer, cross: Any, n_audio: int
) -> list[dict[str, float]]:
    """Probabilities of all languages after the start-of-transcript token alone.

    Parameters
    ----------
    model, tokenizer
    cross : CrossKV
        Of ``n_audio`` windows.
    n_audio : int

    Returns
    -------
    list of dict
        Code to probability, most probable first; each sums to 1.

    Raises
    ------
    OptionError
        The model is English-only.
    """
    # ref: openai/whisper decoding.py detect_language
    if not model.is_multilingual:
        raise OptionError("language detection needs a multilingual model; this one is English-only")
    start = np.full((n_audio, 1), tokenizer.sot, dtype=np.int32)
    logits = model.prefill(start, model.new_cache(n_audio), cross, logits_at=(-1,))[:, 0]  # (A, V)
    spoken = logits[:, list(tokenizer.all_language_tokens)].astype(np.float64)
    spoken = np.exp(spoken - spoken.max(axis=-1, keepdims=True))
    spoken /= spoken.sum(axis=-1, keepdims=True)
    codes = tokenizer.all_language_codes
    return [{codes[i]: float(row[i]) for i in np.argsort(-row, kind="stable")} for row in spoken]  # (A, languages)
