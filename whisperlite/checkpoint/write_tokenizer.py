"""The ``tokenizer.json`` of a Hugging Face folder.

In: pieces, merges, special tokens. Out: the file's contents.
Knows nothing of: how pieces and merges are found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

# GPT-2's split of a text into words. ref: openai/whisper tokenizer.py get_encoding
_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def tokenizer_json(
    pieces: Sequence[str], merges: Iterable[tuple[str, str]], special_tokens: Mapping[str, int]
) -> str:
    """Contents of a ``tokenizer.json``: byte-level BPE as transformers and faster-whisper load it.

    Parameters
    ----------
    pieces
        Text tokens by id, written in GPT-2's alphabet of bytes.
    merges
        Pairs of pieces, in the order of their rank.
    special_tokens
        Ids by name.
    """
    vocabulary: dict[str, int] = {}
    for index, piece in enumerate(pieces):
        vocabulary.setdefault(piece, index)
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": id, "content": name, **plain} for name, id in special_tokens.items()],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": _PATTERN}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
                ],
            },
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": vocabulary,
                "merges": [list(pair) for pair in merges],
            },
        },
        ensure_ascii=False,
    )
