"""From samples to segments: windows, prompts, the loop.

In: a model, a tokenizer, samples. Out: ``Window`` and ``Segment`` records as they are decoded.
Knows nothing of: files, output formats, how tokens are searched.
"""

from whisperlite.transcribe.loop import transcribe_windows
from whisperlite.transcribe.options import PromptOptions, TranscribeOptions, WindowOptions, make_options
from whisperlite.transcribe.transcript import Transcript

__all__ = [
    "PromptOptions",
    "TranscribeOptions",
    "Transcript",
    "WindowOptions",
    "make_options",
    "transcribe_windows",
]
