"""Timing a known text: windows of long audio with a scripted model, and nano on recordings."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from conftest import FIXTURES, SHARED

from whisperlite import demo_audio
from whisperlite.audio import N_FRAMES, load_audio
from whisperlite.errors import OptionError
from whisperlite.results import Word
from whisperlite.transcribe.align import AlignOptions, align
from whisperlite.transcribe.aligned import AlignedText, lines_of, segments_of
from whisperlite.transcribe.windows import Content, make_content
from whisperlite.transcribe.words import find_alignment, top_heads
from whisperlite.writers import FORMATS, WriterOptions, render

STEPS_PER_SECOND = 50


class Dims:
    n_text_ctx, n_text_layer, n_text_head = 448, 1, 1


class Tokenizer:
    """Words are numbers, token i the number i; 298 is a token without text."""

    eot, no_timestamps = 300, 302
    sot_sequence = (301,)

    def encode(self, text):
        return [int(word) for word in text.split()]

    def split_to_word_tokens(self, tokens):
        return ["" if token == 298 else f" {token}" for token in tokens], [[token] for token in tokens]


class Model:
    """Hears token i from second ``said[i]`` to ``said[i] + 0.4``, then the end of the text, and nothing else."""

    dims, backend = Dims(), "numpy"

    def __init__(self, said):
        self.said, self.windows = said, []

    def encode(self, mel):
        self.windows.append(round(float(mel[0, 0, 0])))
        return mel[:, :1, :1]

    def cross_kv(self, features):
        return float(features[0, 0, 0]) / 100

    def cross_attention(self, tokens, cross, audio=0, heads=None):
        n = len(tokens)
        scores = np.random.default_rng(0).normal(0, 1, (1, n, 1500)).astype(np.float32)
        logits = np.full((n, 303), -20, np.float32)
        logits[:, 299] = 0
        for row, token in enumerate(tokens[2:]):
            start = self.said.get(int(token), -1) - cross
            if start >= 0 and start + 0.4 <= 30:
                at = round(start * STEPS_PER_SECOND)
                scores[0, 1 + row, at : at + 20] = 10
                logits[1 + row, token] = 10
                scores[0, 2 + row :] = scores[0, 0]
                scores[0, 2 + row :, min(at + 20, 1490) : at + 40] = 10
        return scores, logits


def content(seconds: float) -> Content:
    """A mel whose first band is the number of the frame."""
    n_frames = round(seconds * 100)
    mel = np.zeros((80, n_frames + N_FRAMES), np.float32)
    mel[0] = np.arange(n_frames + N_FRAMES)
    return Content(lambda start, end: mel[:, start:end], n_frames)


def starts(words):
    return {int(word.word): word.start for word in words}


SAID = {i: 0.4 * i for i in range(200)}  # 80 s of running speech
TEXT = " ".join(map(str, SAID))


def test_short_audio_is_one_window():
    model = Model(SAID)
    words = align(model, Tokenizer(), content(10), " ".join(map(str, range(25))))
    assert model.windows == [0]
    assert starts(words) == pytest.approx({i: SAID[i] for i in range(25)}, abs=0.021)
    assert all(word.probability > 0.99 for word in words)


def test_long_audio_goes_on_where_the_last_whole_word_ends():
    model = Model(SAID)
    words = align(model, Tokenizer(), content(80), TEXT)
    assert starts(words) == pytest.approx(SAID, abs=0.021)
    assert [word.word for word in words] == [f" {i}" for i in SAID]
    assert len(model.windows) == 3
    assert 2900 <= model.windows[1] <= 2940  # a word that begins in the last second is left to the next window


def test_silence_is_passed_over():
    said = {i: 0.4 * i if i < 10 else 60 + 0.4 * i for i in range(40)}
    model = Model(said)
    words = align(model, Tokenizer(), content(80), " ".join(map(str, said)))
    got = starts(words)
    del got[10], said[10]  # the first word after a pause may start early: it is cut to twice the median
    assert got == pytest.approx(said, abs=0.021)
    assert words[10].start > 60


def test_words_that_nobody_says_do_not_stop_it():
    said = {i: at for i, at in SAID.items() if i % 10}
    words = align(Model(said), Tokenizer(), content(80), TEXT)
    got = starts(words)
    assert [*got] == [*SAID]
    assert all(abs(got[i] - at) < 0.5 for i, at in said.items())
    assert all(words[i].probability < 0.01 for i in range(0, 200, 10))


def test_text_that_never_fits_is_left_to_the_last_window():
    model = Model({})
    words = align(model, Tokenizer(), content(65), "1 2 3")
    assert model.windows == [0, 1000, 2000, 3000, 4000]
    assert [word.word for word in words] == [" 1", " 2", " 3"]
    assert all(40 <= word.start <= word.end <= 65 for word in words)


def test_text_that_ends_before_the_audio():
    words = align(Model(SAID), Tokenizer(), content(80), "0 1 2")
    assert starts(words) == pytest.approx({0: 0.0, 1: 0.4, 2: 0.8}, abs=0.021)


def test_tokens_in_place_of_text():
    model = Model(SAID)
    assert align(model, Tokenizer(), content(5), [0, 1, 2]) == align(model, Tokenizer(), content(5), "0 1 2")
    with pytest.raises(OptionError, match="token 301 is not text"):
        align(model, Tokenizer(), content(5), [0, 301])


def test_tokens_without_text():
    model = Model(SAID)
    assert align(model, Tokenizer(), content(80), [298, 0, 1]) == align(model, Tokenizer(), content(80), [0, 1])
    assert align(model, Tokenizer(), content(5), [298]) == ()


@pytest.mark.parametrize("text", ["", "  ", []])
def test_no_text(text):
    assert align(Model(SAID), Tokenizer(), content(5), text) == ()


def test_too_much_text_for_the_audio():
    with pytest.raises(OptionError, match="500 text tokens to align: the model takes 445"):
        align(Model(SAID), Tokenizer(), content(20), [1] * 500)


# segments


def words_of(*texts: str) -> list[Word]:
    return [Word(text, float(i), i + 0.5, 0.9) for i, text in enumerate(texts)]


def test_a_text_falls_into_its_lines_or_one_line_into_its_sentences():
    assert lines_of(" One  two.\n\n three. Four \n") == ["One two.", "three. Four"]
    assert lines_of("One two. Three? Four... 1.5 five!") == ["One two.", "Three?", "Four...", "1.5 five!"]
    assert lines_of("一二。三！\n") == ["一二。", "三！"]  # noqa: RUF001
    assert lines_of(["One. Two.", " ", "three"]) == ["One. Two.", "three"]
    assert lines_of(" \n") == []


def test_each_word_belongs_to_the_line_it_begins_in():
    lines = ["One, two", "three", "- -", "four"]
    words = words_of(" One,", " two", " three - -", " four")  # marks joined to the word before them
    segments = segments_of(lines, words)
    assert [segment.text for segment in segments] == [" One, two", " three", " - -", " four"]
    assert [[word.word for word in segment.words] for segment in segments] == [
        [" One,", " two"], [" three - -"], [], [" four"],
    ]  # fmt: skip
    assert [(s.start, s.end) for s in segments] == [(0, 1.5), (2, 2.5), (2.5, 2.5), (3, 3.5)]


def test_aligned_text_is_written_like_a_transcript():
    aligned = AlignedText(segments_of(["One two", "three"], words_of(" One", " two", " three")), "en", 3.0)
    texts = render(aligned, FORMATS, WriterOptions(max_words_per_line=1))
    assert texts["txt"] == "One two\nthree\n"
    assert re.findall(r"--> \S+\n(\w+)\n", texts["srt"]) == ["One", "two", "three"]
    result = json.loads(texts["json"], parse_constant=pytest.fail)  # no NaN
    assert result["text"] == " One two three" and result["language"] == "en"
    assert [*result["segments"][1]] == ["id", "start", "end", "text", "words"]
    assert json.loads(texts["json-full"], parse_constant=pytest.fail)["segments"][0]["attempts"] == []


# nano


def test_align_lines_has_the_words_of_align(nano):
    lines = ["Hotel one left", "three kilo. Tango."]
    aligned = nano.align_lines(demo_audio(), lines)
    assert aligned.words == nano.align(demo_audio(), " ".join(lines), language="en")
    assert aligned.language == "en" and aligned.duration == nano.transcribe(demo_audio()).duration
    assert [len(segment.words) for segment in aligned] == [3, 3]
    assert [s.text for s in nano.align_lines(demo_audio(), "\n".join(lines))] == [f" {line}" for line in lines]
    with pytest.raises(OptionError, match="beams is not an option of align"):
        nano.align_lines(demo_audio(), "a", beams=2)


def reference(name: str) -> dict:
    for folder in (SHARED / "audio", FIXTURES):
        if (path := folder / "refs.json").is_file() and name in (refs := json.loads(path.read_text())):
            return refs[name]
    pytest.skip(f"no true timings of {name}")


def text_of(ref: dict) -> str:
    return ("" if ref["language"] == "zh" else " ").join(segment["text"] for segment in ref["segments"])


def true_starts(ref: dict) -> list[float]:
    return [word["start"] for segment in ref["segments"] for word in segment["words"]]


@pytest.mark.parametrize("name", ["words_tts_b", "digits_es", "digits_zh", "digits_human_b"])
def test_recording_of_one_window(nano, audio_file, name):
    ref = reference(name)
    mel = make_content(load_audio(audio_file(name)), 80)
    words = align(nano._model, nano.tokenizer(ref["language"]), mel, text_of(ref))
    assert "".join(word.word for word in words).strip() == text_of(ref)
    errors = np.abs(np.array([word.start for word in words]) - true_starts(ref))
    assert np.median(errors) < 0.45
    assert errors.max() < 1.5


def test_recording_with_a_long_silence(nano, audio_file):
    ref = reference("speech_silence_speech")
    mel = make_content(load_audio(audio_file("speech_silence_speech")), 80)
    words = align(nano._model, nano.tokenizer("en"), mel, text_of(ref))
    errors = np.abs(np.array([word.start for word in words]) - true_starts(ref))
    assert np.median(errors) < 0.45
    assert np.sort(errors)[-2] < 1.5  # the first word after the silence is placed early


def test_times_are_those_of_find_alignment(nano, audio_file):
    whisper, tokenizer = nano._model, nano.tokenizer("en")
    mel = make_content(load_audio(audio_file("words_tts_b")), 80)
    text = text_of(reference("words_tts_b"))
    options = AlignOptions(heads=top_heads(whisper.dims, 2), medfilt_width=5, qk_scale=1.5)
    words = align(whisper, tokenizer, mel, text, options)
    cross = whisper.cross_kv(whisper.encode(mel.window(0, mel.n_frames)[None]))
    raw = find_alignment(
        whisper, tokenizer, tokenizer.encode(" " + text), cross, mel.n_frames,
        heads=options.heads, medfilt_width=5, qk_scale=1.5,
    )  # fmt: skip
    assert len(words) < len(raw)  # punctuation is merged
    ends = {round(timing.end, 2) for timing in raw}
    assert np.mean([word.end in ends for word in words]) > 0.9
