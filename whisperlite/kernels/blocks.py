"""Matmul on quantised weights, straight from their blocks: 4, 5 or 8 bits a weight are all a decode step reads.

In: float32 rows A, block panels. Out: float32 rows C. Knows nothing of: file formats; ``quant`` tells the codes.

A weight is ``scale * code + minimum`` with unsigned codes; scale and minimum belong to a block of 32 or 16 steps of
K in one column (``minimum`` may be ``-zero * scale``). A panel has 32 columns; for each block it holds, in rows of
32 columns:

    scales          float16
    minima          float16, where the kind has them
    codes, 8 bits   [size/4][32][4]: byte i of row w is the code of step 4w + i
    codes, 4 bits   [size/8][32][4]: byte i of row w holds step 8w + i in its low half, step 8w + 4 + i in its high
    fifth bits      [1][32][4]: bit k of a column's word belongs to step k

Rows of A are quantised to signed bytes, one scale to a block, as ggml does; so a block is a sum of byte products
(VNNI where the CPU has it) and two multiply-adds in float32. For many rows the codes of a panel are widened to
8 bits once, not for every tile.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from whisperlite.kernels import cpu, simd
from whisperlite.kernels.compiler import intrinsic, njit, njit_as, types
from whisperlite.kernels.int8 import dot_bytes
from whisperlite.kernels.matmul import A_BLOCK_BYTES, SKINNY_ROWS, finish_rows_fast
from whisperlite.kernels.registry import arg, claim, kernel
from whisperlite.kernels.scalars import load_f32, load_half, load_i32, store_f32, to_f32
from whisperlite.kernels.simd import F32, I8, I32, int64, vector
from whisperlite.kernels.tiles import (
    PANEL,
    PANEL_BYTES,
    SUBPANELS,
    TILE_COLUMNS,
    TILE_VECTORS,
    emit_sums,
    tile_switch,
)

TILE_ROWS = {16: (5, 4, 3, 2, 1), 8: (2, 1), 4: (2, 1)}[cpu.vector_width()]
MAX_BLOCK_ROWS = 96
K_BLOCK = 512  # steps of K between visits to C
WIDE_ROWS = 2 * TILE_ROWS[0]  # from here on 4- and 5-bit codes are widened once for all rows


@dataclass(frozen=True)
class BlockKind:
    """Bits of a code, steps of K in a block, and whether blocks have minima of their own."""

    bits: int
    size: int
    has_minimum: bool

    @property
    def code_rows(self) -> int:
        """Panel rows of codes in a block."""
        return self.size // (4 if self.bits == 8 else 8) + (self.bits == 5)

    @property
    def head_bytes(self) -> int:
        return 2 * PANEL * (2 if self.has_minimum else 1)

    @property
    def block_bytes(self) -> int:
        """Bytes of one block of all 32 columns."""
        return self.head_bytes + self.code_rows * PANEL_BYTES

    @property
    def wide(self) -> BlockKind:
        """The same blocks with codes of 8 bits."""
        return BlockKind(8, self.size, self.has_minimum)


def _operands(b, kind, load_row):
    """Code bytes of a block in order of K: for each four steps a vector of four bytes a column."""
    if kind.bits == 8:
        return [load_row(w) for w in range(kind.size // 4)]
    found = []
    high = load_row(kind.size // 8) if kind.bits == 5 else None
    for w in range(kind.size // 8):
        word = load_row(w)
        lanes = word.type.count
        low_mask = simd.const_int(0x0F0F0F0F, lanes)
        halves = (b.and_(word, low_mask), b.and_(b.lshr(word, simd.const_int(4, lanes)), low_mask))
        for i, half in enumerate(halves):
            if high is not None:
                # Four bits of the column's word, one to each byte: multiply spreads them, a mask keeps one each.
                four = b.and_(b.lshr(high, simd.const_int(8 * w + 4 * i, lanes)), simd.const_int(15, lanes))
                spread = b.and_(b.mul(four, simd.const_int(0x00204081, lanes)), simd.const_int(0x01010101, lanes))
                half = b.or_(half, b.shl(spread, simd.const_int(4, lanes)))
            found.append(half)
    return found


def _emit_tile(b, kind, n_rows, a, lda, heads, ldh, panel, column, n_blocks, c, ldc, accumulate):
    """C[n_rows, TILE_COLUMNS] (+)= quantised A x blocks, from ``column`` of a panel on.

    ``heads``: scale and sum of each block of each row.
    """
    width = cpu.vector_width()
    total_type, sum_type = vector(F32, width), vector(I32, width)
    n_acc = n_rows * TILE_VECTORS
    zero = ir.Constant(total_type, None)
    head_column, code_column = b.mul(column, int64(2)), b.mul(column, int64(4))
    c = b.add(c, code_column)

    def half_row(b, address, v):
        return simd.load_f16(b, simd.offset(b, address, 2 * width * v), width)

    def body(b, i, totals):
        totals = list(totals)
        block = b.add(panel, b.mul(i, int64(kind.block_bytes)))
        simd.prefetch_ahead(b, block, kind.block_bytes)
        head_row, code_row = b.add(block, head_column), b.add(block, code_column)
        rows = [b.add(a, b.add(b.mul(lda, int64(r)), b.mul(i, int64(kind.size)))) for r in range(n_rows)]
        sums = [[ir.Constant(sum_type, None)] * TILE_VECTORS for _ in range(n_rows)]
        for v in range(TILE_VECTORS):

            def load_row(w, v=v):
                at = kind.head_bytes + w * PANEL_BYTES + 4 * width * v
                return simd.load(b, simd.offset(b, code_row, at), sum_type)

            for quad, codes in enumerate(_operands(b, kind, load_row)):
                for r in range(n_rows):
                    activations = simd.splat(b, simd.load(b, simd.offset(b, rows[r], 4 * quad), I32), width)
                    sums[r][v] = dot_bytes(b, sums[r][v], codes, activations)
        for v in range(TILE_VECTORS):
            scale = half_row(b, head_row, v)
            minimum = half_row(b, simd.offset(b, head_row, 2 * PANEL), v) if kind.has_minimum else scale
            for r in range(n_rows):
                head = b.add(heads, b.add(b.mul(ldh, int64(r)), b.mul(i, int64(8))))
                row_scale = simd.splat(b, simd.load(b, head, F32), width)
                row_sum = simd.splat(b, simd.load(b, simd.offset(b, head, 4), F32), width)
                j = r * TILE_VECTORS + v
                product = b.fmul(b.sitofp(sums[r][v], total_type), row_scale)
                totals[j] = simd.fma(b, product, scale, simd.fma(b, minimum, row_sum, totals[j]))
        return totals

    totals = simd.loop(b, n_blocks, [zero] * n_acc, body)
    emit_sums(b, totals, n_rows, c, ldc, accumulate)


def _tile(kind):
    return tile_switch(_emit_tile, kind, TILE_ROWS, 11)


def _quantize_row(size, has_minimum):
    """One row: signed bytes; for each block its scale, and its sum times ``-zero`` (or times 1 with minima)."""

    def emit(context, b, signature, args):
        source, n_blocks, zero, codes, heads = args
        kind = vector(F32, size)

        def body(b, i, _):
            x = simd.load(b, b.add(source, b.mul(i, int64(4 * size))), kind)
            top = simd.reduce_lanes(b, simd.fabs(b, x), simd.fmax)
            inverse = simd.per(b, 127, top)
            q = b.fptosi(simd.rint(b, b.fmul(x, simd.splat(b, inverse, size))), vector(I32, size))
            simd.store(b, b.trunc(q, vector(I8, size)), b.add(codes, b.mul(i, int64(size))), 1)
            total = b.sitofp(simd.reduce_lanes(b, q, lambda b, x, y: b.add(x, y)), F32)
            scale = b.fmul(top, ir.Constant(F32, 1 / 127))
            place = b.add(heads, b.mul(i, int64(8)))
            simd.store(b, scale, place)
            simd.store(b, b.fmul(b.fmul(total, scale), b.sitofp(zero, F32)), simd.offset(b, place, 4))
            return []

        simd.loop(b, n_blocks, [], body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


def _widen_block(kind):
    """One block of all 32 columns, its codes as 8 bits."""

    def emit(context, b, signature, args):
        source, target = args
        width = cpu.vector_width()
        for at in range(0, kind.head_bytes, 4 * width):
            head = simd.load(b, simd.offset(b, source, at), vector(I32, width))
            simd.store(b, head, simd.offset(b, target, at))
        for at in range(0, PANEL_BYTES, 4 * width):

            def load_row(w, at=at):
                place = kind.head_bytes + w * PANEL_BYTES + at
                return simd.load(b, simd.offset(b, source, place), vector(I32, width))

            for quad, codes in enumerate(_operands(b, kind, load_row)):
                place = kind.head_bytes + quad * PANEL_BYTES + at
                simd.store(b, codes, simd.offset(b, target, place))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@njit
def largest_block_tile(n_rows):
    for count in TILE_ROWS:
        if count <= n_rows:
            return count
    return 1


def block_scratch_bytes(n_in: int, size: int) -> int:
    """Scratch of one thread: quantised rows, their heads, and the widened blocks of a panel."""
    rows = max(SKINNY_ROWS, min(MAX_BLOCK_ROWS, A_BLOCK_BYTES // (4 * n_in)))
    widened = K_BLOCK // size * BlockKind(8, size, True).block_bytes
    return rows * (n_in + 8 * (n_in // size)) + widened


def _matmul(name, kind):
    """Compile matmul and embedding for one kind of blocks."""
    size, bits, head_bytes, block_bytes = kind.size, kind.bits, kind.head_bytes, kind.block_bytes
    has_minimum, wide_bytes = kind.has_minimum, kind.wide.block_bytes
    k_block_blocks = K_BLOCK // size

    @intrinsic
    def tile_wide(typingctx, n_rows, a, lda, heads, ldh, panel, column, n_blocks, c, ldc, accumulate):
        return _tile(kind.wide)

    @intrinsic
    def widen_block(typingctx, source, target):
        return _widen_block(kind)

    @intrinsic
    def tile(typingctx, n_rows, a, lda, heads, ldh, panel, column, n_blocks, c, ldc, accumulate):
        return _tile(kind)

    @intrinsic
    def quantize_row(typingctx, source, n_blocks, zero, codes, heads):
        return _quantize_row(size, has_minimum)

    @njit_as(name)
    def multiply_block(codes, heads, n_rows, n_blocks, panels, panel0, panel1, c, ldc, widened):
        """All of K for quantised rows and panels ``panel0 .. panel1``."""
        n_in, ldh = n_blocks * size, n_blocks * 8
        is_wide = bits < 8 and n_rows >= WIDE_ROWS
        for first in range(0, n_blocks, k_block_blocks):
            count = min(k_block_blocks, n_blocks - first)
            for p in range(panel0, panel1):
                panel = panels + (p * n_blocks + first) * block_bytes
                if is_wide:
                    for i in range(count):
                        widen_block(panel + i * block_bytes, widened + i * wide_bytes)
                for s in range(SUBPANELS):
                    row = 0
                    while row < n_rows:
                        taken = largest_block_tile(n_rows - row)
                        a, head = codes + row * n_in + first * size, heads + row * ldh + first * 8
                        target = c + row * ldc + p * PANEL_BYTES
                        if is_wide:
                            tile_wide(
                                taken, a, n_in, head, ldh, widened, s * TILE_COLUMNS, count, target, ldc, first
                            )
                        else:
                            tile(taken, a, n_in, head, ldh, panel, s * TILE_COLUMNS, count, target, ldc, first)
                        row += taken

    @njit_as(name)
    def share_matmul(args, sync, thread, n_threads):
        """This thread's part of a matmul: claim blocks until none is left."""
        a, lda, n_rows, n_in, panels = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
        n_panels, zero, c, ldc, bias = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
        residual, ldr, activation = arg(args, 10), arg(args, 11), arg(args, 12)
        codes = arg(args, 13) + thread * arg(args, 14)
        n_blocks = n_in // size
        if n_rows <= SKINNY_ROWS:
            rows_per_item, panels_per_item = n_rows, max(1, n_panels // (8 * n_threads))
        else:
            fit = min(MAX_BLOCK_ROWS, A_BLOCK_BYTES // (4 * n_in))
            rows_per_item = max(SKINNY_ROWS, min(fit, n_rows // (4 * n_threads)))
            panels_per_item = n_panels
        heads = codes + rows_per_item * n_in
        widened = heads + rows_per_item * n_blocks * 8
        row_items = (n_rows + rows_per_item - 1) // rows_per_item
        panel_items = (n_panels + panels_per_item - 1) // panels_per_item
        ready = -1
        while True:
            item = claim(sync)
            if item >= row_items * panel_items:
                break
            panel0 = item % panel_items * panels_per_item
            panel1 = min(panel0 + panels_per_item, n_panels)
            row0 = item // panel_items * rows_per_item
            count = min(rows_per_item, n_rows - row0)
            if ready != row0:
                for row in range(count):
                    quantize_row(
                        a + (row0 + row) * lda, n_blocks, zero, codes + row * n_in, heads + row * n_blocks * 8
                    )
                ready = row0
            target = c + row0 * ldc
            multiply_block(codes, heads, count, n_blocks, panels, panel0, panel1, target, ldc, widened)
            if bias or residual or activation:
                for p in range(panel0, panel1):
                    at = p * PANEL_BYTES
                    finish_rows_fast(
                        target + at, ldc, count, bias + at if bias else 0,
                        residual + row0 * ldr + at if residual else 0, ldr, activation, target + at, ldc,
                    )  # fmt: skip

    @njit_as(name)
    def code_at(block, column, k):
        """The code of step k of a block."""
        if bits == 8:
            return load_u8(block + head_bytes + (k // 4) * PANEL_BYTES + column * 4 + k % 4)
        byte = load_u8(block + head_bytes + (k // 8) * PANEL_BYTES + column * 4 + k % 4)
        code = (byte >> 4) if k % 8 >= 4 else (byte & 15)
        if bits == 5:
            word = load_i32(block + head_bytes + (size // 8) * PANEL_BYTES + column * 4)
            code |= ((word >> k) & 1) << 4
        return code

    @njit_as(name)
    def embed(args, sync):
        """Token embedding from blocks, plus positional embedding."""
        tokens, past, panels, positions, ldp = arg(args, 0), arg(args, 1), arg(args, 2), arg(args, 3), arg(args, 4)
        n_batch, n_new, n_state, out, ldo = arg(args, 5), arg(args, 6), arg(args, 7), arg(args, 8), arg(args, 9)
        zero, n_blocks = arg(args, 10), n_state // size
        while True:
            row = claim(sync)
            if row >= n_batch * n_new:
                break
            token = load_i32(tokens + 4 * row)
            position = load_i32(past + 4 * (row // n_new)) + row % n_new
            column = token % PANEL
            for i in range(n_blocks):
                block = panels + ((token // PANEL) * n_blocks + i) * block_bytes
                scale = load_half(block + 2 * column)
                minimum = load_half(block + 2 * (PANEL + column)) if has_minimum else to_f32(zero) * scale
                for k in range(size):
                    at = 4 * (i * size + k)
                    weight = scale * to_f32(code_at(block, column, k)) + minimum
                    store_f32(out + row * ldo + at, weight + load_f32(positions + position * ldp + at))

    return share_matmul, embed


@intrinsic
def load_u8(typingctx, address):
    def emit(context, b, signature, args):
        return b.zext(simd.load(b, args[0], I8, 1), simd.I64)

    return types.int64(types.int64), emit


# ``zero`` is minus the zero point of kinds without minima, and 1 for those with.
BLOCK_MATMUL_PARAMS = (
    "a", "lda", "n_rows", "n_in", "panels", "n_panels", "zero", "c", "ldc", "bias", "residual", "ldr", "activation",
    "scratch", "scratch_bytes",
)  # fmt: skip
BLOCK_EMBED_PARAMS = (
    "tokens", "past", "panels", "positions", "ldp", "n_batch", "n_new", "n_state", "out", "ldo", "zero",
)  # fmt: skip

B8 = BlockKind(8, 32, False)
B4 = BlockKind(4, 32, False)
B4M = BlockKind(4, 32, True)
B5 = BlockKind(5, 32, False)
B5M = BlockKind(5, 32, True)
B8S = BlockKind(8, 16, False)
B4S = BlockKind(4, 16, False)
B4SM = BlockKind(4, 16, True)

_b8, _b8_embed = _matmul("b8", B8)
_b4, _b4_embed = _matmul("b4", B4)
_b4m, _b4m_embed = _matmul("b4m", B4M)
_b5, _b5_embed = _matmul("b5", B5)
_b5m, _b5m_embed = _matmul("b5m", B5M)
_b8s, _b8s_embed = _matmul("b8s", B8S)
_b4s, _b4s_embed = _matmul("b4s", B4S)
_b4sm, _b4sm_embed = _matmul("b4sm", B4SM)


@kernel(*BLOCK_MATMUL_PARAMS)
def matmul_b8(args, sync, thread, n_threads):
    """8-bit codes, blocks of 32: q8_0."""
    _b8(args, sync, thread, n_threads)


@kernel(*BLOCK_EMBED_PARAMS)
def embed_b8(args, sync, thread, n_threads):
    _b8_embed(args, sync)


@kernel(*BLOCK_MATMUL_PARAMS)
def matmul_b4(args, sync, thread, n_threads):
    """4-bit codes, blocks of 32: q4_0."""
    _b4(args, sync, thread, n_threads)


@kernel(*BLOCK_EMBED_PARAMS)
def embed_b4(args, sync, thread, n_threads):
    _b4_embed(args, sync)


@kernel(*BLOCK_MATMUL_PARAMS)
def matmul_b4m(args, sync, thread, n_threads):
    """4-bit codes and minima, blocks of 32: q4_1, q4_k."""
    _b4m(args, sync, thread, n_threads)


@kernel(*BLOCK_EMBED_PARAMS)
def embed_b4m(args, sync, thread, n_threads):
    _b4m_embed(args, sync)


@kernel(*BLOCK_MATMUL_PARAMS)
def matmul_b5(args, sync, thread, n_threads):
    """5-bit codes, blocks of 32: q5_0."""
    _b5(args, sync, thread, n_threads)


@kernel(*BLOCK_EMBED_PARAMS)
def embed_b5(args, sync, thread, n_threads):
    _b5_embed(args, sync)


@kernel(*BLOCK_MATMUL_PARAMS)
def matmul_b5m(args, sync, thread, n_threads):
    """5-bit codes and minima, blocks of 32: q5_1, q5_k."""
    _b5m(args, sync, thread, n_threads)


@kernel(*BLOCK_EMBED_PARAMS)
def embed_b5m(args, sync, thread, n_threads):
    _b5m_embed(args, sync)


@kernel(*BLOCK_MATMUL_PARAMS)
def matmul_b8s(args, sync, thread, n_threads):
    """8-bit codes, blocks of 16: q6_k."""
    _b8s(args, sync, thread, n_threads)


@kernel(*BLOCK_EMBED_PARAMS)
def embed_b8s(args, sync, thread, n_threads):
    _b8s_embed(args, sync)


@kernel(*BLOCK_MATMUL_PARAMS)
def matmul_b4s(args, sync, thread, n_threads):
    """4-bit codes, blocks of 16: q3_k."""
    _b4s(args, sync, thread, n_threads)


@kernel(*BLOCK_EMBED_PARAMS)
def embed_b4s(args, sync, thread, n_threads):
    _b4s_embed(args, sync)


@kernel(*BLOCK_MATMUL_PARAMS)
def matmul_b4sm(args, sync, thread, n_threads):
    """4-bit codes and minima, blocks of 16: q2_k."""
    _b4sm(args, sync, thread, n_threads)


@kernel(*BLOCK_EMBED_PARAMS)
def embed_b4sm(args, sync, thread, n_threads):
    _b4sm_embed(args, sync)
