"""Skipping silence around text that nobody seems to have said.

In: the timed segments of a window. Out: which of them stay, where the next window begins, and why.
Knows nothing of: models, tokens, how words got their times.

ref: openai/whisper transcribe.py, hallucination_silence_threshold
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.audio import FRAMES_PER_SECOND
from whisperlite.results import Word
from whisperlite.transcribe.segments import WindowPlace
from whisperlite.transcribe.words import APPEND_PUNCTUATIONS, PREPEND_PUNCTUATIONS, TimedPiece, last_word_end

PUNCTUATION = PREPEND_PUNCTUATIONS + APPEND_PUNCTUATIONS
WORDS_SCORED = 8
EDGE_SECONDS = 2.0  # a piece this close to the edge of its window counts as beside silence


@dataclass(frozen=True)
class SilenceSkip:
    """What becomes of a window.

    Attributes
    ----------
    pieces : tuple of TimedPiece
        Those that stay.
    seek : int
        Mel frame the next window begins at; later than this window's first.
    restart : bool
        The window counts as not decoded: its text enters neither result nor prompt.
    reason : str or None
        Why pieces were dropped; None where all stay.
    """

    pieces: tuple[TimedPiece, ...]
    seek: int
    restart: bool = False
    reason: str | None = None


def word_anomaly_score(word: Word) -> float:
    """How odd a word is: 1 for a probability under 0.15, more for very short or very long ones."""
    duration = word.end - word.start
    score = 1.0 if word.probability < 0.15 else 0.0
    if duration < 0.133:
        score += (0.133 - duration) * 15
    if duration > 2.0:
        score += duration - 2.0
    return score


def is_segment_anomaly(piece: TimedPiece | None, punctuation: str = PUNCTUATION) -> bool:
    """True where the first eight words, punctuation aside, score 3 together or about 1 each."""
    if piece is None or not piece.words:
        return False
    words = [word for word in piece.words if word.word not in punctuation][:WORDS_SCORED]
    score = sum(word_anomaly_score(word) for word in words)
    return score >= 3 or score + 0.01 >= len(words)


def next_words_segment(pieces: Sequence[TimedPiece]) -> TimedPiece | None:
    """The first piece with words."""
    return next((piece for piece in pieces if piece.words), None)


def skip_silence(
    pieces: Sequence[TimedPiece],
    place: WindowPlace,
    *,
    seek: int,
    threshold: float,
    single_timestamp_ending: bool,
    last_speech_timestamp: float,
    content_frames: int,
    punctuation: str = PUNCTUATION,
) -> SilenceSkip:
    """Decide what of a window is kept, and where the next one begins.

    Parameters
    ----------
    pieces : sequence of TimedPiece
    place : WindowPlace
    seek : int
        Where the next window would begin; see ``seek_after_words``.
    threshold : float
        Seconds; shorter silences are left alone.
    single_timestamp_ending : bool
        The window's tokens end with text and one timestamp.
    last_speech_timestamp : float
        Seconds; end of the last word before this window.
    content_frames : int
        Mel frames of the whole audio.
    punctuation : str
        Words made of these are not scored.
    """
    window_end = (place.seek + place.window_frames) / FRAMES_PER_SECOND
    end = last_word_end(pieces)
    if not single_timestamp_ending and end is not None and end > place.start:
        silent_end = window_end - end > threshold
        seek = round(end * FRAMES_PER_SECOND) if silent_end else place.seek + place.n_frames
    seek = max(seek, place.seek + 1)

    first = next_words_segment(pieces)
    if first is not None and is_segment_anomaly(first, punctuation):
        gap = first.start - place.start
        if gap > threshold:
            reason = f"improbable text after {gap:.2f} s without words"
            advance = max(round(gap * FRAMES_PER_SECOND), 1)
            return SilenceSkip((), place.seek + advance, restart=True, reason=reason)

    previous_end = last_speech_timestamp
    for i, piece in enumerate(pieces):
        if not piece.words:
            continue
        if is_segment_anomaly(piece, punctuation):
            after = next_words_segment(pieces[i + 1 :])
            next_start = after.words[0].start if after is not None else place.start + place.duration
            silence_before = (
                piece.start - previous_end > threshold
                or piece.start < threshold
                or piece.start - place.start < EDGE_SECONDS
            )
            silence_after = (
                next_start - piece.end > threshold
                or is_segment_anomaly(after, punctuation)
                or window_end - piece.end < EDGE_SECONDS
            )
            if silence_before and silence_after:
                seek = round(max(place.start + 1, piece.start) * FRAMES_PER_SECOND)
                if content_frames / FRAMES_PER_SECOND - piece.end < threshold:
                    seek = content_frames
                into = piece.start - place.start
                reason = f"improbable text between silences, {into:.2f} s into the window"
                return SilenceSkip(tuple(pieces[:i]), max(seek, place.seek + 1), reason=reason)
        previous_end = piece.end
    return SilenceSkip(tuple(pieces), seek)
