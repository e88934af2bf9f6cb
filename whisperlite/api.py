"""The public model: transcribe audio, or take the stages one by one.

In: a model name or path, audio of any kind, options by name. Out: ``Transcript``, or each stage's arrays.
Knows nothing of: command lines, output files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from whisperlite.audio import (
    HOP_LENGTH,
    N_FRAMES,
    AudioSource,
    load_audio,
    load_channels,
    log_mel_spectrogram,
    pad_or_trim,
)
from whisperlite.checkpoint import Dims, HubOptions, open_checkpoint, resolve
from whisperlite.conversion import vocabulary_of
from whisperlite.decode import (
    DecodingOptions,
    DecodingResult,
    Draft,
    DraftModel,
    choose_language,
    decode,
    detect_language,
    make_decoding_options,
    make_draft_model,
    not_used_because,
)
from whisperlite.errors import AudioError, OptionError, WhisperliteError
from whisperlite.model import CrossKV, KVCache, Whisper
from whisperlite.model.same_encoder import same_encoder
from whisperlite.results import Window, Word
from whisperlite.text import Tokenizer, language_code, tokenizer_for
from whisperlite.transcribe import (
    AlignOptions,
    LanguageOptions,
    SpeakerTranscript,
    Speech,
    TranscribeOptions,
    Transcript,
    align,
    find_detector,
    find_speech,
    job_windows,
    make_job,
    make_options,
    original_windows,
    run_jobs,
    speaker_names,
)
from whisperlite.transcribe.jobs import Job
from whisperlite.transcribe.timing import chosen_heads
from whisperlite.transcribe.windows import Content, clip_frames, frames_duration, make_content


class WhisperModel:
    """A Whisper model, ready to transcribe.

    Parameters
    ----------
    name_or_path : str or Path
        A size (``tiny`` .. ``large-v3-turbo``, ``distil-*``), an owner/name (or owner/name/file) of the Hugging
        Face hub, a path to an HF or CTranslate2 folder, a ``.safetensors``, ``.pt`` or ggml ``.bin`` file; or
        ``nano``, the model inside the package.
    compute_type : str
        ``default``: weights as the file has them, quantised ones too; ``float32``, ``bfloat16``, ``int8``;
        ``auto``: the fastest that keeps the word error rate on this CPU.
    threads : int, optional
        As many as the process may use when not given.
    backend : str, optional
        ``numba``, or ``numpy``: slow, readable. Default: ``WHISPERLITE_BACKEND``, else ``numba``.
    revision : str, optional
        Branch, tag or commit of a hub model.
    token : str, optional
        For hub models that need a login.
    cache_dir : str or Path, optional
        Where hub models are kept; the hub's own cache when not given.
    local_files_only : bool
        True asks the hub for nothing.
    alignment_heads : sequence of (int, int), optional
        (decoder layer, head) for word times, in place of the model's own.
    draft : str, Path or WhisperModel, optional
        A smaller model of the same vocabulary that proposes tokens where decoding is greedy at temperature 0: the
        same tokens, several to a pass of this model. ``docs/speculative.md`` says when it pays.

    Raises
    ------
    CheckpointError
        The model cannot be found or read.
    OptionError
        An option cannot be honoured.

    Examples
    --------
    >>> from whisperlite import WhisperModel, demo_audio
    >>> model = WhisperModel("nano")
    >>> model.transcribe(demo_audio(), language="en").language
    'en'
    """

    def __init__(
        self,
        name_or_path: str | Path = "base",
        compute_type: str = "default",
        threads: int | None = None,
        backend: str | None = None,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        alignment_heads: Sequence[tuple[int, int]] | None = None,
        draft: str | Path | WhisperModel | None = None,
    ) -> None:
        self._hub = HubOptions(revision, token, cache_dir, local_files_only)
        path = resolve(name_or_path, self._hub)
        heads = None if alignment_heads is None else tuple(alignment_heads)
        checkpoint = open_checkpoint(path, heads)
        self._vocabulary = vocabulary_of(checkpoint)
        self._model = Whisper(checkpoint, compute_type=compute_type, threads=threads, backend=backend)
        self.name = str(name_or_path)
        if draft is not None and not isinstance(draft, WhisperModel):
            draft = WhisperModel(
                draft, threads=threads, backend=backend, token=token, cache_dir=cache_dir,
                local_files_only=local_files_only,
            )  # fmt: skip
        self.draft: WhisperModel | None = draft
        self._draft = None if draft is None else self._checked_draft(draft)

    def _checked_draft(self, draft: WhisperModel) -> DraftModel:
        if not self._vocabulary.same_tokens(draft._vocabulary):
            raise OptionError(
                f"draft {draft.name}: its {draft.dims.n_vocab} tokens are not the {self.dims.n_vocab} of "
                f"{self.name}; give a draft with the same vocabulary"
            )
        return make_draft_model(self._model, draft._model, same_encoder(self._model, draft._model))

    def _check_draft_tokens(self, options: DecodingOptions) -> None:
        if options.draft_tokens and self._draft is None:
            raise OptionError(f"draft_tokens={options.draft_tokens} needs WhisperModel(..., draft=...)")

    # the whole path

    def transcribe(self, audio: AudioSource, **options: Any) -> Transcript:
        """Transcribe audio of any length.

        Reads the audio, and detects the language where none is given, before it returns; windows are decoded
        as the transcript is iterated.

        Parameters
        ----------
        audio : path, file object, bytes or ndarray
            See ``whisperlite.load_audio``; an array is mono at 16 kHz.
        **options
            By OpenAI's names where it has them; the records in ``whisperlite.transcribe`` and
            ``whisperlite.decode`` say what each one means.

            - what is said: ``language``, ``task``, ``initial_prompt``, ``carry_initial_prompt``,
              ``condition_on_previous_text``, ``prompt_reset_on_temperature``, ``prefix``, ``hotwords``,
              ``multilingual``, ``language_detection_segments``, ``language_detection_threshold``
            - search: ``temperature``, ``beam_size``, ``best_of``, ``patience``, ``length_penalty``, ``sample_len``
              (or ``max_new_tokens``), ``seed``, ``alternatives``, ``draft_tokens``
            - rules: ``suppress_tokens``, ``suppress_blank``, ``suppress_regex``, ``without_timestamps``,
              ``max_initial_timestamp``, ``repetition_penalty``, ``no_repeat_ngram_size``, ``grammar``,
              ``grammar_rule``, ``grammar_penalty``, ``logit_filters``
            - belief: ``compression_ratio_threshold``, ``logprob_threshold``, ``no_speech_threshold``
            - windows: ``clip_timestamps``, ``audio_ctx``, ``batch_size``
            - silence left out: ``vad_filter``, ``vad_parameters``, ``vad_model``, ``chunk_length``
            - words: ``word_timestamps``, ``prepend_punctuations``, ``append_punctuations``,
              ``hallucination_silence_threshold``, ``alignment_heads``
            - ``verbose``: True prints each segment, and what was rejected or left out and why

        Returns
        -------
        Transcript

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured.
        AudioError
            The audio cannot be read.
        CheckpointError
            The weights of ``vad_model`` cannot be found or read.
        """
        verbose = bool(options.pop("verbose", None))
        chosen = make_options(**options)
        prepared = self._prepare(audio, chosen)
        chosen = replace(chosen, decoding=replace(chosen.decoding, language=prepared.language))
        transcript = prepared.transcript(job_windows(self._model, prepared.job, chosen, self._draft))
        if verbose:
            _print(transcript)
        return transcript

    def transcribe_many(
        self, audios: Iterable[AudioSource], batch_size: int = 8, return_exceptions: bool = False, **options: Any
    ) -> Iterator[Transcript | WhisperliteError]:
        """Transcribe many audios, ``batch_size`` of them at a time.

        Their windows are decoded together; each audio keeps its own language, prompt and pace, and its transcript
        is what ``transcribe`` gives for it alone.

        Parameters
        ----------
        audios : iterable
            As in ``transcribe``; one is read when there is room for it.
        batch_size : int
            Most audios at a time.
        return_exceptions : bool
            True yields the error of an audio that cannot be read in its place; False raises it when its turn comes.
        **options
            As in ``transcribe``, without ``verbose``.

        Yields
        ------
        Transcript
            In the order of the audios, decoded to the end.

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured: at once, before the first audio.
        CheckpointError
            The weights of ``vad_model`` cannot be found or read: at once, too.
        """
        if options.get("batch_size", 1) != 1 or isinstance(batch_size, bool) or batch_size < 1:
            raise OptionError(f"batch_size={batch_size!r}: give an integer of at least 1")
        chosen = self._with_detector(make_options(**options))
        self.tokenizer(chosen.decoding.language, chosen.decoding.task)  # refuses what the model does not know
        self._check_draft_tokens(chosen.decoding)
        return self._transcribe_many(audios, batch_size, return_exceptions, chosen)

    def _transcribe_many(
        self, audios: Iterable[AudioSource], batch_size: int, return_exceptions: bool, chosen: TranscribeOptions
    ) -> Iterator[Transcript | WhisperliteError]:
        order: list[_Prepared | WhisperliteError] = []
        windows: dict[Job, list[Window]] = {}
        ended: set[Job] = set()

        def jobs() -> Iterator[Job]:
            for audio in audios:
                try:
                    prepared = self._prepare(audio, chosen)
                except OptionError:
                    raise
                except WhisperliteError as error:
                    order.append(error)
                    continue
                order.append(prepared)
                windows[prepared.job] = []
                yield prepared.job

        def ready() -> Iterator[Transcript | WhisperliteError]:
            while order:
                first = order[0]
                if isinstance(first, WhisperliteError):
                    if not return_exceptions:
                        raise first
                    yield first
                elif first.job in ended:
                    yield first.transcript(iter(windows.pop(first.job)))
                else:
                    return
                del order[0]

        for job, window in run_jobs(self._model, jobs(), chosen, batch_size, self._draft):
            if window is None:
                ended.add(job)
                yield from ready()
            else:
                windows[job].append(window)
        yield from ready()

    def transcribe_speakers(
        self, audio: AudioSource, speakers: Sequence[str] | None = None, **options: Any
    ) -> SpeakerTranscript:
        """Transcribe a conversation with one speaker on each channel.

        The channels are decoded together, each by itself, and their segments put in the order of time. A voice that
        is heard on both channels comes twice.

        Parameters
        ----------
        audio : path, file object, bytes or ndarray (n, channels)
        speakers : sequence of str, optional
            A name for each channel: ``Speaker 1``, ``Speaker 2`` when not given.
        **options
            As in ``transcribe``, without ``verbose`` and ``batch_size``.

        Returns
        -------
        SpeakerTranscript
            Its segments have a ``speaker``.

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured, or there are not as many names as channels.
        AudioError
            The audio cannot be read, or has one channel only.
        """
        channels = load_channels(audio)
        if len(channels) == 1:
            name = f"'{audio}'" if isinstance(audio, (str, Path)) else "the audio"
            raise AudioError(f"{name} has 1 channel: speakers are told apart by theirs; transcribe it without them")
        names = speaker_names(len(channels), speakers)
        transcripts = self.transcribe_many(channels, len(channels), **options)
        return SpeakerTranscript([t for t in transcripts if isinstance(t, Transcript)], names)

    def align(
        self,
        audio: AudioSource,
        text: str | Sequence[int],
        language: str | None = None,
        task: str | None = None,
        **options: Any,
    ) -> tuple[Word, ...]:
        """Times and probabilities of the words of a text that is known already.

        Parameters
        ----------
        audio : path, file object, bytes or ndarray
            Of any length.
        text : str or sequence of int
            What is said in it, from beginning to end; or its tokens.
        language : str, optional
            Detected when not given.
        task : str, optional
            ``transcribe`` when not given; ``translate`` for a text in English of speech in another language.
        **options
            Fields of ``whisperlite.transcribe.AlignOptions``; ``heads`` may be a number of top-most layers.

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured, or the text does not fit.
        AudioError
            The audio cannot be read.
        """
        names = AlignOptions.__dataclass_fields__
        if unknown := set(options) - set(names):
            raise OptionError(f"{min(unknown)} is not an option of align; give one of {', '.join(names)}")
        options["heads"] = chosen_heads(self._model, options.get("heads"))
        prepared = self._prepare(audio, make_options(language=language, task=task or "transcribe"))
        job = prepared.job
        return align(self._model, job.tokenizer, job.content, text, AlignOptions(**options))

    def detect_language(
        self, audio: AudioSource, segments: int = 1, threshold: float | None = 0.5, **speech: Any
    ) -> dict[str, float]:
        """Probability of each language, the most probable first.

        Parameters
        ----------
        audio : path, file object, bytes or ndarray
        segments : int
            Most windows of 30 s that are listened to.
        threshold : float or None
            A window decides by itself where its most probable language is more probable; where none is, the
            language that wins the most windows does.
        **speech
            ``vad_filter``, ``vad_parameters`` and ``vad_model``, as in ``transcribe``: listen to speech alone.

        Raises
        ------
        OptionError
            The model is English-only, an option is unknown, or a value is out of range.
        AudioError
            The audio cannot be read.
        CheckpointError
            The weights of ``vad_model`` cannot be found or read.
        """
        languages = LanguageOptions(segments, threshold)
        names = ("vad_filter", "vad_parameters", "vad_model")
        if unknown := set(speech) - set(names):
            raise OptionError(f"{min(unknown)} is not an option of detect_language; give one of {', '.join(names)}")
        samples, _ = self._heard(load_audio(audio), make_options(**speech))
        return self._detect(make_content(samples, self.dims.n_mels, self._model.threads), languages)[0]

    def language_probs(self, features: np.ndarray) -> list[dict[str, float]]:
        """Probability of each language, the most probable first, for audio features (A, T, D) of each window.

        Raises
        ------
        OptionError
            The model is English-only.
        """
        return detect_language(self._model, self.tokenizer(), self.cross_kv(features), len(features))

    def _detect(self, content: Content, options: LanguageOptions) -> tuple[dict[str, float], np.ndarray]:
        """Probability of each language, and the features of the first 30 s."""
        heard: list[np.ndarray] = []

        def windows() -> Iterator[dict[str, float]]:
            for i in range(options.language_detection_segments):
                if (mel := content.part(i)) is None:
                    return
                heard.append(self.encode(mel[None]))
                yield self.language_probs(heard[-1])[0]

        return choose_language(windows(), options.language_detection_threshold), heard[0]

    def _with_detector(self, chosen: TranscribeOptions) -> TranscribeOptions:
        """The options with a detector in the place of its name, so that it is made once."""
        if not chosen.speech.vad_filter:
            return chosen
        detector = find_detector(chosen.speech.vad_model, self._hub)
        return replace(chosen, speech=replace(chosen.speech, vad_model=detector))

    def _heard(self, audio: np.ndarray, chosen: TranscribeOptions) -> tuple[np.ndarray, Speech | None]:
        """The samples (n,) that the model is given: all, or with ``vad_filter`` those of speech."""
        if not chosen.speech.vad_filter:
            return audio, None
        detector = find_detector(chosen.speech.vad_model, self._hub)
        speech = find_speech(audio, chosen.speech, chosen.windows.clip_seconds, detector)
        return speech.map.cut(audio), speech

    def _prepare(self, audio: AudioSource, chosen: TranscribeOptions) -> _Prepared:
        """Read an audio and find its language."""
        language, task = chosen.decoding.language, chosen.decoding.task
        tokenizer = self.tokenizer(language, task)  # refuses what the model does not know
        self._check_draft_tokens(chosen.decoding)
        if chosen.languages.multilingual and not self.is_multilingual:
            raise OptionError("multilingual=True needs a multilingual model; this one is English-only")
        recording = load_audio(audio)
        samples, speech = self._heard(recording, chosen)
        content = make_content(samples, self.dims.n_mels, self._model.threads)
        head, probabilities = None, None
        if language is None and self.is_multilingual:
            probabilities, head = self._detect(content, chosen.languages)
            language = next(iter(probabilities))
        language = language_code(language or "en")
        tokenizer = self.tokenizer(language, task)
        chosen = replace(chosen, decoding=replace(chosen.decoding, language=language))
        job = make_job(content, chosen, tokenizer, self.dims, head)
        if speech is not None:
            job.clips = clip_frames(speech.clips, content.n_frames)
        duration = frames_duration(len(recording) // HOP_LENGTH)
        return _Prepared(job, language, probabilities, duration, speech)

    # the stages

    @property
    def dims(self) -> Dims:
        """Sizes of the model."""
        return self._model.dims

    @property
    def alignment_heads(self) -> tuple[tuple[int, int], ...]:
        """(decoder layer, head) of the heads that word times are read from."""
        return self._model.alignment_heads

    @property
    def backend(self) -> str:
        """``numba`` or ``numpy``."""
        return self._model.backend

    @property
    def is_multilingual(self) -> bool:
        return self._model.is_multilingual

    @property
    def num_languages(self) -> int:
        return self._model.num_languages

    def tokenizer(self, language: str | None = None, task: str | None = None) -> Tokenizer:
        """The model's tokenizer for a language (code or name) and a task.

        Raises
        ------
        OptionError
            The model does not know the language or the task.
        """
        return tokenizer_for(self._vocabulary, language, task)

    def log_mel(self, audio: AudioSource) -> np.ndarray:
        """Log-mel (n_mels, 3000) float32 of the first 30 s, filled up with silence."""
        return log_mel_spectrogram(pad_or_trim(load_audio(audio)), self.dims.n_mels, threads=self._model.threads)

    def encode(self, mel: np.ndarray) -> np.ndarray:
        """Audio features (B, T, D) float32 of log-mel (B, n_mels, 2T)."""
        return self._model.encode(mel)

    def cross_kv(self, features: np.ndarray) -> CrossKV:
        """Cross-attention keys and values of audio features (A, T, D), for every decoder layer."""
        return self._model.cross_kv(features)

    def new_cache(self, n_rows: int) -> KVCache:
        """An empty self-attention cache for ``n_rows`` token rows."""
        return self._model.new_cache(n_rows)

    def prefill(
        self,
        tokens: np.ndarray,
        cache: KVCache,
        cross: CrossKV,
        logits_at: Sequence[int] = (-1,),
        audio_rows: np.ndarray | None = None,
        cache_rows: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Feed tokens (B, U) and return logits (B, len(logits_at), V) at the given positions.

        With ``audio_rows`` (A+1,), rows ``audio_rows[a]:audio_rows[a+1]`` listen to audio ``a``; without it
        row b listens to audio b. ``cache_rows`` names the cache rows that take part; all without it.
        """
        return self._model.prefill(tokens, cache, cross, logits_at, audio_rows, cache_rows)

    def step(
        self,
        tokens: np.ndarray,
        cache: KVCache,
        cross: CrossKV,
        audio_rows: np.ndarray | None = None,
        copy: bool = True,
        cache_rows: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Feed one token per row (B,) and return logits (B, V); without ``copy`` the next step overwrites them.

        Rows as in ``prefill``. Other rows than in the step before cost a few milliseconds once.
        """
        return self._model.step(tokens, cache, cross, audio_rows, copy, cache_rows)

    def cross_attention(
        self,
        tokens: Sequence[int] | np.ndarray,
        cross: CrossKV,
        audio: int = 0,
        heads: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores before softmax (heads, U, T) of (layer, head) pairs, and logits (U, V), of tokens (U,).

        ``heads`` defaults to the model's alignment heads.
        """
        return self._model.cross_attention(np.asarray(tokens), cross, audio, heads)

    def decode(self, mel: np.ndarray, **options: Any) -> list[DecodingResult]:
        """Decode log-mel windows (B, n_mels, 3000) at one temperature.

        Parameters
        ----------
        mel : ndarray
            Or audio features (B, T, D) from ``encode``.
        **options
            Fields of ``whisperlite.DecodingOptions`` and of its ``RuleOptions``.

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured.
        """
        chosen = make_decoding_options(**options)
        if chosen.language is not None:
            chosen = replace(chosen, language=language_code(chosen.language))
        is_mel = mel.ndim == 3 and mel.shape[1:] == (self.dims.n_mels, N_FRAMES)
        features = self.encode(mel) if is_mel else mel
        tokenizer = self.tokenizer(chosen.language, chosen.task)
        return decode(self._model, tokenizer, features, chosen, draft=self._draft_for(mel, features, chosen))

    def _draft_for(self, mel: np.ndarray, features: np.ndarray, options: DecodingOptions) -> Draft | None:
        """The draft and what it hears: nothing where it cannot help, or where only features are known."""
        if self._draft is None:
            return None
        heard = None
        if self._draft.shares_encoder:
            heard = features
        elif mel is not features and not not_used_because(options):
            heard = self._draft.model.encode(mel)
        return Draft(self._draft, heard)

    def __repr__(self) -> str:
        return f"<WhisperModel {self.name} {self._model.compute_type} {self._model.backend}>"


@dataclass(frozen=True)
class _Prepared:
    """An audio that is ready for the loop."""

    job: Job
    language: str
    language_probs: dict[str, float] | None
    duration: float
    speech: Speech | None

    def transcript(self, windows: Iterator[Window]) -> Transcript:
        """From the windows of the job."""
        made = (self.job.tokenizer.decode, self.language, self.duration, self.language_probs)
        if self.speech is None:
            return Transcript(windows, *made)
        heard = self.speech.map.kept_seconds
        return Transcript(original_windows(windows, self.speech), *made, heard, self.speech.silent)


def _print(transcript: Transcript) -> None:
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
