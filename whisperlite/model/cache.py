"""State of a decode, held by the caller: keys and values of past tokens, and of the audio.

In: sizes. Out: ``KVCache``, ``CrossKV``. Knows nothing of: graphs, search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisperlite.checkpoint import Dims
from whisperlite.errors import OptionError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class CrossKV:
    """Packed cross-attention keys and values of A audios, for every decoder layer.

    Attributes
    ----------
    keys : tuple of float32 or float16 (A, H, ceil(T/32), K, 32), or int8 (A, H, ceil(T/32), K + 4, 32)
    values : tuple of float32 or float16 (A, H, ceil(K/32), T, 32), or int8 (A, H, K/32, 132 * ceil(T/128), 32)
    n_audio : int
        A.
    n_ctx : int
        T, audio positions.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    n_audio: int
    n_ctx: int

    @property
    def n_bytes(self) -> int:
        return sum(array.nbytes for array in (*self.keys, *self.values))


@dataclass(eq=False)
class KVCache:
    """Self-attention keys and values of ``n_rows`` sequences, preallocated for n_text_ctx positions.

    Attributes
    ----------
    past : int32 (n_rows,)
        Positions filled, for each row.
    rows : int32 (n_rows, n_text_ctx)
        ``rows[i, p]`` is the row whose memory holds position p of sequence i. Beams that share a past share its
        memory; ``reorder`` changes only this table.
    keys, values : tuple of float32 (n_rows, n_text_ctx, D), one for each decoder layer
    """

    past: Array
    rows: Array
    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    runs: dict[Any, Any] = field(default_factory=dict, repr=False)  # of the model: steps bound to this cache

    @classmethod
    def empty(cls, dims: Dims, n_rows: int) -> KVCache:
        if n_rows < 1:
            raise OptionError(f"a cache of {n_rows} rows: give 1 or more")
        shape = (n_rows, dims.n_text_ctx, dims.n_text_state)
        return cls(
            past=np.zeros(n_rows, np.int32),
            rows=np.repeat(np.arange(n_rows, dtype=np.int32)[:, None], dims.n_text_ctx, axis=1),
            keys=tuple(np.zeros(shape, np.float32) for _ in range(dims.n_text_layer)),
            values=tuple(np.zeros(shape, np.float32) for _ in range(dims.n_text_layer)),
        )

    @property
    def n_rows(self) -> int:
        return len(self.past)

    def state(self, own_rows: Array) -> tuple[Array, Array]:
        """``past`` and ``rows`` of some rows: where they are all rows, in order, the cache's own arrays."""
        if np.array_equal(own_rows, np.arange(self.n_rows)):
            return self.past, self.rows
        return self.past[own_rows], self.rows[own_rows]

    def read_state(self, own_rows: Array, state: tuple[Array, Array]) -> None:
        """Bring what ``state(own_rows)`` gave up to date."""
        past, rows = state
        if past is not self.past:
            np.take(self.past, own_rows, out=past, mode="clip")
            np.take(self.rows, own_rows, axis=0, out=rows, mode="clip")

    def reset(self) -> None:
        """Forget everything; the memory is kept."""
        self.past[:] = 0
        self.rows[...] = np.arange(self.n_rows, dtype=np.int32)[:, None]

    def reorder(self, source_rows: Sequence[int] | Array) -> None:
        """Row i becomes a continuation of what row ``source_rows[i]`` was. No keys or values are moved."""
        source = np.asarray(source_rows)
        if source.shape != self.past.shape or source.min() < 0 or source.max() >= self.n_rows:
            raise OptionError(f"reorder: {source.tolist()} for a cache of {self.n_rows} rows")
        self.past[...] = self.past[source]
        self.rows[...] = self.rows[source]

    def forget(self, rows: Sequence[int] | Array) -> None:
        """Take back the last position of each of these rows: what is appended next overwrites it."""
        if len(rows) and self.past[rows].min() < 1:
            raise OptionError(f"forget: a row of {list(rows)} is empty")
        self.past[rows] -= 1

    def advance(self, own_rows: Array, n_new: int) -> None:
        """Note that ``n_new`` positions were appended to the memory of ``own_rows``."""
        for row in own_rows:
            start = self.past[row]
            self.rows[row, start : start + n_new] = row
            self.past[row] += n_new
