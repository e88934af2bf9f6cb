"""From audio features to tokens: options, prompt, rules, search, fallback.

In: a model, a tokenizer, audio features. Out: one ``DecodingResult`` per window.
Knows nothing of: files, windows of a long audio, segments.
"""

from whisperlite.decode.draft import Draft, DraftModel, make_draft_model, not_used_because
from whisperlite.decode.fallback import FallbackOptions, decode_with_fallback
from whisperlite.decode.language import choose_language, detect_language
from whisperlite.decode.options import DecodingOptions, RuleOptions, WindowInput, make_decoding_options
from whisperlite.decode.result import DecodingResult, compression_ratio
from whisperlite.decode.search import decode

__all__ = [
    "DecodingOptions",
    "DecodingResult",
    "Draft",
    "DraftModel",
    "FallbackOptions",
    "RuleOptions",
    "WindowInput",
    "choose_language",
    "compression_ratio",
    "decode",
    "decode_with_fallback",
    "detect_language",
    "make_decoding_options",
    "make_draft_model",
    "not_used_because",
]
