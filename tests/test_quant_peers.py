"""Quantised bytes against ggml itself (as pywhispercpp ships it) and against the gguf package."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from test_quant import CASES, GOLDEN, bits_equal

from whisperlite.checkpoint import open_checkpoint, resolve
from whisperlite.quant import FORMATS, QUANTIZED, dequantize, quantize

pytestmark = pytest.mark.peer


def _ggml() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("pywhispercpp")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))).parent
    found = sorted(folder.glob("pywhispercpp.libs/libggml-base*"))
    return ctypes.CDLL(str(found[0])) if found else None


@pytest.fixture(scope="module")
def ggml():
    library = _ggml()
    if library is None:
        pytest.skip("pywhispercpp with its own libggml-base is not installed")
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        *[ctypes.c_void_p] * 2,
        *[ctypes.c_int64] * 3,
        ctypes.c_void_p,
    ]
    return library


def ggml_quantize(library: ctypes.CDLL, rows: np.ndarray, kind: str) -> np.ndarray:
    out = np.zeros((len(rows), FORMATS[kind].row_bytes(rows.shape[1])), np.uint8)
    places = (rows.ctypes.data, out.ctypes.data)
    n = library.ggml_quantize_chunk(FORMATS[kind].ggml_type, *places, 0, *rows.shape, None)
    assert n == out.nbytes
    return out


def ggml_dequantize(library: ctypes.CDLL, blocks: np.ndarray, kind: str, n_cols: int) -> np.ndarray:
    out = np.empty((len(blocks), n_cols), np.float32)
    function = getattr(library, f"dequantize_row_{kind.replace('_k', '_K')}")
    function(ctypes.c_void_p(blocks.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(out.size))
    return out


@pytest.mark.parametrize("kind", QUANTIZED)
@pytest.mark.parametrize("case", CASES)
def test_bytes_of_ggml(ggml, case, kind):
    rows = CASES[case]
    theirs = ggml_quantize(ggml, rows, kind)
    np.testing.assert_array_equal(quantize(rows, kind), theirs)
    bits_equal(dequantize(theirs, kind, rows.shape[1]), ggml_dequantize(ggml, theirs, kind, rows.shape[1]))


@pytest.mark.parametrize("kind", QUANTIZED)
def test_goldens_are_of_ggml(ggml, kind):
    hashes = [hashlib.sha256(ggml_quantize(ggml, rows, kind)).hexdigest()[:12] for rows in CASES.values()]
    assert hashes == GOLDEN[kind].split()


@pytest.mark.parametrize("kind", QUANTIZED)
def test_tensors_of_nano(ggml, kind):
    """k-quants as blocks of 256 through the rows of 128: the arithmetic is the same."""
    with open_checkpoint(resolve("nano")) as checkpoint:
        for name in (
            "decoder.token_embedding.weight",
            "encoder.blocks.0.mlp.2.weight",
            "decoder.blocks.3.attn.key.weight",
        ):
            values = checkpoint.read(name).astype(np.float32)
            n_whole = values.size // 512 * 512
            rows = np.ascontiguousarray(values.reshape(-1)[:n_whole].reshape(-1, 512))
            np.testing.assert_array_equal(quantize(rows, kind), ggml_quantize(ggml, rows, kind), err_msg=name)


@pytest.mark.parametrize("kind", QUANTIZED)
@pytest.mark.parametrize("case", [name for name in CASES if name not in ("wild", "signed zeros")])
def test_gguf_package(case, kind):
    quants = pytest.importorskip("gguf.quants")
    from gguf import GGMLQuantizationType

    rows, form = CASES[case], GGMLQuantizationType(FORMATS[kind].ggml_type)
    ours = quantize(rows, kind)
    if not kind.endswith("_k"):
        np.testing.assert_array_equal(ours, quants.quantize(rows, form))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(dequantize(ours, kind, rows.shape[1]), quants.dequantize(ours, form))
