"""Transcripts as text: txt, srt, vtt, tsv, json.

In: a finished ``Transcript``. Out: text, and files written in one move.
Knows nothing of: models, command lines.
"""

from whisperlite.writers.files import output_stems, write_text
from whisperlite.writers.formats import FORMATS, format_timestamp, render
from whisperlite.writers.record import account_lines, record_lines

__all__ = [
    "FORMATS",
    "account_lines",
    "format_timestamp",
    "output_stems",
    "record_lines",
    "render",
    "write_text",
]
