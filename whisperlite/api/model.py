"""The public model: audio of any length into a transcript, word times or a language.

In: a model name or path, audio of any kind, options by name. Out: ``Transcript``, words, languages.
Knows nothing of: command lines, output files; how a stage is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from whisperlite.api.collector import no_collection
from whisperlite.api.many import in_order
from whisperlite.api.prepare import Prepared, hear_language, heard, prepare, with_detector
from whisperlite.api.show import print_transcript
from whisperlite.api.stages import ModelStages
from whisperlite.audio import AudioSource, load_audio, load_channels
from whisperlite.checkpoint import HubOptions, open_checkpoint, resolve
from whisperlite.conversion import vocabulary_of
from whisperlite.decode import DecodingOptions, DraftModel, make_draft_model
from whisperlite.errors import AudioError, OptionError, WhisperliteError
from whisperlite.model import Whisper
from whisperlite.model.same_encoder import same_encoder
from whisperlite.results import Word
from whisperlite.transcribe import (
    AlignedText,
    AlignOptions,
    LanguageOptions,
    SpeakerTranscript,
    Transcript,
    align,
    job_windows,
    lines_of,
    make_options,
    run_jobs,
    segments_of,
    speaker_names,
)
from whisperlite.transcribe.timing import chosen_heads
from whisperlite.transcribe.windows import make_content


class WhisperModel(ModelStages):
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
        with no_collection():
            checkpoint = open_checkpoint(path, heads)
            model = Whisper(checkpoint, compute_type=compute_type, threads=threads, backend=backend)
            super().__init__(model, vocabulary_of(checkpoint))
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
        self._check_draft_tokens(chosen.decoding)
        prepared = prepare(self, audio, chosen, self._hub)
        chosen = replace(chosen, decoding=replace(chosen.decoding, language=prepared.language))
        transcript = prepared.transcript(job_windows(self._model, prepared.job, chosen, self._draft))
        if verbose:
            print_transcript(transcript)
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
        chosen = with_detector(make_options(**options), self._hub)
        self.tokenizer(chosen.decoding.language, chosen.decoding.task)  # refuses what the model does not know
        self._check_draft_tokens(chosen.decoding)
        prepared = partial(prepare, self, chosen=chosen, hub=self._hub)
        run = partial(run_jobs, self._model, options=chosen, batch_size=batch_size, draft=self._draft)
        return in_order(audios, prepared, run, return_exceptions)

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
        words, _ = self._align(audio, text, language, task, options)
        return words

    def align_lines(
        self,
        audio: AudioSource,
        text: str | Sequence[str],
        language: str | None = None,
        task: str | None = None,
        **options: Any,
    ) -> AlignedText:
        """A text that is known already as segments with their times, ready for ``whisperlite.writers.render``.

        Parameters
        ----------
        audio : path, file object, bytes or ndarray
            Of any length.
        text : str or sequence of str
            What is said in it. Each line becomes a segment; each sentence, where there is one line only.
        language, task, **options
            As in ``align``.

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured, or the text does not fit.
        AudioError
            The audio cannot be read.
        """
        said = text if isinstance(text, str) else " ".join(text)
        words, prepared = self._align(audio, " ".join(said.split()), language, task, options)
        return AlignedText(segments_of(lines_of(text), words), prepared.language, prepared.duration)

    def _align(
        self,
        audio: AudioSource,
        text: str | Sequence[int],
        language: str | None,
        task: str | None,
        options: dict[str, Any],
    ) -> tuple[tuple[Word, ...], Prepared]:
        names = AlignOptions.__dataclass_fields__
        if unknown := set(options) - set(names):
            raise OptionError(f"{min(unknown)} is not an option of align; give one of {', '.join(names)}")
        chosen = AlignOptions(**options | {"heads": chosen_heads(self._model, options.get("heads"))})
        prepared = prepare(self, audio, make_options(language=language, task=task or "transcribe"), self._hub)
        return align(self._model, prepared.job.tokenizer, prepared.job.content, text, chosen), prepared

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
        samples, _ = heard(load_audio(audio), make_options(**speech), self._hub)
        return hear_language(self, make_content(samples, self.dims.n_mels, self.threads), languages)[0]

    def __repr__(self) -> str:
        return f"<WhisperModel {self.name} {self._model.compute_type} {self._model.backend}>"
