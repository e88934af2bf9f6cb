"""Live transcription: audio that arrives in pieces, words while they are spoken.

In: a model, samples in pieces. Out: events: tentative and committed words, segments, speech, levels.
Knows nothing of: command lines, terminals.
"""

from whisperlite.stream.channels import ChannelSession
from whisperlite.stream.events import (
    Committed,
    Dropped,
    Event,
    Level,
    SegmentClosed,
    SpeechEnd,
    SpeechStart,
    Tentative,
)
from whisperlite.stream.intake import Intake
from whisperlite.stream.microphone import Microphone, input_devices
from whisperlite.stream.options import (
    STREAM_OPTION_NAMES,
    AgreementOptions,
    AlignAttOptions,
    BufferOptions,
    GateOptions,
    StreamOptions,
    make_stream_options,
)
from whisperlite.stream.run import Progress, run_stream
from whisperlite.stream.session import StreamSession
from whisperlite.stream.sources import FileSource, PcmSource, Source

__all__ = [
    "STREAM_OPTION_NAMES",
    "AgreementOptions",
    "AlignAttOptions",
    "BufferOptions",
    "ChannelSession",
    "Committed",
    "Dropped",
    "Event",
    "FileSource",
    "GateOptions",
    "Intake",
    "Level",
    "Microphone",
    "PcmSource",
    "Progress",
    "SegmentClosed",
    "Source",
    "SpeechEnd",
    "SpeechStart",
    "StreamOptions",
    "StreamSession",
    "Tentative",
    "input_devices",
    "make_stream_options",
    "run_stream",
]
