"""The generator of random models: a true-size one loads through the ordinary path and runs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.random_models import cached_random_model
from whisperlite.checkpoint import PUBLISHED, open_checkpoint
from whisperlite.checkpoint.names import expected_shapes, hf_name, openai_name
from whisperlite.model import Whisper


@pytest.mark.parametrize("size", PUBLISHED)
def test_names_go_there_and_back(size):
    for name in expected_shapes(PUBLISHED[size].dims):
        assert openai_name(hf_name(name)) == name


@pytest.mark.parametrize("size", ["tiny", pytest.param("base", marks=pytest.mark.slow)])
def test_a_random_model_loads_and_runs(size, tmp_path):
    folder = cached_random_model(size, tmp_path)
    assert cached_random_model(size, tmp_path) == folder
    model = Whisper(open_checkpoint(folder))
    assert model.dims == PUBLISHED[size].dims
    features = model.encode(np.zeros((1, 80, 3000), np.float32))
    assert features.shape == (1, 1500, model.dims.n_audio_state) and np.isfinite(features).all()
    cross, cache = model.cross_kv(features), model.new_cache(1)
    logits = model.prefill([[50258, 50259]], cache, cross, logits_at=(0, 1))
    assert logits.shape == (1, 2, 51865) and np.isfinite(logits).all() and logits.std() > 0
    with pytest.raises(ValueError, match="is not one of"):
        cached_random_model("huge", tmp_path)
