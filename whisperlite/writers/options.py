"""How text is laid out in an output.

In: options by OpenAI's names. Out: ``WriterOptions``.
Knows nothing of: formats.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisperlite.errors import OptionError

LIMITS = ("max_line_width", "max_line_count", "max_words_per_line")
WORD_OPTIONS = ("highlight_words", *LIMITS)  # these need the times of words


@dataclass(frozen=True)
class WriterOptions:
    """Layout of subtitles (srt, vtt, ass, lrc), and what is left out of every format but json and json-full.

    Attributes
    ----------
    highlight_words : bool
        Underline each word while it is said (srt, vtt); give each word its time (lrc).
    max_line_width : int or None
        Most characters of a line; a longer word has a line of its own.
    max_line_count : int or None
        Most lines of a cue; cues then follow the lines, not the segments. Needs ``max_line_width``.
    max_words_per_line : int or None
        Most words of a cue.
    hide_non_speech : bool
        Leave out what stands in brackets or between asterisks, ``[BLANK_AUDIO]``, ``(laughs)``, and notes.

    Raises
    ------
    OptionError
        A limit is below 1, or would have no effect.
    """

    highlight_words: bool = False
    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None
    hide_non_speech: bool = False

    def __post_init__(self) -> None:
        for name in LIMITS:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise OptionError(f"{name}={value!r}: give an integer of at least 1, or none")
        if self.max_line_count is not None and self.max_line_width is None:
            raise OptionError("max_line_count has no effect without max_line_width; give both")
        if self.max_line_count is not None and self.max_words_per_line is not None:
            raise OptionError("max_words_per_line has no effect with max_line_count; give one of them")

    @property
    def word_options(self) -> tuple[str, ...]:
        """Names of the options given that need the times of words."""
        return tuple(name for name in WORD_OPTIONS if getattr(self, name) not in (None, False))

    @property
    def follows_segments(self) -> bool:
        """Whether a cue holds words of one segment only."""
        return self.max_line_count is None
