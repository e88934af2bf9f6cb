"""find_alignment: a model whose attention is written down, and nano against the goldens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from conftest import golden_entries

from whisperlite.audio import N_FRAMES, load_audio
from whisperlite.decode import DecodingOptions, decode
from whisperlite.errors import OptionError
from whisperlite.transcribe.segments import WindowPlace, cut_tokens
from whisperlite.transcribe.windows import make_content
from whisperlite.transcribe.words import (
    add_word_timestamps,
    find_alignment,
    seek_after_words,
    top_heads,
)


@dataclass(frozen=True)
class Dims:
    n_text_ctx: int = 448
    n_text_layer: int = 4
    n_text_head: int = 2


class Tokenizer:
    """Token i < 20 is a word of its own; tokens 10 .. 19 go on the word before."""

    eot, sot, no_timestamps = 20, 21, 22
    sot_sequence = (21,)

    def split_to_word_tokens(self, tokens):
        words, ids = [], []
        for token in tokens:
            if token >= 10 and words:
                words[-1] += str(token)
                ids[-1].append(token)
            else:
                words.append(f" {token}")
                ids.append([token])
        return words, ids


class Model:
    """Row i of text attends to ``at[i]`` (start, end) steps; the probability of its token is ``probability``."""

    dims = Dims()

    def __init__(self, at, probability=0.5, backend="numpy", n_steps=1500):
        self.at, self.probability, self.backend, self.n_steps = at, probability, backend, n_steps
        self.asked = []

    def cross_attention(self, tokens, cross, audio=0, heads=None):
        self.asked.append((tokens.tolist(), audio, heads))
        n = len(tokens)
        scores = np.zeros((2, n, self.n_steps), np.float32)
        for row, (start, end) in enumerate(self.at):
            scores[:, 1 + row, start:end] = 20
        logits = np.zeros((n, 23), np.float32)
        logits[:, 21:] = 50  # specials do not count
        others = np.log((1 - self.probability) / 19)
        for row, token in enumerate(tokens[2:]):
            logits[1 + row, :20] = others
            logits[1 + row, token] = np.log(self.probability)
        return scores, logits


BACKENDS = pytest.mark.parametrize("backend", ["numpy", "numba"])


@BACKENDS
def test_words_are_where_attention_is(backend):
    model = Model([(0, 20), (20, 50), (50, 80), (80, 100)], 0.25, backend)
    words = find_alignment(model, Tokenizer(), [3, 12, 5], None, 200)
    assert [(w.word, w.tokens) for w in words] == [(" 312", (3, 12)), (" 5", (5,))]
    assert [(w.start, w.end) for w in words] == [(0.0, 1.0), (1.0, 1.6)]
    assert [w.probability for w in words] == [pytest.approx(0.25, abs=1e-6)] * 2


def test_sequence_and_arguments_reach_the_model():
    model = Model([(0, 10), (10, 20)])
    find_alignment(model, Tokenizer(), [3], None, 100, audio=2, heads=((1, 0),))
    [(tokens, audio, heads)] = model.asked
    assert tokens[:4] == [21, 22, 3, 20] and set(tokens[4:]) <= {20}
    assert (audio, heads) == (2, ((1, 0),))


@BACKENDS
def test_attention_beyond_the_audio_is_ignored(backend):
    at = [(0, 20), (20, 50), (900, 1000)]
    assert find_alignment(Model(at, 0.5, backend), Tokenizer(), [3, 5], None, 100)[-1].end <= 1.0
    assert find_alignment(Model(at, 0.5, backend), Tokenizer(), [3, 5], None, 3000)[-1].end > 1.0


@BACKENDS
@pytest.mark.parametrize("num_frames", [0, 1, 2, 3, 8])
def test_hardly_any_audio(backend, num_frames):
    words = find_alignment(Model([(0, 1)] * 3, 0.5, backend), Tokenizer(), [3, 5], None, num_frames)
    assert all(0 <= w.start <= w.end <= 0.08 for w in words)


@BACKENDS
def test_attention_that_tells_nothing(backend):
    words = find_alignment(Model([], 0.5, backend), Tokenizer(), [3, 5], None, 400)
    assert all(0 <= w.start <= w.end <= 4 and np.isfinite(w.end) for w in words)


@BACKENDS
def test_other_filter_widths(backend):
    model = Model([(0, 20), (20, 50), (50, 80)], 0.5, backend)
    words = find_alignment(model, Tokenizer(), [3, 5], None, 200, medfilt_width=3)
    assert [word.end for word in words] == [0.4, 1.0]
    with pytest.raises(OptionError, match="medfilt_width=4"):
        find_alignment(model, Tokenizer(), [3], None, 200, medfilt_width=4)


def test_no_text():
    assert find_alignment(Model([]), Tokenizer(), [], None, 200) == []


def test_text_that_does_not_fit():
    model = Model([])
    assert len(find_alignment(model, Tokenizer(), [3] * 445, None, 3000)) == 445
    assert len(model.asked[0][0]) == 448
    with pytest.raises(OptionError, match="446 text tokens to align: the model takes 445"):
        find_alignment(model, Tokenizer(), [3] * 446, None, 3000)
    with pytest.raises(OptionError, match="token 22 is not text"):
        find_alignment(model, Tokenizer(), [3, 22], None, 3000)


def test_top_heads():
    assert top_heads(Dims(), 1) == ((3, 0), (3, 1))
    assert top_heads(Dims(), 2) == ((2, 0), (2, 1), (3, 0), (3, 1))
    assert len(top_heads(Dims(), 4)) == 8
    for n_layers in (0, 5):
        with pytest.raises(OptionError, match="the decoder has 4 layers"):
            top_heads(Dims(), n_layers)


# nano


WORDS = {key: entry for key, entry in golden_entries("transcribe").items() if key.endswith("/words")}


def first_window(whisper, tokenizer, path):
    """Cut pieces, cross keys and place of the first window of a file."""
    content = make_content(load_audio(path), whisper.dims.n_mels)
    place = WindowPlace(0, min(N_FRAMES, content.n_frames), 2)
    features = whisper.encode(content.window(0, place.n_frames)[None])
    [result] = decode(whisper, tokenizer, features, DecodingOptions(language=tokenizer.language, temperature=0.0))
    cut = cut_tokens(result.tokens, tokenizer.timestamp_begin, place)
    return cut, whisper.cross_kv(features), place


def text_of(pieces, tokenizer):
    return [token for piece in pieces for token in piece.tokens if token < tokenizer.eot]


def check_first_window(model, path, entry):
    whisper, tokenizer = model._model, model.tokenizer(entry["options"]["language"])
    cut, cross, place = first_window(whisper, tokenizer, path)
    alignment = find_alignment(whisper, tokenizer, text_of(cut.pieces, tokenizer), cross, place.n_frames)
    timed = add_word_timestamps(cut.pieces, alignment, eot=tokenizer.eot, time_offset=0.0)
    seek = seek_after_words(timed, place, cut.next_seek, cut.single_timestamp_ending)
    later = [segment["seek"] for segment in entry["segments"] if segment["seek"] > 0]
    assert not later or later[0] == seek or later[0] >= place.n_frames
    want = [segment for segment in entry["segments"] if segment["seek"] == 0]
    assert len(timed) == len(want)
    for ours, theirs in zip(timed, want, strict=True):
        assert (ours.start, ours.end) == (
            pytest.approx(theirs["start"], abs=0.02),
            pytest.approx(theirs["end"], abs=0.02),
        )
        if not theirs["tokens"]:  # emptied: without length or text
            assert ours.start == ours.end or not tokenizer.decode(text_of([ours], tokenizer)).strip()
            continue
        assert list(ours.tokens) == theirs["tokens"]
        assert [word.word for word in ours.words] == [word["word"] for word in theirs["words"]]
        for a, b in zip(ours.words, theirs["words"], strict=True):
            assert (a.start, a.end) == (pytest.approx(b["start"], abs=0.02), pytest.approx(b["end"], abs=0.02))
            assert a.probability == pytest.approx(b["probability"], abs=5e-3)


@pytest.mark.parametrize("key", WORDS)
def test_first_window_as_openai(nano, audio_file, key):
    check_first_window(nano, audio_file(key.split("/")[0]), WORDS[key])


def test_first_window_on_the_numpy_backend(nano_numpy, audio_file):
    check_first_window(nano_numpy, audio_file("digits_es"), WORDS["digits_es/words"])


def test_audios_of_one_batch(nano, audio_file):
    whisper, tokenizer = nano._model, nano.tokenizer("en")
    both = [first_window(whisper, tokenizer, audio_file(name)) for name in ("words_tts_a", "words_tts_b")]
    mels = [make_content(load_audio(audio_file(name)), 80).window(0, place.n_frames)
            for name, (_, _, place) in zip(("words_tts_a", "words_tts_b"), both, strict=True)]  # fmt: skip
    together = whisper.cross_kv(whisper.encode(np.stack(mels)))
    for audio, (cut, alone, place) in enumerate(both):
        text = text_of(cut.pieces, tokenizer)
        want = find_alignment(whisper, tokenizer, text, alone, place.n_frames)
        got = find_alignment(whisper, tokenizer, text, together, place.n_frames, audio=audio)
        assert [(w.word, w.start, w.end) for w in got] == [(w.word, w.start, w.end) for w in want]
        np.testing.assert_allclose([w.probability for w in got], [w.probability for w in want], atol=1e-4)


def test_other_heads(nano, audio_file):
    whisper, tokenizer = nano._model, nano.tokenizer("en")
    cut, cross, place = first_window(whisper, tokenizer, audio_file("words_tts_a"))
    text = text_of(cut.pieces, tokenizer)
    usual = find_alignment(whisper, tokenizer, text, cross, place.n_frames)
    same = find_alignment(whisper, tokenizer, text, cross, place.n_frames, heads=whisper.alignment_heads)
    top = find_alignment(whisper, tokenizer, text, cross, place.n_frames, heads=top_heads(whisper.dims, 1))
    assert same == usual
    assert [w.word for w in top] == [w.word for w in usual]
    assert [w.start for w in top] != [w.start for w in usual]
