"""Audios on their way through the loop.

In: content, options. Out: ``Job`` records: where each stands, and what its next window is told.
Knows nothing of: models, tokens' meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from whisperlite.audio import N_FRAMES
from whisperlite.errors import OptionError
from whisperlite.transcribe.context import Context
from whisperlite.transcribe.options import TranscribeOptions
from whisperlite.transcribe.segments import WindowPlace
from whisperlite.transcribe.windows import Content, clip_frames


@dataclass(eq=False)
class Job:
    """One audio, or some of its clips.

    Attributes
    ----------
    content : Content
    clips : list of (int, int)
        First and last mel frame of each part to transcribe.
    context : Context
        Prompts its windows.
    tokenizer : Tokenizer
        Of the language that holds for the next window.
    language : str or None
        That language; None for an English-only model.
    window_frames, frames_per_token : int
        Mel frames of a window and of a timestamp step.
    head_features : (1, T, D) float32, or None
        Encoder output of the first 30 s, where it is known.
    clip, seek, n_segments : int
        How far it has come.
    last_speech : float
        Seconds; end of the last word.
    """

    content: Content
    clips: list[tuple[int, int]]
    context: Context
    tokenizer: Any
    language: str | None
    window_frames: int = N_FRAMES
    frames_per_token: int = 2
    head_features: np.ndarray | None = None
    clip: int = 0
    seek: int = 0
    n_segments: int = 0
    last_speech: float = 0.0

    def next_place(self) -> WindowPlace | None:
        """The next window, or None at the end of the last clip."""
        while self.clip < len(self.clips):
            start, end = self.clips[self.clip]
            self.seek = max(self.seek, start)
            if self.seek < end:
                n_frames = min(self.window_frames, end - self.seek)
                return WindowPlace(self.seek, n_frames, self.frames_per_token, self.window_frames)
            self.clip += 1
            if self.clip < len(self.clips):
                self.seek = self.clips[self.clip][0]
        return None


def make_job(
    content: Content,
    options: TranscribeOptions,
    tokenizer: Any,
    dims: Any,
    head_features: np.ndarray | None = None,
) -> Job:
    """A job for all clips of an audio, in order.

    Raises
    ------
    OptionError
        ``audio_ctx`` is more than the model has.
    """
    audio_ctx = options.windows.audio_ctx or dims.n_audio_ctx
    if audio_ctx > dims.n_audio_ctx:
        raise OptionError(f"audio_ctx={audio_ctx}: the encoder has {dims.n_audio_ctx} positions; give at most that")
    frames_per_token = N_FRAMES // dims.n_audio_ctx
    return Job(
        content=content,
        clips=clip_frames(options.windows.clip_seconds, content.n_frames),
        context=Context(options.prompt, tokenizer, dims.n_text_ctx),
        tokenizer=tokenizer,
        language=options.decoding.language,
        window_frames=audio_ctx * frames_per_token,
        frames_per_token=frames_per_token,
        head_features=head_features,
    )


def split_job(job: Job, options: TranscribeOptions, n_text_ctx: int) -> list[Job]:
    """A job for each part of a job that does not depend on the others: a clip or, without timestamps, a window.

    What the parts give, in order, is what the job gives: see ``TranscribeOptions`` for what that rules out.
    """
    parts = []
    for start, end in job.clips:
        step = job.window_frames if options.decoding.without_timestamps else max(end - start, 1)
        parts += [(begin, min(begin + step, end)) for begin in range(start, end, step)]
    return [
        replace(job, clips=[part], context=Context(options.prompt, job.tokenizer, n_text_ctx)) for part in parts
    ]
