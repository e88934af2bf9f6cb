"""Whether two models hear the same: one's audio features then serve both.

In: two models. Out: a bool. Knows nothing of: what is done with the features.
"""

from __future__ import annotations

import numpy as np

from whisperlite.model.whisper import Whisper

_SIZES = ("n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer")


def same_encoder(model: Whisper, other: Whisper) -> bool:
    """Whether the encoders have the same sizes and, weight for weight, the same values as they are kept."""
    if model is other:
        return True
    if any(getattr(model.dims, name) != getattr(other.dims, name) for name in _SIZES):
        return False
    own, its = model.program_of("encoder"), other.program_of("encoder")
    for node, entry in own.plan.graph:
        if entry.op != "weight":
            continue
        parts, (mine, theirs) = entry.attrs["parts"], (own.plan.buffers[node], its.plan.buffers[node])
        if mine.dtype != theirs.dtype or not np.array_equal(
            own.weights.array(parts, mine.shape, mine.dtype), its.weights.array(parts, theirs.shape, theirs.dtype)
        ):
            return False
    return True
