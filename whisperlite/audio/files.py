"""Decoding of audio files, block by block.

In: a path or a seekable binary file object. Out: blocks of float32 samples (n, channels) and their rate.
Knows nothing of: arrays, mono, resampling.

libsndfile reads wav, flac, ogg, mp3, aiff, caf and more. What it refuses goes to PyAV where that is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from whisperlite.errors import AudioError

BLOCK_FRAMES = 1 << 18  # soundfile seeks after each block, which costs the decoders a little
_MPEG_SLACK_FRAMES = 2304  # an MP3's length is an estimate, good to two packets

Block = tuple[int, np.ndarray]  # Hz, (n, channels) float32


def read_blocks(file: Path | BinaryIO, name: str) -> Iterator[Block]:
    """Decode a file.

    Parameters
    ----------
    file : Path or seekable binary file object, at its beginning
    name : str
        What errors call it.

    Yields
    ------
    (int, ndarray (n, channels) float32)
        Rate in Hz and the next samples.

    Raises
    ------
    AudioError
        Not audio, a format that needs the ``av`` extra, or damaged.
    """
    import soundfile

    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        if not isinstance(file, Path):
            file.seek(0)
        yield from _av_blocks(file, name, _one_line(error.error_string))
        return
    with sound:
        yield from _soundfile_blocks(sound, name)


def _soundfile_blocks(sound: Any, name: str) -> Iterator[Block]:
    import soundfile

    n_read, reason = 0, "the data ends"
    while True:
        try:
            block = sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = _one_line(error.error_string)
            break
        if not len(block):
            break
        n_read += len(block)
        yield sound.samplerate, block
    slack = _MPEG_SLACK_FRAMES if sound.format in ("MP3", "MPEG") else 0
    if reason != "the data ends" or n_read < sound.frames - slack:
        raise AudioError(
            f"{name} is damaged or cut short: {n_read} of {sound.frames} frames can be read ({reason}); "
            "copy or convert it again"
        )


def _av_blocks(file: Path | BinaryIO, name: str, refusal: str) -> Iterator[Block]:
    try:
        import av
    except ImportError:
        raise AudioError(
            f"{name} cannot be read by libsndfile ({refusal}); "
            'if it is m4a, mp4, webm, mkv or the like: pip install "whisperlite[av]"'
        ) from None

    n_read = 0
    try:
        with av.open(str(file) if isinstance(file, Path) else file) as container:
            if not container.streams.audio:
                raise AudioError(f"{name} holds no sound: 0 audio streams; give a file with one")
            stream = container.streams.audio[0]
            rate = stream.rate
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in container.decode(stream):
                frame.pts = None  # gaps in the time stamps would make the resampler complain
                for piece in resampler.resample(frame):
                    n_read += piece.samples
                    yield rate, piece.to_ndarray().T  # (channels, n) -> (n, channels)
            for piece in resampler.resample(None):
                n_read += piece.samples
                yield rate, piece.to_ndarray().T
    except (av.error.FFmpegError, ValueError) as error:
        if n_read:
            raise AudioError(
                f"{name} is damaged: {n_read} frames can be read, then {_one_line(error)}; copy or convert it again"
            ) from error
        raise AudioError(
            f"{name} is not audio: libsndfile says '{refusal}', FFmpeg '{_one_line(error)}'; give an audio file"
        ) from error


def _one_line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")
