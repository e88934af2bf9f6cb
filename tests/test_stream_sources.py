"""What gives audio, and the queue between it and a session."""

from __future__ import annotations

import io
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from whisperlite import AudioError, OptionError, load_audio
from whisperlite.stream import (
    ChannelSession,
    Committed,
    Dropped,
    FileSource,
    Intake,
    Microphone,
    PcmSource,
    SegmentClosed,
    StreamSession,
    input_devices,
    run_stream,
)
from whisperlite.stream.microphone import Device, chosen_device

RATE = 16000


def ramp(n: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + n, dtype=np.float32)[:, None] / RATE


def everything(source) -> np.ndarray:
    """All that a source gives, (n, channels)."""
    intake = Intake(source.n_channels, max_seconds=1e6)
    source.run(intake)
    intake.close()
    pieces = []
    while (piece := intake.take(10**9)) is not None:
        pieces.append(piece.samples)
    return np.concatenate(pieces)


# the queue


@given(
    blocks=st.lists(st.integers(1, 3000), max_size=20),
    takes=st.lists(st.integers(1, 5000), min_size=1, max_size=6),
    every=st.integers(1, 5),
)
def test_every_sample_is_taken_or_counted_in_its_place(blocks, takes, every):
    intake = Intake(max_seconds=0.3)
    at, taken, marks = 0, [], 0

    def take(n):
        nonlocal marks
        piece = intake.take(n)
        marks += piece.n_dropped
        taken.extend([None] * piece.n_dropped)
        taken.extend(np.round(piece.samples[:, 0] * RATE).astype(int).tolist())
        return piece

    for i, n in enumerate(blocks):
        intake.offer(ramp(n, at))
        at += n
        if i % every == 0:
            assert len(take(takes[i % len(takes)]).samples) <= takes[i % len(takes)]
    intake.close()
    while (piece := intake.take(1000)) is not None:
        marks += piece.n_dropped
        taken.extend([None] * piece.n_dropped)
        taken.extend(np.round(piece.samples[:, 0] * RATE).astype(int).tolist())
    assert marks == intake.n_dropped and intake.n_received == at == len(taken)
    assert all(found in (None, i) for i, found in enumerate(taken))


def test_a_source_that_waits_loses_nothing():
    intake = Intake(max_seconds=0.1)
    thread = threading.Thread(
        target=lambda: (all(intake.put(ramp(900, i * 900)) for i in range(20)), intake.close())
    )
    thread.start()
    pieces = []
    while (piece := intake.take(700)) is not None:
        pieces.append(piece.samples)
    thread.join(5)
    assert np.array_equal(np.concatenate(pieces), ramp(18000)) and intake.n_dropped == 0


def test_a_request_to_stop_frees_who_waits():
    stop = threading.Event()
    intake = Intake(max_seconds=0.1, stopped=stop.is_set)
    assert intake.put(ramp(1600))
    threading.Timer(0.05, stop.set).start()
    assert not intake.put(ramp(1600))
    intake.offer(ramp(10))
    assert intake.take(10**6).samples.shape == (1600, 1)  # what was taken in is still given out
    assert intake.take(10**6) is None


def test_the_error_of_a_source_comes_after_its_audio():
    intake = Intake()
    intake.offer(ramp(5))
    intake.close(AudioError("broken"))
    assert len(intake.take(10).samples) == 5
    with pytest.raises(AudioError, match="broken"):
        intake.take(10)


# files and pipes


@pytest.fixture
def stereo(tmp_path):
    """A file at 8 kHz with two different channels, and what it holds at 16 kHz."""
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal((20000, 2))).astype(np.float32)
    path = tmp_path / "two.wav"
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    return path, np.stack([load_audio(path, channel=i) for i in range(2)], axis=1)


def test_a_file_is_what_load_audio_reads(stereo):
    path, samples = stereo
    assert np.array_equal(everything(FileSource(path, split=True, chunk_seconds=0.1)), samples)
    assert np.allclose(everything(FileSource(path))[:, 0], load_audio(path), atol=1e-6)


def test_raw_samples(stereo):
    _, samples = stereo
    ints = np.round(samples * 32768).clip(-32768, 32767).astype("<i2")
    found = everything(PcmSource(io.BytesIO(ints.tobytes()), "s16le", n_channels=2, split=True))
    assert np.array_equal(found, ints / np.float32(32768))
    floats = samples.astype("<f4").tobytes()
    found = everything(PcmSource(io.BytesIO(floats + b"x"), "f32le", n_channels=2))
    assert np.allclose(found[:, 0], samples.mean(axis=1), atol=1e-7)
    half = everything(PcmSource(io.BytesIO(samples[:, :1].tobytes()), "f32le", rate=32000))
    assert half.shape == (20000, 1)


