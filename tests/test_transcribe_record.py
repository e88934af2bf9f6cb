"""The decision record: verdicts, spans, the account of every second; windows of another length."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fake_model import FakeModel, FakeTokenizer, follow
from hypothesis import given
from hypothesis import strategies as st
from test_transcribe_loop import PAIR, WHOLE, content, run, unsure_and_silent

from whisperlite.errors import OptionError
from whisperlite.results import (
    IMPROBABLE,
    NO_SPEECH,
    NO_TEXT,
    OUTSIDE_CLIPS,
    TRANSCRIBED,
    Attempt,
    Span,
    Window,
    Word,
)
from whisperlite.transcribe import Transcript, loop, make_options, transcribe_windows
from whisperlite.transcribe.account import account
from whisperlite.transcribe.timing import Placed, chosen_heads
from whisperlite.transcribe.words import TimedPiece
from whisperlite.writers import account_lines, record_lines

TOKENIZER = FakeTokenizer()
ts = TOKENIZER.ts


def account_of(script, seconds: float = 60, **options) -> list[tuple[float, float, str]]:
    windows = transcribe_windows(
        FakeModel(script), TOKENIZER, content(seconds), make_options(language="en", **options)
    )
    spans = Transcript(windows, TOKENIZER.decode, "en", seconds).account
    assert spans[0].start == 0 and spans[-1].end == seconds
    assert all(a.end == b.start for a, b in itertools.pairwise(spans))
    return [(span.start, span.end, span.kind) for span in spans]


def test_what_was_transcribed():
    assert account_of(follow(PAIR, WHOLE, WHOLE)) == [(0, 60, TRANSCRIBED)]
    windows = run(follow(PAIR, WHOLE, WHOLE))
    assert [(w.spans[0].start, w.spans[0].end) for w in windows] == [(0, 20), (20, 50), (50, 60)]
    assert [w.next_seek for w in windows] == [2000, 5000, 6000]


def test_silent_windows_say_which_rule():
    assert account_of(unsure_and_silent) == [(0, 60, NO_SPEECH)]
    [span] = run(unsure_and_silent, seconds=20)[0].spans
    assert span.reason.startswith("no_speech_prob 1.00 > 0.6, avg_logprob -2.")


def test_windows_without_text_say_so():
    [window] = run(follow([ts(0), ts(0.5), ts(0.5)]), seconds=12)
    assert window.verdict == "no text: the model gave timestamps only"
    assert account_of(follow([ts(0)]), seconds=12) == [(0, 12, NO_TEXT)]


def test_what_no_clip_covers():
    assert account_of(follow(WHOLE), clip_timestamps="2,9.5,11,20") == [
        (0, 2, OUTSIDE_CLIPS), (2, 9.5, TRANSCRIBED), (9.5, 11, OUTSIDE_CLIPS), (11, 20, TRANSCRIBED),
        (20, 60, OUTSIDE_CLIPS),
    ]  # fmt: skip
    assert account_of(follow(WHOLE), clip_timestamps="20,25,2,5")[1] == (2, 5, TRANSCRIBED)


bounds = st.floats(-5, 70, allow_nan=False)
spans = st.lists(
    st.builds(lambda a, b, kind: Span(min(a, b), max(a, b), kind), bounds, bounds, st.sampled_from("xyz"))
)


@given(spans)
def test_account_has_no_gaps_and_the_last_word_holds(decided):
    laid = account((), decided, 60.0)
    assert laid[0].start == 0 and laid[-1].end == 60
    assert all(a.end == b.start and a.start < a.end for a, b in itertools.pairwise(laid))
    for second in np.linspace(0.05, 59.95, 40):
        [kind] = [span.kind for span in laid if span.start <= second < span.end]
        covering = [span.kind for span in decided if span.start <= second < span.end]
        assert kind == (covering[-1] if covering else OUTSIDE_CLIPS)


def test_account_of_nothing():
    assert account((), (), 0.0) == ()


# improbable text: what place_words decides reaches the record, the seek and the prompt


def placed(monkeypatch, *results: Placed):
    queue = iter(results)
    monkeypatch.setattr(loop, "place_words", lambda *_, **__: next(queue))


def piece(start: float, end: float) -> TimedPiece:
    return TimedPiece(start, end, (2,), (Word(" one", start, end, 0.9),))


def test_a_window_that_begins_with_improbable_text_is_decoded_again(monkeypatch):
    again = Placed((), (), 500, 0.0, restart=True, reason="improbable text at 5.00 s after 5.00 s without words")
    good = piece(5.0, 30.0)
    placed(monkeypatch, again, Placed((good,), (good.words,), 3000, 30.0))
    model = FakeModel(follow(WHOLE))
    options = {"word_timestamps": True, "hallucination_silence_threshold": 2.0}
    windows = run(None, seconds=30, model=model, **options)
    assert [w.seek for w in windows] == [0, 500]
    assert windows[0].verdict == "skipped: improbable text at 5.00 s after 5.00 s without words"
    assert windows[0].spans == (Span(0.0, 5.0, IMPROBABLE, windows[0].verdict.removeprefix("skipped: ")),)
    assert windows[0].segments == () and windows[1].segments[0].id == 0
    assert model.prompts[-1][0] == TOKENIZER.sot  # what was dropped prompts nothing


def test_improbable_text_at_the_end_of_a_window(monkeypatch):
    first = piece(0.0, 4.0)
    placed(monkeypatch, Placed((first,), (first.words,), 3000, 4.0, reason="improbable text at 9.00 s"))
    [window] = run(follow(WHOLE), seconds=30, word_timestamps=True)
    assert window.verdict == "transcribed in part; improbable text at 9.00 s"
    assert [(s.start, s.end, s.kind) for s in window.spans] == [(0, 4, TRANSCRIBED), (4, 30, IMPROBABLE)]
    placed(monkeypatch, Placed((), (), 3000, 0.0, reason="improbable text at 0.00 s"))
    [window] = run(follow(WHOLE), seconds=30, word_timestamps=True)
    assert window.verdict == "skipped: improbable text at 0.00 s"
    assert [(s.start, s.end, s.kind) for s in window.spans] == [(0, 30, IMPROBABLE)]


@pytest.mark.parametrize("name", ["hallucination_silence_threshold", "alignment_heads"])
def test_word_options_need_words(name):
    with pytest.raises(OptionError, match=f"{name}=1 needs word_timestamps=True"):
        make_options(**{name: 1})


def test_heads_by_number_of_layers(nano):
    assert chosen_heads(nano, None) is None
    assert chosen_heads(nano, 1) == ((3, 0), (3, 1))
    assert chosen_heads(nano, [[2, 1]]) == [(2, 1)]
    with pytest.raises(OptionError, match="n_layers=9"):
        chosen_heads(nano, 9)


# shorter windows


def test_audio_ctx_shortens_windows():
    model = FakeModel(follow([ts(0), 2, ts(5.0), ts(5.0), 3, ts(30.0), ts(30.0)]))
    windows = run(None, seconds=25, model=model, audio_ctx=500)
    assert {mel.shape for mel in model.mels} == {(80, 1000)}
    # A timestamp past the end of the window moves no further than it.
    assert [window.seek for window in windows] == [0, 1000, 2000]
    with pytest.raises(OptionError, match="audio_ctx=1501: the encoder has 1500"):
        run(follow(WHOLE), audio_ctx=1501)
    with pytest.raises(OptionError, match="audio_ctx=0"):
        make_options(audio_ctx=0)


# as text


def test_record_as_lines():
    attempts = (
        Attempt(0.0, -0.5, 3.0, 0.1, "rejected: compression_ratio 3.00 > 2.4"),
        Attempt(0.2, -0.6, 1.5, 0.1, "accepted"),
    )
    window = Window(0, 0.0, 30.0, "transcribed", attempts, (), 3000)
    assert record_lines(window) == [
        "[00:00.000 --> 00:30.000] (temperature 0: rejected: compression_ratio 3.00 > 2.4; avg_logprob -0.50, "
        "compression_ratio 3.00)",
        "[00:00.000 --> 00:30.000] (temperature 0.2: accepted; avg_logprob -0.60, compression_ratio 1.50)",
    ]
    skipped = Window(0, 0.0, 2.0, "skipped: x > 1", attempts[1:], (), 200)
    assert record_lines(skipped) == ["[00:00.000 --> 00:02.000] (skipped: x > 1)"]
    assert record_lines(Window(0, 0.0, 2.0, "transcribed", attempts[1:], (), 200)) == []
    assert account_lines([Span(0, 1, TRANSCRIBED), Span(1, 2, NO_SPEECH, "x > 1")]) == [
        "[00:00.000 --> 00:01.000] transcribed",
        "[00:01.000 --> 00:02.000] no speech: x > 1",
    ]
