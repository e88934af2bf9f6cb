"""``verbose=True``: a transcript on stdout while it is decoded.

In: a ``Transcript``. Out: its segments with their times, and what was rejected or left out and why.
Knows nothing of: models, options.
"""

from __future__ import annotations

from whisperlite.transcribe import Transcript


def print_transcript(transcript: Transcript) -> None:
    """Print each segment as it is decoded, and the record of each window."""
    from whisperlite.writers import format_timestamp, record_lines

    if transcript.speech is not None:
        print(f"VAD filter removed {transcript.duration - transcript.speech_duration:.2f} s of audio", flush=True)
    for window in transcript.iter_windows():
        for segment in window.segments:
            if segment.text:
                start, end = format_timestamp(segment.start), format_timestamp(segment.end)
                print(f"[{start} --> {end}] {segment.text}", flush=True)
        for line in record_lines(window):
            print(line, flush=True)
