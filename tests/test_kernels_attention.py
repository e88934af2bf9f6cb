"""Attention kernels against float64, over odd shapes, with guards around every buffer."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from kernel_memory import Guarded, float_bits, round_up, rows

from whisperlite.kernels import attention, attention_cached, cpu, packing
from whisperlite.kernels.registry import SYNC_WORDS


def heads_of(x, n_head):
    return x.reshape(*x.shape[:-1], n_head, -1).swapaxes(-2, -3).astype(np.float64)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def pack(kernel, name, x, n_head):
    """Panels of keys or values (A, T, D)."""
    n_audio, n_ctx, n_state = x.shape
    head_size = n_state // n_head
    shape = (-(-n_ctx // 32), head_size, 32) if name == "k" else (-(-head_size // 32), n_ctx, 32)
    source, panels = rows(x), Guarded((n_audio, n_head, *shape))
    kernel(
        **{name: source.address, f"{name}_batch": source.array.strides[0], f"ld{name}": source.array.strides[1]},
        n_batch=n_audio, n_ctx=n_ctx, n_head=n_head, head_size=head_size, panels=panels.address,
    )  # fmt: skip
    panels.check()
    return panels


@pytest.mark.parametrize("n_head, head_size", [(1, 64), (2, 32), (3, 5), (2, 40)])
@pytest.mark.parametrize("n_ctx", [1, 31, 32, 45, 100, 300])
@pytest.mark.parametrize("n_new", [1, 2, 13])
def test_attention_packed(n_head, head_size, n_ctx, n_new):
    rng = np.random.default_rng(n_ctx)
    n_state = n_head * head_size
    audio_rows = np.array([0, 2, 2, 5], np.int32)  # two rows, none, three
    q = rng.standard_normal((5, n_new, n_state)).astype(np.float32) * 2
    k, v = rng.standard_normal((2, 3, n_ctx, n_state)).astype(np.float32)
    keys, values = pack(packing.pack_keys_f32, "k", k, n_head), pack(packing.pack_values_f32, "v", v, n_head)
    query, offsets = rows(q), Guarded.of(audio_rows)
    out = Guarded((5, n_new, round_up(n_state, 32)))
    n_scratch = attention.attention_scratch_bytes(head_size)
    scratch = Guarded((n_scratch // 4,))
    attention.attention_packed_f32(
        q=query.address, q_batch=query.array.strides[0], ldq=query.array.strides[1], n_new=n_new,
        audio_rows=offsets.address, n_audio=3, key_panels=keys.address, value_panels=values.address, n_ctx=n_ctx,
        n_head=n_head, head_size=head_size, scale_bits=float_bits(head_size**-0.5), out=out.address,
        out_batch=out.array.strides[0], ldo=out.array.strides[1], scratch=scratch.address, scratch_bytes=n_scratch,
    )  # fmt: skip
    out.check()
    scratch.check()
    audio = [0, 0, 2, 2, 2]
    k_heads, v_heads = heads_of(k, n_head)[audio], heads_of(v, n_head)[audio]
    scores = heads_of(q, n_head) @ k_heads.swapaxes(-1, -2) * head_size**-0.5
    want = (softmax(scores) @ v_heads).swapaxes(1, 2).reshape(5, n_new, n_state)
    np.testing.assert_allclose(out.array[..., :n_state], want, atol=5e-6)


def test_attention_packed_survives_large_scores():
    q = np.full((1, 1, 64), 30, np.float32)
    k = np.zeros((1, 40, 64), np.float32)
    k[0, 7] = 30
    v = np.arange(40, dtype=np.float32)[None, :, None].repeat(64, 2)
    keys, values = pack(packing.pack_keys_f32, "k", k, 1), pack(packing.pack_values_f32, "v", v, 1)
    query, out = rows(q), Guarded((1, 1, 64))
    n_scratch = attention.attention_scratch_bytes(64)
    scratch = Guarded((n_scratch // 4,))
    attention.attention_packed_f32(
        q=query.address, q_batch=0, ldq=256, n_new=1, audio_rows=0, n_audio=1, key_panels=keys.address,
        value_panels=values.address, n_ctx=40, n_head=1, head_size=64, scale_bits=float_bits(0.125),
        out=out.address, out_batch=0, ldo=256, scratch=scratch.address, scratch_bytes=n_scratch,
    )  # fmt: skip
    np.testing.assert_allclose(out.array, 7, rtol=1e-6)


@pytest.mark.parametrize("given_rows", [True, False])
def test_cross_scores_of_chosen_heads(given_rows):
    rng = np.random.default_rng(0)
    q = rng.standard_normal((3, 4, 30)).astype(np.float32)
    k = rng.standard_normal((2 if given_rows else 3, 45, 30)).astype(np.float32)
    audio = [0, 1, 1] if given_rows else [0, 1, 2]
    keys, query = pack(packing.pack_keys_f32, "k", k, 3), rows(q)
    offsets, heads = Guarded.of(np.array([0, 1, 3], np.int32)), Guarded.of(np.array([2, 0], np.int32))
    out = Guarded((3, 4, 2, 64))
    n_scratch = attention.attention_scratch_bytes(10)
    scratch = Guarded((n_scratch // 4,))
    attention.cross_scores_f32(
        q=query.address, q_batch=query.array.strides[0], ldq=query.array.strides[1], n_batch=3, n_new=4,
        audio_rows=offsets.address if given_rows else 0, n_audio=len(k), key_panels=keys.address, n_ctx=45,
        n_head=3, head_size=10, scale_bits=float_bits(10**-0.5), heads=heads.address, n_heads=2, out=out.address,
        ldo=256, scratch=scratch.address, scratch_bytes=n_scratch,
    )  # fmt: skip
    out.check()
    scores = heads_of(q, 3) @ heads_of(k, 3)[audio].swapaxes(-1, -2) * 10**-0.5  # (3, H, 4, 45)
    want = scores[:, [2, 0]].swapaxes(1, 2)
    np.testing.assert_allclose(out.array[..., :45], want, atol=5e-6)


class CachedCase:
    """A cache of four rows, three sequences in it whose pasts lie in any of its rows, and what to append."""

    def __init__(self, n_head, head_size, n_cache, past, n_new):
        rng = np.random.default_rng(n_new)
        self.n_head, self.head_size, self.n_cache, self.n_new = n_head, head_size, n_cache, n_new
        self.n_state = n_head * head_size
        self.n_batch = len(past)
        shape = (4, n_cache, self.n_state)
        self.keys = Guarded.of(rng.standard_normal(shape).astype(np.float32))
        self.values = Guarded.of(rng.standard_normal(shape).astype(np.float32))
        self.past = Guarded.of(np.array(past, np.int32))
        self.own = Guarded.of(np.array([3, 0, 1][: len(past)], np.int32))
        self.table = Guarded.of(rng.integers(0, 4, (len(past), n_cache)).astype(np.int32))
        self.q, self.new_k, self.new_v = rng.standard_normal((3, len(past), n_new, self.n_state)).astype(np.float32)

    def append(self):
        for values, cache in ((self.new_k, self.keys), (self.new_v, self.values)):
            new, before = rows(values), cache.array.copy()
            attention_cached.cache_append_f32(
                new=new.address, new_batch=new.array.strides[0], ldn=new.array.strides[1], n_batch=self.n_batch,
                n_new=self.n_new, past=self.past.address, own_rows=self.own.address, n_state=self.n_state,
                cache=cache.address, cache_row=cache.array.strides[0], ldc=cache.array.strides[1],
            )  # fmt: skip
            cache.check()
            for b in range(self.n_batch):
                p = self.past.array[b]
                before[self.own.array[b], p : p + self.n_new] = values[b]
            np.testing.assert_array_equal(cache.array, before)

    def attend(self, kernel, scratch_bytes, n_threads=1, positions=None):
        """Run the kernel as the last member of a team, which finds all of its work left.

        ``positions``: of the query rows, which are then those of ``q`` there.
        """
        asked = self.q if positions is None else self.q[:, positions]
        at = None if positions is None else Guarded.of(np.array(positions, np.int32))
        query, out = rows(asked), Guarded((self.n_batch, asked.shape[1], round_up(self.n_state, 32)))
        scratch = Guarded((n_threads, scratch_bytes // 4))
        arguments = {
            "q": query.address, "q_batch": query.array.strides[0], "ldq": query.array.strides[1],
            "n_batch": self.n_batch, "n_rows": asked.shape[1], "positions": at.address if at else 0,
            "past": self.past.address, "own_rows": self.own.address, "cache_rows": self.table.address,
            "n_cache": self.n_cache, "keys": self.keys.address, "values": self.values.address,
            "cache_row": self.keys.array.strides[0], "ldc": self.keys.array.strides[1], "n_head": self.n_head,
            "head_size": self.head_size, "scale_bits": float_bits(self.head_size**-0.5), "out": out.address,
            "out_batch": out.array.strides[0], "ldo": out.array.strides[1], "scratch": scratch.address,
            "scratch_bytes": scratch_bytes,
        }  # fmt: skip
        words = np.array([arguments[name] for name in kernel.params], np.int64)
        sync = np.zeros(SYNC_WORDS, np.int64)
        entry = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(kernel.address())
        entry(words.ctypes.data, sync.ctypes.data, n_threads - 1, n_threads)
        out.check()
        scratch.check()
        assert np.isnan(out.array[..., self.n_state :]).all()
        return out.array[..., : self.n_state]

    def want(self):
        want = np.empty((self.n_batch, self.n_new, self.n_state))
        for b in range(self.n_batch):
            for u in range(self.n_new):
                seen = np.arange(self.past.array[b] + u + 1)
                row = np.where(seen < self.past.array[b], self.table.array[b, seen], self.own.array[b])
                k, v = (heads_of(c.array[row, seen], self.n_head) for c in (self.keys, self.values))
                scores = heads_of(self.q[b, u][None], self.n_head) @ k.swapaxes(-1, -2) * self.head_size**-0.5
                want[b, u] = (softmax(scores) @ v).reshape(-1)
        return want


@pytest.mark.parametrize("n_new", [1, 5])
@pytest.mark.parametrize("n_head, head_size", [(2, 24), (2, 64), (3, 5), (1, 80)])
def test_cached_attention_follows_the_row_table(n_new, n_head, head_size):
    case = CachedCase(n_head, head_size, 40, [0, 7, 30], n_new)
    case.append()
    out = case.attend(attention_cached.cached_attention_f32, attention_cached.cached_scratch_bytes(case.n_cache))
    np.testing.assert_allclose(out, case.want(), atol=5e-6)


@pytest.mark.parametrize("n_head, head_size", [(2, 64), (3, 5), (1, 40)])
@pytest.mark.parametrize(
    "n_new, past",
    [(12, [0]), (13, [0, 7, 30]), (24, [0, 31]), (33, [33, 1, 0]), (50, [0, 14]), (70, [0])],
)
@pytest.mark.parametrize("n_threads", [1, 16])
def test_cached_attention_in_blocks(n_head, head_size, n_new, past, n_threads):
    case = CachedCase(n_head, head_size, 71, past, n_new)
    case.append()
    for b, before in enumerate(past):  # what is neither the shared past nor written yet must not matter
        case.table.array[b, :before] = 2  # a row that no sequence owns
        for cache in (case.keys, case.values):
            cache.array[case.own.array[b], :before] = np.nan
            cache.array[case.own.array[b], before + n_new :] = np.nan
    scratch_bytes = attention_cached.cached_blocks_scratch_bytes(case.n_cache, head_size)
    out = case.attend(attention_cached.cached_attention_blocks_f32, scratch_bytes, n_threads)
    np.testing.assert_allclose(out, case.want(), atol=5e-6)


@pytest.mark.parametrize("positions", [[4], [0, 39], [39, 3, 3, 17], list(range(40))])
def test_cached_attention_of_some_positions(positions):
    case = CachedCase(2, 24, 80, [0, 7, 30], 40)
    case.append()
    kernel, scratch_bytes = attention_cached.cached_attention_f32, attention_cached.cached_scratch_bytes(80)
    out = case.attend(kernel, scratch_bytes, positions=positions)
    np.testing.assert_array_equal(out, case.attend(kernel, scratch_bytes)[:, positions])


@pytest.mark.parametrize("positions", [range(40), range(39, -1, -1), range(5, 18), [39, *range(11), 20, 39, 3]])
@pytest.mark.parametrize("n_threads", [1, 16])
def test_cached_attention_in_blocks_of_some_positions(positions, n_threads):
    """Also where the row that sees the most is not the last, or one that two blocks share."""
    case = CachedCase(2, 24, 80, [0, 7, 30], 40)
    case.append()
    for b, before in enumerate((0, 7, 30)):  # what no row sees must not matter
        for cache in (case.keys, case.values):
            cache.array[case.own.array[b], before + max(positions) + 1 :] = np.nan
    scratch_bytes = attention_cached.cached_blocks_scratch_bytes(80, 24)
    kernel = attention_cached.cached_attention_blocks_f32
    out = case.attend(kernel, scratch_bytes, n_threads, positions=list(positions))
    np.testing.assert_allclose(out, case.want()[:, list(positions)], atol=5e-6)


def test_cached_attention_in_blocks_survives_large_scores():
    case = CachedCase(1, 32, 64, [0], 40)
    case.q[...] = 30
    case.new_k[...] = -30
    case.new_k[0, 3::7] = 30  # all later rows see the same largest score
    case.append()
    scratch_bytes = attention_cached.cached_blocks_scratch_bytes(64, 32)
    out = case.attend(attention_cached.cached_attention_blocks_f32, scratch_bytes)
    np.testing.assert_allclose(out, case.want(), atol=5e-6)


def test_cached_attention_in_blocks_does_not_depend_on_the_number_of_threads():
    case = CachedCase(2, 64, 200, [0], 150)
    case.append()
    scratch_bytes = attention_cached.cached_blocks_scratch_bytes(200, 64)
    kernel = attention_cached.cached_attention_blocks_f32
    np.testing.assert_array_equal(case.attend(kernel, scratch_bytes), case.attend(kernel, scratch_bytes, 3))


@pytest.mark.skipif(not cpu.has_float16(), reason="this CPU does not convert float16 in one instruction")
@pytest.mark.parametrize("head_size, n_ctx", [(64, 45), (40, 32), (5, 100)])
def test_float16_panels_hold_the_rounded_keys_and_values(head_size, n_ctx):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, n_ctx, 2 * head_size)).astype(np.float32)
    source = rows(x)
    for name, f32, f16 in (
        ("k", packing.pack_keys_f32, packing.pack_keys_f16),
        ("v", packing.pack_values_f32, packing.pack_values_f16),
    ):
        whole = pack(f32, name, x, 2).array
        panels, scratch = Guarded(whole.shape, np.float16), Guarded((32 * head_size,))
        given = {
            name: source.address, f"{name}_batch": source.array.strides[0], f"ld{name}": source.array.strides[1],
        }  # fmt: skip
        more = {"scratch": scratch.address, "scratch_bytes": 0} if name == "k" else {}
        f16(
            **given, n_batch=2, n_ctx=n_ctx, n_head=2, head_size=head_size, panels=panels.address, **more,
        )  # fmt: skip
        panels.check()
        scratch.check()
        np.testing.assert_array_equal(panels.array, whole.astype(np.float16))
