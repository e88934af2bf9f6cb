"""Decoding a batch of windows: prefill, then one step per token until every window has ended.

In: model, tokenizer, audio features of A windows, options. Out: A ``DecodingResult``.
Knows nothing of: audio, segments, other temperatures.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from whisperlite.decode.alternatives import AlternativesRecorder
from whisperlite.decode.beam import BeamSearch
from whisperlite.decode.choose import RowPeaks, probability, row_peaks_for
from whisperlite.decode.draft import Draft, not_used_because
from whisperlite.decode.greedy import GreedySearch
from whisperlite.decode.language import detect_language
from whisperlite.decode.options import DecodingOptions, WindowInput
from whisperlite.decode.prefill import Batch, prefill
from whisperlite.decode.prompt import InitialTokens, initial_tokens
from whisperlite.decode.protocols import DecoderModel, DecoderTokenizer
from whisperlite.decode.rank import Candidate, best_candidate
from whisperlite.decode.result import DecodingResult, compression_ratio
from whisperlite.decode.rules import Rule, make_rules
from whisperlite.decode.speculative import Found, search_with_draft
from whisperlite.errors import OptionError
from whisperlite.results import DraftUse

# Windows leave the batch when this part of it has ended: other rows bind the step anew.
LEAVING_PART = 0.25


class Search(Protocol):
    """How tokens are chosen: ``GreedySearch`` or ``BeamSearch``."""

    @property
    def sampled(self) -> np.ndarray: ...
    @property
    def completed(self) -> bool: ...

    def update(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]: ...

    def close(self, audio: int) -> None: ...

    def closed(self, audio: int) -> bool: ...

    def keep(self, audios: Sequence[int]) -> None: ...

    def candidates(self) -> list[list[Candidate]]: ...


def decode(
    model: DecoderModel,
    tokenizer: DecoderTokenizer,
    features: np.ndarray,
    options: DecodingOptions,
    *,
    cross: Any = None,
    inputs: Sequence[WindowInput] | None = None,
    draft: Draft | None = None,
) -> list[DecodingResult]:
    """Decode windows that share their options.

    Parameters
    ----------
    model : DecoderModel
    tokenizer : DecoderTokenizer
        Of the options' task; its language token is replaced by each window's own.
    features : (A, T, D) float32
        Encoder output.
    options : DecodingOptions
    cross : CrossKV, optional
        ``model.cross_kv(features)``, where it is already known.
    inputs : sequence of WindowInput, optional
        One per window: its own prompt, language and key of random numbers.
    draft : Draft, optional
        Proposes tokens where the search is greedy at temperature 0; the result is the same.

    Returns
    -------
    list of DecodingResult
        One per window. It does not depend on what a window is batched with.

    Raises
    ------
    OptionError
        The options do not fit the model.
    """
    # ref: openai/whisper decoding.py DecodingTask.run
    n_audio = len(features)
    dims = model.dims
    cross = model.cross_kv(features) if cross is None else cross
    inputs = [WindowInput()] * n_audio if inputs is None else inputs
    peaks = row_peaks_for(model.backend)
    rules = make_rules(tokenizer, options, dims, peaks)
    languages, language_probs = _languages(model, tokenizer, cross, inputs, options)
    initial = [_initial(model, tokenizer, options, *pair) for pair in zip(inputs, languages, strict=True)]

    if draft is None and options.draft_tokens:
        raise OptionError(f"draft_tokens={options.draft_tokens} needs WhisperModel(..., draft=...)")
    unused = not_used_because(options)
    history = length = None
    if draft is not None and not unused:
        unused = "it has not heard the audio"
        if draft.features is not None:
            history = draft.by.history
            length, unused = history.length(n_audio, options.draft_tokens), history.refusal
    if draft is not None and length is not None:
        batch = Batch(initial, 1, cross, tokenizer.no_speech)
        found = search_with_draft(model, batch, draft, length, rules, tokenizer.eot, options, peaks)
    else:
        batch = Batch(initial, options.beam_size or options.best_of or 1, cross, tokenizer.no_speech)
        search = _make_search(options, tokenizer.eot, inputs, peaks)
        use = None if draft is None else DraftUse(0, 0, unused)
        found = _search(model, batch, rules, search, tokenizer.eot, options, use)
        if history is not None:
            history.went_without(max(len(each.candidate.tokens) for each in found))
    results = []
    for audio, each in enumerate(found):
        best = each.candidate
        text = tokenizer.decode(best.tokens).strip()
        results.append(
            DecodingResult(
                language=languages[audio],
                language_probs=language_probs[audio],
                tokens=best.tokens,
                text=text,
                avg_logprob=best.sum_logprob / (len(best.tokens) + 1),
                no_speech_prob=each.no_speech_prob,
                temperature=options.temperature,
                compression_ratio=compression_ratio(text),
                options=options,
                alternatives=each.alternatives,
                draft=each.draft,
            )
        )
    return results


def _search(
    model: DecoderModel,
    batch: Batch,
    rules: Sequence[Rule],
    search: Search,
    eot: int,
    options: DecodingOptions,
    draft: DraftUse | None,
) -> list[Found]:
    """Search the windows without a draft."""
    recorder = None
    if options.alternatives is not None:
        recorder = AlternativesRecorder(batch.n_group, options.alternatives, eot)
    no_speech_probs = _run(model, batch, rules, search, recorder)
    found = []
    for audio, candidates in enumerate(search.candidates()):
        best = best_candidate(candidates, options.length_penalty)
        alternatives = None
        if recorder is not None:
            # What another window's steps added after this one was cut at its greatest length is left out.
            alternatives = recorder.of(audio, best.tokens)[: batch.initial[audio].sample_len]
        found.append(Found(best, no_speech_probs[audio], draft, alternatives))
    return found


def _run(
    model: DecoderModel,
    batch: Batch,
    rules: Sequence[Rule],
    search: Search,
    recorder: AlternativesRecorder | None,
) -> list[float]:
    """Sample until every window has ended; returns the no-speech probability of each window."""
    n_audio, n_group = len(batch.initial), batch.n_group
    rows_of = np.arange(n_audio * n_group).reshape(n_audio, n_group)
    cache = model.new_cache(rows_of.size)
    at_sot, logits = prefill(model, batch, cache, rows_of[:, 0])  # (A, V) each
    no_speech_probs = [probability(row, batch.no_speech) for row in at_sot]
    logits = np.repeat(logits, n_group, axis=0)  # (B, V)
    if n_group > 1:
        cache.reorder(np.repeat(rows_of[:, 0], n_group))
    audios = list(range(n_audio))  # windows in the batch: those that go on, and some that have ended
    rows, audio_rows = rows_of.ravel(), _offsets(audios, n_audio, n_group)
    for sampled_len in itertools.count(1):
        sampled = search.sampled
        for rule in rules:
            rule(logits, sampled)
        next_tokens, source_rows = search.update(logits)
        if recorder is not None:
            recorder.record(logits, sampled, next_tokens, source_rows, audios)
        for audio in audios:
            if sampled_len >= batch.initial[audio].sample_len:
                search.close(audio)
        if search.completed:
            return no_speech_probs
        if source_rows is not None and not np.array_equal(source_rows, np.arange(len(rows))):
            order = np.arange(rows_of.size)
            order[rows] = rows[source_rows]
            cache.reorder(order)
        ended = np.array([search.closed(audio) for audio in audios])
        if np.count_nonzero(ended) >= LEAVING_PART * len(audios):
            next_tokens = next_tokens.reshape(-1, n_group)[~ended].ravel()
            audios = [audio for audio, has_ended in zip(audios, ended, strict=True) if not has_ended]
            search.keep(audios)
            rows, audio_rows = rows_of[audios].ravel(), _offsets(audios, n_audio, n_group)
            ended = np.zeros(len(audios), dtype=bool)
        # Rows of windows that have ended stay where they are, so that they never outgrow the cache.
        if ended.any():
            cache.forget(rows.reshape(-1, n_group)[ended].ravel())
        logits = model.step(next_tokens, cache, batch.cross, audio_rows, copy=False, cache_rows=rows)
    raise AssertionError("unreachable: every window has a greatest length")


def _offsets(audios: Sequence[int], n_audio: int, n_group: int) -> np.ndarray:
    """First row of each window in a batch of these windows, and the number of rows: (A+1,) int32."""
    n_rows = np.bincount(audios, minlength=n_audio) * n_group
    return np.concatenate([[0], np.cumsum(n_rows)]).astype(np.int32)


def _initial(
    model: DecoderModel,
    tokenizer: DecoderTokenizer,
    options: DecodingOptions,
    window: WindowInput,
    language: str,
) -> InitialTokens:
    """Context of one window, with its own language."""
    initial = initial_tokens(tokenizer, options, model.dims.n_text_ctx, window.prompt)
    if bad := [token for token in initial.tokens if not 0 <= token < model.dims.n_vocab]:
        raise OptionError(f"prompt or prefix: id {bad[0]} is not in the vocabulary of {model.dims.n_vocab}")
    if not model.is_multilingual or (window.language is None and options.language is not None):
        return initial
    ids = dict(zip(tokenizer.all_language_codes, tokenizer.all_language_tokens, strict=True))
    if language not in ids:
        raise OptionError(f"language={language!r} is not a language of the model")
    tokens = list(initial.tokens)
    tokens[initial.sot_index + 1] = ids[language]
    return replace(initial, tokens=tuple(tokens))


def _make_search(options: DecodingOptions, eot: int, inputs: Sequence[WindowInput], peaks: RowPeaks) -> Search:
    n_audio = len(inputs)
    if options.beam_size is not None:
        return BeamSearch(n_audio, options.beam_size, eot, options.patience, peaks)
    n_group = options.best_of or 1
    # The temperature is part of the seed, so that a second try does not repeat the first one's draws.
    tries = round(options.temperature * 1000)
    randoms = [
        np.random.default_rng([options.seed, int(window.key), tries, member])
        for window in inputs
        for member in range(n_group)
    ]
    return GreedySearch(n_audio, n_group, options.temperature, eot, randoms, peaks)


def _languages(
    model: DecoderModel,
    tokenizer: DecoderTokenizer,
    cross: Any,
    inputs: Sequence[WindowInput],
    options: DecodingOptions,
) -> tuple[list[str], list[dict[str, float] | None]]:
    """Language of each window, and the probabilities where they had to be found out."""
    given = [window.language or options.language for window in inputs]
    if not model.is_multilingual:
        return [language or "en" for language in given], [None] * len(given)
    if all(language is not None for language in given):
        return [language for language in given if language is not None], [None] * len(given)
    probabilities = detect_language(model, tokenizer, cross, len(given))
    languages = [known or next(iter(found)) for known, found in zip(given, probabilities, strict=True)]
    return languages, [None if known else found for known, found in zip(given, probabilities, strict=True)]
