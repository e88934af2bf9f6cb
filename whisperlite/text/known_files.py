"""A ``tokenizer.json`` that was read before.

In: a path. Out: ``Vocabulary``, and for each file a note in the cache folder.
Knows nothing of: where the file comes from.

Nearly every Whisper model comes with one of OpenAI's two vocabularies, in megabytes of JSON that take longer to
parse than a small model to load. What a file was found to hold is noted under a hash of its bytes: a file known to
hold a packaged vocabulary is not parsed again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from whisperlite.folders import cache_root, keep_note
from whisperlite.text.vocabulary import Vocabulary, n_text_tokens, read_file

OTHER = "a vocabulary of its own"


def from_tokenizer_json(path: str | Path, n_vocab: int) -> Vocabulary:
    """``Vocabulary.from_tokenizer_json``, parsed once in the life of a cache folder.

    Raises
    ------
    TokenizerError
        The file is unreadable, no byte-level BPE, or of a model with another vocabulary.
    """
    content = read_file(path)
    note = cache_root() / "vocabularies" / f"{hashlib.sha256(content).hexdigest()}.txt"
    packaged = f"packaged, {n_text_tokens(n_vocab)} tokens"
    known = _read(note)
    if known == packaged:
        return Vocabulary.packaged(n_vocab)
    vocabulary = Vocabulary.from_tokenizer_json(path, n_vocab, content)
    if known is None:
        keep_note(note, packaged if vocabulary.is_packaged else OTHER)
    return vocabulary


def _read(note: Path) -> str | None:
    try:
        return note.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
