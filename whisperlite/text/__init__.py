"""Text and tokens: vocabularies, languages, words.

In: text or token ids. Out: token ids or text.
Knows nothing of: audio, models, decoding.
"""

from whisperlite.text.languages import LANGUAGES, TO_LANGUAGE_CODE, language_code
from whisperlite.text.load import load_tokenizer, load_vocabulary
from whisperlite.text.tokenizer import TASKS, Tokenizer, tokenizer_for
from whisperlite.text.vocabulary import Vocabulary

__all__ = [
    "LANGUAGES",
    "TASKS",
    "TO_LANGUAGE_CODE",
    "Tokenizer",
    "Vocabulary",
    "language_code",
    "load_tokenizer",
    "load_vocabulary",
    "tokenizer_for",
]
