"""The Whisper model: graphs, caches, and the object that runs them.

In: a ``Checkpoint``. Out: ``Whisper``: audio features, cross K/V, logits.
Knows nothing of: tokens' meaning, search, audio.
"""

from whisperlite.model.cache import CrossKV, KVCache
from whisperlite.model.dtypes import COMPUTE_TYPES
from whisperlite.model.whisper import Whisper

__all__ = ["COMPUTE_TYPES", "CrossKV", "KVCache", "Whisper"]
