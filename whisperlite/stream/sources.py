"""Where live audio comes from: files and pipes.

In: a path, a byte stream. Out: blocks (n, channels) float32 at 16 kHz, put into an ``Intake``.
Knows nothing of: sessions, clocks other than that of real time.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from whisperlite.audio import SAMPLE_RATE, Resampler
from whisperlite.audio.files import read_blocks
from whisperlite.errors import AudioError, OptionError
from whisperlite.stream.intake import Intake

ENCODINGS: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
MAX_CHANNELS = 8
_PIECE_SECONDS = 0.1  # of a live pipe


class Source(Protocol):
    """Something that gives audio."""

    @property
    def n_channels(self) -> int:
        """Of the blocks it gives."""
        ...

    @property
    def live(self) -> bool:
        """Whether audio goes on whether or not it is taken."""
        ...

    def run(self, intake: Intake) -> None:
        """Give everything to an intake, until the end or until that takes no more. In a thread of its own."""
        ...


class FileSource:
    """An audio file, as fast as possible or at the pace it was recorded.

    Parameters
    ----------
    path : str or Path
        ``-`` is a container on standard input, read to its end first.
    split : bool
        True keeps channels apart; False takes their mean.
    chunk_seconds : float
        Length of the blocks given.
    real_time : bool

    Raises
    ------
    AudioError
        The file is missing or not audio.
    """

    def __init__(
        self, path: str | Path, split: bool = False, chunk_seconds: float = 0.5, real_time: bool = False
    ) -> None:
        self.live = real_time
        self._chunk = max(1, round(chunk_seconds * SAMPLE_RATE))
        self._split = split
        name = "standard input" if str(path) == "-" else f"'{path}'"
        file: Path | BinaryIO
        if str(path) == "-":
            data = sys.stdin.buffer.read()
            if not data:
                raise AudioError("standard input is empty: 0 bytes; give an audio file")
            file = io.BytesIO(data)
        else:
            file = Path(path)
            if not file.is_file():
                reason = "is a folder; give an audio file" if file.is_dir() else "does not exist; check the path"
                raise AudioError(f"{name} {reason}")
        self._blocks = read_blocks(file, name)
        try:
            self._first = next(self._blocks)
        except StopIteration:
            raise AudioError(f"{name} holds 0 samples; give at least one") from None
        n_channels = self._first[1].shape[1]
        if split and n_channels > MAX_CHANNELS:
            raise AudioError(f"{name} has {n_channels} channels; at most {MAX_CHANNELS} are transcribed apart")
        self.n_channels = n_channels if split else 1

    def run(self, intake: Intake) -> None:
        chunks = _chunks(self._resampled(), self._chunk)
        if self.live:
            _paced(chunks, intake)
            return
        for chunk in chunks:
            if not intake.put(chunk):
                return

    def _resampled(self) -> Iterator[np.ndarray]:
        rate, block = self._first
        resampling = _Resampling(rate, self.n_channels)
        yield resampling.push(block if self._split else _mono(block))
        for _, block in self._blocks:
            yield resampling.push(block if self._split else _mono(block))
        yield resampling.finish()


class PcmSource:
    """Raw samples without a header, from a pipe.

    Parameters
    ----------
    stream : binary file object, optional
        Standard input when not given.
    encoding : str
        ``s16le`` or ``f32le``.
    rate : int
        Hz.
    n_channels : int
        Interleaved.
    split : bool
        True keeps channels apart; False takes their mean.
    live : bool
        Audio goes on whether or not it is taken: it is read as it comes, and counted where it must be dropped.
        Otherwise the pipe waits.

    Raises
    ------
    OptionError
        A value is out of range.
    """

    def __init__(
        self,
        stream: Any = None,
        encoding: str = "s16le",
        rate: int = SAMPLE_RATE,
        n_channels: int = 1,
        split: bool = False,
        live: bool = False,
    ) -> None:
        if encoding not in ENCODINGS:
            raise OptionError(f"encoding {encoding!r}: give {' or '.join(ENCODINGS)}")
        if not 1 <= n_channels <= MAX_CHANNELS:
            raise OptionError(f"{n_channels} channels: give 1 to {MAX_CHANNELS}")
        self._stream = sys.stdin.buffer if stream is None else stream
        self._dtype = ENCODINGS[encoding]
        self._n_interleaved = n_channels
        self._split = split
        self.n_channels = n_channels if split else 1
        self.live = live
        self._resampling = _Resampling(rate, self.n_channels)
        self._n_bytes = max(1, round(rate * _PIECE_SECONDS)) * n_channels * self._dtype.itemsize

    def run(self, intake: Intake) -> None:
        # Not through the buffer: its lock would be held at exit by this thread, waiting for more.
        read = getattr(self._stream, "raw", self._stream).read
        frame_bytes = self._n_interleaved * self._dtype.itemsize
        held = b""
        while not intake.stopped:
            data = read(self._n_bytes)
            if not data:
                break
            held += data
            whole = len(held) // frame_bytes * frame_bytes
            block, held = _decoded(held[:whole], self._dtype, self._n_interleaved), held[whole:]
            if not self._give(intake, self._resampling.push(block if self._split else _mono(block))):
                return
        if not intake.stopped:
            self._give(intake, self._resampling.finish())

    def _give(self, intake: Intake, block: np.ndarray) -> bool:
        if not len(block):
            return True
        if self.live:
            intake.offer(block)
            return True
        return intake.put(block)


class _Resampling:
    """Channels (n, channels) to 16 kHz, piece by piece."""

    def __init__(self, rate: int, n_channels: int) -> None:
        self._resamplers = [Resampler(rate, SAMPLE_RATE) for _ in range(n_channels)]

    def push(self, block: np.ndarray) -> np.ndarray:
        columns = [r.push(np.ascontiguousarray(block[:, i])) for i, r in enumerate(self._resamplers)]
        return np.stack(columns, axis=1)

    def finish(self) -> np.ndarray:
        return np.stack([r.finish() for r in self._resamplers], axis=1)


def _decoded(data: bytes, dtype: np.dtype, n_channels: int) -> np.ndarray:
    """Samples (n, channels) float32 of interleaved PCM."""
    samples = np.frombuffer(data, dtype).reshape(-1, n_channels)
    if dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(1 << 15)
    return samples.astype(np.float32)


def _mono(block: np.ndarray) -> np.ndarray:
    """The mean of the channels, (n, 1)."""
    return block if block.shape[1] == 1 else block.mean(axis=1, keepdims=True, dtype=np.float32)


def _chunks(blocks: Iterable[np.ndarray], n: int) -> Iterator[np.ndarray]:
    """Blocks cut and joined to n samples; the last may be shorter."""
    held: np.ndarray | None = None
    for block in blocks:
        held = block if held is None or not len(held) else np.concatenate((held, block))
        while len(held) >= n:
            yield held[:n]
            held = held[n:]
    if held is not None and len(held):
        yield held


def _paced(chunks: Iterable[np.ndarray], intake: Intake) -> None:
    """Offer each chunk when its last sample would have been recorded."""
    begun, n_given = time.monotonic(), 0
    for chunk in chunks:
        n_given += len(chunk)
        while (left := begun + n_given / SAMPLE_RATE - time.monotonic()) > 0:
            if intake.stopped:
                return
            time.sleep(min(left, 0.1))
        intake.offer(chunk)
