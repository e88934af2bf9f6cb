"""``whisper.transcribe``.

In: a model, audio, options. Out: its dictionary. Knows nothing of: windows, search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from whisperlite.text import LANGUAGES

if TYPE_CHECKING:
    from whisperlite.compat.openai.model import Whisper


def transcribe(model: Whisper, audio: Any, *, verbose: bool | None = None, **options: Any) -> dict[str, Any]:
    """Transcribe a file or samples at 16 kHz.

    ``fp16`` is taken and has no meaning; ``hallucination_silence_threshold`` has none without
    ``word_timestamps``, as there. Options that only whisperlite has are taken too.

    Returns
    -------
    dict
        ``text``, ``segments``, ``language``.
    """
    options.pop("fp16", None)
    options.pop("prompt", None)  # overwritten by each window's own, as there
    if not options.get("word_timestamps"):
        options.pop("hallucination_silence_threshold", None)
    source = audio if isinstance(audio, str) or not hasattr(audio, "__array__") else np.asarray(audio)
    transcript = model.whisperlite.transcribe(source, verbose=verbose, **options)
    if verbose is not None and transcript.language_probs is not None:
        print(f"Detected language: {LANGUAGES[transcript.language].title()}")
    return transcript.to_dict()
