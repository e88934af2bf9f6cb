"""The first pass of a window: its whole context at once.

In: model, contexts, cache rows. Out: logits after the start of the transcript and at the end of each context.
Knows nothing of: rules, search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whisperlite.decode.prompt import InitialTokens
from whisperlite.decode.protocols import DecoderModel


@dataclass(frozen=True)
class Batch:
    """Windows to search: context of each, rows of each, cross keys and values, id of the no-speech token."""

    initial: Sequence[InitialTokens]
    n_group: int
    cross: Any
    no_speech: int


def prefill(model: DecoderModel, batch: Batch, cache: Any, first_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (A, V) after the start of the transcript and at the end of each context.

    One pass for all windows whose contexts have the same length.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for audio, initial in enumerate(batch.initial):
        groups.setdefault((len(initial.tokens), initial.sot_index), []).append(audio)
    at_sot: list[Any] = [None] * len(batch.initial)
    at_end: list[Any] = [None] * len(batch.initial)
    for (_, sot_index), audios in groups.items():
        tokens = np.array([batch.initial[audio].tokens for audio in audios], dtype=np.int32)  # (rows, U)
        taking_part = np.zeros(len(batch.initial), dtype=np.int32)
        taking_part[audios] = 1
        prefilled = model.prefill(
            tokens,
            cache,
            batch.cross,
            logits_at=(sot_index, -1),
            audio_rows=np.concatenate([[0], np.cumsum(taking_part)]).astype(np.int32),
            cache_rows=first_rows[audios].tolist(),
        )  # (rows, 2, V)
        for row, audio in enumerate(audios):
            at_sot[audio], at_end[audio] = prefilled[row]
    return np.stack(at_sot), np.stack(at_end)
