"""The public model on nano: transcripts, stages, options, laziness."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import numpy as np
import pytest

import whisperlite
from whisperlite.errors import AudioError, CheckpointError, OptionError

SECOND = 16000


def tone(seconds: float) -> np.ndarray:
    return (0.1 * np.sin(np.arange(round(seconds * SECOND)) / 10)).astype(np.float32)


def test_import_is_light():
    code = (
        "import whisperlite, sys; heavy = {'numpy', 'numba', 'scipy', 'tokenizers', 'typer', 'huggingface_hub'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist():
    for name in whisperlite.__all__:
        assert getattr(whisperlite, name) is not None
    assert "WhisperModel" in dir(whisperlite)
    with pytest.raises(AttributeError, match="no attribute 'Whisper'"):
        _ = whisperlite.Whisper


@pytest.mark.parametrize(
    "module",
    ["whisperlite", "whisperlite.api.model", "whisperlite.writers.files", "whisperlite.writers.timestamps"],
)
def test_docstring_examples(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted and not result.failed


def test_demo_has_text(nano):
    transcript = nano.transcribe(whisperlite.demo_audio(), language="en")
    assert transcript.text.strip()
    assert transcript.to_dict()["language"] == "en"


def test_language_is_detected(nano):
    transcript = nano.transcribe(whisperlite.demo_audio())
    assert transcript.language == next(iter(transcript.language_probs))
    assert nano.detect_language(whisperlite.demo_audio()) == transcript.language_probs


def test_language_may_be_a_name(nano):
    assert nano.transcribe(tone(1), language="Spanish").language == "es"
    assert nano.transcribe(tone(1), language="english").language == "en"


def test_wrong_options(nano):
    with pytest.raises(OptionError, match="did you mean beam_size"):
        nano.transcribe(tone(1), beam=5)
    with pytest.raises(OptionError, match="klingon"):
        nano.transcribe(tone(1), language="klingon")
    with pytest.raises(OptionError, match="x is not an option"):
        nano.decode(np.zeros((1, 80, 3000), np.float32), x=1)


def test_wrong_audio(nano):
    with pytest.raises(AudioError):
        nano.transcribe(np.zeros(0, np.float32))
    with pytest.raises(AudioError):
        nano.transcribe(np.array([0.0, np.nan, 0.0], np.float32))
    with pytest.raises(AudioError):
        nano.transcribe("no such file.wav")


def test_wrong_model():
    with pytest.raises(CheckpointError):
        whisperlite.WhisperModel("no such model.pt")
    with pytest.raises(OptionError, match="compute_type"):
        whisperlite.WhisperModel("nano", compute_type="float7")


def test_almost_no_audio(nano):
    assert nano.transcribe(np.zeros(10, np.float32), language="en").segments == ()


def test_verbose_prints(nano, capsys):
    nano.transcribe(whisperlite.demo_audio(), language="en", verbose=True)
    assert capsys.readouterr().out.startswith("[00:0")


def test_own_loop_from_the_stages(nano):
    """Greedy by hand, from the public stages, gives what decode gives."""
    mel = nano.log_mel(whisperlite.demo_audio())
    [expected] = nano.decode(mel[None], language="en", without_timestamps=True, suppress_tokens="")
    tokenizer = nano.tokenizer("en", "transcribe")
    features = nano.encode(mel[None])
    cross = nano.cross_kv(features)
    cache = nano.new_cache(1)
    context = np.array([tokenizer.sot_sequence_including_notimestamps])
    logits = nano.prefill(context, cache, cross)[:, -1]
    logits[:, [*tokenizer.encode(" "), tokenizer.eot]] = -np.inf
    tokens: list[int] = []
    while (token := int(logits[0].argmax())) != tokenizer.eot:
        tokens.append(token)
        logits = nano.step(np.array([token]), cache, cross)
    assert tuple(tokens) == expected.tokens
    scores, read = nano.cross_attention([*context[0], *tokens], cross)
    assert scores.shape[1:] == (len(context[0]) + len(tokens), nano.dims.n_audio_ctx)
    assert read.shape == (len(context[0]) + len(tokens), nano.dims.n_vocab)
    assert int(read[-1].argmax()) == tokenizer.eot


def test_decode_takes_features_too(nano):
    mel = nano.log_mel(whisperlite.demo_audio())[None]
    assert nano.decode(nano.encode(mel), language="English") == nano.decode(mel, language="en")


def test_batch_of_windows_equals_one_by_one(nano):
    windows = np.stack([nano.log_mel(whisperlite.demo_audio()), nano.log_mel(tone(5))])
    for options in ({}, {"beam_size": 3}, {"temperature": 0.8, "best_of": 2}):
        batch = nano.decode(windows, **options)
        for one, together in zip((windows[:1], windows[1:]), batch, strict=True):
            [alone] = nano.decode(one, **options)
            assert together.tokens == alone.tokens
            assert together.avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-4)


def test_two_transcripts_may_be_read_in_turns(nano):
    first = nano.transcribe(whisperlite.demo_audio(), language="en")
    second = nano.transcribe(np.tile(tone(1), 40), language="en")
    alone = nano.transcribe(whisperlite.demo_audio(), language="en").text
    iterators = iter(second), iter(first)
    for iterator in iterators:
        next(iterator, None)
    for iterator in iterators:
        list(iterator)
    assert first.text == alone


def test_sampling_is_the_same_for_any_number_of_threads():
    texts = {
        whisperlite.WhisperModel("nano", threads=threads)
        .transcribe(whisperlite.demo_audio(), language="en", temperature=0.9, seed=5)
        .text
        for threads in (1, 2)
    }
    assert len(texts) == 1


def test_channels_as_speakers(nano):
    samples = whisperlite.load_audio(whisperlite.demo_audio())
    quiet = np.zeros_like(samples)
    both = nano.transcribe_speakers(np.stack([quiet, samples], axis=1), ["Ann", "Bob"], language="en")
    alone = nano.transcribe(samples, language="en")
    bob = [segment for segment in both if segment.speaker == "Bob"]
    assert [(s.start, s.end, s.text) for s in bob] == [(s.start, s.end, s.text) for s in alone if s.text]
    with pytest.raises(AudioError, match="the audio has 1 channel"):
        nano.transcribe_speakers(samples)
    with pytest.raises(OptionError, match="give 2 different names"):
        nano.transcribe_speakers(np.stack([samples, samples]), ["Ann"])


def test_collection_is_put_off_only_while_a_model_is_loaded():
    import gc

    from whisperlite.api.collector import no_collection

    assert gc.isenabled()
    with no_collection():
        with no_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(CheckpointError):
        whisperlite.WhisperModel("/no/such/folder")
    assert gc.isenabled()
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
