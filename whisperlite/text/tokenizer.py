"""A vocabulary seen through one language and one task.

In: ``Vocabulary``, language, task. Out: ``Tokenizer``: ids in OpenAI's terms, text to ids and back, words.
Knows nothing of: files, checkpoints, decoding rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from whisperlite.errors import OptionError
from whisperlite.text.languages import SPACELESS, language_code
from whisperlite.text.vocabulary import Vocabulary
from whisperlite.text.words import Words, split_on_characters, split_on_spaces

TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class Tokenizer:
    """Light and immutable: make one per language and task with :func:`tokenizer_for` or :meth:`with_options`.

    ``language`` is a code and ``task`` one of ``TASKS``; both are None for an English-only vocabulary.
    """

    vocabulary: Vocabulary
    language: str | None = None
    task: str | None = None

    def with_options(self, language: str | None, task: str | None = None) -> Tokenizer:
        """The same vocabulary for another language and task."""
        return tokenizer_for(self.vocabulary, language, task)

    @property
    def n_vocab(self) -> int:
        return self.vocabulary.n_vocab

    @property
    def num_languages(self) -> int:
        return self.vocabulary.num_languages

    @property
    def is_multilingual(self) -> bool:
        return self.vocabulary.is_multilingual

    @property
    def special_tokens(self) -> dict[str, int]:
        return self.vocabulary.special_tokens

    @property
    def eot(self) -> int:
        return self.vocabulary.eot

    @property
    def sot(self) -> int:
        return self.special_tokens["<|startoftranscript|>"]

    @property
    def translate(self) -> int:
        return self.special_tokens["<|translate|>"]

    @property
    def transcribe(self) -> int:
        return self.special_tokens["<|transcribe|>"]

    @property
    def sot_lm(self) -> int:
        return self.special_tokens["<|startoflm|>"]

    @property
    def sot_prev(self) -> int:
        return self.special_tokens["<|startofprev|>"]

    @property
    def no_speech(self) -> int:
        return self.special_tokens["<|nospeech|>"]

    @property
    def no_timestamps(self) -> int:
        return self.special_tokens["<|notimestamps|>"]

    @property
    def timestamp_begin(self) -> int:
        return self.vocabulary.timestamp_begin

    @property
    def sot_sequence(self) -> tuple[int, ...]:
        """sot, then language and task where they are set."""
        sequence = [self.sot]
        if self.language is not None:
            sequence.append(self.to_language_token(self.language))
        if self.task is not None:
            sequence.append(self.transcribe if self.task == "transcribe" else self.translate)
        return tuple(sequence)

    @property
    def sot_sequence_including_notimestamps(self) -> tuple[int, ...]:
        return (*self.sot_sequence, self.no_timestamps)

    @property
    def language_token(self) -> int:
        """Id of this tokenizer's language.

        Raises
        ------
        OptionError
            It has none.
        """
        if self.language is None:
            raise OptionError("this tokenizer has no language; with_options(language) gives one that has.")
        return self.to_language_token(self.language)

    def to_language_token(self, language: str) -> int:
        """Id of a language given by code or name.

        Raises
        ------
        OptionError
            Whisper, or this model, does not know the language.
        """
        return self.vocabulary.language_token(language)

    @property
    def all_language_codes(self) -> tuple[str, ...]:
        """Codes of the model's languages, in the order of their ids."""
        return self.vocabulary.language_codes

    @property
    def all_language_tokens(self) -> tuple[int, ...]:
        """Ids of the model's languages, ascending."""
        return tuple(range(self.sot + 1, self.sot + 1 + self.num_languages))

    @property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """What ``suppress_tokens="-1"`` stands for, ascending."""
        return self.vocabulary.non_speech_tokens

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens: ``"<|en|>"`` is text too."""
        return self.vocabulary.encode(text)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of the ids below ``timestamp_begin``; special tokens among them appear by name, as upstream.

        Raises
        ------
        TokenizerError
            An id is not in the vocabulary.
        """
        return self.vocabulary.decode(token for token in tokens if token < self.timestamp_begin)

    def decode_with_timestamps(self, tokens: Iterable[int]) -> str:
        """Text of the ids, timestamps as ``<|1.08|>``.

        Raises
        ------
        TokenizerError
            An id is not in the vocabulary.
        """
        return self.vocabulary.decode(tokens)

    def split_to_word_tokens(self, tokens: Sequence[int]) -> Words:
        """Words and the ids of each; languages written without spaces split between characters.

        Returns
        -------
        (list of str, list of list of int)
            A word carries its leading space. Joined, the ids are ``tokens``.
        """
        if self.language in SPACELESS:
            return split_on_characters(tokens, self.decode_with_timestamps)
        return split_on_spaces(tokens, self.decode_with_timestamps, self.eot)


def tokenizer_for(vocabulary: Vocabulary, language: str | None = None, task: str | None = None) -> Tokenizer:
    """A vocabulary with language and task; by default English and transcribe.

    An English-only vocabulary has neither; it takes ``en`` and ``transcribe`` as what it does anyway.
    ref: openai/whisper tokenizer.py get_tokenizer

    Raises
    ------
    OptionError
        The language or task is unknown, or not this model's.
    """
    if task is not None and task not in TASKS:
        raise OptionError(f"task is {task!r}; give {' or '.join(TASKS)}.")
    code = None if language is None else language_code(language)
    if vocabulary.is_multilingual:
        vocabulary.language_token(code or "en")
        return Tokenizer(vocabulary, code or "en", task or "transcribe")
    if code not in (None, "en") or task == "translate":
        asked = f"language {code!r}" if code not in (None, "en") else "task 'translate'"
        raise OptionError(f"{asked} needs a multilingual model; this one is English-only.")
    return Tokenizer(vocabulary)
