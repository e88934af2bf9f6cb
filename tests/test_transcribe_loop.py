"""The loop with a scripted model: windows, prompts, clips, silence, the transcript."""

from __future__ import annotations

import numpy as np
import pytest
from fake_model import FLOOR, FakeDims, FakeModel, FakeTokenizer, follow, sampled_part

from whisperlite.audio import N_FRAMES
from whisperlite.audio.vad import VadOptions
from whisperlite.errors import OptionError
from whisperlite.transcribe import Transcript, make_options, transcribe_windows
from whisperlite.transcribe.context import Context
from whisperlite.transcribe.options import PromptOptions
from whisperlite.transcribe.windows import Content, clip_frames, make_content

TOKENIZER = FakeTokenizer()
EOT, ts = TOKENIZER.eot, TOKENIZER.ts


def content(seconds: float) -> Content:
    n_frames = round(seconds * 100)
    mel = np.ones((80, n_frames + N_FRAMES), dtype=np.float32)
    mel[0] = np.arange(n_frames + N_FRAMES)
    return Content(lambda start, end: mel[:, start:end], n_frames)


def run(script, seconds: float = 60, model: FakeModel | None = None, **options):
    model = model or FakeModel(script)
    options.setdefault("language", "en")
    return list(transcribe_windows(model, TOKENIZER, content(seconds), make_options(**options)))


def previous(prompt: list[int]) -> list[int]:
    """The part of a context that is previous text."""
    return prompt[1 : prompt.index(TOKENIZER.sot)] if prompt[0] == TOKENIZER.sot_prev else []


PAIR = [ts(0), 2, ts(10.0), ts(10.0), 3, ts(20.0), ts(20.0)]
WHOLE = [ts(0), 4, ts(12.0)]


def test_seek_follows_the_last_pair_or_the_window():
    windows = run(follow(PAIR, WHOLE, WHOLE))
    assert [window.seek for window in windows] == [0, 2000, 5000]
    assert [(w.start, w.end) for w in windows] == [(0.0, 30.0), (20.0, 50.0), (50.0, 60.0)]
    segments = [segment for window in windows for segment in window.segments]
    assert [segment.id for segment in segments] == [0, 1, 2, 3]
    assert [(s.start, s.end, s.text) for s in segments] == [
        (0.0, 10.0, " one"),
        (10.0, 20.0, " two"),
        (20.0, 32.0, " three"),
        (50.0, 62.0, " three"),
    ]
    assert {window.verdict for window in windows} == {"transcribed"}
    assert segments[0].attempts == windows[0].attempts and windows[0].attempts[-1].verdict == "accepted"


def test_windows_are_cut_from_the_mel_and_filled_with_zeros():
    model = FakeModel(follow(PAIR, WHOLE, WHOLE))
    run(None, model=model)
    assert [mel.shape for mel in model.mels] == [(80, 3000)] * 3
    assert model.mels[1][0, 0] == 2000
    assert np.all(model.mels[2][1, :1000] == 1) and np.all(model.mels[2][:, 1000:] == 0)


def test_a_window_is_decoded_only_when_asked_for():
    model = FakeModel(follow(PAIR, WHOLE))
    windows = transcribe_windows(model, TOKENIZER, content(60), make_options(language="en"))
    assert model.n_encoded == 0
    next(windows)
    assert model.n_encoded == 1


def test_known_features_of_the_first_window_are_used():
    model = FakeModel(follow(WHOLE))
    features = np.zeros((1, 4, 2), dtype=np.float32)
    options = make_options(language="en")
    list(transcribe_windows(model, TOKENIZER, content(60), options, features))
    assert model.n_encoded == 1
    list(transcribe_windows(model, TOKENIZER, content(10), options, features))
    assert model.n_encoded == 2


# prompts


def test_text_so_far_prompts_the_next_window():
    model = FakeModel(follow(PAIR, WHOLE, WHOLE))
    run(None, model=model)
    first = [ts(0), 2, ts(10.0), ts(10.0), 3, ts(20.0)]
    assert [previous(prompt) for prompt in model.prompts] == [[], first, [*first, *WHOLE]]


def test_without_conditioning_only_the_first_window_has_the_initial_prompt():
    model = FakeModel(follow(PAIR, WHOLE, WHOLE))
    run(None, model=model, condition_on_previous_text=False, initial_prompt="seven eight")
    assert [previous(prompt) for prompt in model.prompts] == [[8, 9], [], []]


def test_carried_initial_prompt_reaches_every_window():
    model = FakeModel(follow(PAIR, WHOLE, WHOLE))
    run(None, model=model, initial_prompt="seven eight", carry_initial_prompt=True)
    first = [ts(0), 2, ts(10.0), ts(10.0), 3, ts(20.0)]
    assert [previous(p) for p in model.prompts] == [[8, 9], [8, 9, *first], [8, 9, *first, *WHOLE]]


