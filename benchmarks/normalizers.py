"""Text normalisers for word error rates: OpenAI's English and basic ones, from the library whisper-normalizer.

In: a text. Out: the text without case, punctuation and spellings that are a matter of taste.
Knows nothing of: error rates. Needs ``pip install -e ".[bench]"``.
"""

from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

__all__ = ["BasicTextNormalizer", "EnglishTextNormalizer"]
