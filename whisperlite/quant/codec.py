"""Rows of weights to bytes and back, in any block format.

In: float32 rows, or bytes. Out: bytes, or float32 rows.
Knows nothing of: tensors' names, files.
"""

from __future__ import annotations

import numpy as np

from whisperlite.errors import CheckpointError, OptionError
from whisperlite.quant.blocks32 import dequantize_blocks32, quantize_blocks32
from whisperlite.quant.blocks256 import dequantize_blocks256, quantize_blocks256
from whisperlite.quant.formats import Format, format_of

_CHUNK = 1 << 17  # weights at a time: temporaries stay in the second-level cache


def quantize(rows: np.ndarray, kind: str) -> np.ndarray:
    """Bytes of rows of weights: what ggml's ``ggml_quantize_chunk`` writes on x86 without an importance matrix.

    Parameters
    ----------
    rows : (n, n_cols) float32 or float16
        Finite. A scale beyond float16 becomes infinity, as in ggml: pass weights through float16 first.
    kind
        A name of ``FORMATS``.

    Returns
    -------
    (n, row_bytes) uint8

    Raises
    ------
    OptionError
        There is no such format, or its blocks do not divide the rows.
    CheckpointError
        A weight is NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from whisperlite.quant import dequantize, quantize
    >>> rows = np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32)
    >>> packed = quantize(rows, "q8_0")
    >>> packed.shape, float(np.abs(dequantize(packed, "q8_0", 32) - rows).max()) < 0.005
    ((2, 34), True)
    """
    form = format_of(kind)
    if rows.ndim != 2 or rows.dtype not in (np.float32, np.float16):
        raise OptionError(f"rows are {rows.dtype} {rows.shape}; give float32 or float16 of two axes.")
    n, n_cols = rows.shape
    row_bytes = form.row_bytes(n_cols)
    out = np.empty((n, row_bytes), np.uint8)
    blocks = out.reshape(-1).view(form.block)
    values = np.ascontiguousarray(rows).reshape(len(blocks), form.columns)
    step = max(1, _CHUNK // form.columns)
    with np.errstate(all="ignore"):
        for start in range(0, len(blocks), step):
            part = values[start : start + step].astype(np.float32)
            if not np.isfinite(part).all():
                raise CheckpointError(
                    f"a weight is NaN or infinite; {kind} holds finite numbers. The model is damaged."
                )
            blocks[start : start + step] = _blocks_of(part, form)
    return out


def dequantize(blocks: np.ndarray, kind: str, n_cols: int) -> np.ndarray:
    """Weights from the bytes of rows, with ggml's arithmetic.

    Parameters
    ----------
    blocks : (n, row_bytes) uint8
    kind
        A name of ``FORMATS``.
    n_cols
        Columns of a row.

    Returns
    -------
    (n, n_cols) float32

    Raises
    ------
    OptionError
        There is no such format, or the bytes are not rows of ``n_cols``.
    """
    form = format_of(kind)
    row_bytes = form.row_bytes(n_cols)
    if blocks.dtype != np.uint8 or blocks.ndim != 2 or blocks.shape[1] != row_bytes:
        raise OptionError(
            f"blocks are {blocks.dtype} {blocks.shape}; rows of {n_cols} {kind} have {row_bytes} bytes."
        )
    stored = np.ascontiguousarray(blocks).reshape(-1).view(form.block)
    out = np.empty((len(stored), form.columns), np.float32)
    step = max(1, _CHUNK // form.columns)
    with np.errstate(all="ignore"):
        for start in range(0, len(stored), step):
            part = stored[start : start + step]
            if form.columns == 256:
                out[start : start + step] = dequantize_blocks256(part, kind)
            elif form.columns == 32:
                out[start : start + step] = dequantize_blocks32(part, kind)
            else:
                out[start : start + step, 0] = part
    return out.reshape(len(blocks), n_cols)


def _blocks_of(values: np.ndarray, form: Format) -> np.ndarray:
    if form.columns == 256:
        return quantize_blocks256(values, form.name)
    if form.columns == 32:
        return quantize_blocks32(values, form.name)
    return values[:, 0].astype(form.block)
