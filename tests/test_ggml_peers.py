"""whisper.cpp (as pywhispercpp ships it) loads and runs the files that are written."""

from __future__ import annotations

import numpy as np
import pytest

from whisperlite.audio.mel import mel_filters
from whisperlite.checkpoint import open_checkpoint, resolve
from whisperlite.checkpoint.write_ggml import write_ggml
from whisperlite.text import load_vocabulary

pytestmark = pytest.mark.peer
TEXT = "Six golf two india victor whiskey romeo x-ray. Five three one. Bravo november lima one yes delta. One five."


def heard(path, samples: np.ndarray) -> str:
    model = pytest.importorskip("pywhispercpp.model").Model(
        str(path), n_threads=2, print_progress=False, print_realtime=False, redirect_whispercpp_logs_to=None
    )
    return " ".join(segment.text.strip() for segment in model.transcribe(samples, language="en"))


@pytest.mark.parametrize("kind", ["f16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"])
def test_whisper_cpp_hears_the_same(tmp_path, audio_file, kind):
    pytest.importorskip("pywhispercpp")
    import soundfile

    samples, _ = soundfile.read(audio_file("words_tts_a"), dtype="float32")
    vocabulary = load_vocabulary(51865)
    tokens = [vocabulary.token_bytes(index) for index in range(vocabulary.eot)]
    with open_checkpoint(resolve("nano")) as checkpoint:
        path = write_ggml(checkpoint, tmp_path / "nano.bin", kind, mel_filters(80), tokens)
    text = heard(path, samples)
    if kind == "f16":
        assert text == TEXT  # what whisper.cpp hears with ggml-nano.bin of its own converter
    else:
        assert text.startswith("Six golf two india victor whiskey romeo x-ray. Five three one")
