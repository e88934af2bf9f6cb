"""The microphone, through sounddevice (PortAudio), which is an extra: ``pip install "whisperlite[mic]"``.

In: a device's name or number. Out: blocks (n, channels) float32 at 16 kHz, offered to an ``Intake``.
Knows nothing of: sessions.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from whisperlite.audio import SAMPLE_RATE, Resampler
from whisperlite.errors import AudioError, OptionError
from whisperlite.stream.intake import Intake

_BLOCK_SECONDS = 0.05


@dataclass(frozen=True)
class Device:
    """An input device."""

    index: int
    name: str
    n_channels: int
    rate: int
    is_default: bool


def input_devices() -> list[Device]:
    """Devices that can record.

    Raises
    ------
    AudioError
        sounddevice or PortAudio is not installed, or the system's audio does not answer.
    """
    sound = _sounddevice()
    try:
        found = list(sound.query_devices())
        default = sound.default.device[0]
    except Exception as error:  # PortAudioError, and what a broken audio system makes of it
        raise AudioError(f"the audio system does not answer: {_one_line(error)}; check its drivers") from None
    return [
        Device(i, one["name"], int(one["max_input_channels"]), round(one["default_samplerate"]), i == default)
        for i, one in enumerate(found)
        if one["max_input_channels"] > 0
    ]


def chosen_device(wanted: str | int | None, devices: list[Device]) -> Device:
    """A device by number, by name or a part of it; the default, else the first, when not given.

    Raises
    ------
    AudioError
        There is no device at all.
    OptionError
        None, or several, are meant.
    """
    if not devices:
        raise AudioError("no input device: 0 are known to the system; connect a microphone")
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    if isinstance(wanted, int) or wanted.isdecimal():
        meant = [device for device in devices if device.index == int(wanted)]
    else:
        meant = [device for device in devices if device.name == wanted]
        meant = meant or [device for device in devices if wanted.casefold() in device.name.casefold()]
    if len(meant) != 1:
        known = ", ".join(f"{device.index}: {device.name}" for device in meant or devices)
        raise OptionError(f"device {wanted!r} means {len(meant)} input devices; give one of {known}")
    return meant[0]


class Microphone:
    """Live input.

    Parameters
    ----------
    device : str or int, optional
        See ``chosen_device``.
    split : bool
        True keeps the device's first two channels apart; False takes the first one alone.

    Raises
    ------
    AudioError
        The extra or the device is missing.
    OptionError
        The choice is not one device, or it has too few channels.
    """

    live = True

    def __init__(self, device: str | int | None = None, split: bool = False) -> None:
        self._sound = _sounddevice()
        self.device = chosen_device(device, input_devices())
        self.n_channels = 2 if split else 1
        if self.device.n_channels < self.n_channels:
            raise OptionError(f"'{self.device.name}' has {self.device.n_channels} channel; two are needed to split")
        self.rate = SAMPLE_RATE if self._takes(SAMPLE_RATE) else self.device.rate
        self._resamplers = [Resampler(self.rate, SAMPLE_RATE) for _ in range(self.n_channels)]
        self._next_time: float | None = None  # at which the next block should begin, by the device's clock

    def run(self, intake: Intake) -> None:
        def callback(block: np.ndarray, n_frames: int, times: Any, status: Any) -> None:
            self._count_lost(intake, times, n_frames, bool(status.input_overflow))
            columns = [r.push(block[:, i].copy()) for i, r in enumerate(self._resamplers)]
            intake.offer(np.stack(columns, axis=1))

        try:
            with self._sound.InputStream(
                samplerate=self.rate,
                blocksize=round(self.rate * _BLOCK_SECONDS),
                device=self.device.index,
                channels=self.n_channels,
                dtype="float32",
                callback=callback,
            ) as stream:
                while not intake.stopped:
                    if not stream.active:
                        raise AudioError(f"'{self.device.name}' stopped giving audio; check its connection")
                    time.sleep(0.05)
        except self._sound.PortAudioError as error:
            raise AudioError(
                f"'{self.device.name}' cannot be opened: {_one_line(error)}; try another device"
            ) from None

    def _count_lost(self, intake: Intake, times: Any, n_frames: int, overflow: bool) -> None:
        """Samples that never reached us: what the device's clock went on by."""
        begun = float(times.inputBufferAdcTime)
        if overflow and self._next_time is not None and begun > self._next_time:
            intake.lose(round((begun - self._next_time) * SAMPLE_RATE))
        self._next_time = begun + n_frames / self.rate

    def _takes(self, rate: int) -> bool:
        try:
            self._sound.check_input_settings(
                device=self.device.index, channels=self.n_channels, dtype="float32", samplerate=rate
            )
        except Exception:  # a rate that the device lacks; opening it says whatever else is wrong
            return False
        return True


def _sounddevice() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except ImportError:
        raise AudioError('the microphone needs sounddevice: pip install "whisperlite[mic]"') from None
    except OSError as error:  # the package is there, the library it wraps is not
        raise AudioError(
            f"sounddevice finds no PortAudio library ({_one_line(error)}); install portaudio"
        ) from None


def _one_line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")
