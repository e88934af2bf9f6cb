"""A live session: committed text stays, silence costs nothing, nano hears what it hears in a file."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisperlite import AudioError, load_audio
from whisperlite.decode import DecodingOptions, DecodingResult
from whisperlite.results import Word
from whisperlite.stream import (
    Committed,
    Event,
    Level,
    SegmentClosed,
    SpeechEnd,
    SpeechStart,
    StreamSession,
    Tentative,
)
from whisperlite.stream.hypothesis import Buffer, HeardWord, Hypothesis

RATE = 16000


def listen(session: StreamSession, samples: np.ndarray, sizes: list[int]) -> list[Event]:
    events, at, i = [], 0, 0
    while at < len(samples):
        size = sizes[i % len(sizes)]
        events += session.push(samples[at : at + size])
        at, i = at + size, i + 1
    return events + session.finish()


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def committed(events) -> str:
    return "".join(event.text for event in of_kind(events, Committed))


def closed(events) -> str:
    return "".join(event.segment.text for event in of_kind(events, SegmentClosed))


def check_consistent(events: list[Event]) -> None:
    """What holds of every stream."""
    assert closed(events) == committed(events)
    segments = [event.segment for event in of_kind(events, SegmentClosed)]
    assert [segment.id for segment in segments] == list(range(len(segments)))
    before = 0.0
    for segment in segments:
        assert before <= segment.start <= segment.end
        before = segment.end
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert (times[0], times[-1]) == (segment.start, segment.end)
        assert "".join(word.word for word in segment.words) == segment.text
    assert [event.at for event in events] == sorted(event.at for event in events)


# any hypotheses


class Guesses:
    """Decodes buffers to arbitrary words, by a script."""

    words = (" a", " b", ".", " c")

    def __init__(self, script: list[tuple[list[int], bool]]) -> None:
        self.script = script
        self.n_decoded = self.n_positions = 0
        self.longest = 0

    def decode(self, buffer: Buffer, tokenizer, language, stop) -> Hypothesis:
        ids, doubted = self.script[self.n_decoded % len(self.script)]
        self.n_decoded += 1
        n_frames = buffer.mel.shape[1]
        self.longest = max(self.longest, n_frames)
        start, end = buffer.start_frame / 100, (buffer.start_frame + n_frames) / 100
        n_all = len(buffer.committed) + len(ids)
        bounds = np.round(
            np.linspace(max(start, buffer.earliest), max(end, buffer.earliest), n_all + 1), 2
        ).tolist()
        spelled = [*(tokenizer.decode(tokens) for tokens in buffer.committed), *(self.words[i] for i in ids)]
        tokens = [*buffer.committed, *(tuple(tokenizer.encode(self.words[i])) for i in ids)]
        heard = [HeardWord(tuple(tokens[i]), Word(spelled[i], bounds[i], bounds[i + 1], 1.0)) for i in range(n_all)]
        result = DecodingResult("en", None, (), "", -0.1, 0.0, 0.0, 1.0, DecodingOptions())
        n = len(buffer.committed)
        doubt = "doubted" if doubted else ""
        attended = tuple(0 for word in heard[n:] for _ in word.tokens)
        return Hypothesis(tuple(heard[n:]), tuple(heard[:n]), attended, n_frames // 2, 0, result, doubt)


@pytest.fixture(scope="module")
def deaf(nano):
    """Sizes and tokenizer of nano; it cannot decode."""
    return SimpleNamespace(
        dims=nano.dims, tokenizer=nano.tokenizer, is_multilingual=True, alignment_heads=(), backend="numba"
    )


LOUD = (0.3 * np.random.default_rng(0).standard_normal(40 * RATE)).astype(np.float32)
GUESS = st.tuples(st.lists(st.integers(0, 3), max_size=6), st.booleans())


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(GUESS, min_size=1, max_size=8),
    sizes=st.lists(st.integers(800, 40000), min_size=1, max_size=4),
    policy=st.sampled_from(["local-agreement", "align-att"]),
    condition=st.booleans(),
)
def test_whatever_is_heard_committed_text_is_never_taken_back(deaf, script, sizes, policy, condition):
    session = StreamSession(
        deaf, policy, language="en", vad=False, trim_seconds=3.0, max_buffer_seconds=6.0,
        condition_on_previous_text=condition,
    )  # fmt: skip
    session._decoder = Guesses(script)  # type: ignore[assignment]
    events = listen(session, LOUD, sizes)
    check_consistent(events)
    assert session._decoder.longest <= 100 * (6.0 + 0.5) + 5
    assert session._frontend.n_frames == len(LOUD) // 160
    assert session.settled == np.inf


def test_what_was_believed_last_is_committed_at_the_end(deaf):
    session = StreamSession(deaf, language="en", vad=False)
    session._decoder = Guesses([([0, 1], False), ([3], True)])  # type: ignore[assignment]
    events = session.push(LOUD[:8000]) + session.push(LOUD[8000:16000]) + session.finish()
    assert of_kind(events, Tentative)[0].text == " a b"
    assert committed(events) == " a b"


def test_a_mark_waits_for_what_follows_it(deaf):
    session = StreamSession(deaf, language="en", vad=False)
    session._decoder = Guesses([([0, 2], False), ([0, 2], False), ([2, 1], False), ([1], False)])  # type: ignore
    texts = [committed(session.push(LOUD[i : i + 8000])) for i in range(0, 32000, 8000)]
    assert texts == ["", " a", ".", " b"]


def test_a_mark_alone_is_no_segment(deaf):
    session = StreamSession(deaf, language="en", vad=False)
    session._decoder = Guesses([([2], False)])  # type: ignore[assignment]
    events = listen(session, LOUD[:32000], [8000])
    assert committed(events) == "" and not of_kind(events, SegmentClosed)


def test_a_prompt_is_the_committed_text_before_the_buffer(deaf):
    prompts = []

    class Noting(Guesses):
        def decode(self, buffer, *rest):
            prompts.append((buffer.prompt, buffer.committed))
            return super().decode(buffer, *rest)

    def run(**options):
        prompts.clear()
        session = StreamSession(
            deaf, "align-att", language="en", vad=False, trim_seconds=1.0, max_buffer_seconds=4.0,
            prompt_tokens=3, **options,
        )  # fmt: skip
        session._decoder = Noting([([0, 2, 1], False)])  # type: ignore[assignment]
        listen(session, LOUD[: 8 * RATE], [8000])
        return [prompt for prompt, _ in prompts]

    encode = deaf.tokenizer("en").encode
    assert max(map(len, run())) == 3
    assert set(run(condition_on_previous_text=False)) == {()}
    given_first = run(condition_on_previous_text=False, initial_prompt="a b")
    assert given_first[0] == tuple(encode(" a b")) and given_first[-1] == ()


# nano


@settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(400, 30000), min_size=1, max_size=3))
def test_any_chunks_give_consistent_text(nano, audio_file, sizes):
    samples = load_audio(audio_file("words_tts_a"))[: 6 * RATE]
    events = listen(StreamSession(nano, language="en"), samples, sizes)
    check_consistent(events)
    assert len(closed(events).split()) >= 5


def test_speech_is_found_at_the_same_times_in_any_chunks(nano, audio_file):
    samples = load_audio(audio_file("words_tts_a"))
    found = []
    for size in (700, 16000):
        events = listen(StreamSession(nano, language="en", chunk_seconds=5.0), samples, [size])
        found.append([(type(event), event.time) for event in events if isinstance(event, (SpeechStart, SpeechEnd))])
    assert found[0] == found[1] and len(found[0]) == 8


@pytest.mark.parametrize("policy", ["local-agreement", "align-att"])
def test_live_text_is_that_of_the_reference(nano, audio_file, policy):
    refs = json.loads((audio_file("words_tts_b").parent / "refs.json").read_text())["words_tts_b"]
    samples = load_audio(audio_file("words_tts_b"))
    session = StreamSession(nano, policy, language="en", condition_on_previous_text=False)
    events = listen(session, samples, [8000])
    check_consistent(events)
    said = " ".join(segment["text"] for segment in refs["segments"]).split()
    heard = closed(events).split()
    assert sum(a != b for a, b in zip(said, heard, strict=False)) + abs(len(said) - len(heard)) <= 2
    starts = [segment["start"] for segment in refs["segments"]]
    assert len(starts) == len(of_kind(events, SegmentClosed))
    for start, event in zip(starts, of_kind(events, SegmentClosed), strict=True):
        assert abs(event.segment.start - start) < 0.3
    # Words come while they are spoken: by far not all of them at the end of their segment.
    early = sum(
        len(e.words) for e in of_kind(events, Committed) if e.at not in {x.at for x in of_kind(events, SpeechEnd)}
    )
    assert early > len(said) / 2


def test_nothing_is_decoded_in_silence(nano, audio_file):
    session = StreamSession(nano, language="en")
    events = listen(session, load_audio(audio_file("silence_12s")), [8000])
    assert {type(event) for event in events} == {Level} and session.n_decoded == 0
    assert events[0].rms_db == -120.0


def test_noise_gives_no_text(nano, audio_file):
    events = listen(StreamSession(nano, language="en"), load_audio(audio_file("noise_20s")), [8000])
    assert closed(events) == ""


def test_without_voice_detection_everything_is_decoded(nano, audio_file):
    samples = load_audio(audio_file("words_tts_a"))
    session = StreamSession(nano, language="en", vad=False, condition_on_previous_text=False, trim_seconds=5.0)
    events = listen(session, samples, [16000])
    check_consistent(events)
    assert not of_kind(events, SpeechStart)
    assert len(closed(events).split()) > 14


def test_the_language_is_detected_once(nano, audio_file):
    session = StreamSession(nano)
    assert session.language is None
    events = listen(session, load_audio(audio_file("digits_de")), [16000])
    assert session.language == "de"
    assert "eins" in closed(events).lower() or "zwei" in closed(events).lower()


def test_a_shorter_encoder_window_hears_the_same(nano, audio_file):
    samples = load_audio(audio_file("words_tts_a"))[: 5 * RATE]
    texts, positions = [], []
    for audio_ctx in ("auto", None):
        session = StreamSession(nano, language="en", audio_ctx=audio_ctx)
        texts.append(closed(listen(session, samples, [8000])))
        positions.append(session.n_positions / session.n_decoded)
    assert texts[0] == texts[1]
    assert positions == [500, 1500]


def test_frames_are_forgotten(nano):
    session = StreamSession(nano, language="en")
    quiet = (1e-4 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    for _ in range(120):
        session.push(quiet)
    assert session._frontend.n_frames - session._frontend.first_frame < 200
    assert session._frontend._frames.shape[1] < 2000
    assert session.seconds == 120


def test_channel_and_dictionaries(nano, audio_file):
    samples = load_audio(audio_file("words_tts_a"))[: 6 * RATE]
    events = listen(StreamSession(nano, language="en", channel=1), samples, [8000])
    assert {event.channel for event in events} == {1}
    kinds = {event.to_dict()["event"] for event in events}
    assert kinds == {"level", "speech start", "tentative", "committed", "segment closed", "speech end"}
    assert json.dumps([event.to_dict() for event in events])
    level = of_kind(events, Level)[0]
    assert replace(level, channel=None).to_dict().keys() == {"event", "at", "rms_db", "peak_db"}


def test_wrong_calls(nano):
    session = StreamSession(nano)
    assert session.push(np.zeros(0, np.float32)) == []
    with pytest.raises(AudioError, match="NaN"):
        session.push(np.full(10, np.nan, np.float32))
    assert session.finish() == []
    with pytest.raises(AudioError, match="finished"):
        session.push(np.zeros(10, np.float32))
    with pytest.raises(AudioError, match="finished"):
        session.finish()
