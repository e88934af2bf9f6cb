"""What a chunk of audio must be.

In: an array somebody pushed. Out: the samples, or a refusal.
Knows nothing of: what the samples are for.
"""

from __future__ import annotations

import numpy as np

from whisperlite.errors import AudioError


def checked_samples(samples: np.ndarray) -> np.ndarray:
    """The samples as dense float32 (n,), not copied where they are that already.

    Raises
    ------
    AudioError
        Not one axis of floats; NaN or infinite values.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise AudioError(
            f"audio is {samples.dtype} of shape {samples.shape}; give (n,) float32: pass files through load_audio"
        )
    samples = np.ascontiguousarray(samples, np.float32)
    if not np.isfinite(samples).all():
        raise AudioError(f"{len(samples)} samples hold NaN or infinite ones; repair or drop them")
    return samples
