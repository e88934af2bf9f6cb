"""Loading: every source, every format at hand, every refusal."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from whisperlite.audio import files, load_audio, load_channels
from whisperlite.errors import AudioError, OptionError

soundfile = pytest.importorskip("soundfile")

SHARED = Path(__file__).parent.parent.parent / "shared"


def tone(n: int = 16000, rate: int = 16000, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(n) / rate)).astype(np.float32)


def encoded(samples, rate=16000, kind="WAV", subtype="PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


FORMATS = [  # format, subtype, largest error of a sample
    ("WAV", "PCM_U8", 1 / 120), ("WAV", "PCM_16", 1 / 32000), ("WAV", "PCM_24", 1e-6), ("WAV", "PCM_32", 1e-7),
    ("WAV", "FLOAT", 0), ("WAV", "DOUBLE", 0), ("WAV", "ULAW", 0.03),
    ("FLAC", "PCM_16", 1 / 32000), ("FLAC", "PCM_24", 1e-6),
    ("AIFF", "PCM_16", 1 / 32000), ("AU", "PCM_16", 1 / 32000),
    ("CAF", "PCM_16", 1 / 32000), ("W64", "PCM_16", 1 / 32000),
    ("OGG", "VORBIS", 0.05), ("OGG", "OPUS", 0.1), ("MP3", "MPEG_LAYER_III", 0.1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "subtype", "error"), FORMATS, ids=lambda v: str(v))
def test_formats(kind, subtype, error, tmp_path):
    if subtype not in soundfile.available_subtypes(kind):
        pytest.skip(f"this libsndfile cannot write {kind} {subtype}")
    x = tone()
    path = tmp_path / f"tone.{kind.lower()}"
    path.write_bytes(encoded(x, kind=kind, subtype=subtype))
    for source in (str(path), path, path.read_bytes()):
        found = load_audio(source)
        assert found.dtype == np.float32 and found.shape == x.shape
        assert abs(found - x)[500:-500].max() <= error


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_files_are_resampled(rate):
    found = load_audio(encoded(tone(rate, rate), rate))
    assert len(found) == 16000
    assert abs(found - tone())[300:-300].max() < 1e-3
    assert len(load_audio(encoded(tone(rate, rate), rate), 24000)) == 24000


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_blocks_join_without_a_seam(kind, subtype, monkeypatch):
    data = encoded(np.random.default_rng(0).normal(0, 0.1, (30000, 2)), 44100, kind, subtype)
    whole = load_audio(data)
    monkeypatch.setattr(files, "BLOCK_FRAMES", 1000)
    np.testing.assert_allclose(load_audio(data), whole, rtol=0, atol=1e-6)


def test_channels():
    left, right = tone(hz=300), tone(hz=1000)
    data = encoded(np.stack([left, right], axis=1), subtype="FLOAT")
    np.testing.assert_allclose(load_audio(data), (left + right) / 2, atol=1e-7)
    np.testing.assert_array_equal(load_audio(data, channel=0), left)
    np.testing.assert_array_equal(load_audio(data, channel=1), right)
    for channel in (2, -1):
        with pytest.raises(OptionError, match=f"channel={channel}: the given data has 2 channels; give 0 to 1"):
            load_audio(data, channel=channel)


@pytest.mark.parametrize("kind", ["bytes", "file", "stdin", "array"])
def test_channels_apart(kind, monkeypatch):
    both = np.stack([tone(hz=300), tone(hz=1000), tone(hz=2000)], axis=1)
    data = encoded(both, subtype="FLOAT")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    source = {"bytes": data, "file": io.BytesIO(data), "stdin": "-", "array": both}[kind]
    np.testing.assert_array_equal(np.stack(load_channels(source), axis=1), both)


def test_file_objects(tmp_path, monkeypatch):
    x = tone()
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(x, subtype="FLOAT"))
    with path.open("rb") as file:
        np.testing.assert_array_equal(load_audio(file), x)
    shifted = io.BytesIO(b"junk" + path.read_bytes())
    shifted.seek(4)
    np.testing.assert_array_equal(load_audio(shifted), x)
    pipe = SimpleNamespace(read=path.read_bytes)
    np.testing.assert_array_equal(load_audio(pipe), x)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=path.open("rb")))
    np.testing.assert_array_equal(load_audio("-"), x)
    sys.stdin.buffer.close()


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"])
def test_integer_arrays(dtype):
    info = np.iinfo(dtype)
    middle = 0 if info.min < 0 else (info.max + 1) // 2
    samples = np.array([info.min, middle, info.max], dtype)
    found = load_audio(samples)
    np.testing.assert_allclose(found, [-1, 0, 1], atol=1 / 127)
    assert found[0] == -1 and found[1] == 0 and found.dtype == np.float32


def test_integers_match_the_file_of_the_same_samples():
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    np.testing.assert_array_equal(load_audio(samples), load_audio(encoded(samples)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_arrays(dtype):
    samples = tone(100).astype(dtype)
    np.testing.assert_array_equal(load_audio(samples), samples.astype(np.float32))


def test_array_shapes():
    x = np.stack([tone(100), tone(100, hz=1000)], axis=1)
    np.testing.assert_allclose(load_audio(x), x.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(load_audio(x.T), load_audio(x))
    np.testing.assert_array_equal(load_audio(x, channel=1), x[:, 1])
    np.testing.assert_array_equal(load_audio(x.T, channel=1), x[:, 1])
    assert load_audio(np.zeros((3, 2), np.float32)).shape == (3,)
    assert load_audio([0.0, 0.5]).tolist() == [0.0, 0.5]
    assert len(load_audio(tone(44100, 44100), source_rate=44100)) == 16000
    assert len(load_audio(np.zeros(files.BLOCK_FRAMES + 5, np.int8))) == files.BLOCK_FRAMES + 5


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(0, np.float32), r"holds 0 samples: shape \(0,\)"),
        (np.zeros((0, 2), np.float32), r"holds 0 samples: shape \(0, 2\)"),
        (np.zeros((2, 3, 4)), r"has shape \(2, 3, 4\); give \(n,\) or \(n, channels\)"),
        (np.float32(3), r"has shape \(\)"),
        (np.zeros(5, complex), "of dtype complex128; give integer or float"),
        (np.zeros(5, bool), "of dtype bool"),
        (np.array(["a"]), "of dtype <U1"),
        (np.array([None]), "of dtype object"),
        (np.zeros((1000, 80)), r"has shape \(1000, 80\); at most 8 channels"),
    ],
)
def test_arrays_refused(array, message):
    with pytest.raises(AudioError, match=message):
        load_audio(array)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_not_numbers(bad):
    samples = np.zeros(files.BLOCK_FRAMES + 100)
    samples[[70, 71, -1]] = bad
    with pytest.raises(
        AudioError, match=f"has 3 samples of {len(samples)} that are NaN or infinite, the first at 70;"
    ):
        load_audio(samples)
    with pytest.raises(AudioError, match="the first at 70;"):
        load_audio(encoded(np.where(samples == 0, 0, np.float32("inf")), 44100, subtype="FLOAT"))
    assert load_audio(np.stack([samples, 0 * np.nan_to_num(samples)], 1)[:70]).shape == (70,)


@pytest.mark.parametrize("rate", [0, -16000, 16000.5, "16 kHz"])
def test_rates_refused(rate):
    with pytest.raises(AudioError, match="source_rate="):
        load_audio(tone(), source_rate=rate)
    with pytest.raises(AudioError, match="sampling_rate="):
        load_audio(tone(), rate)


def test_rate_of_a_file_is_its_own():
    with pytest.raises(OptionError, match="source_rate=8000 is for arrays"):
        load_audio(encoded(tone()), source_rate=8000)


def test_file_with_an_absurd_rate():
    with pytest.raises(AudioError, match="the given data: rate=8: give whole Hz"):
        load_audio(encoded(tone(), 8))


def test_paths_refused(tmp_path):
    with pytest.raises(AudioError, match=r"gone.wav' does not exist; check the path"):
        load_audio(tmp_path / "gone.wav")
    with pytest.raises(AudioError, match="is a folder; give an audio file"):
        load_audio(tmp_path)
    empty = tmp_path / "empty.wav"
    empty.touch()
    with pytest.raises(AudioError, match=r"empty.wav' is empty: 0 bytes"):
        load_audio(empty)
    with empty.open("rb") as file, pytest.raises(AudioError, match="is empty: 0 bytes"):
        load_audio(file)
    with pytest.raises(AudioError, match="the given data is empty"):
        load_audio(b"")
    with pytest.raises(AudioError, match="cannot be opened"):
        load_audio("a\0b")


def test_sources_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("hello")
    with path.open() as file, pytest.raises(AudioError, match="is opened as text; open it with mode 'rb'"):
        load_audio(file)
    with pytest.raises(AudioError, match="gives str when read"):
        load_audio(SimpleNamespace(read=lambda: "text"))
    with pytest.raises(AudioError, match="of type int; give a path"):
        load_audio(3)


def test_file_without_samples():
    with pytest.raises(AudioError, match="the given data holds 0 samples"):
        load_audio(encoded(np.zeros(0, np.float32)))


def test_truncated_flac(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 48000)
    path = tmp_path / "cut.flac"
    data = encoded(noise, kind="FLAC")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"cut.flac' is damaged or cut short: \d+ of 48000 frames can be read"):
        load_audio(path)


def test_truncated_wav_gives_what_is_there():
    """A recorder that was killed leaves such files; their header says nothing reliable about the length."""
    data = encoded(tone())
    assert len(load_audio(data[:-2000])) == 15000


@pytest.fixture
def without_av(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)


def test_text_named_wav(tmp_path, without_av):
    path = tmp_path / "text.wav"
    path.write_text("this is no sound\n" * 50)
    with pytest.raises(
        AudioError, match=r"text.wav' cannot be read by libsndfile .*pip install \"whisperlite\[av\]\""
    ) as caught:
        load_audio(path)
    assert "\n" not in str(caught.value)


def test_text_named_wav_with_av(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "text.wav"
    path.write_text("this is no sound\n" * 50)
    with pytest.raises(AudioError, match=r"text.wav' is not audio: libsndfile says"):
        load_audio(path)
    with pytest.raises(AudioError, match="is not audio"):
        load_audio(path.read_bytes())


def av_file(path: Path, codec: str, rate: int, layout: str = "stereo") -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        x = tone(rate, rate)
        frame = av.AudioFrame.from_ndarray(np.stack([x, x]), format="fltp", layout=layout)
        frame.rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("a.m4a", "aac", 44100), ("a.mp4", "aac", 48000), ("a.mkv", "flac", 22050)]
)
def test_av(name, codec, rate, tmp_path):
    path = tmp_path / name
    av_file(path, codec, rate)
    with path.open("rb") as file:
        for source in (path, path.read_bytes(), file):
            found = load_audio(source)
            assert abs(len(found) - 16000) <= 1024
            best = max(np.dot(found[300:9300], tone()[300 + s : 9300 + s]) for s in range(-100, 100))
            assert best > 0.95 * np.dot(tone()[:9000], tone()[:9000])


def test_av_damaged(tmp_path):
    path = tmp_path / "a.m4a"
    av_file(path, "aac", 44100)
    data = path.read_bytes()
    with pytest.raises(AudioError, match=r"is damaged|is not audio"):
        load_audio(data[: len(data) // 2])


def test_av_without_sound(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "picture.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(AudioError, match="holds no sound: 0 audio streams"):
        load_audio(path)


@pytest.mark.parametrize("name", ["jfk.flac", "two_channels.flac", "long_mixed.flac"])
def test_shared_files(name):
    path = SHARED / "audio" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    info = soundfile.info(path)
    found = load_audio(path)
    assert len(found) == math.ceil(info.frames * 16000 / info.samplerate)
    assert 0.01 < abs(found).max() <= 1.01


def test_jfk_is_close_to_ffmpeg_s():
    """jfk.wav is jfk.flac resampled to 16 kHz by FFmpeg."""
    flac, wav = SHARED / "audio" / "jfk.flac", SHARED / "audio" / "jfk.wav"
    if not (flac.exists() and wav.exists()):
        pytest.skip(f"{flac} is not here")
    ours, theirs = load_audio(flac), load_audio(wav)
    assert ours.shape == theirs.shape
    assert 10 * math.log10(np.sum(theirs**2) / np.sum((ours - theirs) ** 2)) > 70
