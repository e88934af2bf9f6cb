"""The transcription loop: window after window, each one decoded and cut into segments.

In: model, jobs, options. Out: ``Window`` records as they are decoded.
Knows nothing of: files, output, how tokens are searched.

Many jobs go through one loop in step: in each round the current windows of all jobs at hand are decoded as one
batch, each with its own prompt and language, and each job moves to where its own text ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from whisperlite.audio import N_FRAMES
from whisperlite.decode import (
    Draft,
    DraftModel,
    WindowInput,
    decode_with_fallback,
    detect_language,
    not_used_because,
)
from whisperlite.decode.fallback import Decoded
from whisperlite.decode.protocols import DecoderTokenizer
from whisperlite.results import IMPROBABLE, NO_SPEECH, NO_TEXT, TRANSCRIBED, Segment, Span, Window, Word
from whisperlite.transcribe.jobs import Job, make_job, split_job
from whisperlite.transcribe.options import TranscribeOptions
from whisperlite.transcribe.segments import Piece, WindowPlace, cut_tokens
from whisperlite.transcribe.silence import silence
from whisperlite.transcribe.timing import Placed, place_words, untimed
from whisperlite.transcribe.windows import SECONDS_PER_FRAME, Content
from whisperlite.transcribe.words import TimedPiece


def transcribe_windows(
    model: Any,
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
        With a ``batch_size`` above 1 the parts of the audio that do not depend on each other are decoded together.
    head_features : (1, T, D) float32, optional
        Encoder output of ``content.part(0)``, where it is known: a first window that is all audio uses it.

    Yields
    ------
    Window
        In order, as soon as it is decoded; skipped ones too.
    """
    return job_windows(model, make_job(content, options, tokenizer, model.dims, head_features), options)


def job_windows(
    model: Any, job: Job, options: TranscribeOptions, draft: DraftModel | None = None
) -> Iterator[Window]:
    """The windows of one job, as ``transcribe_windows`` yields them; ``draft`` as in ``run_jobs``."""
    batch_size = options.windows.batch_size
    if batch_size == 1:
        return (window for _, window in run_jobs(model, [job], options, 1, draft) if window is not None)
    return _in_order(model, split_job(job, options, model.dims.n_text_ctx), options, batch_size, draft)


def run_jobs(
    model: Any, jobs: Iterable[Job], options: TranscribeOptions, batch_size: int, draft: DraftModel | None = None
) -> Iterator[tuple[Job, Window | None]]:
    """Take jobs through the loop, at most ``batch_size`` at a time.

    Parameters
    ----------
    model : DecoderModel
    jobs : iterable of Job
        The next one is taken when there is room for it.
    options : TranscribeOptions
        The language is each job's own.
    batch_size : int
    draft : DraftModel, optional
        Proposes tokens where decoding is greedy.

    Yields
    ------
    job, window
        As each window is decoded; None after the last one of a job.
    """
    # ref: openai/whisper transcribe.py
    waiting = iter(jobs)
    active: list[tuple[Job, WindowPlace]] = []
    while True:
        while len(active) < batch_size and (job := next(waiting, None)) is not None:
            if (place := job.next_place()) is None:
                yield job, None
            else:
                active.append((job, place))
        if not active:
            return
        windows = _decode_round(model, active, options, draft)
        still: list[tuple[Job, WindowPlace]] = []
        for (job, _), window in zip(active, windows, strict=True):
            yield job, window
            if (place := job.next_place()) is None:
                yield job, None
            else:
                still.append((job, place))
        active = still


def _in_order(
    model: Any, jobs: list[Job], options: TranscribeOptions, batch_size: int, draft: DraftModel | None
) -> Iterator[Window]:
    """The windows of all jobs, those of the first job first, segments numbered through."""
    ready: dict[Job, list[Window | None]] = {job: [] for job in jobs}
    turn = n_segments = 0
    for done, decoded in run_jobs(model, jobs, options, batch_size, draft):
        ready[done].append(decoded)
        while turn < len(jobs) and (queue := ready[jobs[turn]]):
            window = queue.pop(0)
            if window is None:
                turn += 1
                continue
            segments = tuple(replace(s, id=n_segments + i) for i, s in enumerate(window.segments))
            n_segments += len(segments)
            yield replace(window, segments=segments)


def _decode_round(
    model: Any, active: list[tuple[Job, WindowPlace]], options: TranscribeOptions, draft: DraftModel | None
) -> list[Window]:
    """Decode the current window of each job, and move the jobs past them."""
    features = _encode(model, active)
    cross = model.cross_kv(features)
    probabilities: list[dict[str, float] | None] = [None] * len(active)
    if options.languages.multilingual and model.is_multilingual:
        probabilities = list(detect_language(model, active[0][0].tokenizer, cross, len(active)))
        for (job, _), found in zip(active, probabilities, strict=True):
            _change_language(job, next(iter(found or {})), options)
    inputs = [WindowInput(job.context.prompt(), job.language, place.seek) for job, place in active]
    decoded = decode_with_fallback(
        model, active[0][0].tokenizer, features, options.decoding, options.fallback, cross=cross, inputs=inputs,
        draft=None if draft is None else _draft(draft, active, features, options),
    )  # fmt: skip
    return [
        replace(_finish(model, cross, i, job, place, decoded[i], options), language_probs=probabilities[i])
        for i, (job, place) in enumerate(active)
    ]


