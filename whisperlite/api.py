"""The public model: transcribe audio, or take the stages one by one.

In: a model name or path, audio of any kind, options by name. Out: ``Transcript``, or each stage's arrays.
Knows nothing of: command lines, output files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from whisperlite.audio import N_FRAMES, AudioSource, load_audio, log_mel_spectrogram, pad_or_trim
from whisperlite.checkpoint import Dims, open_checkpoint, resolve
from whisperlite.decode import DecodingOptions, DecodingResult, decode, detect_language
from whisperlite.errors import OptionError
from whisperlite.model import CrossKV, KVCache, Whisper
from whisperlite.results import Segment
from whisperlite.text import Tokenizer, language_code, load_vocabulary, tokenizer_for
from whisperlite.transcribe import Transcript, make_options, transcribe_windows
from whisperlite.transcribe.windows import make_content


class WhisperModel:
    """A Whisper model, ready to transcribe.

    Parameters
    ----------
    name_or_path : str or Path
        A size (``tiny`` .. ``large-v3-turbo``, ``distil-*``), an owner/name of the Hugging Face hub, a path to
        an HF folder, a ``.safetensors`` or a ``.pt`` file; or ``nano``, the model inside the package.
    compute_type : str
        ``float32``.
    threads : int, optional
        As many as the process may use when not given.
    backend : str, optional
        ``numba``, or ``numpy``: slow, readable. Default: ``WHISPERLITE_BACKEND``, else ``numba``.

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
        compute_type: str = "float32",
        threads: int | None = None,
        backend: str | None = None,
    ) -> None:
        checkpoint = open_checkpoint(resolve(name_or_path))
        self._vocabulary = load_vocabulary(checkpoint.dims.n_vocab, checkpoint.tokenizer_files)
        self._model = Whisper(checkpoint, compute_type=compute_type, threads=threads, backend=backend)
        self.name = str(name_or_path)

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
            OpenAI's names: ``language``, ``task``, ``temperature``, ``beam_size``, ``best_of``, ``patience``,
            ``length_penalty``, ``initial_prompt``, ``carry_initial_prompt``, ``condition_on_previous_text``,
            ``compression_ratio_threshold``, ``logprob_threshold``, ``no_speech_threshold``,
            ``clip_timestamps``, ``prefix``, ``suppress_tokens``, ``suppress_blank``, ``without_timestamps``,
            ``max_initial_timestamp``, ``sample_len``; and ``seed``, ``prompt_reset_on_temperature``,
            ``verbose`` (True prints each segment).

        Returns
        -------
        Transcript

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured.
        AudioError
            The audio cannot be read.
        """
        verbose = bool(options.pop("verbose", None))
        chosen = make_options(**options)
        language, task = chosen.decoding.language, chosen.decoding.task
        tokenizer = self.tokenizer(language, task)  # refuses what the model does not know
        content = make_content(load_audio(audio), self.dims.n_mels)
        head, probabilities = None, None
        if language is None and self.is_multilingual:
            head = self.encode(content.head()[None])
            [probabilities] = detect_language(self._model, tokenizer, self.cross_kv(head), 1)
            language = next(iter(probabilities))
        language = language_code(language or "en")
        tokenizer = self.tokenizer(language, task)
        chosen = replace(chosen, decoding=replace(chosen.decoding, language=language))
        windows = transcribe_windows(self._model, tokenizer, content, chosen, head)
        transcript = Transcript(windows, tokenizer.decode, language, content.duration, probabilities)
        if verbose:
            for segment in transcript:
                _print(segment)
        return transcript

    def detect_language(self, audio: AudioSource) -> dict[str, float]:
        """Probability of each language in the first 30 s, the most probable first.

        Raises
        ------
        OptionError
            The model is English-only.
        AudioError
            The audio cannot be read.
        """
        content = make_content(load_audio(audio), self.dims.n_mels)
        cross = self.cross_kv(self.encode(content.head()[None]))
        [probabilities] = detect_language(self._model, self.tokenizer(), cross, 1)
        return probabilities

    # the stages

    @property
    def dims(self) -> Dims:
        """Sizes of the model."""
        return self._model.dims

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
        return log_mel_spectrogram(pad_or_trim(load_audio(audio)), self.dims.n_mels)

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
        self, tokens: np.ndarray, cache: KVCache, cross: CrossKV, audio_rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Feed one token per row (B,) and return logits (B, V)."""
        return self._model.step(tokens, cache, cross, audio_rows)

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
            Fields of ``whisperlite.DecodingOptions``.

        Raises
        ------
        OptionError
            An option is unknown or cannot be honoured.
        """
        unknown = set(options) - set(DecodingOptions.__dataclass_fields__)
        if unknown:
            raise OptionError(
                f"{min(unknown)} is not an option; give one of {', '.join(DecodingOptions.__dataclass_fields__)}"
            )
        chosen = DecodingOptions(**options)
        if chosen.language is not None:
            chosen = replace(chosen, language=language_code(chosen.language))
        is_mel = mel.ndim == 3 and mel.shape[1:] == (self.dims.n_mels, N_FRAMES)
        features = self.encode(mel) if is_mel else mel
        return decode(self._model, self.tokenizer(chosen.language, chosen.task), features, chosen)

    def __repr__(self) -> str:
        return f"<WhisperModel {self.name} {self._model.compute_type} {self._model.backend}>"


def _print(segment: Segment) -> None:
    from whisperlite.writers import format_timestamp

    start, end = format_timestamp(segment.start), format_timestamp(segment.end)
    print(f"[{start} --> {end}] {segment.text}", flush=True)
