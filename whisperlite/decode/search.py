"""Decoding a batch of windows: prefill, then one step per token until every window has ended.

In: model, tokenizer, audio features of A windows, options. Out: A ``DecodingResult``.
Knows nothing of: audio, segments, other temperatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from whisperlite.decode.beam import BeamSearch
from whisperlite.decode.choose import probability
from whisperlite.decode.greedy import GreedySearch
from whisperlite.decode.language import detect_language
from whisperlite.decode.options import DecodingOptions
from whisperlite.decode.prompt import InitialTokens, initial_tokens
from whisperlite.decode.protocols import DecoderModel, DecoderTokenizer
from whisperlite.decode.rank import Candidate, best_candidate
from whisperlite.decode.result import DecodingResult, compression_ratio
from whisperlite.decode.rules import Rule, make_rules
from whisperlite.errors import OptionError


class Search(Protocol):
    """How tokens are chosen: ``GreedySearch`` or ``BeamSearch``."""

    @property
    def sampled(self) -> np.ndarray: ...
    @property
    def completed(self) -> bool: ...

    def update(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]: ...

    def candidates(self) -> list[list[Candidate]]: ...


def decode(
    model: DecoderModel,
    tokenizer: DecoderTokenizer,
    features: np.ndarray,
    options: DecodingOptions,
    *,
    cross: Any = None,
    keys: Sequence[int] | None = None,
) -> list[DecodingResult]:
    """Decode windows that share their options.

    Parameters
    ----------
    model : DecoderModel
    tokenizer : DecoderTokenizer
        Of the options' language and task; its language token is replaced where the language is detected.
    features : (A, T, D) float32
        Encoder output.
    options : DecodingOptions
    cross : CrossKV, optional
        ``model.cross_kv(features)``, where it is already known.
    keys : sequence of int, optional
        One per window, mixed into the seed: windows with different keys draw different random numbers.

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
    initial = initial_tokens(tokenizer, options, dims.n_text_ctx)
    if bad := [token for token in initial.tokens if not 0 <= token < dims.n_vocab]:
        raise OptionError(f"prompt or prefix: id {bad[0]} is not in the vocabulary of {dims.n_vocab}")
    rules = make_rules(tokenizer, options, dims)
    tokens = np.tile(np.array(initial.tokens, dtype=np.int32), (n_audio, 1))  # (A, U)
    languages, language_probs = _languages(model, tokenizer, cross, n_audio, options)
    if options.language is None and model.is_multilingual:
        ids = dict(zip(tokenizer.all_language_codes, tokenizer.all_language_tokens, strict=True))
        tokens[:, initial.sot_index + 1] = [ids[language] for language in languages]

    search = _make_search(n_audio, options, tokenizer.eot, keys)
    n_group = options.beam_size or options.best_of or 1
    batch = _Batch(tokens, n_group, cross, initial)
    no_speech_probs = _run(model, batch, tokenizer.no_speech, rules, search)
    results = []
    for audio, candidates in enumerate(search.candidates()):
        best = best_candidate(candidates, options.length_penalty)
        text = tokenizer.decode(best.tokens).strip()
        results.append(
            DecodingResult(
                language=languages[audio],
                language_probs=language_probs[audio],
                tokens=best.tokens,
                text=text,
                avg_logprob=best.sum_logprob / (len(best.tokens) + 1),
                no_speech_prob=no_speech_probs[audio],
                temperature=options.temperature,
                compression_ratio=compression_ratio(text),
                options=options,
            )
        )
    return results


@dataclass(frozen=True)
class _Batch:
    """Windows to search: context tokens (A, U), rows of each, cross keys and values."""

    tokens: np.ndarray
    n_group: int
    cross: Any
    initial: InitialTokens


def _run(model: DecoderModel, batch: _Batch, no_speech: int, rules: Sequence[Rule], search: Search) -> list[float]:
    """Sample until every window has ended; returns the no-speech probability of each window."""
    n_audio, n_group, initial = len(batch.tokens), batch.n_group, batch.initial
    n_rows = n_audio * n_group
    in_place = np.arange(n_rows)
    first_rows = in_place[::n_group]
    cache = model.new_cache(n_rows)
    # One pass over the context of each window, read after the start of the transcript and at its end.
    prefilled = model.prefill(
        batch.tokens,
        cache,
        batch.cross,
        logits_at=(initial.sot_index, -1),
        cache_rows=first_rows.tolist(),
    )  # (A, 2, V)
    no_speech_probs = [probability(row[0], no_speech) for row in prefilled]
    logits = np.repeat(prefilled[:, 1], n_group, axis=0)  # (B, V)
    if n_group > 1:
        cache.reorder(np.repeat(first_rows, n_group))
    audio_rows = np.arange(n_audio + 1, dtype=np.int32) * n_group
    for sampled_len in range(1, initial.sample_len + 1):
        sampled = search.sampled
        for rule in rules:
            rule(logits, sampled)
        next_tokens, source_rows = search.update(logits)
        if search.completed or sampled_len == initial.sample_len:
            break
        if source_rows is not None and not np.array_equal(source_rows, in_place):
            cache.reorder(source_rows)
        logits = model.step(next_tokens, cache, batch.cross, audio_rows=audio_rows, copy=False)
    return no_speech_probs


def _make_search(n_audio: int, options: DecodingOptions, eot: int, keys: Sequence[int] | None) -> Search:
    if options.beam_size is not None:
        return BeamSearch(n_audio, options.beam_size, eot, options.patience)
    n_group = options.best_of or 1
    keys = [0] * n_audio if keys is None else keys
    # The temperature is part of the seed, so that a second try does not repeat the first one's draws.
    tries = round(options.temperature * 1000)
    randoms = [
        np.random.default_rng([options.seed, int(key), tries, member]) for key in keys for member in range(n_group)
    ]
    return GreedySearch(n_audio, n_group, options.temperature, eot, randoms)


def _languages(
    model: DecoderModel,
    tokenizer: DecoderTokenizer,
    cross: Any,
    n_audio: int,
    options: DecodingOptions,
) -> tuple[list[str], list[dict[str, float] | None]]:
    if options.language is not None or not model.is_multilingual:
        return [options.language or "en"] * n_audio, [None] * n_audio
    probabilities = detect_language(model, tokenizer, cross, n_audio)
    return [next(iter(found)) for found in probabilities], list(probabilities)
