"""Transcripts as text: subtitles, lyrics, tables, json.

In: a finished ``Transcript``. Out: text, and files written in one move.
Knows nothing of: models, command lines.
"""

from whisperlite.writers.files import output_path, output_stems, write_text
from whisperlite.writers.formats import FORMATS, OPENAI_FORMATS, SUFFIXES, render
from whisperlite.writers.non_speech import without_non_speech
from whisperlite.writers.options import WriterOptions
from whisperlite.writers.record import account_lines, record_lines
from whisperlite.writers.timestamps import format_timestamp

__all__ = [
    "FORMATS",
    "OPENAI_FORMATS",
    "SUFFIXES",
    "WriterOptions",
    "account_lines",
    "format_timestamp",
    "output_path",
    "output_stems",
    "record_lines",
    "render",
    "without_non_speech",
    "write_text",
]
