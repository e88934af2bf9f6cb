"""Which language is spoken in a window.

In: model, tokenizer, cross keys and values of A windows. Out: the probability of every language, per window.
Knows nothing of: search, audio.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def choose_language(windows: Iterable[dict[str, float]], threshold: float | None) -> dict[str, float]:
    """The probabilities that decide the language of an audio.

    Parameters
    ----------
    windows : iterable of dict
        Code to probability, most probable first, for each window; no more are asked for than are needed.
    threshold : float or None
        The first window whose most probable language is more probable decides; None: the first one decides.

    Returns
    -------
    dict
        Where no window passes the threshold: of the language that most windows have in front (the first such where
        several have as many), the window that is surest of it.
    """
    # ref: SYSTRAN/faster-whisper transcribe.py detect_language
    votes: dict[str, list[dict[str, float]]] = {}
    for found in windows:
        language = next(iter(found))
        if threshold is None or found[language] > threshold:
            return found
        votes.setdefault(language, []).append(found)
    language = max(votes, key=lambda code: len(votes[code]))
    return max(votes[language], key=lambda found: found[language])
