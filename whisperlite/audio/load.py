"""Audio of any kind to mono float32 samples.

In: a path, ``"-"``, bytes, a binary file object or an array. Out: samples (n,) float32 at one rate.
Knows nothing of: mel, models.

A file is read block by block, mixed to mono and resampled at once, so only the result is ever held whole.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from whisperlite.audio.files import BLOCK_FRAMES, Block, read_blocks
from whisperlite.audio.resample import Resampler, checked_rate
from whisperlite.errors import AudioError, OptionError

MAX_ARRAY_CHANNELS = 8

AudioSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | np.ndarray


def load_audio(
    source: AudioSource,
    sampling_rate: int = 16000,
    *,
    source_rate: int | None = None,
    channel: int | None = None,
) -> np.ndarray:
    """Read audio as mono float32.

    Parameters
    ----------
    source : str, Path, bytes, binary file object or ndarray
        A path; ``"-"`` for standard input; an encoded file as bytes or file object (read from where it stands);
        or samples. Arrays are (n,), (n, channels), or (channels, n) where the first axis has at most 8 entries
        and the second more than 8. Integers are scaled by their full range to [-1, 1), unsigned ones around
        their middle; floats are taken as they are.
    sampling_rate : int
        Hz of the result.
    source_rate : int, optional
        Hz of an array; 16000 when not given. Files say their own.
    channel : int, optional
        The one channel to take, from 0; otherwise the mean of all channels.

    Returns
    -------
    ndarray (n,) float32
        ``ceil(n_source * sampling_rate / rate)`` samples. Unlike in OpenAI's loader, values are not rounded to
        16 bits.

    Raises
    ------
    AudioError
        Missing, empty, damaged or not audio; samples that are NaN or infinite; an array of another kind.
    OptionError
        ``source_rate`` for a file, or a channel that is not there.
    """
    # ref: openai/whisper audio.py load_audio
    sampling_rate = checked_rate(sampling_rate, "sampling_rate")
    blocks, name = _source_blocks(source, source_rate)
    return _mono(blocks, name, sampling_rate, channel)


def load_channels(
    source: AudioSource, sampling_rate: int = 16000, *, source_rate: int | None = None
) -> list[np.ndarray]:
    """Read each channel of an audio by itself: arrays (n,) float32 as ``load_audio`` gives them.

    Raises
    ------
    AudioError, OptionError
        As in ``load_audio``.
    """
    if isinstance(source, str) and source == "-":
        source = sys.stdin.buffer.read()
    elif hasattr(source, "read"):
        source = source.read()
    blocks, name = _source_blocks(source, source_rate)
    first = next(blocks, None)
    if first is None:
        raise AudioError(f"{name} holds 0 samples; give at least one")
    n_channels = first[1].shape[1]
    return [load_audio(source, sampling_rate, source_rate=source_rate, channel=i) for i in range(n_channels)]


def _source_blocks(source: AudioSource, source_rate: int | None) -> tuple[Iterator[Block], str]:
    """Blocks of a source, and what errors call it."""
    if hasattr(source, "__array__") or isinstance(source, (list, tuple)):
        rate = checked_rate(16000 if source_rate is None else source_rate, "source_rate")
        return _array_blocks(np.asarray(source), rate), "the array"
    if source_rate is not None:
        raise OptionError(f"source_rate={source_rate!r} is for arrays; a file says its own rate; leave it out")
    file, name = _open(source)
    return read_blocks(file, name), name


def _mono(blocks: Iterator[Block], name: str, sampling_rate: int, channel: int | None) -> np.ndarray:
    samples = _Samples()
    resampler: Resampler | None = None
    n_read = n_bad = first_bad = 0
    for rate, block in blocks:
        if resampler is None:
            _check_channel(channel, block.shape[1], name)
            resampler = Resampler(_checked_file_rate(rate, name), sampling_rate)
        mono = _mix(block, channel)  # (n, channels) -> (n,)
        finite = np.isfinite(mono)
        if not finite.all():
            if not n_bad:
                first_bad = n_read + int(np.argmin(finite))
            n_bad += int(len(mono) - finite.sum())
        n_read += len(mono)
        if not n_bad:
            samples.append(resampler.push(mono))
    if resampler is None or n_read == 0:
        raise AudioError(f"{name} holds 0 samples; give at least one")
    if n_bad:
        raise AudioError(
            f"{name} has {n_bad} samples of {n_read} that are NaN or infinite, the first at {first_bad}; "
            "repair or drop them"
        )
    samples.append(resampler.finish())
    return samples.taken()


class _Samples:
    """One array that grows in place: joining a list of pieces would hold long audio twice."""

    def __init__(self) -> None:
        self._array = np.empty(1 << 20, np.float32)
        self._n = 0

    def append(self, piece: np.ndarray) -> None:
        needed = self._n + len(piece)
        if needed > len(self._array):
            # The room to spare is never touched, so it takes no memory.
            self._array.resize(max(needed, 2 * len(self._array)), refcheck=False)
        self._array[self._n : needed] = piece
        self._n = needed

    def taken(self) -> np.ndarray:
        """The samples; nothing may be appended any more."""
        self._array.resize(self._n, refcheck=False)
        return self._array


def _mix(block: np.ndarray, channel: int | None) -> np.ndarray:
    if channel is not None:
        return np.ascontiguousarray(block[:, channel])
    mono = block[:, 0].copy()
    with np.errstate(invalid="ignore", over="ignore"):  # infinities are reported with their place
        for other in range(1, block.shape[1]):
            mono += block[:, other]
    return mono * np.float32(1 / block.shape[1])


def _check_channel(channel: int | None, n_channels: int, name: str) -> None:
    if channel is not None and channel not in range(n_channels):
        raise OptionError(f"channel={channel!r}: {name} has {n_channels} channels; give 0 to {n_channels - 1}")


def _checked_file_rate(rate: int, name: str) -> int:
    try:
        return checked_rate(rate, "rate")
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from None


def _open(source: Any) -> tuple[Path | BinaryIO, str]:
    """Something ``read_blocks`` takes, and what errors call it."""
    if isinstance(source, str) and source == "-":
        return _in_memory(sys.stdin.buffer.read(), "standard input")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _in_memory(bytes(source), "the given data")
    if isinstance(source, (str, os.PathLike)):
        return _checked_path(Path(source)), f"'{os.fspath(source)}'"
    if hasattr(source, "read"):
        name = f"'{source.name}'" if isinstance(getattr(source, "name", None), str) else "the file object"
        if isinstance(source, io.TextIOBase):
            raise AudioError(f"{name} is opened as text; open it with mode 'rb'")
        if isinstance(source, io.BufferedIOBase) and source.seekable() and source.tell() == 0:
            if not source.read(1):
                raise AudioError(f"{name} is empty: 0 bytes; give an audio file")
            source.seek(0)
            return source, name  # type: ignore[return-value]
        return _in_memory(source.read(), name)
    raise AudioError(
        f"audio source is of type {type(source).__name__}; "
        "give a path, '-', bytes, a binary file object or an array"
    )


def _in_memory(data: bytes, name: str) -> tuple[BinaryIO, str]:
    if not isinstance(data, bytes):
        raise AudioError(f"{name} gives {type(data).__name__} when read; open it with mode 'rb'")
    if not data:
        raise AudioError(f"{name} is empty: 0 bytes; give an audio file")
    return io.BytesIO(data), name


def _checked_path(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise AudioError(f"'{path}' is empty: 0 bytes; give an audio file")
    except FileNotFoundError:
        raise AudioError(f"'{path}' does not exist; check the path (from {Path.cwd()})") from None
    except (IsADirectoryError, PermissionError) as error:
        if path.is_dir():  # Windows calls it a permission
            raise AudioError(f"'{path}' is a folder; give an audio file") from None
        raise AudioError(f"'{path}' cannot be opened: {error.strerror}; check its permissions") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"'{path}' cannot be opened: {error}; give an audio file") from None
    return path


def _array_blocks(array: np.ndarray, rate: int) -> Iterator[Block]:
    """Blocks (n, channels) float32 of an array of samples."""
    if array.dtype.kind not in "iuf":
        raise AudioError(f"the array is of dtype {array.dtype}; give integer or float samples")
    if array.ndim not in (1, 2):
        raise AudioError(f"the array has shape {array.shape}; give (n,) or (n, channels)")
    if array.size == 0:
        raise AudioError(f"the array holds 0 samples: shape {array.shape}; give at least one")
    if array.ndim == 1:
        array = array[:, None]  # (n,) -> (n, 1)
    elif array.shape[0] <= MAX_ARRAY_CHANNELS < array.shape[1]:
        array = array.T  # (channels, n) -> (n, channels)
    if array.shape[1] > MAX_ARRAY_CHANNELS:
        raise AudioError(
            f"the array has shape {array.shape}; at most {MAX_ARRAY_CHANNELS} channels are taken; "
            "give (n, channels), or pick or mix channels first"
        )
    for start in range(0, len(array), BLOCK_FRAMES):
        yield rate, _as_float(array[start : start + BLOCK_FRAMES])


def _as_float(samples: np.ndarray) -> np.ndarray:
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is reported
            return samples.astype(np.float32)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    if samples.dtype.kind == "u":
        return ((samples.astype(np.float64) - half) / half).astype(np.float32)
    return (samples / half).astype(np.float32)
