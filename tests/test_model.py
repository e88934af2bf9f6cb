"""The model: both backends agree, caches and batches mean what one sequence alone means."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_checkpoint import ODD, RandomCheckpoint

from whisperlite.checkpoint import Dims
from whisperlite.errors import OptionError
from whisperlite.model import Whisper
from whisperlite.quant import dequantize, quantize

TOL = 2e-5


@pytest.fixture(scope="module")
def model():
    return Whisper(RandomCheckpoint(ODD), threads=2)


@pytest.fixture(scope="module")
def mel():
    return np.random.default_rng(0).standard_normal((2, ODD.n_mels, 82)).astype(np.float32)


@pytest.fixture(scope="module")
def cross(model, mel):
    return model.cross_kv(model.encode(mel))


def run_alone(model, features, tokens):
    """Logits after every token of one sequence, by one prefill."""
    cross = model.cross_kv(features)
    return model.prefill(tokens[None], model.new_cache(1), cross, logits_at=range(len(tokens)))[0]


def test_backends_agree(model, mel):
    reference = Whisper(RandomCheckpoint(ODD), backend="numpy")
    features = model.encode(mel)
    np.testing.assert_allclose(features, reference.encode(mel), atol=TOL)
    tokens = np.array([[5, 51864, 7], [8, 9, 10]])
    logits = model.prefill(tokens, model.new_cache(2), model.cross_kv(features), logits_at=(0, 1, 2))
    expected = reference.prefill(tokens, reference.new_cache(2), reference.cross_kv(features), logits_at=(0, 1, 2))
    np.testing.assert_allclose(logits, expected, atol=TOL)
    scores = model.cross_attention(tokens[0], model.cross_kv(features), audio=1, heads=[(2, 1), (0, 0)])
    expected_scores = reference.cross_attention(
        tokens[0], reference.cross_kv(features), audio=1, heads=[(2, 1), (0, 0)]
    )
    for got, want in zip(scores, expected_scores, strict=True):
        np.testing.assert_allclose(got, want, atol=TOL)


@pytest.mark.parametrize("threads", [1, 3])
def test_results_do_not_depend_on_threads(model, mel, threads):
    other = Whisper(RandomCheckpoint(ODD), threads=threads)
    np.testing.assert_array_equal(other.encode(mel), model.encode(mel))


def test_a_batch_equals_its_windows(model, mel):
    together = model.encode(mel)
    for i in range(2):
        np.testing.assert_allclose(model.encode(mel[i : i + 1])[0], together[i], atol=TOL)


def test_a_shorter_window_uses_the_first_positions(model, mel):
    assert model.encode(mel[:, :, :30]).shape == (2, 15, ODD.n_audio_state)


def test_steps_equal_one_prefill(model, mel):
    features = model.encode(mel[:1])
    tokens = np.arange(20, 52)  # many enough for attention in blocks; steps take them one by one
    expected = run_alone(model, features, tokens)
    cache, cross = model.new_cache(1), model.cross_kv(features)
    first = model.prefill(tokens[None, :5], cache, cross, logits_at=(0, -1))[0]
    np.testing.assert_allclose(first, expected[[0, 4]], atol=TOL)
    for i in range(5, len(tokens)):
        np.testing.assert_allclose(model.step(tokens[i : i + 1], cache, cross)[0], expected[i], atol=TOL)
    assert cache.past.tolist() == [32]


@pytest.mark.parametrize("logits_at", [(0, -1), (-1,), (25, 3), tuple(range(8, 31))])
def test_logits_of_some_positions_of_a_long_prompt(model, mel, logits_at):
    """The last layer goes on with those positions alone; its keys and values of the others are there for a step."""
    features = model.encode(mel)
    cross, cache = model.cross_kv(features), model.new_cache(2)
    model.prefill([[1, 2], [3, 4]], cache, cross)
    prompts = np.array([range(20, 52), range(60, 92)])
    logits = model.prefill(prompts, cache, cross, logits_at=logits_at)
    after = model.step(np.array([5, 6]), cache, cross)
    for row, before in enumerate(([1, 2], [3, 4])):
        history = np.array([*before, *prompts[row], 5 + row])
        expected = run_alone(model, features[row : row + 1], history)
        np.testing.assert_allclose(logits[row], expected[2:-1][list(logits_at)], atol=TOL)
        np.testing.assert_allclose(after[row], expected[-1], atol=TOL)


def test_beams_share_their_past_after_reorder(model, mel):
    """Three beams over one audio, reordered twice: each equals its own history read alone."""
    features = model.encode(mel[:1])
    cross, cache = model.cross_kv(features), model.new_cache(3)
    model.prefill(np.tile([[1, 2, 3]], (3, 1)), cache, cross)
    histories = [[1, 2, 3]] * 3
    for new, order in (([4, 5, 6], [2, 0, 0]), ([7, 8, 9], [1, 1, 2]), ([10, 11, 12], [0, 1, 2])):
        logits = model.step(np.array(new), cache, cross)
        histories = [[*history, token] for history, token in zip(histories, new, strict=True)]
        for row, history in enumerate(histories):
            np.testing.assert_allclose(logits[row], run_alone(model, features, np.array(history))[-1], atol=TOL)
        cache.reorder(order)
        histories = [histories[i] for i in order]


def test_rows_of_different_length_and_audio_go_together(model, mel, cross):
    features = model.encode(mel)
    cache = model.new_cache(3)
    rows = np.array([0, 2, 3])  # audio 0 has two rows, audio 1 one
    prompts = [np.array([1, 2, 3, 4]), np.array([9]), np.array([5, 6])]
    audio_of = [0, 0, 1]
    for row, prompt in enumerate(prompts):
        alone = model.cross_kv(features[audio_of[row] : audio_of[row] + 1])
        model.prefill(prompt[None], cache, alone, cache_rows=[row])
    logits = model.step(np.array([20, 21, 22]), cache, cross, audio_rows=rows)
    for row, prompt in enumerate(prompts):
        history = np.array([*prompt, 20 + row])
        expected = run_alone(model, features[audio_of[row] : audio_of[row] + 1], history)[-1]
        np.testing.assert_allclose(logits[row], expected, atol=TOL)


def test_steps_of_some_rows(model, mel):
    """Three beams to an audio; rows leave, come back and change places: each equals its own history read alone."""
    features = model.encode(mel)
    cross, cache = model.cross_kv(features), model.new_cache(6)
    both = np.array([0, 3, 6])
    model.prefill(np.tile([[1, 2, 3]], (6, 1)), cache, cross, audio_rows=both)
    model.step(np.array([4, 5, 6, 7, 8, 9]), cache, cross, both)
    cache.reorder([2, 0, 0, 4, 4, 5])
    histories = [[1, 2, 3, token] for token in (6, 4, 4, 8, 8, 9)]
    everyone = list(range(6))
    for rows, offsets in (
        ([3, 4, 5], [0, 0, 3]), ([3, 4, 5], [0, 0, 3]), ([1], [0, 1, 1]), (everyone, both), ([2, 0, 5], [0, 2, 3]),
        ([5, 3], [0, 0, 2]),
    ):  # fmt: skip
        new = [10 + len(histories[row]) + row for row in rows]
        logits = model.step(np.array(new), cache, cross, np.array(offsets), copy=False, cache_rows=rows)
        assert logits.shape == (len(rows), ODD.n_vocab)
        for at, row in enumerate(rows):
            histories[row] = [*histories[row], new[at]]
            expected = run_alone(model, features[row // 3 : row // 3 + 1], np.array(histories[row]))[-1]
            np.testing.assert_allclose(logits[at], expected, atol=TOL)
        assert cache.past.tolist() == [len(history) for history in histories]


def test_a_prefill_in_another_order(model, mel):
    """Row b of the tokens continues cache row ``cache_rows[b]``, also where all rows take part."""
    features = model.encode(mel[:1])
    cross, cache = model.cross_kv(features), model.new_cache(2)
    model.prefill([[1, 2]], cache, cross, cache_rows=[1])
    logits = model.prefill([[3], [4]], cache, cross, cache_rows=[1, 0])
    assert cache.past.tolist() == [1, 3]
    for row, history in zip(logits[:, 0], ([1, 2, 3], [4]), strict=True):
        np.testing.assert_allclose(row, run_alone(model, features, np.array(history))[-1], atol=TOL)


@pytest.mark.parametrize("cache_rows", [None, [1]])
def test_steps_end_with_the_context(model, mel, cache_rows):
    cross, cache = model.cross_kv(model.encode(mel[:1])), model.new_cache(2)
    model.prefill(np.ones((2, ODD.n_text_ctx - 2), np.int32), cache, cross)
    tokens = np.ones(2 if cache_rows is None else 1, np.int32)
    for _ in range(2):
        model.step(tokens, cache, cross, cache_rows=cache_rows)
    with pytest.raises(OptionError, match=f"{ODD.n_text_ctx + 1} tokens in a sequence"):
        model.step(tokens, cache, cross, cache_rows=cache_rows)


def test_a_reset_cache_is_as_new(model, cross):
    cache = model.new_cache(2)
    tokens = np.array([[1, 2], [3, 4]])
    first = model.prefill(tokens, cache, cross)
    cache.reorder([1, 1])
    cache.reset()
    np.testing.assert_array_equal(model.prefill(tokens, cache, cross), first)


def test_results_are_not_overwritten(model, mel, cross):
    features = model.encode(mel)
    kept = features.copy()
    cache = model.new_cache(2)
    logits = model.step(np.array([1, 2]), cache, cross)
    kept_logits = logits.copy()
    model.encode(mel[:, :, ::-1])
    model.step(np.array([3, 4]), cache, cross)
    np.testing.assert_array_equal(features, kept)
    np.testing.assert_array_equal(logits, kept_logits)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m, c: m.encode(np.zeros((1, 80, 82))), "the model wants"),
        (lambda m, c: m.encode(np.zeros((1, 13, 81))), "even number"),
        (lambda m, c: m.encode(np.zeros((1, 13, 84))), "up to 82"),
        (lambda m, c: m.cross_kv(np.zeros((1, 41, 21))), "audio features"),
        (lambda m, c: m.new_cache(0), "give 1 or more"),
        (lambda m, c: m.prefill([[1]], m.new_cache(2), c), "give cache_rows"),
        (lambda m, c: m.prefill([[1], [2]], m.new_cache(2), c, cache_rows=[0, 0]), "different rows"),
        (lambda m, c: m.prefill([[51865], [0]], m.new_cache(2), c), "token 51865"),
        (lambda m, c: m.prefill([[-1], [0]], m.new_cache(2), c), "token -1"),
        (lambda m, c: m.prefill([[1] * 38] * 2, m.new_cache(2), c), "38 tokens"),
        (lambda m, c: m.prefill([[1]] * 2, m.new_cache(2), c, logits_at=(1,)), "logits_at"),
        (lambda m, c: m.prefill([[1]] * 3, m.new_cache(3), c), "give audio_rows"),
        (lambda m, c: m.prefill([[1]] * 3, m.new_cache(3), c, audio_rows=[0, 2]), "rising offsets"),
        (lambda m, c: m.step([1], m.new_cache(2), c), "give cache_rows"),
        (lambda m, c: m.step([1, 2], m.new_cache(2), c, cache_rows=[1, 2]), "different rows"),
        (lambda m, c: m.new_cache(2).reorder([0, 2]), "reorder"),
        (lambda m, c: m.cross_attention([1], c, heads=[(3, 0)]), "head (3, 0)"),
        (lambda m, c: m.cross_attention([1], c, audio=2), "audio=2"),
        (lambda m, c: m.plan_of("encoder", Q=1), "size 'Q'"),
        (lambda m, c: m.plan_of("head"), "part 'head'"),
    ],
)
def test_refusals(model, cross, call, message):
    with pytest.raises(OptionError, match=message.replace("(", r"\(").replace(")", r"\)")):
        call(model, cross)


@pytest.mark.parametrize(
    "options", [{"compute_type": "float8"}, {"threads": 0}, {"threads": True}, {"backend": "torch"}]
)
def test_constructor_refusals(options):
    with pytest.raises(OptionError):
        Whisper(RandomCheckpoint(ODD), **options)


def all_float16(seed=0):
    checkpoint = RandomCheckpoint(ODD, seed)
    checkpoint.tensors = {name: values.astype(np.float16) for name, values in checkpoint.tensors.items()}
    return checkpoint


def logits_of(model, mel):
    cross, cache = model.cross_kv(model.encode(mel[:1])), model.new_cache(1)
    first = model.prefill([[5, 6, 7]], cache, cross, logits_at=(0, 1, 2))[0]
    return np.concatenate([first, model.step([8], cache, cross)])


def test_float16_storage_changes_no_bit(mel):
    """The same values as float32: the decoder keeps them in float16, the result is the same."""
    halves = Whisper(all_float16())
    whole = all_float16()
    whole.tensors = {name: values.astype(np.float32) for name, values in whole.tensors.items()}
    full = Whisper(whole)
    assert halves.n_bytes < 0.6 * full.n_bytes
    np.testing.assert_array_equal(logits_of(halves, mel), logits_of(full, mel))


def test_bfloat16_is_close_and_backends_agree(model, mel, monkeypatch):
    monkeypatch.setenv("WHISPERLITE_BF16", "widen")
    rounded = Whisper(RandomCheckpoint(ODD), compute_type="bfloat16")
    reference = Whisper(RandomCheckpoint(ODD), compute_type="bfloat16", backend="numpy")
    logits = logits_of(rounded, mel)
    np.testing.assert_allclose(logits, logits_of(reference, mel), atol=2e-4)
    exact = logits_of(model, mel)
    assert 0 < np.abs(logits - exact).max() < 0.02 * np.abs(exact).max()
    monkeypatch.setenv("WHISPERLITE_CHECK", "1")
    np.testing.assert_array_equal(logits_of(rounded, mel), logits)


WIDE = Dims(
    n_mels=8, n_audio_ctx=20, n_audio_state=256, n_audio_head=4, n_audio_layer=1,
    n_vocab=51865, n_text_ctx=16, n_text_state=256, n_text_head=4, n_text_layer=1,
)  # fmt: skip


class QuantisedCheckpoint(RandomCheckpoint):
    """Random weights whose matrices are stored in blocks of one kind."""

    def __init__(self, kind):
        super().__init__(WIDE)
        self.kind = kind
        self.blocks = {
            name: quantize(values.astype(np.float32), kind)
            for name, values in self.tensors.items()
            if values.ndim == 2 and "positional" not in name
        }

    def dtype(self, name):
        return self.kind if name in self.blocks else super().dtype(name)

    def read_blocks(self, name):
        return self.kind, self.blocks[name]

    def read(self, name):
        if name in self.blocks:
            return dequantize(self.blocks[name], self.kind, self.tensors[name].shape[1])
        return super().read(name)


@pytest.mark.parametrize("kind", ["q4_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"])
def test_quantised_weights_stay_blocks(kind):
    """The compiled model rounds activations to bytes; the reference computes on the same weights in float32."""
    mel = np.random.default_rng(0).standard_normal((1, 8, 40)).astype(np.float32)
    blocks = Whisper(QuantisedCheckpoint(kind))
    reference = Whisper(QuantisedCheckpoint(kind), backend="numpy")
    unpacked = Whisper(QuantisedCheckpoint(kind), compute_type="float32")
    assert blocks.n_bytes < (0.2 if kind < "q5" else 0.32) * unpacked.n_bytes
    logits, expected = logits_of(blocks, mel), logits_of(reference, mel)
    np.testing.assert_allclose(logits, expected, atol=0.03 * np.abs(expected).max())
    np.testing.assert_allclose(logits_of(unpacked, mel), expected, atol=2e-3 * np.abs(expected).max())


def test_int8_quantises_float_weights(monkeypatch):
    mel = np.random.default_rng(0).standard_normal((1, 8, 40)).astype(np.float32)
    exact = logits_of(Whisper(RandomCheckpoint(WIDE)), mel)
    int8 = Whisper(RandomCheckpoint(WIDE), compute_type="int8")
    logits = logits_of(int8, mel)
    np.testing.assert_allclose(logits, exact, atol=0.03 * np.abs(exact).max())
    assert np.abs(logits - exact).max() > 0
    monkeypatch.setenv("WHISPERLITE_CHECK", "1")
    np.testing.assert_array_equal(logits_of(int8, mel), logits)


def test_auto_is_int8_where_the_cpu_sums_bytes_and_the_file_is_not_quantised(monkeypatch):
    from whisperlite.kernels import int8
    from whisperlite.model.dtypes import resolve_compute_type

    for has_vnni, want in ((True, "int8"), (False, "default")):
        monkeypatch.setattr(int8, "has_vnni", lambda has_vnni=has_vnni: has_vnni)
        assert resolve_compute_type("auto", {"a": "float16"}, "numba") == want
        assert resolve_compute_type("auto", {"a": "q5_0"}, "numba") == "default"
        assert resolve_compute_type("auto", {"a": "float16"}, "numpy") == "default"
        assert resolve_compute_type("bfloat16", {"a": "float16"}, "numba") == "bfloat16"
    monkeypatch.undo()
    assert Whisper(RandomCheckpoint(ODD), compute_type="auto").compute_type in ("int8", "default")
