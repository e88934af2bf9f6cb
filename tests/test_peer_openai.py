"""True-size models with random weights against openai-whisper itself, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_checkpoint import RandomCheckpoint

from whisperlite.checkpoint import published
from whisperlite.model import Whisper

pytestmark = pytest.mark.peer
TOKENS = np.array([[50258, 50259, 50359, 50363, 440, 1234, 51, 9999, 50257, 13]])


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_random_model_of_true_size(size):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    whisper = pytest.importorskip("whisper.model", reason="openai-whisper is not installed")
    checkpoint = RandomCheckpoint(published(size).dims)
    ours = Whisper(checkpoint)
    theirs = whisper.Whisper(whisper.ModelDimensions(**vars(checkpoint.dims))).eval()
    state = {name: torch.from_numpy(values.astype(np.float32)) for name, values in checkpoint.tensors.items()}
    theirs.load_state_dict(state, strict=True)
    mel = np.random.default_rng(1).standard_normal((1, 80, 3000)).astype(np.float32)
    with torch.inference_mode():
        their_features = theirs.encoder(torch.from_numpy(mel))
        their_logits = theirs.decoder(torch.from_numpy(TOKENS), their_features).numpy()
    features = ours.encode(mel)
    logits = ours.prefill(TOKENS, ours.new_cache(1), ours.cross_kv(features), logits_at=range(TOKENS.shape[1]))
    scale = np.abs(their_features.numpy()).max()
    np.testing.assert_allclose(features, their_features.numpy(), atol=1e-3 * scale)
    np.testing.assert_allclose(logits, their_logits, atol=1e-3 * np.abs(their_logits).max())
