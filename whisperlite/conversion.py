"""What a model file holds beside its weights, composed from the rooms that know it.

In: an opened checkpoint. Out: its vocabulary; ``Companions`` for ``checkpoint.convert``.
Knows nothing of: formats, command lines.
"""

from __future__ import annotations

from whisperlite.audio.mel import mel_filters
from whisperlite.checkpoint import Checkpoint
from whisperlite.checkpoint.convert import Companions
from whisperlite.checkpoint.write_tokenizer import tokenizer_json
from whisperlite.text import Vocabulary, load_vocabulary
from whisperlite.text.bpe import merges_of, piece_of
from whisperlite.text.packaged import known_merges


def companions(checkpoint: Checkpoint) -> Companions:
    """Tokens and mel filters of a checkpoint: its own, otherwise OpenAI's for its sizes.

    Raises
    ------
    TokenizerError
        The vocabulary is damaged, or Whisper has none of that size.
    """
    vocabulary = vocabulary_of(checkpoint)
    tokens = tuple(vocabulary.token_bytes(index) for index in range(vocabulary.eot))

    def contents() -> str:
        pieces = [piece_of(token) for token in tokens]
        return tokenizer_json(pieces, known_merges(pieces) or merges_of(pieces), vocabulary.special_tokens)

    return Companions(tokens, vocabulary.special_tokens, mel_filters(checkpoint.dims.n_mels), contents)


def vocabulary_of(checkpoint: Checkpoint) -> Vocabulary:
    """Vocabulary of a checkpoint: the file's own tokens, else files beside it, else OpenAI's for its size.

    Raises
    ------
    TokenizerError
        It is damaged, or Whisper has none of that size.
    """
    return load_vocabulary(checkpoint.dims.n_vocab, checkpoint.tokenizer_files, checkpoint.tokens)
