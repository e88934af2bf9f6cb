"""All recordings in one batch give what they give one by one, on nano; silence and noise say why they are empty."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from conftest import ASSETS, FIXTURES, SHARED

import whisperlite
from whisperlite.errors import AudioError, OptionError
from whisperlite.results import NO_SPEECH, NO_TEXT

FILES = sorted(
    {path.name: path for folder in (FIXTURES, ASSETS, SHARED / "audio") for path in folder.glob("*.flac")}.values()
)


def record(transcript) -> tuple:
    segments = [(s.id, s.tokens, s.start, s.end, s.words and len(s.words)) for s in transcript]
    return transcript.language, segments, transcript.account


def equals_one_by_one(nano, files, batch_size, options) -> None:
    batch = [record(transcript) for transcript in nano.transcribe_many(files, batch_size=batch_size, **options)]
    assert batch == [record(nano.transcribe(path, **options)) for path in files]


def test_batch_of_all_files_equals_one_by_one(nano):
    equals_one_by_one(nano, FILES, 6, {})


# Several windows beside one, silence and noise: with beams and draws all files would take a minute.
SOME = ("digits_es", "noise_20s", "silence_12s", "speech_silence_speech", "words_tts_a", "words_tts_b")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"language": "en", "word_timestamps": True, "beam_size": 3}, id="words"),
        pytest.param({"language": "en", "temperature": (0.4, 0.8), "best_of": 2}, id="sampled"),
    ],
)
def test_batch_of_some_files_equals_one_by_one(nano, options):
    files = [path for path in FILES if path.stem in SOME]
    assert len(files) >= 5
    equals_one_by_one(nano, files, 4, options)


def test_files_that_cannot_be_read(nano):
    demo = whisperlite.demo_audio()
    results = list(nano.transcribe_many(["none.wav", demo, "nothing.wav"], return_exceptions=True, language="en"))
    assert [type(result).__name__ for result in results] == ["AudioError", "Transcript", "AudioError"]
    assert results[1].text == nano.transcribe(demo, language="en").text
    running = nano.transcribe_many([demo, "none.wav", demo], language="en")
    assert next(running).text == results[1].text
    with pytest.raises(AudioError, match=r"none\.wav"):
        next(running)


def test_many_refuses_at_once(nano):
    with pytest.raises(OptionError, match="batch_size=0"):
        nano.transcribe_many([], batch_size=0)
    with pytest.raises(OptionError, match="did you mean beam_size"):
        nano.transcribe_many([], beam=5)
    with pytest.raises(OptionError, match="klingon"):
        nano.transcribe_many([], language="klingon")
    assert list(nano.transcribe_many([])) == []


@pytest.mark.parametrize("name", ["silence_12s", "noise_20s"])
def test_nobody_speaks(nano, audio_file, name):
    transcript = nano.transcribe(audio_file(name))
    assert transcript.text.strip() == ""
    assert {span.kind for span in transcript.account} <= {NO_TEXT, NO_SPEECH}
    assert all(span.reason for span in transcript.account)
    assert transcript.account[0].start == 0 and transcript.account[-1].end == transcript.duration


def test_languages_of_several_windows(nano):
    spanish = np.tile(whisperlite.load_audio(whisperlite.demo_audio()), 10)
    found = nano.detect_language(spanish, segments=2, threshold=1.0)
    assert next(iter(found)) == "en"
    with pytest.raises(OptionError, match="language_detection_segments=0"):
        nano.detect_language(spanish, segments=0)
    transcript = nano.transcribe(spanish, language_detection_segments=2, language_detection_threshold=1.0)
    assert transcript.language_probs == found


def test_align(nano):
    demo = whisperlite.demo_audio()
    words = nano.align(demo, "Hotel one left three kilo. Tango.")
    assert [word.word for word in words] == [" Hotel", " one", " left", " three", " kilo.", " Tango."]
    assert all(a.start <= a.end <= b.end for a, b in itertools.pairwise(words))
    assert nano.align(demo, "Hotel one", language="en", heads=[(3, 1)])[0].word == " Hotel"
    with pytest.raises(OptionError, match="x is not an option of align"):
        nano.align(demo, "a", x=1)


def test_grammar_of_digits(nano, audio_file):
    grammar = """
    root  ::= (" " digit)+ "."
    digit ::= [Zz] "ero" | [Oo] "ne" | [Tt] ("wo" | "hree") | [Ff] ("our" | "ive") | [Ss] ("ix" | "even") |
              [Ee] "ight" | [Nn] "ine"
    """
    path = audio_file("words_tts_a")
    free = nano.transcribe(path, language="en", temperature=0.0)
    held = nano.transcribe(path, language="en", temperature=0.0, grammar=grammar, without_timestamps=True)
    digits = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
    assert not set(free.text.lower().replace(".", " ").split()) <= digits
    assert held.text.strip() and set(held.text.lower().replace(".", " ").split()) <= digits


def test_verbose_says_what_was_left_out(nano, audio_file, capsys):
    nano.transcribe(audio_file("silence_12s"), language="en", temperature=0.0, verbose=True)
    assert capsys.readouterr().out == "[00:00.000 --> 00:12.000] (no text: the model gave timestamps only)\n"


def test_jobs_of_finished_files_are_forgotten(nano):
    """A later file may be given the memory of an earlier one."""
    demo = whisperlite.demo_audio()
    texts = [transcript.text for transcript in nano.transcribe_many([demo] * 12, batch_size=2, language="en")]
    assert len(texts) == 12 and len(set(texts)) == 1


def test_alternatives_lie_beside_their_tokens(nano, audio_file):
    transcript = nano.transcribe(audio_file("words_tts_b"), language="en", alternatives=2, word_timestamps=True)
    assert len(transcript.segments) > 2
    for segment in transcript:
        assert [item.token for item in segment.alternatives] == list(segment.tokens)
        assert all(item.logprob <= item.logprobs[0] + 1e-6 for item in segment.alternatives)


def test_languages_that_change_from_window_to_window(nano, audio_file):
    parts = [whisperlite.load_audio(audio_file(f"digits_{code}"))[: 16_000 * 12] for code in ("es", "fr", "de")]
    audio = np.concatenate(parts)
    options = {"clip_timestamps": "0,12,12,24,24,36", "condition_on_previous_text": False, "temperature": 0.0}
    transcript = nano.transcribe(audio, multilingual=True, **options)
    by_start = {window.start // 12: window.language for window in transcript.windows}
    assert by_start == {0: "es", 1: "fr", 2: "de"}
    batched = nano.transcribe(audio, multilingual=True, batch_size=3, **options)
    assert [s.tokens for s in batched] == [s.tokens for s in transcript]
    translated = nano.transcribe(audio, multilingual=True, task="translate", **options).text
    assert translated != transcript.text and " one" in translated.lower()


def test_english_only_models_have_one_language(nano, monkeypatch):
    monkeypatch.setattr(type(nano), "is_multilingual", False)
    with pytest.raises(OptionError, match="multilingual=True needs a multilingual model"):
        nano.transcribe(whisperlite.demo_audio(), multilingual=True)


def test_every_rule_at_once(nano, audio_file):
    transcript = nano.transcribe(
        audio_file("words_tts_a"), language="en", temperature=0.0, hotwords="golf", repetition_penalty=1.05,
        no_repeat_ngram_size=3, suppress_regex=" ([Oo]ne|[Tt]wo)", max_new_tokens=60, initial_prompt="Six.",
        logit_filters=lambda logits, tokens: None, alignment_heads=1, word_timestamps=True,
        hallucination_silence_threshold=2.0, carry_initial_prompt=True, audio_ctx=1000,
    )  # fmt: skip
    text = transcript.text.lower()
    assert "golf" in text and " one" not in text and " two" not in text
    assert all(segment.words for segment in transcript if segment.text)
