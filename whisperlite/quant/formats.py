"""Block formats of weights: sizes, bytes, ids.

In: nothing. Out: ``FORMATS``: one ``Format`` by name.
Knows nothing of: how codes are chosen, tensors, files.

A row of a matrix is cut into blocks of ``columns`` columns, and a block never reaches into the next row. ``block``
is a block's bytes as a NumPy dtype, little-endian and without padding: ``FORMATS["q5_0"].block.fields["qs"]`` gives
dtype and offset of a field. Below, i is the place of a column in its block, q its code, h = i // 128, j = i // 32,
l = i % 32, k = i // 16, and ``x[a:b]`` are bits a to b - 1 of x.

Values, in float32 and in the order of the brackets, with d, m and dmin widened from float16:

=============  ====================================================
q4_0           d * (q - 8)
q4_1, q5_1     d * q + m
q5_0           d * (q - 16)
q8_0           d * q
q2_k           (d * scales[k][0:4]) * q - (dmin * scales[k][4:8])
q3_k           (d * (scale(k) - 32)) * (q - 4)
q4_k, q5_k     (d * scale(j)) * q - (dmin * min(j))
q6_k           (d * scales[k]) * (q - 32)
=============  ====================================================

Codes:

=============  =====================================================================================================
q4_0, q4_1     qs[i % 16], the low half of the byte for i < 16
q5_0, q5_1     bits 0-3 as q4_0; bit 4 is bit i of qh, bit i % 8 of its byte i // 8
q8_0           qs[i], signed
q2_k           qs[32h + l], bits 2(j % 4) and up
q3_k           bits 0-1 as q2_k; bit 2 is bit j of hmask[l]
q4_k           qs[32(j // 2) + l], the low half for even j
q5_k           bits 0-3 as q4_k; bit 4 is bit j of qh[l]
q6_k           bits 0-3: ql[64h + 32(j % 2) + l], low half for j % 4 < 2; bits 4-5: qh[32h + l], bits 2(j % 4) up
=============  =====================================================================================================

scale(k) of q3_k has 6 bits: bits 0-3 in scales[k % 8], the low half for k < 8; bits 4-5 in scales[8 + k % 4], bits
2(k // 4) and up.

scale(j) and min(j) of q4_k and q5_k have 6 bits. For j < 4: scale is scales[j][0:6], min is scales[j + 4][0:6]. For
j >= 4: scale is scales[j + 4][0:4] | scales[j - 4][6:8] << 4, min is scales[j + 4][4:8] | scales[j][6:8] << 4.

ref: ggml ggml-common.h (blocks), ggml.h (enum ggml_type, enum ggml_ftype)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whisperlite.errors import OptionError


@dataclass(frozen=True)
class Format:
    """A way to store rows of weights.

    Attributes
    ----------
    name : str
        As whisper.cpp's quantize tool writes it.
    ggml_type : int
        Id of a tensor's type in a file.
    ftype : int
        Id of a file whose matrices have this format.
    columns : int
        Columns in a block.
    block : numpy.dtype
        Bytes of a block.
    """

    name: str
    ggml_type: int
    ftype: int
    columns: int
    block: np.dtype

    @property
    def block_bytes(self) -> int:
        return self.block.itemsize

    @property
    def is_quantized(self) -> bool:
        return self.columns > 1

    def row_bytes(self, n_cols: int) -> int:
        """Bytes of a row of ``n_cols`` columns.

        Raises
        ------
        OptionError
            The row does not fill its blocks.
        """
        if n_cols % self.columns:
            raise OptionError(
                f"{self.name} packs {self.columns} columns to a block; rows of {n_cols} do not fill theirs. "
                f"Take {'q4_0, q5_0 or q8_0' if self.columns > 32 and n_cols % 32 == 0 else 'f16'}."
            )
        return n_cols // self.columns * self.block_bytes


def _block(*fields: tuple) -> np.dtype:
    return np.dtype(list(fields))


_D, _M, _DMIN = ("d", "<f2"), ("m", "<f2"), ("dmin", "<f2")

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("f32", 0, 0, 1, np.dtype("<f4")),
        Format("f16", 1, 1, 1, np.dtype("<f2")),
        Format("q4_0", 2, 2, 32, _block(_D, ("qs", "u1", 16))),
        Format("q4_1", 3, 3, 32, _block(_D, _M, ("qs", "u1", 16))),
        Format("q5_0", 6, 8, 32, _block(_D, ("qh", "u1", 4), ("qs", "u1", 16))),
        Format("q5_1", 7, 9, 32, _block(_D, _M, ("qh", "u1", 4), ("qs", "u1", 16))),
        Format("q8_0", 8, 7, 32, _block(_D, ("qs", "i1", 32))),
        Format("q2_k", 10, 10, 256, _block(("scales", "u1", 16), ("qs", "u1", 64), _D, _DMIN)),
        Format("q3_k", 11, 11, 256, _block(("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), _D)),
        Format("q4_k", 12, 12, 256, _block(_D, _DMIN, ("scales", "u1", 12), ("qs", "u1", 128))),
        Format("q5_k", 13, 13, 256, _block(_D, _DMIN, ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128))),
        Format("q6_k", 14, 14, 256, _block(("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), _D)),
    )
}
BY_GGML_TYPE: dict[int, Format] = {row.ggml_type: row for row in FORMATS.values()}
BY_FTYPE: dict[int, Format] = {row.ftype: row for row in FORMATS.values()}
QUANTIZED: tuple[str, ...] = tuple(name for name, row in FORMATS.items() if row.is_quantized)


def format_of(kind: str) -> Format:
    """The format of a name.

    Raises
    ------
    OptionError
        There is none of that name.
    """
    if kind not in FORMATS:
        raise OptionError(f"{str(kind)[:40]!r} is no block format; take one of {', '.join(FORMATS)}.")
    return FORMATS[kind]
