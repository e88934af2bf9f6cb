"""Cutting the tokens of a window into timed pieces, and where the next window begins.

In: tokens, the window's place. Out: ``Piece`` records and the next seek.
Knows nothing of: text, models, mel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.audio import HOP_LENGTH, N_FRAMES, SAMPLE_RATE


@dataclass(frozen=True)
class WindowPlace:
    """Where a window lies.

    Attributes
    ----------
    seek : int
        Its first mel frame.
    n_frames : int
        Mel frames of audio in it.
    frames_per_token : int
        Mel frames of one timestamp step (2).
    window_frames : int
        Mel frames the encoder hears; what is not audio is zeros.
    """

    seek: int
    n_frames: int
    frames_per_token: int
    window_frames: int = N_FRAMES

    @property
    def start(self) -> float:
        """Seconds."""
        return float(self.seek * HOP_LENGTH / SAMPLE_RATE)

    @property
    def duration(self) -> float:
        """Seconds of audio in it."""
        return self.n_frames * HOP_LENGTH / SAMPLE_RATE

    @property
    def end(self) -> float:
        """Seconds."""
        return float((self.seek + self.n_frames) * HOP_LENGTH / SAMPLE_RATE)

    @property
    def seconds_per_token(self) -> float:
        """Seconds of one timestamp step (0.02)."""
        return self.frames_per_token * HOP_LENGTH / SAMPLE_RATE


@dataclass(frozen=True)
class Piece:
    """Tokens of one segment, timestamps included, with its times in seconds."""

    start: float
    end: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """A window cut into pieces.

    Attributes
    ----------
    pieces : tuple of Piece
    next_seek : int
        Mel frame the next window begins at.
    single_timestamp_ending : bool
        The tokens end with text and one timestamp: nothing is said after it.
    """

    pieces: tuple[Piece, ...]
    next_seek: int
    single_timestamp_ending: bool


def cut_tokens(tokens: Sequence[int], timestamp_begin: int, place: WindowPlace) -> Cut:
    """Cut at each pair of timestamps.

    With a single timestamp at the end, or without a pair, the next window follows this one;
    otherwise it begins at the last timestamp of the last pair, and what follows that is left to it.
    The next seek is always later than this one.
    """
    # ref: openai/whisper transcribe.py, the loop after decode_with_fallback
    is_timestamp = [token >= timestamp_begin for token in tokens]
    single_ending = is_timestamp[-2:] == [False, True]
    ends = [i for i in range(1, len(tokens)) if is_timestamp[i - 1] and is_timestamp[i]]
    window_end = place.seek + place.n_frames
    if not ends:
        return Cut((_whole(tokens, timestamp_begin, place),), window_end, single_ending)
    if single_ending:
        ends.append(len(tokens))
    step = place.seconds_per_token
    pieces = []
    for begin, end in zip([0, *ends], ends, strict=False):
        piece = tuple(tokens[begin:end])
        first, last = piece[0] - timestamp_begin, piece[-1] - timestamp_begin
        pieces.append(Piece(place.start + first * step, place.start + last * step, piece))
    if single_ending:
        return Cut(tuple(pieces), window_end, True)
    # Timestamps go to 30 s; in a shorter encoder window nothing is known of what lies past its end.
    advance = min((tokens[ends[-1] - 1] - timestamp_begin) * place.frames_per_token, place.window_frames)
    return Cut(tuple(pieces), place.seek + advance if advance > 0 else window_end, False)


def _whole(tokens: Sequence[int], timestamp_begin: int, place: WindowPlace) -> Piece:
    """One piece from the window's start to the last timestamp, or to the window's end without one."""
    duration = place.duration
    timestamps = [token for token in tokens if token >= timestamp_begin]
    if timestamps and timestamps[-1] != timestamp_begin:
        duration = (timestamps[-1] - timestamp_begin) * place.seconds_per_token
    return Piece(place.start, place.start + duration, tuple(tokens))