def test_raw_samples_that_come_in_odd_pieces(stereo):
    _, samples = stereo

    class Drip:
        def __init__(self, data):
            self.data, self.n = data, 0

        def read(self, n):
            self.n += 1
            size = 1 + self.n % 7
            piece, self.data = self.data[:size], self.data[size:]
            return piece

    found = everything(PcmSource(Drip(samples[:500].tobytes()), "f32le", n_channels=2, split=True))
    assert np.array_equal(found, samples[:500])


def test_what_is_not_audio(tmp_path, monkeypatch):
    with pytest.raises(AudioError, match="does not exist"):
        FileSource(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="is a folder"):
        FileSource(tmp_path)
    (tmp_path / "x.wav").write_bytes(b"hello")
    with pytest.raises(AudioError):
        FileSource(tmp_path / "x.wav")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(AudioError, match="empty"):
        FileSource("-")
    with pytest.raises(OptionError, match="s16le or f32le"):
        PcmSource(io.BytesIO(), "mp3")
    with pytest.raises(OptionError, match="9 channels"):
        PcmSource(io.BytesIO(), n_channels=9)


def test_real_time_is_kept(stereo):
    source = FileSource(stereo[0], chunk_seconds=0.25, real_time=True)
    intake = Intake()
    begun = time.monotonic()
    source.run(intake)
    assert time.monotonic() - begun >= 2.5  # the file's length; never faster
    assert intake.n_dropped == 0 and intake.n_received == 40000


# the microphone


class FakeSound:
    """The part of sounddevice that is used: a device that gives blocks at 48 kHz."""

    class PortAudioError(Exception):
        pass

    default = SimpleNamespace(device=(2, 0))

    def __init__(self, blocks, overflow_at=None, all_given=lambda: None):
        self.blocks, self.overflow_at, self.all_given = blocks, overflow_at, all_given

    def query_devices(self):
        return [
            {"name": "Speakers", "max_input_channels": 0, "default_samplerate": 48000.0},
            {"name": "Line In", "max_input_channels": 2, "default_samplerate": 44100.0},
            {"name": "USB Mic", "max_input_channels": 1, "default_samplerate": 48000.0},
        ]

    def check_input_settings(self, device, channels, dtype, samplerate):
        if samplerate != 48000:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, callback, samplerate, channels, **settings):
        sound = self

        class Stream:
            @property
            def active(self):
                sound.all_given()
                return True

            def __enter__(self):
                clock = 10.0
                for i, block in enumerate(sound.blocks):
                    lost = i == sound.overflow_at
                    clock += 0.5 * lost
                    times, status = SimpleNamespace(inputBufferAdcTime=clock), SimpleNamespace(input_overflow=lost)
                    callback(block, len(block), times, status)
                    clock += len(block) / samplerate
                return self

            def __exit__(self, *error):
                pass

        return Stream()


def test_the_microphone_is_resampled_and_its_losses_counted(monkeypatch):
    blocks = [np.full((4800, 1), 0.25, np.float32)] * 10
    intake = Intake(max_seconds=60)
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSound(blocks, overflow_at=5, all_given=intake.close))
    microphone = Microphone()
    assert microphone.device.name == "USB Mic" and microphone.rate == 48000
    microphone.run(intake)
    assert intake.n_dropped == RATE // 2
    first, second = intake.take(10**6), intake.take(10**6)
    assert (first.n_dropped, second.n_dropped) == (0, RATE // 2)
    assert abs(len(first.samples) + len(second.samples) - RATE) < 200
    assert np.allclose(first.samples[500:-500], 0.25, atol=1e-3)


def test_devices_are_listed_and_chosen(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSound([]))
    devices = input_devices()
    assert [(device.index, device.is_default) for device in devices] == [(1, False), (2, True)]
    assert chosen_device(None, devices).index == 2
    assert chosen_device("1", devices).name == "Line In"
    assert chosen_device("usb", devices).index == 2
    with pytest.raises(OptionError, match="means 2 input devices"):
        chosen_device("i", devices)
    with pytest.raises(OptionError, match="0 input devices; give one of 1: Line In"):
        chosen_device("camera", devices)
    with pytest.raises(OptionError, match="two are needed"):
        Microphone("usb", split=True)
    with pytest.raises(AudioError, match="connect a microphone"):
        chosen_device(None, [])
    assert chosen_device(None, [Device(3, "x", 1, 16000, False)]).index == 3


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r'pip install "whisperlite\[mic\]"'):
        Microphone()


