"""Published models: sizes and alignment heads of Whisper's, where they live on the hub.

In: a size name, or ``Dims``. Out: ``Published`` rows; the cross-attention heads that follow the audio.
Knows nothing of: files, network.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisperlite.checkpoint.dims import Dims

Heads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Published:
    """A published model; ``alignment_heads`` are (decoder layer, head), None where nobody published any."""

    name: str
    repo: str
    dims: Dims
    alignment_heads: Heads | None


def _dims(state: int, head: int, layers: tuple[int, int], n_vocab: int, n_mels: int = 80) -> Dims:
    encoder, decoder = layers
    return Dims(n_mels, 1500, state, head, encoder, n_vocab, 448, state, head, decoder)


_TINY, _BASE, _SMALL, _MEDIUM = (384, 6, (4, 4)), (512, 8, (6, 6)), (768, 12, (12, 12)), (1024, 16, (24, 24))
_LARGE, _TURBO, _DISTIL_LARGE = (1280, 20, (32, 32)), (1280, 20, (32, 4)), (1280, 20, (32, 2))

# ref: openai/whisper __init__.py _ALIGNMENT_HEADS, decoded
_TINY_HEADS = ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5))
_TINY_EN_HEADS = ((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4))
_BASE_HEADS = ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6))
_BASE_EN_HEADS = ((3, 3), (4, 7), (5, 1), (5, 5), (5, 7))
_SMALL_HEADS = ((5, 3), (5, 9), (8, 0), (8, 4), (8, 7), (8, 8), (9, 0), (9, 7), (9, 9), (10, 5))
_SMALL_EN_HEADS = (
    (6, 6), (7, 0), (7, 3), (7, 8), (8, 2), (8, 5), (8, 7), (9, 0), (9, 4), (9, 8), (9, 10),
    (10, 0), (10, 1), (10, 2), (10, 3), (10, 6), (10, 11), (11, 2), (11, 4),
)  # fmt: skip
_MEDIUM_HEADS = ((13, 15), (15, 4), (15, 15), (16, 1), (20, 0), (23, 4))
_MEDIUM_EN_HEADS = (
    (11, 4), (14, 1), (14, 12), (14, 14), (15, 4), (16, 0), (16, 4), (16, 9), (17, 12), (17, 14),
    (18, 7), (18, 10), (18, 15), (20, 0), (20, 3), (20, 9), (20, 14), (21, 12),
)  # fmt: skip
_LARGE_V1_HEADS = ((9, 19), (11, 2), (11, 4), (11, 17), (22, 7), (22, 11), (22, 17), (23, 2), (23, 15))
_LARGE_V2_HEADS = (
    (10, 12), (13, 17), (16, 11), (16, 12), (16, 13), (17, 15), (17, 16), (18, 4), (18, 11), (18, 19),
    (19, 11), (21, 2), (21, 3), (22, 3), (22, 9), (22, 12), (23, 5), (23, 7), (23, 13), (25, 5),
    (26, 1), (26, 12), (27, 15),
)  # fmt: skip
_LARGE_V3_HEADS = (
    (7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6),
)  # fmt: skip
_TURBO_HEADS = ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14))

_ROWS = (
    Published("tiny", "openai/whisper-tiny", _dims(*_TINY, 51865), _TINY_HEADS),
    Published("tiny.en", "openai/whisper-tiny.en", _dims(*_TINY, 51864), _TINY_EN_HEADS),
    Published("base", "openai/whisper-base", _dims(*_BASE, 51865), _BASE_HEADS),
    Published("base.en", "openai/whisper-base.en", _dims(*_BASE, 51864), _BASE_EN_HEADS),
    Published("small", "openai/whisper-small", _dims(*_SMALL, 51865), _SMALL_HEADS),
    Published("small.en", "openai/whisper-small.en", _dims(*_SMALL, 51864), _SMALL_EN_HEADS),
    Published("medium", "openai/whisper-medium", _dims(*_MEDIUM, 51865), _MEDIUM_HEADS),
    Published("medium.en", "openai/whisper-medium.en", _dims(*_MEDIUM, 51864), _MEDIUM_EN_HEADS),
    Published("large-v1", "openai/whisper-large", _dims(*_LARGE, 51865), _LARGE_V1_HEADS),
    Published("large-v2", "openai/whisper-large-v2", _dims(*_LARGE, 51865), _LARGE_V2_HEADS),
    Published("large-v3", "openai/whisper-large-v3", _dims(*_LARGE, 51866, 128), _LARGE_V3_HEADS),
    Published("large-v3-turbo", "openai/whisper-large-v3-turbo", _dims(*_TURBO, 51866, 128), _TURBO_HEADS),
    Published("distil-small.en", "distil-whisper/distil-small.en", _dims(768, 12, (12, 4), 51864), None),
    Published("distil-medium.en", "distil-whisper/distil-medium.en", _dims(1024, 16, (24, 2), 51864), None),
    Published("distil-large-v2", "distil-whisper/distil-large-v2", _dims(*_DISTIL_LARGE, 51865), None),
    Published("distil-large-v3", "distil-whisper/distil-large-v3", _dims(*_DISTIL_LARGE, 51866, 128), None),
    Published("distil-large-v3.5", "distil-whisper/distil-large-v3.5", _dims(*_DISTIL_LARGE, 51866, 128), None),
)

# Weights of voice detectors, ``owner/name/file`` of the hub. ref: whisper.cpp models/download-vad-model.sh
VAD_WEIGHTS: dict[str, str] = {
    "silero": "ggml-org/whisper-vad/ggml-silero-v6.2.0.bin",
    "silero-v6.2.0": "ggml-org/whisper-vad/ggml-silero-v6.2.0.bin",
    "silero-v5.1.2": "ggml-org/whisper-vad/ggml-silero-v5.1.2.bin",
}

PUBLISHED: dict[str, Published] = {row.name: row for row in _ROWS}
ALIASES: dict[str, str] = {"large": "large-v3", "turbo": "large-v3-turbo"}

NANO = Published("nano", "", _dims(128, 2, (4, 4), 51865), ((2, 0), (3, 1)))


def published(name: str) -> Published | None:
    """The published model of a size name (``tiny`` .. ``large-v3-turbo``, ``distil-*``, ``large``, ``turbo``)."""
    return PUBLISHED.get(ALIASES.get(name, name))


def alignment_heads_for(dims: Dims, hint: str = "") -> Heads:
    """Cross-attention heads, (layer, head), that follow the audio closely: for word times.

    Parameters
    ----------
    dims
        The model's sizes; a published size has published heads.
    hint
        A file or folder name. large-v1 and large-v2 have the same sizes: ``large-v1`` in it chooses the first.

    Returns
    -------
    tuple of (int, int)
        Published heads, otherwise every head of the last half of the decoder layers.
        ref: openai/whisper model.py ``Whisper.__init__``
    """
    rows = [row for row in (*_ROWS, NANO) if row.dims == dims and row.alignment_heads is not None]
    if not rows:
        return default_alignment_heads(dims)
    named = [row for row in rows if row.name in hint]
    chosen = (named or rows)[-1].alignment_heads
    assert chosen is not None
    return chosen


def default_alignment_heads(dims: Dims) -> Heads:
    """Every head of the last half of the decoder layers."""
    layers = range(dims.n_text_layer // 2, dims.n_text_layer)
    return tuple((layer, head) for layer in layers for head in range(dims.n_text_head))