@pytest.mark.parametrize("n_initial", [1, 100, 222, 223, 224, 300, 500])
def test_carried_prompt_of_any_length(n_initial):
    initial = [i % 15 for i in range(n_initial)]
    text = list(range(100, 250))
    context = Context(PromptOptions(initial_prompt=initial, carry_initial_prompt=True), TOKENIZER, 448)
    context.add(text, temperature=0.0)
    kept = initial[-223:]
    room = 223 - len(kept)
    assert list(context.prompt()) == kept + (text[-room:] if room else [])


def test_carried_prompt_survives_a_reset():
    context = Context(PromptOptions(initial_prompt=[8, 9], carry_initial_prompt=True), TOKENIZER, 448)
    context.add([5, 6], temperature=1.0)
    context.add([7], temperature=0.0)
    assert context.prompt() == (8, 9, 7)


def test_prompt_is_reset_after_a_hot_window():
    def script(audio, tokens):
        if tokens[-1] == TOKENIZER.sot:
            return {TOKENIZER.no_speech: FLOOR}
        n = len(sampled_part(tokens))
        if n == 0:
            return {ts(0): 30.0}
        if audio == 0 and n <= 12:
            return dict.fromkeys(range(1, 16), 10.0)
        return {EOT: 40.0} if n > 1 else {4: 40.0}

    for temperature, kept in ((0.6, False), (0.5, True)):
        model = FakeModel(script)
        windows = run(None, model=model, temperature=(0.0, temperature))
        assert [len(window.attempts) for window in windows] == [2, 1]
        assert windows[0].segments[0].temperature == temperature
        assert bool(previous(model.prompts[-1])) == kept
    model = FakeModel(script)
    run(None, model=model, temperature=(0.0, 0.6), prompt_reset_on_temperature=0.7)
    assert previous(model.prompts[-1])


# silence


def unsure_and_silent(audio, tokens):
    if tokens[-1] == TOKENIZER.sot:
        return {TOKENIZER.no_speech: 20.0}
    n = len(sampled_part(tokens))
    if n == 0:
        return {ts(0): 10.0}
    return {EOT: 40.0} if n > 12 else dict.fromkeys(range(1, 16), 10.0)


def test_silent_windows_are_skipped_and_say_why():
    windows = run(unsure_and_silent)
    assert [window.seek for window in windows] == [0, 3000]
    assert all(window.segments == () for window in windows)
    assert windows[0].verdict.startswith("skipped: no_speech_prob 1.00 > 0.6, avg_logprob -2.")
    assert len(windows[0].attempts) == 1


def test_sure_text_is_kept_in_spite_of_silence():
    windows = run(follow(WHOLE, no_speech=30.0))
    assert [window.verdict for window in windows] == ["transcribed"] * 2


def test_silence_alone_skips_without_a_logprob_threshold():
    windows = run(follow(WHOLE, no_speech=30.0), logprob_threshold=None)
    assert windows[0].verdict == "skipped: no_speech_prob 1.00 > 0.6"


def test_silence_rule_can_be_off():
    windows = run(unsure_and_silent, no_speech_threshold=None, temperature=0.0)
    assert [window.verdict for window in windows] == ["transcribed"] * 2


def test_segments_without_length_or_text_are_emptied():
    [window] = run(follow([ts(0), 0, ts(2.0), ts(2.0), 3, ts(4.0)]), seconds=10)
    assert [(s.text, s.tokens) for s in window.segments] == [("", ()), (" two", (ts(2.0), 3, ts(4.0)))]


# clips


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        ("0", [(0, 500)]),
        ("", [(0, 500)]),
        ("1.5", [(150, 500)]),
        ("1,2", [(100, 200)]),
        ("1,2,3", [(100, 200), (300, 500)]),
        ("2,9.5", [(200, 500)]),
        ("7,9", [(700, 500)]),
        ([0.5, 1.0], [(50, 100)]),
    ],
)
def test_clips_in_frames(clips, expected):
    assert clip_frames(make_options(clip_timestamps=clips).windows.clip_seconds, 500) == expected


def test_clips_are_transcribed_one_by_one():
    windows = run(follow(WHOLE), clip_timestamps="2,9.5,11,20")
    assert [(w.start, w.end) for w in windows] == [(2.0, 9.5), (11.0, 20.0)]


def test_clip_past_the_end_stops_there():
    windows = run(follow(PAIR, WHOLE), seconds=4, clip_timestamps="2,9.5")
    assert [(w.start, w.end) for w in windows] == [(2.0, 4.0)]
    assert run(follow(WHOLE), seconds=4, clip_timestamps="7,9") == []


def test_clips_may_go_back():
    windows = run(follow(WHOLE), clip_timestamps="20,25,2,5")
    assert [window.seek for window in windows] == [2000, 200]


