"""From what a user calls a model to a place on disk.

In: a path, ``nano``, a size name, or an ``owner/name`` of the hub. Out: a path that exists.
Knows nothing of: what is at the path.
"""

from __future__ import annotations

from pathlib import Path

from whisperlite.checkpoint.published import PUBLISHED, published
from whisperlite.errors import CheckpointError

ASSETS = Path(__file__).parent.parent / "assets"


def resolve(name_or_path: str | Path) -> Path:
    """Path of a model, fetched from the hub when it is a name that is not on disk.

    Names win over files: write ``./tiny`` for a local folder of that name.

    Parameters
    ----------
    name_or_path
        ``nano``, a size name (``tiny`` .. ``large-v3-turbo``, ``distil-*``), an existing path, or ``owner/name``.

    Raises
    ------
    CheckpointError
        The name is unknown, or the model cannot be fetched.
    """
    if isinstance(name_or_path, str):
        if name_or_path == "nano":
            return ASSETS / "nano"
        row = published(name_or_path)
        if row is not None:
            return _fetch(row.repo)
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    if isinstance(name_or_path, str) and _is_repo(name_or_path):
        return _fetch(name_or_path)
    if path.name != str(name_or_path):
        raise CheckpointError(
            f"{path} does not exist; give a path that does, a model name, or owner/name of the hub."
        )
    raise CheckpointError(
        f"{str(name_or_path)!r} is no file, folder or model name; give a path, nano, {', '.join(PUBLISHED)}, "
        "or owner/name of a Hugging Face model."
    )


def _is_repo(text: str) -> bool:
    owner, slash, name = text.partition("/")
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    suffix = Path(name).suffix
    return (
        bool(slash and owner and name)
        and set(owner + name) <= allowed
        and owner[0] not in "-."
        and name[0] not in "-."
        and suffix not in (".pt", ".safetensors", ".bin", ".pth")
    )


def _fetch(repo: str) -> Path:
    from whisperlite.checkpoint.hub import fetch

    return fetch(repo)
