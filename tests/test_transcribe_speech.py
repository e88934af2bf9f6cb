"""Speech alone: what is cut away, and that every time of the result is the recording's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from fake_model import FakeModel, FakeTokenizer, follow
from hypothesis import given, settings
from hypothesis import strategies as st

import whisperlite
from whisperlite.audio.vad import EnergyDetector, SpeechMap
from whisperlite.audio.vad.silero import SileroDetector
from whisperlite.errors import OptionError
from whisperlite.results import NO_SPEECH, OUTSIDE_CLIPS, SILENT, TRANSCRIBED, Segment, Span, Window, Word
from whisperlite.transcribe import Transcript, job_windows, make_job, make_options
from whisperlite.transcribe.speech import Speech, find_detector, find_speech, original_windows
from whisperlite.transcribe.windows import clip_frames, make_content

RATE = 16000
UNIT = 2560  # samples: five windows of a detector, sixteen mel frames
EXACT = {"min_silence_duration_ms": 0, "speech_pad_ms": 0}
FLOAT = 1e-9


class Marked:
    """A detector that knows where the speech is."""

    def __init__(self, *spans: tuple[int, int]):
        self.spans = spans

    def probabilities(self, audio):
        speech = np.zeros(-(-len(audio) // 512), np.float32)
        for start, end in self.spans:
            speech[start // 512 : -(-end // 512)] = 1
        return speech

    def stream(self):
        raise NotImplementedError


def speech_of(n_samples: int, *spans: tuple[int, int], clips=(0.0,), **options) -> Speech:
    given = {"vad_parameters": EXACT, **options}
    chosen = make_options(vad_filter=True, **given)
    return find_speech(np.zeros(n_samples, np.float32), chosen.speech, clips, Marked(*spans))


def seconds(*samples: int) -> tuple[float, ...]:
    return tuple(at / RATE for at in samples)


# --- what is cut


def test_seams_lie_between_mel_frames():
    speech = speech_of(30 * 512, (2 * 512, 5 * 512), (9 * 512, 16 * 512), (20 * 512, 23 * 512))
    assert speech.map.kept == ((1024, 1024 + 9 * 160), (4608, 4608 + 22 * 160), (10240, 11776))
    assert speech.clips == seconds(0, speech.map.n_kept)


def test_spans_that_touch_have_no_seam():
    options = {"vad_parameters": {**EXACT, "speech_pad_ms": 100}}
    speech = speech_of(30 * 512, (2 * 512, 5 * 512), (7 * 512, 9 * 512), **options)  # the silence is shared
    assert speech.map.kept == ((0, 9 * 512 + 1600),)


def test_silence_is_accounted_for_inside_the_clips_alone():
    speech = speech_of(
        10 * UNIT, (2 * UNIT, 4 * UNIT), (6 * UNIT, 8 * UNIT), clips=seconds(UNIT, 3 * UNIT, 5 * UNIT)
    )
    assert [(span.start, span.end) for span in speech.silent] == [
        seconds(UNIT, 2 * UNIT), seconds(5 * UNIT, 6 * UNIT), seconds(8 * UNIT, 10 * UNIT),
    ]  # fmt: skip
    assert {(span.kind, span.reason) for span in speech.silent} == {
        (SILENT, "vad_filter, probability of speech under 0.5")
    }
    assert speech.clips == seconds(0, UNIT, 2 * UNIT, 4 * UNIT)


def test_clips_are_the_recording_s():
    spans = ((2 * UNIT, 4 * UNIT), (6 * UNIT, 8 * UNIT))
    in_silence = speech_of(10 * UNIT, *spans, clips=seconds(0, UNIT, 5 * UNIT, 7 * UNIT, 9 * UNIT))
    assert in_silence.clips == seconds(0, 0, 2 * UNIT, 3 * UNIT, 4 * UNIT, 4 * UNIT)
    backwards = speech_of(10 * UNIT, *spans, clips=seconds(7 * UNIT, 100 * UNIT, 3 * UNIT, 6 * UNIT))
    assert backwards.clips == seconds(3 * UNIT, 4 * UNIT, UNIT, 2 * UNIT)


def test_chunks_hold_as_many_spans_as_go_into_them():
    spans = [(i * UNIT * 10, i * UNIT * 10 + UNIT * n) for i, n in enumerate((5, 4, 3, 9, 1, 7))]
    speech = speech_of(60 * UNIT, *spans, chunk_length=10 * UNIT / RATE)
    assert speech.clips == seconds(*(n * UNIT for n in (0, 9, 9, 12, 12, 22, 22, 29)))
    assert all(b[0] - a[0] <= 10 * UNIT for a, b in pairwise([*spans, (60 * UNIT, 0)]))


def test_long_speech_is_cut_into_chunks():
    speech = speech_of(100 * RATE, (0, 100 * RATE), vad_parameters=None, chunk_length=30)
    bounds = list(zip(speech.clips[::2], speech.clips[1::2], strict=True))
    assert len(bounds) == 4 and all(20 < end - start <= 30 for start, end in bounds[:-1])
    assert [b[0] for b in bounds[1:]] == [b[1] for b in bounds[:-1]] and bounds[-1][1] == speech.map.n_kept / RATE


def test_nothing_and_everything():
    nothing = speech_of(5 * UNIT)
    assert nothing.map.n_kept == 0 and nothing.clips == (0, 0)
    assert [(s.start, s.end) for s in nothing.silent] == [seconds(0, 5 * UNIT)]
    assert speech_of(5 * UNIT, chunk_length=30).clips == ()
    everything = speech_of(5 * UNIT + 7, (0, 5 * UNIT + 7))
    assert everything.map.removed == () and everything.silent == ()
    window = Window(0, 0.0, 1.0, TRANSCRIBED, (), (), 100)
    assert list(original_windows([window], everything)) == [window]


# --- the way back


TOKENIZER = FakeTokenizer()
ts = TOKENIZER.ts


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_second_is_accounted_for_once(data):
    n_samples = data.draw(st.integers(UNIT, 40 * UNIT))
    edges = sorted(data.draw(st.lists(st.integers(0, n_samples), max_size=8, unique=True)))
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    duration = n_samples // 160 * 160 / RATE
    clips = data.draw(
        st.sampled_from([(0.0,), (0.0, duration / 2), (duration / 3, duration / 2, duration * 2 / 3)])
    )
    pad = data.draw(st.sampled_from([0, 30, 400]))
    parameters = {"min_silence_duration_ms": data.draw(st.sampled_from([0, 100, 2000])), "speech_pad_ms": pad}
    options = make_options(
        vad_filter=True, vad_parameters=parameters, language="en", clip_timestamps=clips, temperature=0.0,
        compression_ratio_threshold=None, logprob_threshold=None,
    )  # fmt: skip
    audio = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    speech = find_speech(audio, options.speech, clips, Marked(*spans))
    model = FakeModel(follow(*[[ts(0), 1, 2, ts(0.4), ts(0.4), 3, ts(0.8), ts(0.8)]] * 400))
    content = make_content(speech.map.cut(audio), 80)
    job = make_job(content, options, TOKENIZER, model.dims)
    job.clips = clip_frames(speech.clips, content.n_frames)
    windows = original_windows(job_windows(model, job, options), speech)
    transcript = Transcript(windows, TOKENIZER.decode, "en", duration, None, speech.map.kept_seconds, speech.silent)
    spans_found = transcript.account
    assert spans_found[0].start == 0 and spans_found[-1].end == duration
    assert all(a.end == b.start for a, b in pairwise(spans_found))
    silent = sum(s.end - s.start for s in spans_found if s.kind == SILENT)
    if clips == (0.0,):
        assert {s.kind for s in spans_found} <= {SILENT, TRANSCRIBED}
        removed = [(start, min(end, duration)) for start, end in speech.map.removed_seconds]
        found = [(s.start, s.end) for s in spans_found if s.kind == SILENT]
        assert found == [(start, end) for start, end in removed if start < end]
        assert transcript.speech_duration == pytest.approx(duration - silent, abs=0.01)
    inner = [span for span in speech.map.removed_seconds if span[1] < n_samples / RATE]
    for segment in transcript if speech.map.removed else ():
        assert 0 <= segment.start <= segment.end <= n_samples / RATE
        assert not any(start < at < end for start, end in inner for at in (segment.start, segment.end))


def timed_segment(start: float, end: float, *words: tuple[float, float]) -> Segment:
    made = tuple(Word(f" {i}", *times, 0.5) for i, times in enumerate(words)) if words else None
    return Segment(0, 0, start, end, " a", (1,), 0.0, -0.1, 1.0, 0.0, made)


def test_segments_and_words_at_a_seam():
    speech = speech_of(100 * UNIT, (10 * UNIT, 20 * UNIT), (60 * UNIT, 80 * UNIT))
    u = UNIT / RATE  # the seam is at 10 u, where 40 u of silence were
    span = Span(2 * u, 15 * u, NO_SPEECH, "why")
    given = Window(0, 2 * u, 10 * u, "x", (), (timed_segment(2 * u, 10 * u), timed_segment(10 * u, 12 * u),
        timed_segment(9 * u, 12 * u, (9.9 * u, 10.6 * u), (11 * u, 11.5 * u))), 7, (span,))  # fmt: skip
    [found] = original_windows([given], speech)
    assert (found.start, found.end, found.next_seek) == (12 * u, 20 * u, 7)
    assert [(s.start, s.end) for s in found.spans] == [(12 * u, 20 * u), (60 * u, 65 * u)]
    assert {(s.kind, s.reason) for s in found.spans} == {(NO_SPEECH, "why")}
    assert [(s.start, s.end) for s in found.segments] == [(12 * u, 20 * u), (60 * u, 62 * u), (60 * u, 62 * u)]
    words = [at for w in found.segments[2].words for at in (w.start, w.end)]
    assert words == pytest.approx([60 * u, 60.6 * u, 61 * u, 61.5 * u], abs=1e-4)  # to the sample
    assert words[0] == 60 * u  # a word is not torn: its middle lies behind the seam


# --- on a real model


@pytest.fixture(scope="module")
def demo() -> np.ndarray:
    audio = whisperlite.load_audio(whisperlite.demo_audio())
    return np.pad(audio, (0, -len(audio) % UNIT))


@pytest.fixture(scope="module")
def spread(demo):
    """The demo with silence around it and in its pause, and its two spans."""
    cut = 25 * UNIT  # 4 s
    before, between, after = 20 * UNIT, 130 * UNIT, 15 * UNIT
    audio = np.concatenate([np.zeros(before), demo[:cut], np.zeros(between), demo[cut:], np.zeros(after)]).astype(
        np.float32
    )
    spans = ((before, before + cut), (before + cut + between, before + between + len(demo)))
    return audio, spans


@pytest.mark.parametrize("options", [{}, {"beam_size": 3}, {"hallucination_silence_threshold": 1.0}])
def test_times_are_exact(nano, demo, spread, options):
    audio, spans = spread
    options = {"word_timestamps": True, "temperature": 0.0, **options}
    plain = nano.transcribe(demo, **options)
    found = nano.transcribe(audio, vad_filter=True, vad_parameters=EXACT, vad_model=Marked(*spans), **options)
    assert found.language == plain.language and found.language_probs == plain.language_probs
    assert [s.tokens for s in found] == [s.tokens for s in plain] and found.text == plain.text != ""
    assert found.duration == len(audio) / RATE and found.speech_duration == plain.duration
    assert found.speech == tuple(seconds(*span) for span in spans)
    assert [(s.kind, s.start, s.end) for s in found.account if s.kind == SILENT] == [
        (SILENT, *seconds(a, b))
        for a, b in ((0, spans[0][0]), (spans[0][1], spans[1][0]), (spans[1][1], len(audio)))
    ]
    seam = (spans[0][1] - spans[0][0]) / RATE
    shifts = [spans[0][0] / RATE, spans[1][0] / RATE - seam]
    words = [word for s in found.segments for word in s.words]
    expected = [word for s in plain.segments for word in s.words]
    assert any(word.start > seam for word in expected) and any(word.end < seam for word in expected)
    for word, plainly in zip(words, expected, strict=True):
        shift = shifts[(plainly.start + plainly.end) / 2 >= seam]
        assert (word.start, word.end) == pytest.approx((plainly.start + shift, plainly.end + shift), abs=FLOAT)
    for segment, plainly in zip(found, plain, strict=True):
        if plainly.words:
            first, last = (shifts[(w.start + w.end) / 2 >= seam] for w in (plainly.words[0], plainly.words[-1]))
            times = (plainly.start + first, plainly.end + last)
            assert (segment.start, segment.end) == pytest.approx(times, abs=FLOAT)


def test_nothing_left_out_changes_nothing(nano, demo):
    options = {"language": "en", "word_timestamps": True}
    whole = nano.transcribe(demo, vad_filter=True, vad_model=Marked((0, len(demo))), **options)
    assert whole.windows == nano.transcribe(demo, **options).windows
    assert whole.speech == ((0.0, len(demo) / RATE),) and whole.account[0].kind == TRANSCRIBED


def test_nobody_speaks(nano):
    silence = np.zeros(5 * RATE, np.float32)
    for options in ({}, {"language": "en", "word_timestamps": True}, {"clip_timestamps": "1,2"}):
        found = nano.transcribe(silence, vad_filter=True, **options)
        assert found.segments == () and found.text == "" and found.speech == () and found.speech_duration == 0
        assert {span.kind for span in found.account} <= {SILENT, OUTSIDE_CLIPS}
    assert [found] == [*nano.transcribe_many([np.zeros(5, np.float32)], vad_filter=True)] or found.windows == ()


def test_clips_of_the_recording(nano, demo, spread):
    audio, spans = spread
    options = {"language": "en", "temperature": 0.0, "vad_filter": True, "vad_parameters": EXACT}
    second = spans[1][0] / RATE
    found = nano.transcribe(audio, vad_model=Marked(*spans), clip_timestamps=[second - 5, second + 30], **options)
    cut = spans[0][1] - spans[0][0]
    plain = nano.transcribe(demo, language="en", temperature=0.0, clip_timestamps=[cut / RATE])
    assert [s.tokens for s in found] == [s.tokens for s in plain] and found.text
    assert found.segments[0].start == pytest.approx(plain.segments[0].start + second - cut / RATE, abs=FLOAT)
    kinds = [(s.kind, s.start) for s in found.account if s.kind != TRANSCRIBED]
    assert kinds[:2] == [(OUTSIDE_CLIPS, 0.0), (SILENT, second - 5)]


def test_many_files_and_chunks_in_a_batch(nano, demo, spread):
    audio, spans = spread
    options = {
        "language": "en",
        "temperature": 0.0,
        "vad_filter": True,
        "vad_parameters": EXACT | {"threshold": 0.4},
    }
    together = list(nano.transcribe_many([audio, demo, np.zeros(RATE, np.float32)], **options))
    for found, recording in zip(together, (audio, demo, np.zeros(RATE, np.float32)), strict=True):
        alone = nano.transcribe(recording, **options)
        assert [(s.tokens, s.start, s.end) for s in found] == [(s.tokens, s.start, s.end) for s in alone]
        assert found.account == alone.account and found.speech == alone.speech
    chunked = options | {"chunk_length": 4.5, "vad_model": Marked(*spans), "condition_on_previous_text": False}
    one, batch = (nano.transcribe(audio, batch_size=n, **chunked) for n in (1, 4))
    assert [(s.id, s.tokens, s.start, s.end) for s in one] == [(s.id, s.tokens, s.start, s.end) for s in batch]
    first = next(s for s in batch if s.start > spans[0][1] / RATE)
    assert first.seek * 160 == spans[0][1] - spans[0][0]  # the second chunk begins at the seam


def test_language_is_that_of_the_speech(nano, demo):
    noise = np.random.default_rng(0).standard_normal(40 * RATE).astype(np.float32) * 0.1
    audio, start = np.concatenate([noise, demo]), len(noise) // UNIT * UNIT
    options = {"vad_filter": True, "vad_parameters": EXACT, "vad_model": Marked((len(noise), len(audio)))}
    assert start == len(noise)
    assert nano.detect_language(audio, **options) == nano.detect_language(demo) != nano.detect_language(audio)
    assert nano.detect_language(audio, segments=2, **options) == nano.detect_language(demo)
    with pytest.raises(OptionError, match="chunk_length is not an option of detect_language"):
        nano.detect_language(audio, vad_filter=True, chunk_length=3)


def test_verbose_says_what_was_removed(nano, demo, spread, capsys):
    audio, spans = spread
    options = {"vad_filter": True, "vad_parameters": EXACT, "vad_model": Marked(*spans), "language": "en"}
    nano.transcribe(audio, verbose=True, **options)
    removed = (len(audio) - len(demo)) / RATE
    assert capsys.readouterr().out.startswith(f"VAD filter removed {removed:.2f} s of audio\n[00:03.")


# --- detectors


def test_which_detector(shared, monkeypatch):
    path = shared / "vad" / "silero-v6.2.0-ggml.bin"
    monkeypatch.delenv("WHISPERLITE_VAD_MODEL", raising=False)
    assert isinstance(find_detector(None), EnergyDetector) and isinstance(find_detector("energy"), EnergyDetector)
    assert find_detector(path).version == (6, 2, 0) and isinstance(find_detector(str(path)), SileroDetector)
    mine = Marked()
    assert find_detector(mine) is mine
    monkeypatch.setenv("WHISPERLITE_VAD_MODEL", str(path))
    assert isinstance(find_detector(None), SileroDetector) and isinstance(find_detector("silero"), SileroDetector)
    with pytest.raises(OptionError, match="'webrtc'"):
        find_detector("webrtc")


@pytest.mark.parametrize("model", ["energy", "silero"])
@pytest.mark.parametrize("name", ["speech_silence_speech", "noise_20s", "silence_12s"])
def test_recordings(nano, shared, audio_file, model, name):
    """Nothing is said in what is left out of a recording, and little of the silence is kept."""
    path = shared / "vad" / "silero-v6.2.0-ggml.bin" if model == "silero" else model
    found = nano.transcribe(audio_file(name), language="en", vad_filter=True, vad_model=path)
    if name != "speech_silence_speech":
        assert found.segments == () and found.speech == ()
        return
    (_, first_end), (second_start, last_end) = found.speech
    assert 11.275 <= first_end < 14 and 49 < second_start <= 52 and last_end == 64
    assert not any(first_end < s.start < second_start or first_end < s.end < second_start for s in found)
    assert sum(s.end - s.start for s in found.account if s.kind == SILENT) > 36


# --- faster-whisper's own way back


@pytest.mark.peer
@settings(max_examples=60, deadline=None)
@given(edges=st.lists(st.integers(0, 60), min_size=2, max_size=10, unique=True), data=st.data())
def test_faster_whisper_s_restored_times(edges, data):
    """Equal, to its 0.01 s, where words lie in one span each; elsewhere its words may reach into what was cut."""
    peer = pytest.importorskip("faster_whisper.transcribe")
    step = 2000  # samples, 1/8 s: exact in floating point
    edges = [step * edge for edge in sorted(edges)]
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    speech = SpeechMap(spans, edges[-1] + step)
    starts = [speech.cut_sample(start) for start, _ in spans]
    at = sorted(data.draw(st.tuples(*[st.integers(0, len(spans) - 1)] * 2)))
    words = []
    for i in at:
        first, last = sorted(data.draw(st.tuples(*[st.integers(1, (spans[i][1] - spans[i][0]) // 1000 - 1)] * 2)))
        words.append(((starts[i] + 1000 * first) / RATE, (starts[i] + 1000 * last) / RATE))
    words.sort()
    for given_words in ((), words):
        theirs = [peer.Word(start=start, end=end, word="x", probability=1.0) for start, end in given_words]
        bare = peer.Segment(
            id=0, seek=0, start=words[0][0], end=words[1][1], text="", tokens=[], avg_logprob=0,
            compression_ratio=1, no_speech_prob=0, words=theirs or None, temperature=0,
        )  # fmt: skip
        mine = timed_segment(bare.start, bare.end, *given_words)
        chunks = [{"start": start, "end": end} for start, end in spans]
        [restored] = peer.restore_speech_timestamps([bare], chunks, RATE)
        [window] = original_windows([Window(0, 0.0, bare.end, "", (), (mine,), 0)], Speech(speech, (), ()))
        [found] = window.segments
        pairs = [(found, restored), *zip(found.words or (), restored.words or (), strict=True)]
        for mine, their in pairs:
            assert (mine.start, mine.end) == pytest.approx((their.start, their.end), abs=0.0051)
