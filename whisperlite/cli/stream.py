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

from whisperlite.cli.options import (
    OUTPUT,
    SPEECH,
    TEXT,
    TRANSCRIBING,
    TRUST,
    VOICE,
    Backend,
    ComputeType,
    Language,
    LocalFilesOnly,
    Model,
    ModelDir,
    Revision,
    Threads,
    Token,
    number,
    one_of,
    open_model,
    option,
    threshold,
)
from whisperlite.cli.report import note
from whisperlite.cli.values import heads
from whisperlite.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperlite.stream import Event, Progress, Source

SOURCE, COMMIT = "Source", "When words are committed"
VAD_PARAMETERS = (
    "threshold",
    "neg_threshold",
    "min_speech_duration_ms",
    "min_silence_duration_ms",
    "speech_pad_ms",
)
INTERRUPTED = 130
METER_WIDTH = 12
METER_FLOOR_DB = -60.0


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command("stream", rich_help_panel=TRANSCRIBING)(stream)


def stream(
    file: Annotated[str | None, typer.Argument(help="Audio file; - is standard input.")] = None,
    mic: Annotated[bool, option(SOURCE, "Listen to the microphone.", "--mic")] = False,
    device: Annotated[str | None, option(SOURCE, "Its number, or a part of its name.")] = None,
    list_devices: Annotated[bool, option(SOURCE, "Print the input devices.", "--list-devices")] = False,
    raw: Annotated[
        str | None,
        option(
            SOURCE,
            "Standard input is samples without a header: s16le or f32le.",
            autocompletion=one_of("s16le", "f32le"),
        ),
    ] = None,
    rate: Annotated[int, option(SOURCE, "Hz of raw samples.", metavar="N")] = 16000,
    channels: Annotated[int, option(SOURCE, "Interleaved channels of raw samples.", min=1, metavar="N")] = 1,
    split_channels: Annotated[
        bool,
        option(SOURCE, "Transcribe channels apart and merge them by time.", "--split-channels/--no-split-channels"),
    ] = False,
    real_time: Annotated[
        bool,
        option(
            SOURCE, "A file at the pace it was recorded; raw samples as they come.", "--real-time/--no-real-time"
        ),
    ] = False,
    max_queue_seconds: Annotated[
        float, option(SOURCE, "Audio that may wait; a live source loses what exceeds it.")
    ] = 30.0,
    model: Model = "base",
    compute_type: ComputeType = "default",
    threads: Threads = None,
    backend: Backend = None,
    revision: Revision = None,
    token: Token = None,
    model_dir: ModelDir = None,
    local_files_only: LocalFilesOnly = False,
    language: Language = None,
    task: Annotated[
        str,
        option(SPEECH, "transcribe, or translate into English.", autocompletion=one_of("transcribe", "translate")),
    ] = "transcribe",
    initial_prompt: Annotated[str | None, option(TEXT, "Text as if said before the stream.")] = None,
    condition_on_previous_text: Annotated[bool, option(TEXT, "Prompt with the committed text.")] = True,
    prompt_tokens: Annotated[int, option(TEXT, "Most tokens of that prompt.", min=1, metavar="N")] = 64,
    suppress_tokens: Annotated[str, option(TEXT, "Ids never sampled; -1: not speech.")] = "-1",
    beam_size: Annotated[int | None, option(TEXT, "Beams; local-agreement only.", metavar="N")] = None,
    alignment_heads: Annotated[
        str | None, option(TEXT, "layer.head,layer.head,... or a number of top-most layers.")
    ] = None,
    policy: Annotated[
        str,
        option(COMMIT, "local-agreement or align-att.", autocompletion=one_of("local-agreement", "align-att")),
    ] = "local-agreement",
    agreement: Annotated[
        int | None, option(COMMIT, "Decodings that must agree; 2. Of local-agreement.", metavar="N")
    ] = None,
    frame_threshold: Annotated[
        int | None,
        option(COMMIT, "Positions of 0.02 s at the end whose words wait; 25. Of align-att.", metavar="N"),
    ] = None,
    chunk_seconds: Annotated[float, option(COMMIT, "New speech between two decodings.")] = 0.5,
    trim_seconds: Annotated[float, option(COMMIT, "A longer buffer is cut after a sentence.")] = 15.0,
    max_buffer_seconds: Annotated[float, option(COMMIT, "A longer buffer is cut in any case.")] = 25.0,
    audio_ctx: Annotated[
        str,
        option(COMMIT, "Encoder positions of 0.02 s: auto (as the buffer needs), full (1500), or a number."),
    ] = "auto",
    vad: Annotated[bool, option(VOICE, "Decode no silence.", "--vad/--no-vad")] = True,
    vad_model: Annotated[
        str | None,
        option(
            VOICE,
            "energy (needs no weights), silero (fetched), or Silero's ggml file.",
            autocompletion=one_of("energy", "silero"),
        ),
    ] = None,
    vad_threshold: Annotated[float | None, number(VOICE, "Speech begins at this probability; 0.5.")] = None,
    vad_neg_threshold: Annotated[
        float | None, number(VOICE, "It may end below this one; 0.15 under the threshold.")
    ] = None,
    vad_min_speech_duration_ms: Annotated[float | None, number(VOICE, "Shorter speech is dropped; 100.")] = None,
    vad_min_silence_duration_ms: Annotated[
        float | None, number(VOICE, "Shorter silence does not end speech; 500.")
    ] = None,
    vad_speech_pad_ms: Annotated[float | None, number(VOICE, "Kept on both sides of speech; 200.")] = None,
    compression_ratio_threshold: Annotated[
        float | None, threshold(TRUST, "Do not believe text that repeats itself more.")
    ] = 2.4,
    logprob_threshold: Annotated[
        float | None,
        threshold(TRUST, "Of audio that seems silent, do not believe a lower mean log-probability."),
    ] = -1.0,
    no_speech_threshold: Annotated[float | None, threshold(TRUST, "Audio more surely silent seems silent.")] = 0.6,
    json_lines: Annotated[
        bool, option(OUTPUT, "Every event as a JSON object in a line.", "--json-lines/--no-json-lines")
    ] = False,
) -> int:
    """Transcribe live: the microphone, a pipe, or a file as if it were live.

    On a terminal words appear as they are heard, dim while they may still change. Anywhere else each closed segment
    is a line. Ctrl-C ends the stream: what was said so far is finished and written.
    """
    given = dict(locals())
    if list_devices:
        return _list_devices()
    _check_source(file, mic, device, raw)
    if raw is None and (rate, channels) != (16000, 1):
        raise OptionError("--rate and --channels are for --raw samples; other audio says its own")
    if mic and real_time:
        raise OptionError("--real-time is for files and raw samples; a microphone is never faster")
    options = {name: given[name] for name in _PASSED_ON if given[name] is not None}
    options["alignment_heads"] = heads(alignment_heads)
    voice = {name: given[f"vad_{name}"] for name in VAD_PARAMETERS if given[f"vad_{name}"] is not None}
    if not vad and (voice or vad_model is not None):
        raise OptionError(
            f"--vad-{'model' if vad_model else min(voice).replace('_', '-')} has no effect with --no-vad"
        )
    options["vad"] = vad_model or vad
    options["vad_parameters"] = voice or None
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

    whisper = open_model(model, compute_type, threads, backend, revision, token, model_dir, local_files_only)
    session = ChannelSession(whisper, source.n_channels, policy, **options)
    view: _Lines = _JsonLines() if json_lines else _LiveView() if sys.stdout.isatty() else _Lines()
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


_PASSED_ON = (
    "language",
    "task",
    "initial_prompt",
    "condition_on_previous_text",
    "prompt_tokens",
    "suppress_tokens",
    "beam_size",
    "agreement",
    "frame_threshold",
    "chunk_seconds",
    "trim_seconds",
    "max_buffer_seconds",
)


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
