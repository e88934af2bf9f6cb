"""nano says the same in every format that loses nothing."""

from __future__ import annotations

import pytest

from whisperlite import WhisperModel
from whisperlite.checkpoint import resolve
from whisperlite.checkpoint.convert import convert
from whisperlite.conversion import companions

RECORDINGS = ("digits_human_short", "digits_de", "words_tts_a")


def texts(model, audio_file):
    return [
        [segment.tokens for segment in model.transcribe(audio_file(name), temperature=0.0)] for name in RECORDINGS
    ]


@pytest.mark.parametrize("made", ["ggml f16", "ggml f32", "hf f32", "ggml f16 hf f16"])
def test_converted(made, tmp_path, nano, audio_file):
    path, words = resolve("nano"), made.split()
    for i, (format, kind) in enumerate(zip(words[::2], words[1::2], strict=True)):
        path = convert(path, tmp_path / str(i), format, kind, companions)
    assert texts(WhisperModel(path), audio_file) == texts(nano, audio_file)


@pytest.mark.parametrize("name", ["nano.pt", "ggml-nano.bin", "hf"])
def test_as_published(name, shared, nano, audio_file):
    assert texts(WhisperModel(shared / "nano" / name), audio_file) == texts(nano, audio_file)