# channels and the whole way


def test_channels_are_merged_by_time(nano, audio_file):
    english, german = load_audio(audio_file("words_tts_a")), load_audio(audio_file("words_tts_b"))
    n = min(len(english), len(german))
    both = np.stack([english[:n], german[:n]], axis=1)
    session = ChannelSession(nano, 2, language="en", condition_on_previous_text=False)
    events = [event for i in range(0, n, RATE) for event in session.push(both[i : i + RATE])] + session.finish()
    segments = [event for event in events if isinstance(event, SegmentClosed)]
    starts = [event.segment.start for event in segments]
    assert starts == sorted(starts) and len({event.channel for event in segments}) == 2
    for channel, samples in enumerate((english, german)):
        alone = StreamSession(nano, language="en", condition_on_previous_text=False)
        expected = [e for i in range(0, n, RATE) for e in alone.push(samples[:n][i : i + RATE])] + alone.finish()
        assert [event.segment for event in segments if event.channel == channel] == [
            event.segment for event in expected if isinstance(event, SegmentClosed)
        ]


def test_a_segment_waits_for_an_earlier_one_of_another_channel():
    session = ChannelSession.__new__(ChannelSession)
    session._waiting = []
    session.sessions = [SimpleNamespace(settled=5.0), SimpleNamespace(settled=1.0)]  # type: ignore[list-item]

    def segment(start, channel):
        return SegmentClosed(at=9.0, channel=channel, segment=SimpleNamespace(start=start))  # type: ignore[arg-type]

    assert session._merged([segment(2.0, 0)]) == []
    session.sessions[1].settled = 3.0  # type: ignore[misc]
    assert [event.segment.start for event in session._merged([segment(1.5, 1)])] == [1.5, 2.0]


def test_two_channels_of_one_recording(nano, audio_file):
    source = FileSource(audio_file("two_channels"), split=True)
    events = []
    session = ChannelSession(nano, source.n_channels, language="en", condition_on_previous_text=False)
    run_stream(source, session, lambda new, progress: events.extend(new))
    said = {
        c: "".join(e.segment.text for e in events if isinstance(e, SegmentClosed) and e.channel == c)
        for c in (0, 1)
    }
    assert "Seven two" in said[0] and "X-ray seven one." in said[1]


class Burst:
    """A live source that gives everything at once, before anything of it can be taken out."""

    n_channels = 1
    live = True

    def __init__(self, samples):
        self.samples = samples

    def run(self, intake):
        with intake._changed:
            for first in range(0, len(self.samples), 1600):
                intake.offer(self.samples[first : first + 1600, None])
        while not intake.stopped and intake._pieces:
            time.sleep(0.01)


def test_what_comes_too_fast_is_reported_and_times_stay(nano, audio_file):
    samples = load_audio(audio_file("words_tts_a"))
    events, states = [], []

    def show(new, progress):
        events.extend(new)
        states.append((progress.dropped, progress.lag))

    session = ChannelSession(nano, 1, language="en")
    progress = run_stream(Burst(samples), session, show, max_queue_seconds=6.0)
    dropped = [event for event in events if isinstance(event, Dropped)]
    assert sum(event.seconds for event in dropped) == pytest.approx(progress.dropped)
    assert progress.dropped == pytest.approx(len(samples) / RATE - 6.0)
    assert session.seconds == pytest.approx(len(samples) / RATE)  # silence stands for what was lost
    assert dropped[0].start >= 6.0
    words = [word for event in events if isinstance(event, Committed) for word in event.words]
    assert words and all(word.end < dropped[0].start + 0.5 or word.start > dropped[0].start for word in words)
    assert all(lag is not None for _, lag in states)


def test_the_end_of_a_broken_source_is_written_before_its_error(nano, audio_file):
    samples = load_audio(audio_file("words_tts_a"))[: 3 * RATE]

    class Broken(Burst):
        live = False

        def run(self, intake):
            intake.put(self.samples[:, None])
            raise AudioError("unplugged")

    events = []
    with pytest.raises(AudioError, match="unplugged"):
        run_stream(Broken(samples), ChannelSession(nano, 1, language="en"), lambda new, _: events.extend(new))
    assert any(isinstance(event, SegmentClosed) for event in events)
