"""The command ``stream``: words while they are spoken.

In: arguments; a microphone, a file or a pipe. Out: a live view on a terminal, or closed segments as lines.
Knows nothing of: how audio is transcribed.

Heavy modules are imported inside the command, so that ``--help`` and wrong calls answer at once.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisperlite.cli.options import TRANSCRIBING
from whisperlite.cli.report import note
from whisperlite.cli.values import heads, number_or_none
from whisperlite.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperlite.stream import Event, Progress, Source

_SOURCE, _MODEL, _TEXT = "Source", "Model", "Speech and text"
_COMMIT, _TRUST, _OUTPUT = "When words are committed", "Silence and doubt", "Output"
INTERRUPTED = 130
METER_WIDTH = 12
METER_FLOOR_DB = -60.0


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command("stream", rich_help_panel=TRANSCRIBING)(stream)


def _option(panel: str, help: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, help=help, **settings)


def _threshold(help: str) -> Any:
    return _option(_TRUST, f"{help} none: off.", parser=number_or_none, metavar="NUMBER")


def stream(
    file: Annotated[str | None, typer.Argument(help="Audio file; - is standard input.")] = None,
    mic: Annotated[bool, _option(_SOURCE, "Listen to the microphone.", "--mic")] = False,
    device: Annotated[str | None, _option(_SOURCE, "Its number, or a part of its name.")] = None,
    list_devices: Annotated[bool, _option(_SOURCE, "Print the input devices.", "--list-devices")] = False,
    raw: Annotated[
        str | None, _option(_SOURCE, "Standard input is samples without a header: s16le or f32le.")
    ] = None,
    rate: Annotated[int, _option(_SOURCE, "Hz of raw samples.")] = 16000,
    channels: Annotated[int, _option(_SOURCE, "Interleaved channels of raw samples.", min=1)] = 1,
    split_channels: Annotated[
        bool, _option(_SOURCE, "Transcribe channels apart and merge them by time.", "--split-channels")
    ] = False,
    real_time: Annotated[
        bool, _option(_SOURCE, "A file at the pace it was recorded; raw samples as they come.", "--real-time")
    ] = False,
    max_queue_seconds: Annotated[
        float, _option(_SOURCE, "Audio that may wait; a live source loses what exceeds it.")
    ] = 30.0,
    model: Annotated[
        str, _option(_MODEL, "tiny .. large-v3-turbo, owner/name of the hub, a path, or nano (built in).")
    ] = "base",
    compute_type: Annotated[
        str, _option(_MODEL, "default (as the file has them), float32, bfloat16, int8.")
    ] = "default",
    threads: Annotated[int | None, _option(_MODEL, "Default: all the process may use.", min=1)] = None,
    backend: Annotated[str | None, _option(_MODEL, "numba, or numpy: slow, readable.")] = None,
    language: Annotated[str | None, _option(_TEXT, "Code or name; detected when not given.")] = None,
    task: Annotated[str, _option(_TEXT, "transcribe, or translate into English.")] = "transcribe",
    initial_prompt: Annotated[str | None, _option(_TEXT, "Text as if said before the stream.")] = None,
    condition_on_previous_text: Annotated[bool, _option(_TEXT, "Prompt with the committed text.")] = True,
    prompt_tokens: Annotated[int, _option(_TEXT, "Most tokens of that prompt.", min=1)] = 64,
    suppress_tokens: Annotated[str, _option(_TEXT, "Ids never sampled; -1: not speech.")] = "-1",
    beam_size: Annotated[int | None, _option(_TEXT, "Beams; local-agreement only.")] = None,
    alignment_heads: Annotated[
        str | None, _option(_TEXT, "layer.head,layer.head,... or a number of top-most layers.")
    ] = None,
    policy: Annotated[str, _option(_COMMIT, "local-agreement or align-att.")] = "local-agreement",
    agreement: Annotated[int | None, _option(_COMMIT, "Decodings that must agree (2); local-agreement.")] = None,
    frame_threshold: Annotated[
        int | None, _option(_COMMIT, "Positions of 0.02 s at the end whose words wait (25); align-att.")
    ] = None,
    chunk_seconds: Annotated[float, _option(_COMMIT, "New speech between two decodings.")] = 0.5,
    trim_seconds: Annotated[float, _option(_COMMIT, "A longer buffer is cut after a sentence.")] = 15.0,
    max_buffer_seconds: Annotated[float, _option(_COMMIT, "A longer buffer is cut in any case.")] = 25.0,
    audio_ctx: Annotated[
        str, _option(_COMMIT, "Encoder positions of 0.02 s: auto (as the buffer needs), full (1500), or a number.")
    ] = "auto",
    vad: Annotated[str, _option(_TRUST, "Voice detection: default, energy, silero, a path, or off.")] = "default",
    min_silence_ms: Annotated[int | None, _option(_TRUST, "Silence that ends speech (500).")] = None,
    compression_ratio_threshold: Annotated[
        float | None, _threshold("Do not believe text that repeats itself more.")
    ] = 2.4,
    logprob_threshold: Annotated[
        float | None, _threshold("Of audio that seems silent, do not believe a lower mean log-probability.")
    ] = -1.0,
    no_speech_threshold: Annotated[float | None, _threshold("Audio more surely silent seems silent.")] = 0.6,
    as_json: Annotated[bool, _option(_OUTPUT, "Every event as a line of JSON.", "--json")] = False,
) -> int:
    """Transcribe live: the microphone, a pipe, or a file as if it were live.

    On a terminal words appear as they are heard, dim while they may still change. Anywhere else each closed segment
    is a line. Ctrl-C ends the stream: what was said so far is finished and written.
    """
    if list_devices:
        return _list_devices()
    _check_source(file, mic, device, raw)
    options: dict[str, Any] = {
        name: value
        for name, value in {
            "language": language,
            "task": task,
            "initial_prompt": initial_prompt,
            "condition_on_previous_text": condition_on_previous_text,
            "prompt_tokens": prompt_tokens,
            "suppress_tokens": suppress_tokens,
            "beam_size": beam_size,
            "alignment_heads": heads(alignment_heads),
            "agreement": agreement,
            "frame_threshold": frame_threshold,
            "chunk_seconds": chunk_seconds,
            "trim_seconds": trim_seconds,
            "max_buffer_seconds": max_buffer_seconds,
            "vad": {"default": True, "off": False}.get(vad, vad),
            "vad_parameters": None if min_silence_ms is None else {"min_silence_duration_ms": min_silence_ms},
        }.items()
        if value is not None
    }
    options["audio_ctx"] = _audio_ctx(audio_ctx)
    options["compression_ratio_threshold"] = compression_ratio_threshold
    options["logprob_threshold"] = logprob_threshold
    options["no_speech_threshold"] = no_speech_threshold

    from whisperlite.stream import (
        ChannelSession,
        FileSource,
        Microphone,
        PcmSource,
        make_stream_options,
        run_stream,
    )

    make_stream_options(policy, **options)  # wrong ones are refused before anything is loaded
    source: Source
    if mic:
        source = Microphone(device, split_channels)
    elif raw is not None:
        source = PcmSource(None, raw, rate, channels, split_channels, real_time)
    else:
        source = FileSource(file or "-", split_channels, chunk_seconds, real_time)

    from whisperlite.api import WhisperModel

    whisper = WhisperModel(model, compute_type=compute_type, threads=threads, backend=backend)
    session = ChannelSession(whisper, source.n_channels, policy, **options)
    view: _Lines = _JsonLines() if as_json else _LiveView() if sys.stdout.isatty() else _Lines()
    with _interruptible() as stopped, view:
        progress = run_stream(
            source,
            session,
            view.show,
            stopped=stopped,
            max_queue_seconds=max_queue_seconds,
            chunk_seconds=chunk_seconds,
        )
    if progress.dropped:
        note(f"{progress.dropped:.1f} s of audio came too fast and were dropped; a smaller model keeps up")
    return INTERRUPTED if stopped() and not mic else 0


def _check_source(file: str | None, mic: bool, device: str | None, raw: str | None) -> None:
    if mic == (file is not None):
        raise OptionError("give one source: --mic, an audio file, or - for standard input")
    if device is not None and not mic:
        raise OptionError(f"--device {device!r} is for --mic")
    if raw is not None and file != "-":
        raise OptionError(f"--raw {raw!r} is for standard input: give - as the file")


def _audio_ctx(given: str) -> int | str | None:
    if given in ("auto", "full"):
        return None if given == "full" else given
    if not given.isdecimal() or int(given) < 1:
        raise OptionError(f"--audio-ctx {given!r}: give auto, full or a number of positions")
    return int(given)


def _list_devices() -> int:
    from whisperlite.stream import input_devices

    for device in input_devices():
        mark = "*" if device.is_default else " "
        print(f"{mark} {device.index:3d}  {device.name}  ({device.n_channels} channels, {device.rate} Hz)")
    return 0


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """While this holds, the first Ctrl-C asks to stop and the second one interrupts."""
    asked = False

    def handle(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


class _Lines:
    """Each closed segment as a line, and notes of what was lost."""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, events: list[Event], progress: Progress) -> None:
        from whisperlite.stream import Dropped, SegmentClosed

        for event in events:
            if isinstance(event, SegmentClosed):
                print(_line(event), flush=True)
            elif isinstance(event, Dropped):
                note(f"{event.seconds:.2f} s of audio dropped at {event.start:.2f} s")


class _JsonLines(_Lines):
    """Each event as a line of JSON."""

    def show(self, events: list[Event], progress: Progress) -> None:
        for event in events:
            print(json.dumps(event.to_dict(), ensure_ascii=False), flush=True)


class _LiveView(_Lines):
    """Closed segments scroll; below them what is being said, and how the stream goes."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._committed: dict[int, str] = {}
        self._tentative: dict[int, str] = {}
        self._rms_db = METER_FLOOR_DB
        self._speaking: set[int] = set()

    def __enter__(self) -> _LiveView:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, events: list[Event], progress: Progress) -> None:
        from rich.text import Text

        from whisperlite.stream import Committed, Dropped, Level, SegmentClosed, SpeechEnd, SpeechStart, Tentative

        for event in events:
            channel = event.channel or 0
            if isinstance(event, Committed):
                self._committed[channel] = self._committed.get(channel, "") + event.text
            elif isinstance(event, Tentative):
                self._tentative[channel] = event.text
            elif isinstance(event, SegmentClosed):
                self._console.print(Text(_line(event)))
                text = self._committed.get(channel, "")
                self._committed[channel] = text.removeprefix(event.segment.text)
            elif isinstance(event, SpeechStart):
                self._speaking.add(channel)
            elif isinstance(event, SpeechEnd):
                self._speaking.discard(channel)
            elif isinstance(event, Level):
                self._rms_db = event.rms_db
            elif isinstance(event, Dropped):
                self._console.print(Text(f"{event.seconds:.2f} s of audio dropped at {event.start:.2f} s", "red"))
        self._live.update(self._screen(progress), refresh=True)

    def _screen(self, progress: Progress) -> Any:
        from rich.console import Group
        from rich.text import Text

        rows = []
        for channel in sorted({*self._committed, *self._tentative}):
            said = Text(self._committed.get(channel, "").lstrip(), "bold")
            said.append(self._tentative.get(channel, ""), "dim")
            rows.append(said)
        filled = round(METER_WIDTH * (1 - max(METER_FLOOR_DB, min(0.0, self._rms_db)) / METER_FLOOR_DB))
        status = Text()
        status.append("|" * filled, "green" if self._speaking else "dim")
        status.append("." * (METER_WIDTH - filled), "dim")
        status.append(f" {self._rms_db:6.1f} dB  {progress.seconds:7.1f} s", "dim")
        if progress.lag is not None:
            status.append(f"  lag {progress.lag:.1f} s", "dim" if progress.lag < 2 else "red")
        status.append(f"  real-time factor {progress.real_time_factor:.2f}", "dim")
        if progress.dropped:
            status.append(f"  dropped {progress.dropped:.1f} s", "red")
        return Group(*rows, status)


def _line(event: Any) -> str:
    """``[00:00.000 --> 00:02.340] Three six.``, with the channel before the text where there are several."""
    from whisperlite.writers import format_timestamp

    segment = event.segment
    channel = "" if event.channel is None else f" {event.channel}:"
    return (
        f"[{format_timestamp(segment.start)} --> {format_timestamp(segment.end)}]{channel} {segment.text.strip()}"
    )
