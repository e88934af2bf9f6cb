"""From samples to segments: windows, prompts, the loop.

In: a model, a tokenizer, samples. Out: ``Window`` and ``Segment`` records as they are decoded.
Knows nothing of: files, output formats, how tokens are searched.
"""

from whisperlite.transcribe.align import AlignOptions, align
from whisperlite.transcribe.aligned import AlignedText, lines_of, segments_of
from whisperlite.transcribe.jobs import make_job
from whisperlite.transcribe.loop import job_windows, run_jobs, transcribe_windows
from whisperlite.transcribe.options import (
    LanguageOptions,
    PromptOptions,
    SpeechOptions,
    TranscribeOptions,
    WindowOptions,
    WordOptions,
    make_options,
)
from whisperlite.transcribe.speakers import SpeakerTranscript, speaker_names
from whisperlite.transcribe.speech import Speech, find_detector, find_speech, original_windows
from whisperlite.transcribe.transcript import Transcript

__all__ = [
    "AlignOptions",
    "AlignedText",
    "LanguageOptions",
    "PromptOptions",
    "SpeakerTranscript",
    "Speech",
    "SpeechOptions",
    "TranscribeOptions",
    "Transcript",
    "WindowOptions",
    "WordOptions",
    "align",
    "find_detector",
    "find_speech",
    "job_windows",
    "lines_of",
    "make_job",
    "make_options",
    "original_windows",
    "run_jobs",
    "segments_of",
    "speaker_names",
    "transcribe_windows",
]
