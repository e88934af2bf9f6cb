"""Options of decoding one window.

In: values by OpenAI's names, and those of faster-whisper and whisper.cpp where OpenAI has none.
Out: frozen records, checked.
Knows nothing of: models; what depends on one is checked where the model is known (``prompt.py``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from whisperlite.decode.gbnf import Grammar, parse_grammar
from whisperlite.errors import OptionError

TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class RuleOptions:
    """What is done to the logits beyond OpenAI's rules.

    Attributes
    ----------
    repetition_penalty : float
        Divides the logits of tokens sampled before (CTranslate2); 1 does nothing.
    no_repeat_ngram_size : int
        No n-gram of this many tokens comes twice (CTranslate2); 0 sets no limit.
    suppress_regex : str or None
        Tokens whose whole text matches are never sampled (whisper.cpp).
    grammar : str, Grammar or None
        GBNF that the text of each window follows (whisper.cpp); see ``parse_grammar``.
    grammar_rule : str
        The rule of the grammar it starts with.
    grammar_penalty : float
        Subtracted from the logits of tokens that lead out of the grammar; ``inf`` allows nothing else.
    logit_filters : callable, or sequence of them
        Called first, with logits (B, V) to change and the tokens sampled so far (B, U).

    Raises
    ------
    OptionError
        A value is out of range, or the grammar or the pattern cannot be read.
    """

    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppress_regex: str | None = None
    grammar: str | Grammar | None = None
    grammar_rule: str = "root"
    grammar_penalty: float = 100.0
    logit_filters: Sequence[Callable[..., Any]] = ()

    def __post_init__(self) -> None:
        if callable(self.logit_filters):
            object.__setattr__(self, "logit_filters", (self.logit_filters,))
        elif self.logit_filters is None:
            object.__setattr__(self, "logit_filters", ())
        else:
            object.__setattr__(self, "logit_filters", tuple(self.logit_filters))
        if self.no_repeat_ngram_size not in (None, 0):
            count("no_repeat_ngram_size", self.no_repeat_ngram_size)
        if self.suppress_regex is not None:
            try:
                re.compile(self.suppress_regex)
            except (re.error, TypeError) as error:
                raise OptionError(
                    f"suppress_regex={self.suppress_regex!r}: {error}; give a regular expression"
                ) from None
        self.parsed_grammar()

    def parsed_grammar(self) -> Grammar | None:
        """The grammar, read."""
        if isinstance(self.grammar, str):
            return parse_grammar(self.grammar, self.grammar_rule)
        return self.grammar


@dataclass(frozen=True)
class DecodingOptions:
    """How one 30-second window is decoded. Names, defaults and meaning are OpenAI's.

    Attributes
    ----------
    task : str
        ``transcribe``, or ``translate`` (into English).
    language : str or None
        Code such as ``en``; None detects it per window.
    temperature : float
        0 takes the most probable token (or beam); above 0 samples.
    sample_len : int or None
        Most tokens to sample; None is half the text context (224).
    best_of : int or None
        Independent samples, at a temperature above 0; the best ranked one is kept.
    beam_size : int or None
        Beams, at temperature 0.
    patience : float or None
        Beam search ends after ``round(beam_size * patience)`` finished beams; None is 1.
    length_penalty : float or None
        Exponent (0 to 1) of the length penalty in ranking; None ranks by the mean log-probability.
    prompt : str, sequence of int, or None
        Text or tokens that came before; its last 223 tokens are used.
    prefix : str, sequence of int, or None
        Text or tokens the window begins with.
    suppress_tokens : str, sequence of int, or None
        Ids never sampled; -1 stands for the symbols that are not speech. The special tokens that
        cannot be part of a transcript are always added, unless this is None or empty.
    suppress_blank : bool
        Mask a space and the end at the first sampled position.
    without_timestamps : bool
        Sample text only.
    max_initial_timestamp : float or None
        The first timestamp is not later (seconds). None and 0 set no limit.
    seed : int
        Of the random numbers at a temperature above 0: same seed, same result.
    hotwords : str or None
        Words to expect, put before the prompt (faster-whisper); with a prefix they are not used.
    alternatives : int or None
        Keep the log-probability and the entropy of each token, and this many of the most probable tokens there.
    draft_tokens : int or None
        Tokens that the draft model proposes at a time; None: as many as pay, by what passes cost; 0: none.
    rules : RuleOptions
        Further rules on logits.

    Raises
    ------
    OptionError
        A value is out of range or two options contradict each other.
    """

    task: str = "transcribe"
    language: str | None = None
    temperature: float = 0.0
    sample_len: int | None = None
    best_of: int | None = None
    beam_size: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    prompt: str | Sequence[int] | None = None
    prefix: str | Sequence[int] | None = None
    suppress_tokens: str | Sequence[int] | None = "-1"
    suppress_blank: bool = True
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0
    seed: int = 0
    hotwords: str | None = None
    alternatives: int | None = None
    draft_tokens: int | None = None
    rules: RuleOptions = field(default_factory=RuleOptions)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise OptionError(f"task={self.task!r}: give one of {', '.join(TASKS)}")
        number("temperature", self.temperature, low=0.0)
        for name in ("sample_len", "best_of", "beam_size"):
            count(name, getattr(self, name))
        if self.draft_tokens != 0 or isinstance(self.draft_tokens, bool):
            count("draft_tokens", self.draft_tokens)
        number("length_penalty", self.length_penalty, low=0.0, high=1.0)
        number("max_initial_timestamp", self.max_initial_timestamp, low=0.0)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise OptionError(f"seed={self.seed!r}: give an integer that is not negative")
        if self.hotwords is not None and not isinstance(self.hotwords, str):
            raise OptionError(f"hotwords={self.hotwords!r}: give text")
        self._check_search()
        object.__setattr__(self, "suppress_tokens", self._suppressed_ids())

    def _check_search(self) -> None:
        # ref: openai/whisper decoding.py DecodingTask._verify_options
        if self.beam_size is not None and self.best_of is not None:
            raise OptionError(
                f"beam_size={self.beam_size} with best_of={self.best_of}: give one of them; "
                "beam_size is for temperature 0, best_of for temperatures above"
            )
        if self.best_of is not None and self.temperature == 0:
            raise OptionError(f"best_of={self.best_of} needs a temperature above 0; it is 0")
        if self.beam_size is not None and self.temperature > 0:
            raise OptionError(
                f"beam_size={self.beam_size} needs temperature 0; it is {self.temperature}; use best_of there"
            )
        if self.patience is not None:
            number("patience", self.patience, low=0.0)
            if self.beam_size is None:
                raise OptionError(f"patience={self.patience} needs beam_size")
            if self.patience and round(self.beam_size * self.patience) < 1:
                raise OptionError(
                    f"patience={self.patience} of beam_size={self.beam_size} ends the search before it starts; "
                    f"give at least {1 / self.beam_size:.2f}"
                )

    def _suppressed_ids(self) -> tuple[int, ...]:
        given = self.suppress_tokens
        if given is None or given == "":
            return ()
        try:
            parts = given.split(",") if isinstance(given, str) else given
            return tuple(int(part) for part in parts)
        except (TypeError, ValueError):
            raise OptionError(
                f"suppress_tokens={given!r}: give token ids, as a list or separated by commas"
            ) from None


@dataclass(frozen=True)
class WindowInput:
    """What one of the windows decoded together is told that the others are not.

    Attributes
    ----------
    prompt : str, sequence of int, or None
        None is the options' prompt.
    language : str or None
        None is the options' language.
    key : int
        Mixed into the seed: windows with different keys draw different random numbers.
    """

    prompt: str | Sequence[int] | None = None
    language: str | None = None
    key: int = 0


RULE_NAMES = tuple(item.name for item in fields(RuleOptions))
DECODING_NAMES = tuple(item.name for item in fields(DecodingOptions) if item.name != "rules")


def make_decoding_options(**given: Any) -> DecodingOptions:
    """Options from flat names, those of ``RuleOptions`` among them. ``max_new_tokens`` is ``sample_len``.

    Raises
    ------
    OptionError
        A name is unknown, or a value cannot be honoured.
    """
    if (most := given.pop("max_new_tokens", None)) is not None:
        if given.get("sample_len", most) not in (None, most):
            raise OptionError(f"max_new_tokens={most} with sample_len={given['sample_len']}: give one of them")
        given["sample_len"] = most
    rules = {name: given.pop(name) for name in RULE_NAMES if name in given}
    if unknown := set(given) - {*DECODING_NAMES, "rules"}:
        names = ", ".join((*DECODING_NAMES, *RULE_NAMES))
        raise OptionError(f"{min(unknown)} is not an option; give one of {names}")
    if rules:
        if "rules" in given:
            raise OptionError(f"rules=RuleOptions(...) with {min(rules)}: give one of them")
        given["rules"] = RuleOptions(**rules)
    return DecodingOptions(**given)


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise ``OptionError`` unless ``value`` is None or a finite number from low to high."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise OptionError(f"{name}={value!r}: give a number")
    if not low <= value <= high:
        limit = f"at least {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}"
        raise OptionError(f"{name}={value!r}: give {limit}")


def count(name: str, value: object) -> None:
    """Raise ``OptionError`` unless ``value`` is None or an integer of at least 1."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{name}={value!r}: give an integer of at least 1")
