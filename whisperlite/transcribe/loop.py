"""The transcription loop: window after window, each one decoded and cut into segments.

In: model, tokenizer, mel content, options with a known language. Out: a generator of ``Window`` records.
Knows nothing of: files, output, how tokens are searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from whisperlite.audio import N_FRAMES
from whisperlite.decode import DecodingResult, FallbackOptions, decode_with_fallback
from whisperlite.decode.fallback import Decoded
from whisperlite.decode.protocols import DecoderModel, DecoderTokenizer
from whisperlite.results import Segment, Window
from whisperlite.transcribe.context import Context
from whisperlite.transcribe.options import TranscribeOptions
from whisperlite.transcribe.segments import Piece, WindowPlace, cut_tokens
from whisperlite.transcribe.windows import Content, clip_frames


@dataclass
class Job:
    """One audio on its way through the loop: where it stands, and what its next window is told."""

    content: Content
    clips: list[tuple[int, int]]
    context: Context
    clip: int = 0
    seek: int = 0
    n_segments: int = 0

    def next_place(self, frames_per_token: int) -> WindowPlace | None:
        """The next window, or None at the end of the last clip."""
        while self.clip < len(self.clips):
            start, end = self.clips[self.clip]
            self.seek = max(self.seek, start)
            if self.seek < end:
                return WindowPlace(self.seek, min(N_FRAMES, end - self.seek), frames_per_token)
            self.clip += 1
            if self.clip < len(self.clips):
                self.seek = self.clips[self.clip][0]
        return None


def transcribe_windows(
    model: DecoderModel,
    tokenizer: DecoderTokenizer,
    content: Content,
    options: TranscribeOptions,
    head_features: np.ndarray | None = None,
) -> Iterator[Window]:
    """Decode one audio window by window.

    Parameters
    ----------
    model : DecoderModel
    tokenizer : DecoderTokenizer
        Of the language and task in ``options.decoding``.
    content : Content
    options : TranscribeOptions
    head_features : (1, T, D) float32, optional
        Encoder output of ``content.head()``, where it is known: a first window that is all audio uses it.

    Yields
    ------
    Window
        As soon as it is decoded; skipped ones too.
    """
    # ref: openai/whisper transcribe.py
    clips = clip_frames(options.windows.clip_seconds, content.n_frames)
    job = Job(content, clips, Context(options.prompt, tokenizer, model.dims.n_text_ctx))
    frames_per_token = N_FRAMES // model.dims.n_audio_ctx
    while (place := job.next_place(frames_per_token)) is not None:
        if head_features is not None and place.seek == 0 and place.n_frames == N_FRAMES:
            features = head_features
        else:
            mel = job.content.window(place.seek, place.n_frames)
            features = model.encode(mel[None])  # (1, M, F) -> (1, T, D)
        decoding = replace(options.decoding, prompt=job.context.prompt())
        [decoded] = decode_with_fallback(model, tokenizer, features, decoding, options.fallback, keys=[place.seek])
        yield _finish(job, place, decoded, tokenizer, options.fallback)


def _finish(
    job: Job,
    place: WindowPlace,
    decoded: Decoded,
    tokenizer: DecoderTokenizer,
    fallback: FallbackOptions,
) -> Window:
    """Move the job past a decoded window and record it."""
    result = decoded.result
    if reason := _silence(result, fallback):
        job.seek = place.seek + place.n_frames
        return Window(place.seek, place.start, place.end, f"skipped: {reason}", decoded.attempts, segments=())
    cut = cut_tokens(result.tokens, tokenizer.timestamp_begin, place)
    segments = tuple(
        _segment(piece, job.n_segments + i, place.seek, decoded, tokenizer) for i, piece in enumerate(cut.pieces)
    )
    job.n_segments += len(segments)
    job.seek = cut.next_seek
    job.context.add([token for segment in segments for token in segment.tokens], result.temperature)
    return Window(place.seek, place.start, place.end, "transcribed", decoded.attempts, segments)


def _silence(result: DecodingResult, fallback: FallbackOptions) -> str | None:
    """Why a window counts as silent, or None."""
    limit, logprob_limit = fallback.no_speech_threshold, fallback.logprob_threshold
    if limit is None or not result.no_speech_prob > limit:
        return None
    reason = f"no_speech_prob {result.no_speech_prob:.2f} > {limit:g}"
    if logprob_limit is None:
        return reason
    if result.avg_logprob > logprob_limit:
        return None
    return f"{reason}, avg_logprob {result.avg_logprob:.2f} <= {logprob_limit:g}"


def _segment(piece: Piece, number: int, seek: int, decoded: Decoded, tokenizer: DecoderTokenizer) -> Segment:
    result = decoded.result
    text = tokenizer.decode([token for token in piece.tokens if token < tokenizer.eot])
    tokens = piece.tokens
    # A segment without length or text stays in the list, emptied.
    if piece.start == piece.end or not text.strip():
        text, tokens = "", ()
    return Segment(
        id=number,
        seek=seek,
        start=piece.start,
        end=piece.end,
        text=text,
        tokens=tokens,
        temperature=result.temperature,
        avg_logprob=result.avg_logprob,
        compression_ratio=result.compression_ratio,
        no_speech_prob=result.no_speech_prob,
        attempts=decoded.attempts,
    )
