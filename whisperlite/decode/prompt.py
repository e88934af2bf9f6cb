"""The tokens a window starts with, and the ids that may never be sampled.

In: tokenizer, options, length of the text context. Out: ``InitialTokens``, suppressed ids.
Knows nothing of: logits, models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.decode.options import DecodingOptions
from whisperlite.decode.penalties import hotword_tokens
from whisperlite.decode.protocols import DecoderTokenizer
from whisperlite.errors import OptionError


@dataclass(frozen=True)
class InitialTokens:
    """Context tokens of a window: previous text, start of transcript, language, task, prefix.

    Attributes
    ----------
    tokens : tuple of int
    sot_index : int
        Position of the start-of-transcript token; the language token follows it.
    sample_len : int
        Most tokens that may be sampled after them.
    """

    tokens: tuple[int, ...]
    sot_index: int
    sample_len: int


def initial_tokens(
    tokenizer: DecoderTokenizer,
    options: DecodingOptions,
    n_text_ctx: int,
    prompt: str | Sequence[int] | None = None,
) -> InitialTokens:
    """Put the context of a window together.

    A prompt keeps its last ``n_text_ctx // 2 - 1`` tokens, less those of hotwords, which come before it. A prefix
    keeps its last ``n_text_ctx // 2 - sample_len``, and all of them where that is not positive. ``prompt`` is used
    instead of the options'.

    Raises
    ------
    OptionError
        The prefix leaves no room to sample a token.
    """
    # ref: openai/whisper decoding.py DecodingTask._get_initial_tokens
    half = n_text_ctx // 2
    sample_len = options.sample_len or half
    tokens = list(tokenizer.sot_sequence)
    if options.without_timestamps:
        tokens.append(tokenizer.no_timestamps)
    if options.prefix:
        prefix = _tokens("prefix", options.prefix, tokenizer)
        max_prefix_len = half - sample_len
        tokens += prefix[-max_prefix_len:] if max_prefix_len > 0 else prefix
    prompt = options.prompt if prompt is None else prompt
    # ref: SYSTRAN/faster-whisper transcribe.py get_prompt; there hotwords and a long prompt may overflow together.
    before = hotword_tokens(tokenizer, options.hotwords, n_text_ctx, options.prefix)
    if prompt and (room := half - 1 - len(before)):
        before += _tokens("prompt", prompt, tokenizer)[-room:]
    if before:
        tokens = [tokenizer.sot_prev, *before, *tokens]
    if len(tokens) > n_text_ctx:
        raise OptionError(
            f"prompt and prefix make {len(tokens)} tokens; the model holds {n_text_ctx}; shorten the prefix"
        )
    # The last token is sampled from a full context and never fed back, hence the 1.
    room = n_text_ctx + 1 - len(tokens)
    return InitialTokens(tuple(tokens), tokens.index(tokenizer.sot), min(sample_len, room))


def suppressed_tokens(tokenizer: DecoderTokenizer, options: DecodingOptions) -> tuple[int, ...]:
    """Ids masked at every position, sorted; empty when ``suppress_tokens`` is empty."""
    # ref: openai/whisper decoding.py DecodingTask._get_suppress_tokens
    given = options.suppress_tokens
    if not given:
        return ()
    ids = {int(token) for token in given if int(token) >= 0}
    if -1 in given:
        ids.update(tokenizer.non_speech_tokens)
    ids.update(
        (
            tokenizer.transcribe,
            tokenizer.translate,
            tokenizer.sot,
            tokenizer.sot_prev,
            tokenizer.sot_lm,
            tokenizer.no_speech,
        )
    )
    return tuple(sorted(ids))


def _tokens(name: str, given: str | Sequence[int], tokenizer: DecoderTokenizer) -> list[int]:
    if isinstance(given, str):
        return list(tokenizer.encode(" " + given.strip()))
    try:
        return [int(token) for token in given]
    except (TypeError, ValueError):
        raise OptionError(f"{name}={given!r}: give text or token ids") from None
