"""One model, another format.

In: a path of any format that is read. Out: a ggml file or an HF folder.
Knows nothing of: command lines; where a vocabulary comes from when the model has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisperlite.checkpoint.checkpoint import Checkpoint
from whisperlite.checkpoint.ggml import GgmlCheckpoint
from whisperlite.checkpoint.open import open_checkpoint
from whisperlite.checkpoint.published import Heads
from whisperlite.checkpoint.write import Progress
from whisperlite.checkpoint.write_ggml import write_ggml
from whisperlite.checkpoint.write_hf import write_hf
from whisperlite.errors import CheckpointError, OptionError

FORMATS = ("ggml", "hf")


@dataclass(frozen=True)
class Companions:
    """What stands beside the weights in a model file, and is computed in rooms that this one does not know.

    Attributes
    ----------
    tokens : tuple of bytes
        Text tokens by id.
    special_tokens : mapping of str to int
        Ids by name.
    mel_filters : (n_mels, 201) float32
    tokenizer_json : function
        Contents of a ``tokenizer.json`` for these tokens; called where the model has no such file.
    """

    tokens: tuple[bytes, ...]
    special_tokens: Mapping[str, int]
    mel_filters: np.ndarray
    tokenizer_json: Callable[[], str]


def convert(
    source: str | Path,
    target: str | Path,
    format: str,
    type: str = "f16",
    companions: Callable[[Checkpoint], Companions] | None = None,
    alignment_heads: Heads | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the model at ``source`` as ``target``, which is whole or not there at any time.

    Parameters
    ----------
    source
        A path that ``open_checkpoint`` takes.
    target
        A file for ``ggml``, a folder for ``hf``.
    format
        ``ggml`` or ``hf``.
    type
        ``f32`` or ``f16``; for ggml also ``q4_0`` .. ``q6_k``.
    companions
        Gives what the source lacks. A ggml source has tokens and mel filters of its own; an HF source has its
        ``tokenizer.json``.
    alignment_heads
        (layer, head) to write in place of the source's: an HF folder can hold them, a ggml file cannot.
    progress
        Called after each tensor.

    Returns
    -------
    Path
        The target.

    Raises
    ------
    OptionError
        The format, type or heads cannot be honoured, or companions are needed.
    CheckpointError
        The source cannot be read, or the target not written.
    """
    if format not in FORMATS:
        raise OptionError(f"format {format!r} is not written; give {' or '.join(FORMATS)}.")
    if format == "ggml" and alignment_heads is not None:
        raise OptionError("a ggml file holds no alignment heads; write an HF folder to keep them.")
    with open_checkpoint(source, alignment_heads) as checkpoint:
        if format == "ggml":
            return _to_ggml(checkpoint, Path(target), type, companions, progress)
        return _to_hf(checkpoint, Path(target), type, companions, progress)


def _to_ggml(
    checkpoint: Checkpoint,
    target: Path,
    kind: str,
    companions: Callable[[Checkpoint], Companions] | None,
    progress: Progress | None,
) -> Path:
    if isinstance(checkpoint, GgmlCheckpoint):
        header = checkpoint.header
        return write_ggml(checkpoint, target, kind, header.mel_filters, header.tokens, progress)
    if companions is None:
        raise OptionError("a ggml file holds tokens and mel filters, which this source has not; give companions.")
    given = companions(checkpoint)
    filters = np.array(given.mel_filters)
    if filters[0, 0] == 0:
        filters[0, 0] = -0.0  # as in OpenAI's mel_filters.npz: the file becomes that of whisper.cpp's converter
    return write_ggml(checkpoint, target, kind, filters, given.tokens, progress)


def _to_hf(
    checkpoint: Checkpoint,
    target: Path,
    kind: str,
    companions: Callable[[Checkpoint], Companions] | None,
    progress: Progress | None,
) -> Path:
    given = None if companions is None else companions(checkpoint)
    own = [path for path in checkpoint.tokenizer_files if path.name == "tokenizer.json"]
    tokenizer_json = None
    # A tokenizer.json beside a file that carries its own tokens may be another model's.
    if own and not isinstance(checkpoint, GgmlCheckpoint):
        try:
            tokenizer_json = own[0].read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{own[0]} cannot be read: {error}.") from None
    elif given is not None:
        tokenizer_json = given.tokenizer_json()
    special_tokens = None if given is None else given.special_tokens
    return write_hf(checkpoint, target, kind, special_tokens, tokenizer_json, progress)
