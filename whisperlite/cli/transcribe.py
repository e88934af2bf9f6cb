"""Commands that transcribe: ``transcribe`` and ``demo``.

In: arguments, audio files. Out: segments on stdout as they are decoded, and output files.
Knows nothing of: how audio is transcribed.

Heavy modules are imported inside the commands, so that ``--help`` and wrong calls answer at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisperlite.cli.report import note, report_error, show_segment
from whisperlite.errors import OptionError, WhisperliteError

if TYPE_CHECKING:
    from whisperlite.api import WhisperModel
    from whisperlite.transcribe import SpeakerTranscript, Transcript
    from whisperlite.writers import WriterOptions

_MODEL, _TEXT, _SEARCH, _RULES = "Model", "Speech and text", "Search", "Rules on tokens"
_TRUST, _WORDS, _OUTPUT = "Fallback and silence", "Words", "Output"
_VAD = "Voice activity: transcribe speech alone"


# Those of ``transcribe.words``, which must not be imported before it is known that there is work to do.
PREPEND_PUNCTUATIONS = "\"'“¿([{-"
APPEND_PUNCTUATIONS = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("transcribe")(transcribe)
    app.command("demo")(demo)


def number_or_none(given: str | float) -> float | None:
    """A number, or ``none``; a default comes as a number already."""
    if str(given).lower() == "none":
        return None
    try:
        return float(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is not a number; give one, or none") from None


def _option(panel: str, help: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, help=help, **settings)


def _threshold(panel: str, help: str) -> Any:
    return _option(panel, f"{help} none: off.", parser=number_or_none, metavar="NUMBER")


def transcribe(
    files: Annotated[list[str], typer.Argument(help="Audio files; - is standard input.")],
    model: Annotated[
        str, _option(_MODEL, "tiny .. large-v3-turbo, owner/name of the hub, a path, or nano (built in).")
    ] = "base",
    compute_type: Annotated[
        str, _option(_MODEL, "default (as the file has them), float32, bfloat16, int8.")
    ] = "default",
    threads: Annotated[int | None, _option(_MODEL, "Default: all the process may use.", min=1)] = None,
    backend: Annotated[str | None, _option(_MODEL, "numba, or numpy: slow, readable.")] = None,
    draft: Annotated[
        str | None, _option(_MODEL, "Smaller model that proposes tokens; same text, temperature 0 without beams.")
    ] = None,
    language: Annotated[str | None, _option(_TEXT, "Code or name; detected when not given.")] = None,
    task: Annotated[str, _option(_TEXT, "transcribe, or translate into English.")] = "transcribe",
    initial_prompt: Annotated[str | None, _option(_TEXT, "Text as if said before the first window.")] = None,
    carry_initial_prompt: Annotated[
        bool, _option(_TEXT, "Give it to every window.", "--carry-initial-prompt")
    ] = False,
    condition_on_previous_text: Annotated[
        bool, _option(_TEXT, "Prompt each window with the text before it.")
    ] = True,
    prefix: Annotated[str | None, _option(_TEXT, "Text every window begins with.")] = None,
    without_timestamps: Annotated[bool, _option(_TEXT, "Sample text only.", "--without-timestamps")] = False,
    max_initial_timestamp: Annotated[
        float | None, _threshold(_TEXT, "Latest first timestamp of a window, seconds.")
    ] = 1.0,
    clip_timestamps: Annotated[str, _option(_TEXT, "start,end,start,... in seconds.")] = "0",
    hotwords: Annotated[str | None, _option(_TEXT, "Words to expect.")] = None,
    prompt_reset_on_temperature: Annotated[
        float, _option(_TEXT, "The text of a window hotter than this prompts no other.")
    ] = 0.5,
    multilingual: Annotated[bool, _option(_TEXT, "Detect the language of every window.", "--multilingual")] = False,
    language_detection_segments: Annotated[
        int, _option(_TEXT, "Most windows heard to detect the language.", min=1)
    ] = 1,
    language_detection_threshold: Annotated[
        float | None, _threshold(_TEXT, "A window surer of its language decides.")
    ] = 0.5,
    audio_ctx: Annotated[
        int | None, _option(_TEXT, "Encoder positions of 0.02 s per window; below 1500 costs accuracy.", min=1)
    ] = None,
    batch_size: Annotated[int, _option(_TEXT, "Files, or clips of one file, decoded together.", min=1)] = 1,
    temperature: Annotated[float, _option(_SEARCH, "0 takes the most probable; above 0 samples.")] = 0.0,
    beam_size: Annotated[int | None, _option(_SEARCH, "Beams at temperature 0.")] = None,
    best_of: Annotated[int | None, _option(_SEARCH, "Samples at temperatures above 0.")] = None,
    patience: Annotated[float | None, _option(_SEARCH, "Beam search patience.")] = None,
    length_penalty: Annotated[float | None, _option(_SEARCH, "Exponent of the length penalty.")] = None,
    sample_len: Annotated[
        int | None, _option(_SEARCH, "Most tokens of a window.", "--sample-len", "--max-new-tokens")
    ] = None,
    seed: Annotated[int, _option(_SEARCH, "Of sampling: same seed, same result.")] = 0,
    alternatives: Annotated[
        int | None, _option(_SEARCH, "Most probable tokens kept of each position, in json output.", min=0)
    ] = None,
    draft_tokens: Annotated[
        int | None, _option(_SEARCH, "Tokens drafted at a time; default: by how many are accepted.", min=0)
    ] = None,
    suppress_tokens: Annotated[str, _option(_RULES, "Ids never sampled; -1: not speech.")] = "-1",
    suppress_blank: Annotated[bool, _option(_RULES, "No window begins with a space or its end.")] = True,
    suppress_regex: Annotated[str | None, _option(_RULES, "Tokens that match are never sampled.")] = None,
    repetition_penalty: Annotated[float, _option(_RULES, "Above 1: tokens once sampled get less likely.")] = 1.0,
    no_repeat_ngram_size: Annotated[int, _option(_RULES, "No run of this many tokens comes twice.", min=0)] = 0,
    grammar: Annotated[str | None, _option(_RULES, "GBNF the text follows, or a file with it.")] = None,
    grammar_rule: Annotated[str, _option(_RULES, "Its start rule.")] = "root",
    grammar_penalty: Annotated[float, _option(_RULES, "Taken from tokens outside it.", min=0)] = 100.0,
    temperature_increment_on_fallback: Annotated[
        float | None, _threshold(_TRUST, "Step to the next temperature when a result is rejected.")
    ] = 0.2,
    compression_ratio_threshold: Annotated[
        float | None, _threshold(_TRUST, "Reject text that repeats itself more.")
    ] = 2.4,
    logprob_threshold: Annotated[float | None, _threshold(_TRUST, "Reject a lower mean log-probability.")] = -1.0,
    no_speech_threshold: Annotated[float | None, _threshold(_TRUST, "Skip a window more surely silent.")] = 0.6,
    word_timestamps: Annotated[bool, _option(_WORDS, "Times of every word.", "--word-timestamps")] = False,
    prepend_punctuations: Annotated[
        str, _option(_WORDS, "Marks joined to the word after them.")
    ] = PREPEND_PUNCTUATIONS,
    append_punctuations: Annotated[
        str, _option(_WORDS, "Marks joined to the word before them.")
    ] = APPEND_PUNCTUATIONS,
    hallucination_silence_threshold: Annotated[
        float | None, _threshold(_WORDS, "Skip longer silences around improbable text.")
    ] = None,
    alignment_heads: Annotated[
        str | None, _option(_WORDS, "layer.head,layer.head,... or a number of top-most layers.")
    ] = None,
    vad_filter: Annotated[bool, _option(_VAD, "Leave out what is no speech.", "--vad-filter", "--vad")] = False,
    vad_model: Annotated[
        str | None, _option(_VAD, "energy (needs no weights), silero (fetched), or Silero's ggml file.")
    ] = None,
    vad_threshold: Annotated[float | None, _option(_VAD, "Speech begins at this probability; 0.5.")] = None,
    vad_neg_threshold: Annotated[
        float | None, _option(_VAD, "It may end below this one; 0.15 under the threshold.")
    ] = None,
    vad_min_speech_duration_ms: Annotated[float | None, _option(_VAD, "Shorter speech is dropped; 0.")] = None,
    vad_max_speech_duration_s: Annotated[float | None, _option(_VAD, "Longer speech is cut; no limit.")] = None,
    vad_min_silence_duration_ms: Annotated[
        float | None, _option(_VAD, "Shorter silence does not end speech; 2000.")
    ] = None,
    vad_speech_pad_ms: Annotated[float | None, _option(_VAD, "Kept on both sides of speech; 400.")] = None,
    chunk_length: Annotated[
        float | None, _option(_VAD, "Seconds of speech transcribed by itself, for --batch-size; at most 30.")
    ] = None,
    output_dir: Annotated[
        Path | None, _option(_OUTPUT, "Folder of output files; none are written without it or a format.")
    ] = None,
    output_format: Annotated[
        str | None,
        _option(
            _OUTPUT,
            "txt, srt, vtt, tsv, json, json-full, lrc, csv, ass, audacity; several with commas, or all. With a "
            "folder alone: the first five.",
        ),
    ] = None,
    highlight_words: Annotated[
        bool,
        _option(_OUTPUT, "Underline each word while it is said (srt, vtt); time it (lrc).", "--highlight-words"),
    ] = False,
    max_line_width: Annotated[
        int | None, _option(_OUTPUT, "Most characters of a line (srt, vtt, ass, lrc).", min=1)
    ] = None,
    max_line_count: Annotated[
        int | None, _option(_OUTPUT, "Most lines of a cue; needs --max-line-width.", min=1)
    ] = None,
    max_words_per_line: Annotated[int | None, _option(_OUTPUT, "Most words of a cue.", min=1)] = None,
    hide_non_speech: Annotated[
        bool, _option(_OUTPUT, "Leave out [BLANK_AUDIO], (laughs), *music* and notes.", "--hide-non-speech")
    ] = False,
    diarize: Annotated[
        bool, _option(_OUTPUT, "Each channel is a speaker: transcribe it by itself.", "--diarize")
    ] = False,
    speakers: Annotated[
        str | None, _option(_OUTPUT, "Names of the speakers, with commas; needs --diarize.")
    ] = None,
    quiet: Annotated[bool, _option(_OUTPUT, "Do not print the text.", "--quiet", "-q")] = False,
    verbose: Annotated[
        bool, _option(_OUTPUT, "Say what was tried, rejected and left out, on stderr.", "--verbose", "-v")
    ] = False,
) -> int:
    """Transcribe audio files: prints text with its times while it is decoded."""
    given = dict(locals())
    formats = output_formats(output_format, output_dir)
    options = {name: given[name] for name in given if name in _OPTION_PARAMETERS}
    options["temperature"] = temperatures(temperature, temperature_increment_on_fallback)
    options["grammar"] = grammar_text(grammar)
    options["alignment_heads"] = heads(alignment_heads)
    options["vad_parameters"] = {
        name: given[f"vad_{name}"] for name in _VAD_NAMES if given[f"vad_{name}"] is not None
    }
    options["vad_parameters"] = options["vad_parameters"] or None
    layout = writer_options({name: given[name] for name in given if name in _WRITER_PARAMETERS}, word_timestamps)
    names = speakers_of(diarize, speakers, batch_size)
    if "json-full" in formats and alternatives is None:
        options["alternatives"] = 0  # the log-probability of each token
    if len(files) == 1:
        options["batch_size"], batch_size = batch_size, 1
    check_options(options)
    if vad_filter:
        from whisperlite.transcribe import find_detector

        options["vad_model"] = find_detector(vad_model)

    from whisperlite.api import WhisperModel
    from whisperlite.writers import output_stems

    whisper = WhisperModel(model, compute_type=compute_type, threads=threads, backend=backend, draft=draft)
    failed = 0
    for file, stem, transcribed in zip(
        files, output_stems(files), transcripts(whisper, files, batch_size, options, diarize, names), strict=True
    ):
        if len(files) > 1 and not quiet:
            print(f"==> {file} <==", flush=True)
        try:
            transcript = transcribed()
            show(transcript, quiet, verbose, layout.hide_non_speech)
            write_outputs(transcript, output_dir or Path(), stem, formats, layout)
        except OptionError:
            raise
        except (WhisperliteError, OSError) as error:
            report_error(error)
            failed += 1
    if failed and len(files) > 1:
        note(f"{failed} of {len(files)} files failed")
    return 1 if failed else 0


def demo(
    backend: Annotated[str | None, typer.Option(help="numba, or numpy: slow, readable.")] = None,
) -> None:
    """Transcribe a short recording that ships with whisperlite, with the built-in model nano."""
    import whisperlite
    from whisperlite.api import WhisperModel

    audio = whisperlite.demo_audio()
    note(f"whisperlite transcribe --model nano {audio}")
    show(WhisperModel("nano", backend=backend).transcribe(audio), quiet=False)


_VAD_NAMES = (
    "threshold",
    "neg_threshold",
    "min_speech_duration_ms",
    "max_speech_duration_s",
    "min_silence_duration_ms",
    "speech_pad_ms",
)
_OPTION_PARAMETERS = frozenset(
    {
        "vad_filter",
        "vad_model",
        "chunk_length",
        "alternatives",
        "append_punctuations",
        "audio_ctx",
        "draft_tokens",
        "grammar_penalty",
        "grammar_rule",
        "hallucination_silence_threshold",
        "hotwords",
        "language_detection_segments",
        "language_detection_threshold",
        "multilingual",
        "no_repeat_ngram_size",
        "prepend_punctuations",
        "prompt_reset_on_temperature",
        "repetition_penalty",
        "suppress_blank",
        "suppress_regex",
        "word_timestamps",
        "language",
        "task",
        "initial_prompt",
        "carry_initial_prompt",
        "condition_on_previous_text",
        "prefix",
        "without_timestamps",
        "max_initial_timestamp",
        "clip_timestamps",
        "beam_size",
        "best_of",
        "patience",
        "length_penalty",
        "suppress_tokens",
        "sample_len",
        "seed",
        "compression_ratio_threshold",
        "logprob_threshold",
        "no_speech_threshold",
    }
)


_WRITER_PARAMETERS = frozenset(
    {"highlight_words", "max_line_width", "max_line_count", "max_words_per_line", "hide_non_speech"}
)


def writer_options(given: dict[str, Any], word_timestamps: bool) -> WriterOptions:
    """Layout of the outputs.

    Raises
    ------
    OptionError
        An option has no effect, or needs the times of words.
    """
    from whisperlite.writers import WriterOptions

    layout = WriterOptions(**given)
    if layout.word_options and not word_timestamps:
        raise OptionError(f"--{layout.word_options[0].replace('_', '-')} needs --word-timestamps")
    return layout


def speakers_of(diarize: bool, speakers: str | None, batch_size: int) -> list[str] | None:
    """Names of the speakers; None where they were not given.

    Raises
    ------
    OptionError
        They are not asked for, or files are to be decoded together too.
    """
    if not diarize and speakers is not None:
        raise OptionError("--speakers needs --diarize")
    if diarize and batch_size != 1:
        raise OptionError("--batch-size has no effect with --diarize: the channels of a file are decoded together")
    return None if speakers is None else [name.strip() for name in speakers.split(",")]


def output_formats(given: str | None, output_dir: Path | None) -> Sequence[str]:
    """Names of the formats to write; none without a format and a folder, OpenAI's with a folder alone.

    Raises
    ------
    OptionError
        A format is unknown.
    """
    from whisperlite.writers import FORMATS, OPENAI_FORMATS

    if given is None:
        return () if output_dir is None else OPENAI_FORMATS
    if given == "all":
        return FORMATS
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    for name in names:
        if name not in FORMATS:
            raise OptionError(f"--output-format {name!r}: give {', '.join(FORMATS)} or all")
    return names


def temperatures(first: float, increment: float | None) -> tuple[float, ...]:
    """``first`` and the temperatures after it, up to 1."""
    if increment is None or not increment > 0:
        return (first,)
    n_more = int((1.0 + 1e-6 - first) / increment) if first < 1 else 0
    return tuple(round(first + i * increment, 6) for i in range(n_more + 1))


def grammar_text(given: str | None) -> str | None:
    """GBNF from the command line: the text itself, or that of a file.

    Raises
    ------
    OptionError
        It is neither.
    """
    if given is None or "::=" in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OptionError(f"--grammar {given!r}: {error}; give GBNF, or a file with it") from None


def heads(given: str | None) -> int | list[tuple[int, int]] | None:
    """Heads from the command line: ``2`` for those of the two top-most layers, or ``5.3,5.9``: layer and head.

    Raises
    ------
    OptionError
        It is neither.
    """
    if given is None:
        return None
    try:
        if given.strip().isdigit():
            return int(given)
        pairs = [part.split(".") for part in given.split(",")]
        return [(int(layer), int(head)) for layer, head in pairs]
    except ValueError:
        raise OptionError(
            f"--alignment-heads {given!r}: give a number of layers, or layer.head,layer.head,..."
        ) from None


def transcripts(
    whisper: WhisperModel,
    files: Sequence[str],
    batch_size: int,
    options: dict[str, Any],
    diarize: bool = False,
    speakers: Sequence[str] | None = None,
) -> Iterator[Callable[[], Transcript | SpeakerTranscript]]:
    """For each file a function that gives its transcript, or raises what went wrong with it."""
    if diarize:
        options = {name: value for name, value in options.items() if name != "batch_size"}
        yield from (partial(whisper.transcribe_speakers, file, speakers, **options) for file in files)
        return
    if batch_size == 1:
        yield from (partial(whisper.transcribe, file, **options) for file in files)
        return
    for result in whisper.transcribe_many(files, batch_size, return_exceptions=True, **options):
        yield partial(_given, result)


def _given(result: Transcript | WhisperliteError) -> Transcript:
    if isinstance(result, WhisperliteError):
        raise result
    return result


def check_options(options: dict[str, Any]) -> None:
    """Refuse wrong options before a model is loaded.

    Raises
    ------
    OptionError
        An option cannot be honoured.
    """
    from whisperlite.text import language_code
    from whisperlite.transcribe import make_options

    make_options(**options)
    if options["language"] is not None:
        language_code(options["language"])


def show(
    transcript: Transcript | SpeakerTranscript, quiet: bool, verbose: bool = False, hide_non_speech: bool = False
) -> None:
    """Decode to the end; print each segment as it is ready, and with ``verbose`` the record of decisions.

    Of speakers, all segments come at the end, in the order of time.
    """
    from whisperlite.transcribe import SpeakerTranscript
    from whisperlite.writers import without_non_speech

    several = isinstance(transcript, SpeakerTranscript)
    for channel in transcript.transcripts if isinstance(transcript, SpeakerTranscript) else (transcript,):
        _show_windows(channel, quiet or several, verbose, hide_non_speech)
    if several and not quiet:
        for segment in without_non_speech(transcript) if hide_non_speech else transcript:
            show_segment(segment)


def _show_windows(transcript: Transcript, quiet: bool, verbose: bool, hide_non_speech: bool) -> None:
    from whisperlite.text import LANGUAGES
    from whisperlite.writers import account_lines, record_lines, without_non_speech

    if transcript.language_probs is not None and not quiet:
        probability = transcript.language_probs[transcript.language]
        note(f"detected language: {LANGUAGES[transcript.language].title()} ({probability:.2f})")
    if transcript.speech is not None and not quiet:
        removed = transcript.duration - transcript.speech_duration
        note(f"no speech in {removed:.2f} of {transcript.duration:.2f} s")
    for window in transcript.iter_windows():
        segments = without_non_speech(window.segments) if hide_non_speech else window.segments
        for segment in segments if not quiet else ():
            show_segment(segment)
        for line in record_lines(window) if verbose else ():
            note(line)
    if verbose:
        note("\n".join(["account:", *account_lines(transcript.account)]))


def write_outputs(
    transcript: Transcript | SpeakerTranscript,
    folder: Path,
    stem: str,
    formats: Sequence[str],
    layout: WriterOptions | None = None,
) -> None:
    """Write the transcript in each format, as ``output_path`` names the files."""
    from whisperlite.writers import output_path, render, write_text

    for name, text in render(transcript, formats, layout).items():
        write_text(output_path(folder, stem, name), text)
