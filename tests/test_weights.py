"""Parameters as kernels get them: parts stacked, and the memory they lie in."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from whisperlite.kernels import cpu
from whisperlite.runtime import packer, team
from whisperlite.runtime.panels import ALIGNMENT, PACK, PIECE_BYTES, Pool, new_panels, pack_f16, packings
from whisperlite.runtime.weights import Weights


class Source:
    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self.tensors = tensors

    def read(self, name: str) -> np.ndarray:
        return self.tensors[name]

    def release(self) -> None:
        pass


@pytest.mark.parametrize("dtype", PACK)
@pytest.mark.parametrize("n_rows", [(32, 64, 96), (64, 40), (40, 64), (7,)])
@pytest.mark.parametrize("threads", [1, 2])
def test_panels_of_parts_are_those_of_the_stack(dtype, n_rows, threads):
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((n, 128)).astype(np.float16) for n in n_rows]
    names = tuple(map(str, range(len(parts))))
    weights = Weights(Source(dict(zip(names, parts, strict=True))), threads)
    packed = weights.panels(names, (sum(n_rows), 128), dtype)
    weights.finish()
    want = PACK[dtype](np.concatenate(parts))
    assert packed.dtype == want.dtype and packed.tobytes() == want.tobytes()
    assert weights.panels(names, (sum(n_rows), 128), dtype) is packed


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_bytes", [1, 60_000, 1 << 30])  # at once, now and then, none before the end
def test_what_is_packed_beside_other_work_is_whole_in_the_end(threads, batch_bytes, monkeypatch):
    monkeypatch.setattr(packer, "BATCH_BYTES", batch_bytes)
    rng = np.random.default_rng(0)
    calls: list[int] = []
    work = packer.Packer(threads, lambda: calls.append(1))
    made = []
    for i, dtype in enumerate([*PACK, *PACK]):
        rows = rng.standard_normal((64 + i, 128)).astype(np.float32)
        out = new_panels(dtype, *rows.shape)
        work.add(packings(dtype, rows, out))
        made.append((dtype, rows, out))
        if i % 3 == 2:
            work.start()
    work.finish()
    for dtype, rows, out in made:
        assert out.tobytes() == PACK[dtype](rows).tobytes()
    assert calls
    del calls[:]
    work.finish()
    assert not calls  # nothing was left to do


def test_a_batch_goes_to_another_thread_and_the_rest_stays(monkeypatch):
    """While one batch is being packed a second waits, up to the bytes that may wait."""
    monkeypatch.setattr(packer, "BATCH_BYTES", 64 * 128 * 4)
    started, goes_on = threading.Event(), threading.Event()

    def run(table):
        started.set()
        goes_on.wait(60)
        run_alone(table)

    run_alone = team.run_alone
    monkeypatch.setattr(team, "run_alone", run)
    rows = np.ones((64, 128), np.float32)
    outs = [new_panels("float32", 64, 128) for _ in range(3)]
    for out in outs:
        out[...] = 0
    work = packer.Packer(2, lambda: None)
    work.add(packings("float32", rows, outs[0]))
    assert started.wait(60)
    work.add(packings("float32", rows, outs[1]))
    work.add(packings("float32", rows, outs[2]))
    assert not any(out.any() for out in outs)
    threading.Timer(0.05, goes_on.set).start()
    work.finish()
    assert all((out == 1).all() for out in outs)


def test_what_stops_the_other_thread_is_raised_by_finish():
    def release():
        raise OSError("the file is gone")

    rows = np.ones((64, 128), np.float32)
    work = packer.Packer(2, release)
    work.add(packings("float32", rows, new_panels("float32", 64, 128)))
    work.start()
    for _ in range(2):
        with pytest.raises(OSError, match="the file is gone"):
            work.finish()


def test_callers_on_several_threads_all_wait_for_the_first(monkeypatch):
    """The second finds nothing left to pack, while the first is still packing it."""
    started, goes_on, done = threading.Event(), threading.Event(), []

    def run(batch, threads):
        started.set()
        goes_on.wait(60)
        done.append("packed")

    monkeypatch.setattr(packer, "run_packings", run)
    rows = np.ones((64, 128), np.float32)
    work = packer.Packer(1, lambda: None)
    work.add(packings("float32", rows, new_panels("float32", 64, 128)))
    callers = [threading.Thread(target=lambda: (work.finish(), done.append("finished"))) for _ in range(2)]
    for caller in callers:
        caller.start()
        assert started.wait(60)
    assert not done
    goes_on.set()
    for caller in callers:
        caller.join()
    assert done == ["packed", "finished", "finished"]


@pytest.mark.skipif(not cpu.has_float16(), reason="this CPU does not convert float16 in one instruction")
@pytest.mark.parametrize("shape", [(1, 1), (32, 16), (70, 33), (100, 384)])
def test_float16_panels_hold_the_same_bits(shape):
    """Of every finite number: subnormals and both zeros too."""
    bits = np.random.default_rng(0).integers(0, 1 << 16, shape).astype(np.uint16)
    rows = bits.view(np.float16)
    rows[~np.isfinite(rows)] = -0.0
    packed = pack_f16(rows, threads=2)
    unpacked = packed.swapaxes(1, 2).reshape(-1, shape[1])
    np.testing.assert_array_equal(unpacked[: shape[0]].view(np.uint16), rows.view(np.uint16))
    assert not unpacked[shape[0] :].view(np.uint16).any()


def test_arrays_of_a_pool_share_no_bytes():
    pool = Pool()
    shapes = [(3, 5), (1,), (1000, 1000), (PIECE_BYTES // 4,), (7,), (2000, 1000), (64,)]
    arrays = [pool.array(shape, np.float32) for shape in shapes]
    for i, array in enumerate(arrays):
        assert array.shape == shapes[i] and array.ctypes.data % ALIGNMENT == 0 and array.flags.writeable
        array[...] = i
    assert all((array == i).all() for i, array in enumerate(arrays))
