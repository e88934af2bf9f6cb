"""Words of a decoded window, and what their times change: segments, the next seek, what is skipped.

In: a window's cut, cross keys and values, options. Out: ``Placed``.
Knows nothing of: search, prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whisperlite.results import Word
from whisperlite.transcribe.hallucination import skip_silence
from whisperlite.transcribe.options import WordOptions
from whisperlite.transcribe.segments import Cut, Piece, WindowPlace
from whisperlite.transcribe.words import (
    Heads,
    TimedPiece,
    add_word_timestamps,
    find_alignment,
    last_word_end,
    seek_after_words,
    top_heads,
)


@dataclass(frozen=True)
class Placed:
    """A window with its words.

    Attributes
    ----------
    pieces : tuple of Piece or TimedPiece
    words : tuple, for each piece its words, or None where they were not asked for
    seek : int
        Mel frame the next window begins at.
    last_speech : float
        Seconds; end of the last word so far.
    restart : bool
        The window counts as not decoded.
    reason : str or None
        Why pieces were dropped; None where all stay.
    """

    pieces: tuple[Piece | TimedPiece, ...]
    words: tuple[tuple[Word, ...] | None, ...]
    seek: int
    last_speech: float
    restart: bool = False
    reason: str | None = None


def untimed(cut: Cut) -> Placed:
    """A window whose words were not asked for."""
    return Placed(cut.pieces, (None,) * len(cut.pieces), cut.next_seek, 0.0)


def place_words(
    model: Any,
    tokenizer: Any,
    cross: Any,
    audio: int,
    place: WindowPlace,
    cut: Cut,
    options: WordOptions,
    *,
    last_speech: float,
    content_frames: int,
) -> Placed:
    """Give the words of a window their times and apply the rules that follow from them.

    Parameters
    ----------
    model, tokenizer
    cross : CrossKV
        Of the windows decoded together; nothing is encoded again.
    audio : int
        Which of them.
    place : WindowPlace
    cut : Cut
    options : WordOptions
    last_speech : float
        Seconds; end of the last word before this window.
    content_frames : int
        Mel frames of the whole audio.
    """
    # ref: openai/whisper transcribe.py, word_timestamps
    text = [token for piece in cut.pieces for token in piece.tokens if token < tokenizer.eot]
    heads = chosen_heads(model, options.alignment_heads)
    alignment = find_alignment(model, tokenizer, text, cross, place.n_frames, audio=audio, heads=heads)
    timed: Sequence[TimedPiece] = add_word_timestamps(
        cut.pieces,
        alignment,
        eot=tokenizer.eot,
        time_offset=place.start,
        last_speech_timestamp=last_speech,
        prepend_punctuations=options.prepend_punctuations,
        append_punctuations=options.append_punctuations,
    )
    seek = seek_after_words(timed, place, cut.next_seek, cut.single_timestamp_ending)
    restart, reason = False, None
    if options.hallucination_silence_threshold is not None:
        skip = skip_silence(
            timed,
            place,
            seek=seek,
            threshold=options.hallucination_silence_threshold,
            single_timestamp_ending=cut.single_timestamp_ending,
            last_speech_timestamp=last_speech,
            content_frames=content_frames,
        )
        timed, seek, restart, reason = skip.pieces, skip.seek, skip.restart, skip.reason
    end = None if restart else last_word_end(timed)
    return Placed(
        tuple(timed),
        tuple(piece.words for piece in timed),
        seek,
        last_speech if end is None else end,
        restart,
        reason,
    )


def chosen_heads(model: Any, given: int | Heads | None) -> Heads | None:
    """The heads to read: those of a number of top-most layers, or as given; None is the model's own.

    Raises
    ------
    OptionError
        The decoder has no such layer or head.
    """
    if given is None:
        return None
    if isinstance(given, int):
        return top_heads(model.dims, given)
    return [(int(layer), int(head)) for layer, head in given]
