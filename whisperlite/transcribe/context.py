"""The text a window is prompted with.

In: initial prompt tokens; the tokens of each window. Out: the prompt of the next window.
Knows nothing of: models, audio.
"""

from __future__ import annotations

from collections.abc import Sequence

from whisperlite.decode.protocols import DecoderTokenizer
from whisperlite.transcribe.options import PromptOptions


class Context:
    """Tokens so far, and from where on they may prompt.

    Parameters
    ----------
    options : PromptOptions
    tokenizer : DecoderTokenizer
    n_text_ctx : int
        A prompt holds ``n_text_ctx // 2 - 1`` tokens.
    """

    # ref: openai/whisper transcribe.py, all_tokens and prompt_reset_since

    def __init__(self, options: PromptOptions, tokenizer: DecoderTokenizer, n_text_ctx: int) -> None:
        self._options = options
        self._max_prompt = n_text_ctx // 2 - 1
        given = options.initial_prompt
        if given is None:
            self._initial: list[int] = []
        elif isinstance(given, str):
            self._initial = list(tokenizer.encode(" " + given.strip()))
        else:
            self._initial = [int(token) for token in given]
        self._tokens = list(self._initial)
        self._reset_at = 0

    def prompt(self) -> tuple[int, ...]:
        """Tokens for the next window, at most as many as a prompt holds.

        A carried initial prompt comes first and leaves the rest of the room to the latest text; one
        that fills the room by itself keeps its own last tokens.
        """
        if not self._options.carry_initial_prompt:
            return tuple(self._tokens[self._reset_at :][-self._max_prompt :])
        room = max(self._max_prompt - len(self._initial), 0)
        text = self._tokens[max(len(self._initial), self._reset_at) :]
        return tuple(self._initial[-self._max_prompt :] + text[len(text) - min(room, len(text)) :])

    def add(self, tokens: Sequence[int], temperature: float) -> None:
        """Append what a window gave, decoded at ``temperature``."""
        self._tokens.extend(tokens)
        options = self._options
        if not options.condition_on_previous_text or temperature > options.prompt_reset_on_temperature:
            self._reset_at = len(self._tokens)
