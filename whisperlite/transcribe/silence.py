"""Whether a decoded window counts as silent.

In: the result of a window, thresholds. Out: the rule that skips it, with its figures.
Knows nothing of: audio, segments.
"""

from __future__ import annotations

from whisperlite.decode import DecodingResult, FallbackOptions


def silence(result: DecodingResult, fallback: FallbackOptions) -> str | None:
    """Why a window counts as silent, or None."""
    # ref: openai/whisper transcribe.py, no voice activity check
    limit, logprob_limit = fallback.no_speech_threshold, fallback.logprob_threshold
    if limit is None or not result.no_speech_prob > limit:
        return None
    reason = f"no_speech_prob {result.no_speech_prob:.2f} > {limit:g}"
    if logprob_limit is None:
        return reason
    if result.avg_logprob > logprob_limit:
        return None
    return f"{reason}, avg_logprob {result.avg_logprob:.2f} <= {logprob_limit:g}"