def test_seek_always_moves():
    windows = run(lambda audio, tokens: {ts(0): 10.0}, seconds=65, sample_len=4)
    seeks = [window.seek for window in windows]
    assert seeks == sorted(set(seeks))


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 0}, "temprature is not an option; did you mean temperature?"),
        ({"beam": 5}, "beam is not an option; did you mean beam_size?"),
        ({"xyzzy": 1}, "give one of temperature, "),
        ({"prompt": "a"}, "use initial_prompt"),
        ({"fp16": True}, "compute_type"),
        ({"vad_filter": 1}, "vad_filter=1: give True or False"),
        ({"vad_parameters": {}}, "vad_parameters={} needs vad_filter=True"),
        ({"vad_model": "energy"}, "vad_model='energy' needs vad_filter=True"),
        ({"chunk_length": 30}, "chunk_length=30 needs vad_filter=True"),
        ({"vad_filter": True, "vad_model": 3}, "vad_model=3: give energy, silero, a path or a VoiceDetector"),
        ({"vad_filter": True, "vad_parameters": {"pad": 1}}, "vad_parameters: 'pad' is unknown"),
        ({"vad_filter": True, "chunk_length": 31}, "chunk_length=31: give a number from 0 to 30"),
        ({"vad_filter": True, "chunk_length": 0.5}, "max_speech_duration_s=0.5: a window and speech_pad_ms=400"),
        ({"vad_filter": True, "chunk_length": 9, "clip_timestamps": "1,2"}, "leave out clip_timestamps"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"temperature": (0.5,), "beam_size": 5}, "beam_size=5 needs temperature 0"),
        ({"clip_timestamps": "1,x"}, "clip_timestamps='1,x'"),
        ({"clip_timestamps": "-1"}, "-1.0 is not a time"),
        ({"clip_timestamps": "5,4"}, "the clip from 5 ends before it, at 4"),
        ({"prompt_reset_on_temperature": None}, "give a number"),
    ],
)
def test_options_that_cannot_be_honoured(options, message):
    with pytest.raises(OptionError) as caught:
        make_options(**options)
    assert message in str(caught.value)


def test_options_of_voice_activity():
    assert make_options(vad_filter=False) == make_options()
    assert make_options(vad_filter=True).speech.vad == VadOptions()
    given = {"threshold": 0.3, "max_speech_duration_s": 7}
    assert make_options(vad_filter=True, vad_parameters=given).speech.vad == VadOptions(**given)
    chunks = {"vad_filter": True, "chunk_length": 20}
    assert make_options(**chunks).speech.vad == VadOptions(max_speech_duration_s=20, min_silence_duration_ms=160)
    assert make_options(**chunks, vad_parameters=given).speech.vad == VadOptions(**given)
    assert make_options(**chunks, vad_parameters={}).speech.vad == VadOptions(max_speech_duration_s=20)
    assert make_options(**chunks, vad_parameters=VadOptions()).speech.vad == VadOptions()
    make_options(**chunks, batch_size=4, condition_on_previous_text=False)


def test_options_reach_their_stage():
    options = make_options(temperature=0.5, best_of=3, task="translate", no_speech_threshold=0.1)
    assert options.fallback.temperatures == (0.5,) and options.fallback.best_of == 3
    assert options.fallback.no_speech_threshold == 0.1
    assert options.decoding.task == "translate"


# transcript


def transcript(script, seconds: float = 60) -> Transcript:
    windows = transcribe_windows(FakeModel(script), TOKENIZER, content(seconds), make_options(language="en"))
    return Transcript(windows, TOKENIZER.decode, "en", seconds)


def test_transcript_yields_as_it_decodes_and_again():
    result = transcript(follow(PAIR, WHOLE, WHOLE))
    iterator = iter(result)
    assert next(iterator).text == " one"
    assert "1 windows, decoding" in repr(result)
    assert [segment.text for segment in result] == [" one", " two", " three", " three"]
    assert [segment.text for segment in iterator] == [" two", " three", " three"]
    assert result.segments == tuple(result)
    assert result.text == " one two three three"
    assert "done" in repr(result)
    as_dict = result.to_dict()
    assert list(as_dict) == ["text", "segments", "language"]
    assert list(as_dict["segments"][0])[:6] == ["id", "seek", "start", "end", "text", "tokens"]


def test_a_transcript_that_failed_stays_failed():
    def script(audio, tokens):
        if audio == 1:
            raise RuntimeError("broken")
        return follow(WHOLE)(audio, tokens)

    result = transcript(script)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            _ = result.text


def test_content_of_samples():
    made = make_content(np.zeros(16000 * 2 + 80, dtype=np.float32), 80)
    assert made.n_frames == 200 and made.duration == 2.0
    assert made.read(0, 9999).shape == (80, 3200)
    assert made.part(0).shape == (80, 3000) and made.part(0)[0, -1] != 0
    assert made.part(1) is None


def test_small_text_context():
    model = FakeModel(follow(PAIR, WHOLE, WHOLE), FakeDims(n_text_ctx=20))
    run(None, model=model, initial_prompt=[i % 10 + 1 for i in range(30)])
    assert [len(previous(prompt)) for prompt in model.prompts] == [9, 9, 9]
