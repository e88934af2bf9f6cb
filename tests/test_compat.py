"""openai-whisper's and faster-whisper's interfaces on nano."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import whisperlite
from whisperlite.compat import faster_whisper
from whisperlite.compat import openai as whisper
from whisperlite.errors import OptionError


@pytest.fixture(scope="module")
def model(nano):
    return whisper.Whisper(nano)


@pytest.fixture(scope="module")
def fw(nano):
    made = faster_whisper.WhisperModel.__new__(faster_whisper.WhisperModel)
    made.whisperlite = nano
    return made


DEMO = whisperlite.demo_audio()


def test_openai_transcribe_gives_the_dict(model, nano, capsys):
    result = model.transcribe(DEMO, language="en", fp16=False, word_timestamps=True, verbose=None)
    assert result == nano.transcribe(DEMO, language="en", word_timestamps=True).to_dict()
    assert capsys.readouterr().out == ""
    assert whisper.transcribe(model, DEMO, language="en", hallucination_silence_threshold=2.0)["segments"]
    with pytest.raises(OptionError, match="did you mean beam_size"):
        model.transcribe(DEMO, beam=5)


def test_openai_verbose_says_the_language(model, capsys):
    result = model.transcribe(DEMO, verbose=False, temperature=0.0)
    assert capsys.readouterr().out == "Detected language: English\n"
    assert result["language"] == "en"


def test_openai_decode_and_detect_language(model, nano):
    audio = whisper.pad_or_trim(whisper.load_audio(DEMO))
    mel = whisper.log_mel_spectrogram(audio, n_mels=model.dims.n_mels).astype(np.float32)
    [expected] = nano.decode(mel[None], language="en")
    one = whisper.decode(model, mel, whisper.DecodingOptions(language="en"))
    assert (one.text, one.tokens) == (expected.text, list(expected.tokens))
    assert one.audio_features.shape == (model.dims.n_audio_ctx, model.dims.n_audio_state)
    [again] = model.decode(one.audio_features[None], language="en")
    assert again.tokens == one.tokens
    token, probabilities = model.detect_language(mel)
    assert token == nano.tokenizer().to_language_token("en") and probabilities["en"] > 0.9
    tokens, several = model.detect_language(mel[None])
    assert tokens.shape == (1,) and several == [probabilities]
    assert model.logits(np.array([[50258, 50259]]), one.audio_features[None]).shape == (1, 2, model.dims.n_vocab)


def test_openai_load_model():
    loaded = whisper.load_model("nano", device="cpu").to("cpu").eval()
    assert loaded.is_multilingual and loaded.num_languages == 99 and loaded.device == "cpu"
    assert "tiny.en" in whisper.available_models() and "turbo" in whisper.available_models()
    with pytest.raises(OptionError, match="device='cuda'"):
        whisper.load_model("nano", device="cuda")
    with pytest.raises(OptionError, match="download_root"):
        whisper.load_model("nano", download_root="/tmp")
    with pytest.raises(OptionError, match="sr=8000"):
        whisper.load_audio(DEMO, sr=8000)


def test_openai_timing():
    from whisperlite.compat.openai.timing import dtw, dtw_cuda, median_filter

    assert dtw(np.float32([[0, 1], [1, 0]])).tolist() == [[0, 1], [0, 1]]
    assert median_filter([1.0, 9.0, 2.0, 3.0], 3).tolist() == [9.0, 2.0, 3.0, 2.0]
    assert median_filter(np.array([1.0]), 7).tolist() == [1.0]
    with pytest.raises(OptionError, match="dtw_cpu"):
        dtw_cuda(np.zeros((2, 2)))


def test_openai_tokenizer():
    from whisperlite.compat.openai.tokenizer import get_tokenizer

    made = get_tokenizer(True, language="spanish", task="translate")
    assert (made.language, made.task) == ("es", "translate")
    assert get_tokenizer(False, language="es").language is None
    assert get_tokenizer(True, num_languages=100).n_vocab == 51866
    tokens = made.encode(" uno dos")
    assert made.split_tokens_on_spaces(tokens)[0] == [" uno", " dos"]


def test_faster_whisper_gives_segments_and_info(fw, nano):
    segments, info = fw.transcribe(DEMO, beam_size=1, word_timestamps=True)
    assert info.language == "en" and info.language_probability == dict(info.all_language_probs)["en"]
    assert info.duration == info.duration_after_vad > 5
    segments = list(segments)
    expected = [s for s in nano.transcribe(DEMO, word_timestamps=True, best_of=5, temperature=(0, 0.2)) if s.text]
    assert [s.text for s in segments] == [s.text for s in expected]
    assert [s.id for s in segments] == list(range(1, len(segments) + 1))
    word = segments[0].words[0]
    assert dataclasses.asdict(word) == expected[0].words[0].to_dict()
    assert segments[0]._asdict()["words"][0] == word._asdict()


def test_faster_whisper_defaults_are_a_beam_of_five(fw, nano):
    segments, info = fw.transcribe(DEMO, language="en", log_prob_threshold=-1.0, temperature=0.0)
    assert info.language_probability == 1.0 and info.all_language_probs is None
    expected = nano.transcribe(DEMO, language="en", beam_size=5, temperature=0.0)
    assert [s.tokens for s in segments] == [list(s.tokens) for s in expected if s.text]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vad_filter": True, "vad_parameters": {"pad": 1}}, "vad_parameters: 'pad' is unknown"),
        ({"vad_filter": True, "vad_model": "nix"}, "vad model 'nix'"),
        ({"chunk_length": 20}, "chunk_length=20"),
        ({"length_penalty": 0.5}, "length_penalty=0.5"),
        ({"beam": 3}, "did you mean beam_size"),
    ],
)
def test_faster_whisper_options_that_cannot_be_honoured(fw, options, message):
    with pytest.raises(OptionError, match=message):
        fw.transcribe(DEMO, **options)


def test_faster_whisper_options_that_change_nothing(fw):
    first, _ = fw.transcribe(DEMO, language="en", beam_size=1, temperature=0.0)
    second, _ = fw.transcribe(
        DEMO, language="en", beam_size=1, temperature=0.0, length_penalty=0, chunk_length=30,
        vad_parameters={"threshold": 0.5}, hallucination_silence_threshold=1.0,
    )  # fmt: skip
    assert list(first) == list(second)


def test_faster_whisper_batches(fw):
    pipeline = faster_whisper.BatchedInferencePipeline(fw)
    clips = [{"start": 0, "end": 3.5}, {"start": 4, "end": 6.5}]
    options = {"language": "en", "clip_timestamps": clips, "beam_size": 1}
    batched = [s.tokens for s in pipeline.transcribe(DEMO, **options)[0]]
    assert batched == [s.tokens for s in pipeline.transcribe(DEMO, batch_size=1, **options)[0]]
    assert len(batched) == 2
    words, _ = pipeline.transcribe(DEMO, **options, word_timestamps=True, initial_prompt="One.")
    assert all(segment.words for segment in words)
    demos = np.tile(whisperlite.load_audio(DEMO), 6)
    windows, _ = pipeline.transcribe(demos, vad_filter=False, beam_size=1, temperature=0.0)
    assert len(list(windows)) > 1


SPEECH = {"min_silence_duration_ms": 300, "speech_pad_ms": 100}


def test_faster_whisper_vad_filter(fw, nano, caplog):
    caplog.set_level("INFO", "faster_whisper")
    options = {"language": "en", "beam_size": 1, "temperature": 0.0, "word_timestamps": True}
    segments, info = fw.transcribe(DEMO, vad_filter=True, vad_parameters=SPEECH, **options)
    expected = nano.transcribe(
        DEMO, language="en", temperature=0.0, word_timestamps=True, vad_filter=True, vad_parameters=SPEECH
    )
    assert [(s.start, s.end, s.text) for s in segments] == [(s.start, s.end, s.text) for s in expected if s.text]
    assert info.vad_options == faster_whisper.VadOptions(**SPEECH)
    assert info.duration_after_vad == expected.speech_duration < info.duration - 1
    [line] = caplog.messages
    assert line == f"VAD filter removed 00:0{info.duration - info.duration_after_vad:.3f} of audio"


def test_faster_whisper_clips_switch_the_vad_filter_off(fw):
    options = {"language": "en", "beam_size": 1, "clip_timestamps": [0.0, 5.0]}
    plain, _ = fw.transcribe(DEMO, **options)
    filtered, info = fw.transcribe(DEMO, **options, vad_filter=True, vad_parameters=SPEECH)
    assert list(plain) == list(filtered) and info.duration_after_vad == info.duration and info.vad_options is None
    _, info = fw.transcribe(DEMO, language="en", clip_timestamps="0", vad_filter=True, vad_parameters=SPEECH)
    assert info.duration_after_vad < info.duration - 1


def test_faster_whisper_batches_are_of_speech(fw):
    pipeline = faster_whisper.BatchedInferencePipeline(fw)
    demo = whisperlite.load_audio(DEMO)
    audio = np.tile(np.concatenate([demo, np.zeros(16000, np.float32)]), 8)
    options = {"language": "en", "beam_size": 1, "temperature": 0.0, "vad_parameters": SPEECH}
    segments, info = pipeline.transcribe(audio, **options)
    segments = list(segments)
    one_by_one = list(pipeline.transcribe(audio, batch_size=1, **options)[0])
    assert [(s.tokens, s.start, s.end) for s in segments] == [(s.tokens, s.start, s.end) for s in one_by_one]
    assert info.vad_options == faster_whisper.VadOptions(**SPEECH, max_speech_duration_s=30)
    assert info.duration_after_vad < info.duration - 10
    assert len({segment.seek for segment in segments}) > 1 and segments[-1].end > 50
    defaults = pipeline.transcribe(audio, language="en")[1].vad_options
    assert (defaults.min_silence_duration_ms, defaults.max_speech_duration_s) == (160, 30)


def test_faster_whisper_model(fw):
    made = faster_whisper.WhisperModel("nano", device="auto", cpu_threads=1)
    assert made.whisperlite._model.threads == 1
    assert "en" in made.supported_languages and "tiny" in faster_whisper.available_models()
    assert made.detect_language(DEMO)[0] == "en"
    assert faster_whisper.decode_audio(DEMO).dtype == np.float32
    with pytest.raises(OptionError, match="device='cuda'"):
        faster_whisper.WhisperModel("nano", device="cuda")
    with pytest.raises(OptionError, match="16000"):
        faster_whisper.decode_audio(DEMO, sampling_rate=8000)
    found = fw.detect_language(DEMO, vad_filter=True, vad_parameters={"min_silence_duration_ms": 300})
    assert found[0] == "en" and found != fw.detect_language(DEMO)
