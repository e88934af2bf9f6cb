"""Packing quantised blocks of a file into block panels.

In: rows of ggml's blocks of 32 columns, at any alignment. Out: panels as ``kernels/blocks`` reads them.
Knows nothing of: files, names of formats, blocks of 256.

A block of the file is its scale (and minimum), the fifth bits where there are any, then codes: byte i of 16 holds
columns i and 16 + i, or 32 signed bytes hold a column each.
"""

from __future__ import annotations

from whisperlite.kernels.compiler import njit
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.scalars import copy_bytes, fill_zero, load_i32_unaligned, store_i32
from whisperlite.kernels.tiles import PANEL, PANEL_BYTES

LOW = 0x0F0F0F0F
SIGNS = 0x80808080


@njit
def pack_block(block, head_bytes, bits, target):
    """One block of one row to one column of a panel's block; ``target`` is its first code word."""
    codes = block + head_bytes
    if bits == 8:
        for w in range(8):
            store_i32(target + w * PANEL_BYTES, load_i32_unaligned(codes + 4 * w) ^ SIGNS)
        return
    if bits == 5:
        store_i32(target + 4 * PANEL_BYTES, load_i32_unaligned(codes))
        codes += 4
    for w in range(2):
        even, odd = load_i32_unaligned(codes + 8 * w), load_i32_unaligned(codes + 8 * w + 4)
        store_i32(target + w * PANEL_BYTES, (even & LOW) | ((odd & LOW) << 4))
        store_i32(target + (w + 2) * PANEL_BYTES, ((even >> 4) & LOW) | (odd & (LOW << 4)))


@kernel("source", "row_bytes", "n_rows", "n_blocks", "bits", "n_heads", "panels")
def pack_blocks32(args, sync, thread, n_threads):
    """Rows of blocks to panels [ceil(n_rows/32)][n_blocks][bytes of a block of 32 columns], zero padded.

    ``bits`` is 4, 5 or 8; ``n_heads`` is 2 where blocks have minima, else 1.
    """
    source, row_bytes, n_rows, n_blocks = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3)
    bits, n_heads, panels = arg(args, 4), arg(args, 5), arg(args, 6)
    code_rows = 8 if bits == 8 else bits  # 4 rows of halves, and one of fifth bits
    target_bytes = 2 * PANEL * n_heads + code_rows * PANEL_BYTES
    block_bytes = 2 * n_heads + 4 * code_rows
    while True:
        p = claim(sync)
        if p * PANEL >= n_rows:
            break
        count = min(PANEL, n_rows - p * PANEL)
        panel = panels + p * n_blocks * target_bytes
        if count < PANEL:
            fill_zero(panel, n_blocks * target_bytes)
        for i in range(n_blocks):
            target = panel + i * target_bytes
            for column in range(count):
                block = source + (p * PANEL + column) * row_bytes + i * block_bytes
                for head in range(n_heads):
                    copy_bytes(target + 2 * (head * PANEL + column), block + 2 * head, 2)
                pack_block(block, 2 * n_heads, bits, target + 2 * PANEL * n_heads + 4 * column)
