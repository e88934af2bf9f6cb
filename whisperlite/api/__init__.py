"""``WhisperModel``, the public model.

In: a model name or path, audio. Out: transcripts, or each stage's arrays.
Knows nothing of: command lines, output files.
"""

from whisperlite.api.model import WhisperModel

__all__ = ["WhisperModel"]
