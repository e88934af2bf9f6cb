"""Parameters as kernels get them: parts stacked, and the memory they lie in."""

from __future__ import annotations

import numpy as np
import pytest

from whisperlite.kernels import cpu
from whisperlite.runtime.panels import ALIGNMENT, PACK, PIECE_BYTES, Pool, pack_f16
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
    want = PACK[dtype](np.concatenate(parts))
    assert packed.dtype == want.dtype and packed.tobytes() == want.tobytes()
    assert weights.panels(names, (sum(n_rows), 128), dtype) is packed


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
