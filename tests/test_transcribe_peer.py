"""Options together, against openai-whisper itself where it is installed: nano's recordings, words and all."""

from __future__ import annotations

import pytest

from whisperlite import load_audio

pytestmark = pytest.mark.peer
CASES = {
    "clips": ("long_mixed", {"clip_timestamps": "2,9.5,11,20,25"}),
    "carried": ("long_mixed", {"initial_prompt": "Seven three.", "carry_initial_prompt": True}),
    "no_timestamps": ("speech_silence_speech", {"without_timestamps": True}),
    "hallucination": (
        "speech_silence_speech",
        {"hallucination_silence_threshold": 0.3, "condition_on_previous_text": False},
    ),
    "hallucination_clips": ("long_mixed", {"hallucination_silence_threshold": 0.1, "clip_timestamps": "1.5,40,60"}),
    "translate": ("digits_es", {"language": "es", "task": "translate"}),
    "prefix": ("long_mixed", {"prefix": "Nine"}),
    "thresholds": ("long_mixed", {"no_speech_threshold": 0.0001, "logprob_threshold": -0.2}),
    "beams": (
        "digits_human_b",
        {
            "beam_size": 3,
            "patience": 2.0,
            "length_penalty": 0.4,
            "prepend_punctuations": "",
            "append_punctuations": "",
        },
    ),
}


@pytest.fixture(scope="module")
def theirs(shared):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    whisper = pytest.importorskip("whisper", reason="openai-whisper is not installed")
    model = whisper.load_model(str(shared / "nano" / "nano.pt"), device="cpu")
    heads = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    heads[2, 0] = heads[3, 1] = True
    model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_options_together(nano, theirs, audio_file, name):
    recording, options = CASES[name]
    options = {"language": "en", "temperature": 0.0, "word_timestamps": True, **options}
    samples = load_audio(audio_file(recording))
    ours = nano.transcribe(samples, **options).to_dict()
    expected = theirs.transcribe(samples, fp16=False, **options)
    assert ours["text"] == expected["text"]
    for mine, other in zip(ours["segments"], expected["segments"], strict=True):
        assert (mine["tokens"], mine["seek"]) == (other["tokens"], other["seek"])
        assert (mine["start"], mine["end"]) == pytest.approx((other["start"], other["end"]), abs=0.0201)
        for word, theirs_word in zip(mine["words"], other["words"], strict=True):
            assert word["word"] == theirs_word["word"]
            assert word["start"] == pytest.approx(theirs_word["start"], abs=0.0201)
            assert word["end"] == pytest.approx(theirs_word["end"], abs=0.0201)
            assert word["probability"] == pytest.approx(theirs_word["probability"], abs=5e-3)
