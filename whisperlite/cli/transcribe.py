"""Commands that transcribe: ``transcribe``, ``translate`` and ``demo``.

In: arguments, audio files. Out: segments on stdout as they are decoded, and output files.
Knows nothing of: how audio is transcribed.

Heavy modules are imported inside the commands, so that ``--help`` and wrong calls answer at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisperlite.cli import inputs
from whisperlite.cli.options import (
    LAYOUT_OPTIONS,
    MODEL,
    OUTPUT,
    RULES,
    SEARCH,
    SPEECH,
    TEXT,
    TRANSCRIBING,
    TRUST,
    VOICE,
    WORDS,
    Backend,
    ComputeType,
    DetectionSegments,
    DetectionThreshold,
    HideNonSpeech,
    HighlightWords,
    Language,
    LocalFilesOnly,
    MaxLineCount,
    MaxLineWidth,
    MaxWordsPerLine,
    Model,
    ModelDir,
    OutputDir,
    OutputFormat,
    Quiet,
    Revision,
    Threads,
    Token,
    count,
    model_names,
    number,
    one_of,
    open_model,
    option,
    threshold,
)
from whisperlite.cli.report import JsonReporter, Reporter, TextReporter, note
from whisperlite.cli.values import (
    check_device,
    grammar_text,
    heads,
    output_formats,
    speakers_of,
    temperatures,
    writer_options,
)
from whisperlite.errors import OptionError

if TYPE_CHECKING:
    from whisperlite.cli.batch import Result

# Those of ``transcribe.words``, which must not be imported before it is known that there is work to do.
PREPEND_PUNCTUATIONS = "\"'“¿([{-"
APPEND_PUNCTUATIONS = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001

MODEL_OPTIONS = (
    "model", "compute_type", "threads", "backend", "revision", "token", "model_dir", "local_files_only",
    "draft",
)  # fmt: skip
VAD_PARAMETERS = (
    "threshold", "neg_threshold", "min_speech_duration_ms", "max_speech_duration_s", "min_silence_duration_ms",
    "speech_pad_ms",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command("transcribe", rich_help_panel=TRANSCRIBING)(transcribe)
    app.command("translate", rich_help_panel=TRANSCRIBING)(translate)
    app.command("demo", rich_help_panel=TRANSCRIBING)(demo)


def transcribe(
    files: Annotated[list[str], typer.Argument(help="Audio files, globs, folders; - is standard input.")],
    model: Model = "base",
    compute_type: ComputeType = "default",
    threads: Threads = None,
    backend: Backend = None,
    revision: Revision = None,
    token: Token = None,
    model_dir: ModelDir = None,
    local_files_only: LocalFilesOnly = False,
    draft: Annotated[
        str | None,
        option(MODEL, "Smaller model that proposes tokens: same text; temperature 0 without beams.",
               metavar="MODEL", autocompletion=model_names),
    ] = None,
    device: Annotated[str, option(MODEL, "cpu: there is no other; here for openai-whisper's sake.")] = "cpu",
    fp16: Annotated[bool | None, option(MODEL, "False is what is done; see --compute-type.")] = None,
    language: Language = None,
    task: Annotated[
        str,
        option(SPEECH, "transcribe, or translate into English.", autocompletion=one_of("transcribe", "translate")),
    ] = "transcribe",
    multilingual: Annotated[bool, option(SPEECH, "Detect the language of every window.")] = False,
    language_detection_segments: DetectionSegments = 1,
    language_detection_threshold: DetectionThreshold = 0.5,
    clip_timestamps: Annotated[str, option(SPEECH, "start,end,start,... in seconds.", metavar="SECONDS")] = "0",
    audio_ctx: Annotated[
        int | None, count(SPEECH, "Encoder positions of 0.02 s per window; below 1500 costs accuracy.")
    ] = None,
    batch_size: Annotated[
        int, option(SPEECH, "Files decoded together; of one file, its clips or --chunk-length.", min=1, metavar="N")
    ] = 1,
    diarize: Annotated[bool, option(SPEECH, "Each channel is a speaker: transcribe it by itself.")] = False,
    speakers: Annotated[
        str | None, option(SPEECH, "Names of the speakers, with commas; needs --diarize.", metavar="NAMES")
    ] = None,
    initial_prompt: Annotated[str | None, option(TEXT, "Text as if said before the first window.")] = None,
    carry_initial_prompt: Annotated[bool, option(TEXT, "Give it to every window.")] = False,
    condition_on_previous_text: Annotated[bool, option(TEXT, "Prompt each window with the text before it.")] = True,
    prompt_reset_on_temperature: Annotated[
        float, option(TEXT, "The text of a window hotter than this prompts no other.")
    ] = 0.5,
    hotwords: Annotated[str | None, option(TEXT, "Words to expect.", metavar="TEXT")] = None,
    prefix: Annotated[str | None, option(TEXT, "Text every window begins with.", metavar="TEXT")] = None,
    without_timestamps: Annotated[bool, option(TEXT, "Sample text only.")] = False,
    max_initial_timestamp: Annotated[
        float | None, threshold(TEXT, "Latest first timestamp of a window, seconds.")
    ] = 1.0,
    temperature: Annotated[
        str,
        option(SEARCH, "0 takes the most probable; above 0 samples. Several with commas are tried in turn.",
               metavar="NUMBER,..."),
    ] = "0",
    beam_size: Annotated[int | None, count(SEARCH, "Beams at temperature 0.")] = None,
    best_of: Annotated[int | None, count(SEARCH, "Samples at temperatures above 0.")] = None,
    patience: Annotated[float | None, number(SEARCH, "Beam search patience.")] = None,
    length_penalty: Annotated[float | None, number(SEARCH, "Exponent of the length penalty, 0 to 1.")] = None,
    sample_len: Annotated[
        int | None, count(SEARCH, "Most tokens of a window.", "--sample-len", "--max-new-tokens")
    ] = None,
    seed: Annotated[int, option(SEARCH, "Of sampling: same seed, same result.", metavar="N")] = 0,
    alternatives: Annotated[
        int | None, count(SEARCH, "Most probable tokens kept of each position, in json outputs.")
    ] = None,
    draft_tokens: Annotated[
        int | None, count(SEARCH, "Tokens drafted at a time; by how many are accepted when not given.")
    ] = None,
    suppress_tokens: Annotated[
        str, option(RULES, "Ids never sampled, with commas; -1: what is not speech.", metavar="IDS")
    ] = "-1",
    suppress_blank: Annotated[bool, option(RULES, "No window begins with a space or its end.")] = True,
    suppress_regex: Annotated[str | None, option(RULES, "Tokens that match are never sampled.")] = None,
    repetition_penalty: Annotated[float, option(RULES, "Above 1: tokens once sampled get less likely.")] = 1.0,
    no_repeat_ngram_size: Annotated[
        int, option(RULES, "No run of this many tokens comes twice.", min=0, metavar="N")
    ] = 0,
    grammar: Annotated[str | None, option(RULES, "GBNF the text follows, or a file with it.")] = None,
    grammar_rule: Annotated[str, option(RULES, "Its start rule.")] = "root",
    grammar_penalty: Annotated[float, option(RULES, "Taken from tokens outside it.", min=0)] = 100.0,
    temperature_increment_on_fallback: Annotated[
        float | None, threshold(TRUST, "Step to the next temperature when a result is rejected.")
    ] = 0.2,
    compression_ratio_threshold: Annotated[
        float | None, threshold(TRUST, "Reject text that repeats itself more.")
    ] = 2.4,
    logprob_threshold: Annotated[float | None, threshold(TRUST, "Reject a lower mean log-probability.")] = -1.0,
    no_speech_threshold: Annotated[float | None, threshold(TRUST, "Skip a window more surely silent.")] = 0.6,
    word_timestamps: Annotated[bool, option(WORDS, "Times of every word.")] = False,
    prepend_punctuations: Annotated[
        str, option(WORDS, "Marks joined to the word after them.", metavar="MARKS")
    ] = PREPEND_PUNCTUATIONS,
    append_punctuations: Annotated[
        str, option(WORDS, "Marks joined to the word before them.", metavar="MARKS")
    ] = APPEND_PUNCTUATIONS,
    hallucination_silence_threshold: Annotated[
        float | None, threshold(WORDS, "Skip longer silences around improbable text.")
    ] = None,
    alignment_heads: Annotated[
        str | None, option(WORDS, "layer.head,layer.head,... or a number of top-most layers.")
    ] = None,
    vad_filter: Annotated[
        bool, option(VOICE, "Leave out what is no speech.", "--vad-filter/--no-vad-filter", "--vad/--no-vad")
    ] = False,
    vad_model: Annotated[
        str | None,
        option(VOICE, "energy (needs no weights), silero (fetched), or Silero's ggml file.",
               autocompletion=one_of("energy", "silero")),
    ] = None,
    vad_threshold: Annotated[float | None, number(VOICE, "Speech begins at this probability; 0.5.")] = None,
    vad_neg_threshold: Annotated[
        float | None, number(VOICE, "It may end below this one; 0.15 under the threshold.")
    ] = None,
    vad_min_speech_duration_ms: Annotated[float | None, number(VOICE, "Shorter speech is dropped; 0.")] = None,
    vad_max_speech_duration_s: Annotated[float | None, number(VOICE, "Longer speech is cut; no limit.")] = None,
    vad_min_silence_duration_ms: Annotated[
        float | None, number(VOICE, "Shorter silence does not end speech; 2000.")
    ] = None,
    vad_speech_pad_ms: Annotated[float | None, number(VOICE, "Kept on both sides of speech; 400.")] = None,
    chunk_length: Annotated[
        float | None, number(VOICE, "Seconds of speech transcribed by itself, for --batch-size; at most 30.")
    ] = None,
    output_dir: OutputDir = None,
    output_format: OutputFormat = None,
    resume: Annotated[
        bool, option(OUTPUT, "Leave out files whose outputs are there and not older than the audio.")
    ] = False,
    json_lines: Annotated[bool, option(OUTPUT, "Events as JSON, one a line, in place of the text.")] = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool | None,
        option(OUTPUT, "Say what was tried, rejected and left out. False: do not print the text.",
               "--verbose/--no-verbose", "-v"),
    ] = None,
    progress: Annotated[bool | None, option(OUTPUT, "Show bars; on a terminal when not given.")] = None,
    highlight_words: HighlightWords = False,
    max_line_width: MaxLineWidth = None,
    max_line_count: MaxLineCount = None,
    max_words_per_line: MaxWordsPerLine = None,
    hide_non_speech: HideNonSpeech = False,
) -> int:  # fmt: skip
    """Transcribe audio files: prints text with its times while it is decoded.

    Flags may be followed by True or False, names may have _ for -: openai-whisper's calls work as they are.
    """
    given = dict(locals())
    check_device(device, fp16)
    formats = output_formats(output_format, output_dir)
    layout = writer_options({name: given[name] for name in LAYOUT_OPTIONS}, word_timestamps)
    if resume and not formats:
        raise OptionError("--resume needs outputs to look for: give --output-dir or --output-format")
    options = engine_options(given, formats)
    names = speakers_of(diarize, speakers, batch_size)
    paths, empty = inputs.expand(files)
    together = batch_size > 1 and not (
        len(files) == 1 and paths == files
    )  # one file in a folder is a batch of files
    if together or diarize:
        del options["batch_size"]  # it is not the windows of one audio that are decoded together
    check_options(options)

    from whisperlite.cli import batch
    from whisperlite.writers import output_stems

    def transcripts(todo: Sequence[str]) -> Iterable[Callable[[], Result]]:
        if vad_filter:
            from whisperlite.transcribe import find_detector

            options["vad_model"] = find_detector(vad_model)
        whisper = open_model(**{name: given[name] for name in MODEL_OPTIONS})
        if diarize:
            return batch.each_alone(partial(whisper.transcribe_speakers, speakers=names), options, todo)
        if together:
            return batch.as_batch(whisper.transcribe_many, batch_size, options, todo)
        return batch.each_alone(whisper.transcribe, options, todo)

    text = not quiet and verbose is not False
    n_files = len(paths) + len(empty)
    reporter: Reporter = (
        JsonReporter(text, bool(verbose))
        if json_lines
        else TextReporter(n_files, text, bool(verbose), hide_non_speech)
    )
    outputs = batch.Outputs(output_dir or Path(), formats, layout)
    named = list(zip(paths, output_stems(paths), strict=True))
    return batch.run(named, empty, outputs, transcripts, reporter, resume, together, progress)


def translate(**given: Any) -> int:
    """Translate audio files into English: transcribe with --task translate, and the same options."""
    return transcribe(**given, task="translate")


_SIGNATURE = inspect.signature(transcribe, eval_str=True)
translate.__signature__ = _SIGNATURE.replace(  # type: ignore[attr-defined]
    parameters=[item for name, item in _SIGNATURE.parameters.items() if name != "task"]
)


def demo(backend: Backend = None) -> int:
    """Transcribe a short recording that ships with whisperlite, with the built-in model nano."""
    import whisperlite
    from whisperlite.cli import batch

    audio = whisperlite.demo_audio()
    note(f"whisperlite transcribe --model nano {audio}")
    whisper = open_model("nano", backend=backend)
    named = [(audio, "demo")]
    return batch.run(named, [], batch.Outputs(), partial(batch.each_alone, whisper.transcribe, {}), TextReporter())


def engine_options(given: dict[str, Any], formats: Sequence[str]) -> dict[str, Any]:
    """What ``WhisperModel.transcribe`` is given.

    Raises
    ------
    OptionError
        A text cannot be read as what the option takes.
    """
    from whisperlite.transcribe.options import OPTION_NAMES

    options = {name: given[name] for name in given if name in OPTION_NAMES}
    options["temperature"] = temperatures(given["temperature"], given["temperature_increment_on_fallback"])
    options["grammar"] = grammar_text(given["grammar"])
    options["alignment_heads"] = heads(given["alignment_heads"])
    voice = {name: given[f"vad_{name}"] for name in VAD_PARAMETERS if given[f"vad_{name}"] is not None}
    options["vad_parameters"] = voice or None
    if "json-full" in formats and given["alternatives"] is None:
        options["alternatives"] = 0  # the log-probability of each token
    return options


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