def _encode(model: Any, active: list[tuple[Job, WindowPlace]]) -> np.ndarray:
    """Audio features (A, T, D) of the windows."""
    known: list[np.ndarray | None] = []
    mels = []
    for job, place in active:
        if job.head_features is not None and place.seek == 0 and place.n_frames == N_FRAMES:
            known.append(job.head_features)
            continue
        known.append(None)
        mels.append(job.content.window(place.seek, place.n_frames, place.window_frames))
    if not mels:
        return np.concatenate([features for features in known if features is not None])
    encoded = model.encode(np.stack(mels))  # (B, M, F) -> (B, T, D)
    if len(mels) == len(active):
        return encoded
    rest = iter(encoded)
    return np.stack([next(rest) if features is None else features[0] for features in known])


def _draft(
    draft: DraftModel, active: list[tuple[Job, WindowPlace]], features: np.ndarray, options: TranscribeOptions
) -> Draft:
    """The draft and what it will hear of the windows; nothing where no temperature has a use for it."""
    unused = 0 not in options.fallback.temperatures or not_used_because(options.decoding)
    if draft.shares_encoder or unused:
        return Draft(draft, features if draft.shares_encoder else None)

    def hear() -> np.ndarray:
        mels = [job.content.window(place.seek, place.n_frames, place.window_frames) for job, place in active]
        return draft.model.encode(np.stack(mels))

    return Draft(draft, hear)


def _change_language(job: Job, language: str, options: TranscribeOptions) -> None:
    if language != job.language:
        job.language = language
        job.tokenizer = job.tokenizer.with_options(language, options.decoding.task)


def _finish(
    model: Any,
    cross: Any,
    audio: int,
    job: Job,
    place: WindowPlace,
    decoded: Decoded,
    options: TranscribeOptions,
) -> Window:
    """Move the job past a decoded window and record it."""
    result, tokenizer = decoded.result, job.tokenizer
    if reason := silence(result, options.fallback):
        job.seek = place.seek + place.n_frames
        span = Span(place.start, place.end, NO_SPEECH, reason)
        return _window(job, place, f"skipped: {reason}", decoded, (), (span,))
    cut = cut_tokens(result.tokens, tokenizer.timestamp_begin, place)
    placed = untimed(cut)
    if options.words.word_timestamps:
        placed = place_words(
            model, tokenizer, cross, audio, place, cut, options.words, last_speech=job.last_speech,
            content_frames=job.content.n_frames,
        )  # fmt: skip
        job.last_speech = placed.last_speech
    job.seek = placed.seek
    segments = _segments(placed, job, place, decoded)
    verdict, spans = _verdict(placed, place, segments)
    if not placed.restart:
        job.n_segments += len(segments)
        job.context.add([token for segment in segments for token in segment.tokens], result.temperature)
    return _window(job, place, verdict, decoded, segments, spans)


def _window(
    job: Job,
    place: WindowPlace,
    verdict: str,
    decoded: Decoded,
    segments: tuple[Segment, ...],
    spans: tuple[Span, ...],
) -> Window:
    return Window(
        seek=place.seek,
        start=place.start,
        end=place.end,
        verdict=verdict,
        attempts=decoded.attempts,
        segments=segments,
        next_seek=job.seek,
        spans=spans,
        language=decoded.result.language,
    )


def _verdict(placed: Placed, place: WindowPlace, segments: tuple[Segment, ...]) -> tuple[str, tuple[Span, ...]]:
    """What is to be said of a window that was not skipped as silent, and of the seconds it settles."""
    end = min(placed.seek * SECONDS_PER_FRAME, place.end)
    with_text = [segment for segment in segments if segment.text]
    if placed.reason is None:
        if with_text:
            return TRANSCRIBED, (Span(place.start, end, TRANSCRIBED),)
        reason = "the model gave timestamps only"
        return f"{NO_TEXT}: {reason}", (Span(place.start, end, NO_TEXT, reason),)
    if not with_text:
        return f"skipped: {placed.reason}", (Span(place.start, end, IMPROBABLE, placed.reason),)
    kept_end = min(max(with_text[-1].end, place.start), end)
    spans = [Span(place.start, kept_end, TRANSCRIBED), Span(kept_end, end, IMPROBABLE, placed.reason)]
    return f"{TRANSCRIBED} in part; {placed.reason}", tuple(span for span in spans if span.start < span.end)


def _segments(placed: Placed, job: Job, place: WindowPlace, decoded: Decoded) -> tuple[Segment, ...]:
    segments = []
    at = 0
    for i, (piece, words) in enumerate(zip(placed.pieces, placed.words, strict=True)):
        segments.append(_segment(piece, words, job.n_segments + i, place.seek, decoded, job.tokenizer, at))
        at += len(piece.tokens)
    return tuple(segments)


def _segment(
    piece: Piece | TimedPiece,
    words: tuple[Word, ...] | None,
    number: int,
    seek: int,
    decoded: Decoded,
    tokenizer: Any,
    first: int,
) -> Segment:
    """The record of a piece whose tokens begin at token ``first`` of the window."""
    result = decoded.result
    text = tokenizer.decode([token for token in piece.tokens if token < tokenizer.eot])
    tokens = piece.tokens
    # A segment without length or text stays in the list, emptied.
    if piece.start == piece.end or not text.strip():
        text, tokens, words = "", (), words and ()
    alternatives = None
    if result.alternatives is not None:
        alternatives = result.alternatives[first : first + len(tokens)]
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
        words=words,
        attempts=decoded.attempts,
        alternatives=alternatives,
    )
