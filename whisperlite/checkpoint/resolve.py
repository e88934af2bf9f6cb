"""From what a user calls a model to a place on disk.

In: a path, ``nano``, a size name, ``owner/name`` or ``owner/name/file`` of the hub. Out: a path that exists.
Knows nothing of: what is at the path.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from whisperlite import knobs
from whisperlite.checkpoint import hub
from whisperlite.checkpoint.hub import HubOptions
from whisperlite.checkpoint.published import PUBLISHED, VAD_WEIGHTS, published
from whisperlite.errors import CheckpointError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
ASSETS = Path(__file__).parent.parent / "assets"


def resolve(name_or_path: str | Path, options: HubOptions | None = None) -> Path:
    """Path of a model, fetched from the hub when it is a name that is not on disk.

    Names win over files: write ``./tiny`` for a local folder of that name.

    Parameters
    ----------
    name_or_path
        ``nano``, a size name (``tiny`` .. ``large-v3-turbo``, ``distil-*``), an existing path,
        ``owner/name``, or ``owner/name/file`` where a repository holds several models.
    options
        Revision, token, cache and whether the hub may be asked; matters for names alone.

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
            return hub.fetch(row.repo, options)
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    if isinstance(name_or_path, str) and _is_repo(name_or_path):
        return hub.fetch(name_or_path, options)
    if path.name != str(name_or_path):
        raise CheckpointError(
            f"{path} does not exist; give a path that does, a model name, or owner/name of the hub."
        )
    raise CheckpointError(
        f"{str(name_or_path)!r} is no file, folder or model name; give a path, nano, {', '.join(PUBLISHED)}, "
        "or owner/name of a Hugging Face model."
    )


def resolve_vad(name: str, options: HubOptions | None = None) -> Path | None:
    """Path of a voice detector's weights by name; None for what is no such name.

    They are fetched where they are not in the cache; what is there is taken without asking the hub, for a name
    says the version. ``silero`` is the file that ``WHISPERLITE_VAD_MODEL`` names where there is one.

    Parameters
    ----------
    name
        ``silero``, ``silero-v6.2.0``, ``silero-v5.1.2``.
    options
        Token, cache and whether the hub may be asked; the revision is a model's and has no meaning here.

    Raises
    ------
    CheckpointError
        The weights cannot be fetched.
    """
    if name not in VAD_WEIGHTS:
        return None
    named = knobs.VAD_MODEL.get()
    if name == "silero" and named not in ("", "energy", *VAD_WEIGHTS):
        return Path(named)
    options = replace(options or HubOptions(), revision=None)
    owner, base, file = VAD_WEIGHTS[name].split("/")
    if (path := hub.cached(f"{owner}/{base}", file, options)) is not None:
        return path
    elsewhere = (
        f"fetch it elsewhere (hf download {owner}/{base} {file}) and give the file's path, or take 'energy', which "
        "needs no weights"
    )
    return hub.fetch(VAD_WEIGHTS[name], options, elsewhere)


def _is_repo(text: str) -> bool:
    parts = text.split("/")
    suffix = Path(text).suffix
    if not 2 <= len(parts) <= 3 or not all(map(_NAME.fullmatch, parts)):
        return False
    # With two parts and such an ending it is a path to a file that is not there.
    return (len(parts) == 3) == (suffix in (".pt", ".safetensors", ".bin", ".pth"))
