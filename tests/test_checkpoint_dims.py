"""Sizes, names and published models."""

from __future__ import annotations

import dataclasses

import pytest
from fixtures.tiny_models import DIMS, HF_CONFIG, hf_name, tensors

from whisperlite.checkpoint import PUBLISHED, Dims, alignment_heads_for, default_alignment_heads, published
from whisperlite.checkpoint.names import expected_shapes, openai_name
from whisperlite.errors import CheckpointError


def test_dims_from_both_kinds_of_config():
    assert Dims.from_hf(HF_CONFIG) == DIMS
    assert Dims.from_openai(dataclasses.asdict(DIMS) | {"more": 1}) == DIMS


@pytest.mark.parametrize(
    "change, words",
    [
        ({"n_mels": 0}, "n_mels is 0"),
        ({"n_mels": True}, "n_mels is True"),
        ({"n_text_layer": 10**9}, "n_text_layer is 1000000000; a Whisper model has 1 to 256"),
        ({"n_vocab": "51865"}, "n_vocab is '51865'"),
        ({"n_text_head": 3}, "n_text_state 8 is not a multiple of n_text_head 3"),
        ({"n_audio_state": 16}, "cross attention needs them equal"),
        ({"n_audio_ctx": None}, "n_audio_ctx is None"),
        ({"n_audio_ctx": [1] * 1000}, "n_audio_ctx is list"),
    ],
)
def test_bad_dims_are_named(change, words):
    with pytest.raises(CheckpointError, match=words):
        dataclasses.replace(DIMS, **change)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"model_type": "wav2vec2"}, "config.json has model_type 'wav2vec2'; whisperlite runs 'whisper'"),
        ({"activation_function": "relu"}, "activation_function 'relu'"),
        ({"scale_embedding": True}, "scale_embedding True"),
        ({"encoder_ffn_dim": 64}, "encoder_ffn_dim 64; d_model says 32"),
    ],
)
def test_configs_of_other_models_are_refused(change, words):
    with pytest.raises(CheckpointError, match=words):
        Dims.from_hf(HF_CONFIG | change)


def test_what_a_config_lacks_is_listed():
    with pytest.raises(CheckpointError, match=r"config\.json lacks d_model, encoder_layers"):
        Dims.from_hf({key: v for key, v in HF_CONFIG.items() if key not in ("d_model", "encoder_layers")})
    with pytest.raises(CheckpointError, match="dims lack n_mels, n_audio_ctx"):
        Dims.from_openai({})


@pytest.mark.parametrize(
    "n_vocab, multilingual, languages", [(51864, False, 99), (51865, True, 99), (51866, True, 100)]
)
def test_languages_follow_from_the_vocabulary(n_vocab, multilingual, languages):
    dims = dataclasses.replace(DIMS, n_vocab=n_vocab)
    assert (dims.is_multilingual, dims.num_languages) == (multilingual, languages)


def test_names_of_both_kinds_meet():
    arrays = tensors()
    for name in arrays:
        assert openai_name(hf_name(name)) == name
        assert openai_name(hf_name(name).removeprefix("model.")) == name
        assert openai_name(name) == name
    assert expected_shapes(DIMS) == {name: array.shape for name, array in arrays.items()}
    assert openai_name("proj_out.weight") == "proj_out.weight"


def test_published_models():
    assert published("turbo") is published("large-v3-turbo")
    assert published("large") is published("large-v3")
    assert published("huge") is None
    for name, row in PUBLISHED.items():
        assert row.dims.is_multilingual is not name.endswith(".en")
        assert row.dims.n_text_state == 64 * row.dims.n_text_head
        assert (row.dims.n_mels == 128) == (row.dims.n_vocab == 51866)
        for layer, head in row.alignment_heads or ():
            assert layer < row.dims.n_text_layer and head < row.dims.n_text_head


def test_alignment_heads_by_size():
    assert alignment_heads_for(PUBLISHED["tiny"].dims) == ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5))
    large = PUBLISHED["large-v2"].dims
    assert large == PUBLISHED["large-v1"].dims
    assert alignment_heads_for(large) == PUBLISHED["large-v2"].alignment_heads
    assert alignment_heads_for(large, "large-v1.pt") == PUBLISHED["large-v1"].alignment_heads
    assert alignment_heads_for(DIMS) == default_alignment_heads(DIMS) == ((1, 0), (1, 1))
    distil = PUBLISHED["distil-large-v3"].dims
    assert alignment_heads_for(distil) == tuple((1, head) for head in range(20))


@pytest.mark.peer
def test_alignment_heads_are_openais():
    whisper = pytest.importorskip("whisper", reason="openai-whisper is not installed")
    import base64
    import gzip

    import numpy as np

    for name, dump in whisper._ALIGNMENT_HEADS.items():
        row = published(name)
        assert row is not None
        mask = np.frombuffer(gzip.decompress(base64.b85decode(dump)), bool)
        pairs = np.argwhere(mask.reshape(row.dims.n_text_layer, row.dims.n_text_head)).tolist()
        assert row.alignment_heads == tuple(map(tuple, pairs)), name
