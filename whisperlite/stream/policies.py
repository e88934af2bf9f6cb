"""When words are committed: LocalAgreement and AlignAtt.

In: hypotheses, one after another. Out: how many words of the newest one to commit.
Knows nothing of: audio, models, buffers.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from whisperlite.stream.hypothesis import AttentionReader, Hypothesis, Rule, StopMaker
from whisperlite.stream.options import AgreementOptions, AlignAttOptions

CHECK_TOKENS = 4  # sampled between two looks at the attention


class Policy(Protocol):
    """Decides which words stay."""

    @property
    def stop(self) -> StopMaker | None:
        """Makes a rule that ends decoding early; None where the policy has none and reads no attention."""
        ...

    def n_certain(self, hypothesis: Hypothesis) -> int:
        """How many words of the newest hypothesis are to be committed. Called once for each."""
        ...

    def forget(self, n_words: int | None) -> None:
        """The first ``n_words`` of what was seen were committed; None: a new buffer begins."""
        ...


def make_policy(options: AgreementOptions | AlignAttOptions) -> Policy:
    """The policy that options stand for."""
    return LocalAgreement(options) if isinstance(options, AgreementOptions) else AlignAtt(options)


class LocalAgreement:
    """The longest beginning on which the last n hypotheses agree, word for word.

    ref: Liu et al. 2020, "Low-latency sequence-to-sequence speech recognition and translation by partial hypothesis
    selection"; Macháček et al. 2023, whisper_streaming
    """

    def __init__(self, options: AgreementOptions) -> None:
        self._before: deque[list[tuple[int, ...]]] = deque(maxlen=options.agreement - 1)

    @property
    def stop(self) -> StopMaker | None:
        return None

    def n_certain(self, hypothesis: Hypothesis) -> int:
        words = [heard.tokens for heard in hypothesis.words]
        n_certain = 0
        if len(self._before) == self._before.maxlen:
            n_certain = min(_n_common(before, words) for before in self._before)
        self._before.append(words)
        return n_certain

    def forget(self, n_words: int | None) -> None:
        if n_words is None:
            self._before.clear()
            return
        for words in self._before:
            del words[:n_words]


def _n_common(first: list[tuple[int, ...]], second: list[tuple[int, ...]]) -> int:
    n = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        n += 1
    return n


class AlignAtt:
    """The words before the first token that looks at the newest audio, or far back.

    A token that waits belongs to a word; the whole word waits.

    ref: Papi et al. 2023, "AlignAtt: using attention-based audio-translation alignments as a guide for simultaneous
    speech translation"; Macháček and Polák 2025, SimulStreaming
    """

    def __init__(self, options: AlignAttOptions) -> None:
        self._options = options

    @property
    def stop(self) -> StopMaker | None:
        return self._stop

    def _stop(self, reader: AttentionReader, n_positions: int, eot: int) -> Rule:
        return AttentionStop(reader, n_positions - self._options.frame_threshold, eot)

    def n_certain(self, hypothesis: Hypothesis) -> int:
        assert hypothesis.attended is not None
        limit = hypothesis.n_positions - self._options.frame_threshold
        before = None
        at = 0
        for n_words, heard in enumerate(hypothesis.words):
            for position in hypothesis.attended[at : at + len(heard.tokens)]:
                rewinds = before is not None and before - position > self._options.rewind_threshold
                if position >= limit or rewinds:
                    return n_words
                before = position
            at += len(heard.tokens)
        return len(hypothesis.words)

    def forget(self, n_words: int | None) -> None:
        pass


class AttentionStop:
    """Ends a text once a token looks at a position from ``limit`` on; a rule on logits (1, V)."""

    def __init__(self, reader: AttentionReader, limit: int, eot: int) -> None:
        self._reader = reader
        self._limit = limit
        self._eot = eot

    def __call__(self, logits: np.ndarray, sampled: np.ndarray) -> None:
        tokens = sampled[0].tolist()
        if not tokens or len(tokens) % CHECK_TOKENS:
            return
        if max(self._reader.attended(tokens)[-CHECK_TOKENS:]) >= self._limit:
            logits[:, : self._eot] = -np.inf
            logits[:, self._eot + 1 :] = -np.inf
