"""From audio features to tokens: options, prompt, rules, search, fallback.

In: a model, a tokenizer, audio features. Out: one ``DecodingResult`` per window.
Knows nothing of: files, windows of a long audio, segments.
"""

from whisperlite.decode.fallback import FallbackOptions, decode_with_fallback
from whisperlite.decode.language import detect_language
from whisperlite.decode.options import DecodingOptions
from whisperlite.decode.result import DecodingResult, compression_ratio
from whisperlite.decode.search import decode

__all__ = [
    "DecodingOptions",
    "DecodingResult",
    "FallbackOptions",
    "compression_ratio",
    "decode",
    "decode_with_fallback",
    "detect_language",
]
