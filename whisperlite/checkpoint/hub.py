"""Models of the Hugging Face hub.

In: ``owner/name`` or ``owner/name/file``. Out: its whole folder or file in the hub's cache; what that holds.
Knows nothing of: what the files contain, size names.

Files beside the weights are fetched first and the weights last, and the hub's library moves a file to its place
when all its bytes are there: so a folder that has its weights has everything.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisperlite.errors import CheckpointError
from whisperlite.trace import debug

_BESIDE_HF = ("config.json", "generation_config.json", "tokenizer.json", "model.safetensors.index.json",
              "pytorch_model.bin.index.json")  # fmt: skip
_BESIDE_CT2 = ("config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt")
_CONNECT_SECONDS = 10.0
_SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)")
_ELSEWHERE = (
    "fetch it elsewhere (hf download {repo}) and give the folder, or take --model nano ('nano'), which is in the "
    "package and knows digits and a few words"
)


@dataclass(frozen=True)
class HubOptions:
    """How the hub is asked.

    Attributes
    ----------
    revision : str, optional
        Branch, tag or commit; the main branch when not given.
    token : str, optional
        For models that need a login; the one that ``hf auth login`` or ``HF_TOKEN`` left when not given.
    cache_dir : path, optional
        The hub's own cache (``HF_HUB_CACHE``) when not given.
    local_files_only : bool
        Ask nobody; take what is in the cache. ``HF_HUB_OFFLINE=1`` does the same.
    """

    revision: str | None = None
    token: str | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False


@dataclass(frozen=True)
class Choice:
    """One model among the files of a repository."""

    beside: tuple[str, ...]
    weights: tuple[str, ...]
    is_file: bool = False


def choose_files(repo: str, names: Iterable[str], wanted: str | None = None) -> Choice:
    """One set of weights: some repositories hold the same model in several dtypes and formats.

    Raises
    ------
    CheckpointError
        There is none, or several that nothing tells apart.
    """
    given = set(names)
    if wanted is not None:
        if wanted not in given:
            raise CheckpointError(f"{repo} has no file {wanted!r}; it has {_some(given)}.")
        return Choice((), (wanted,), is_file=True)
    hf = tuple(name for name in _BESIDE_HF if name in given and not name.endswith(".index.json"))
    for stem, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        if (name := f"{stem}.{suffix}") in given:
            return Choice(hf, (name,))
        if (index := f"{name}.index.json") in given:
            shards = tuple(sorted(n for n in given if _SHARD.fullmatch(n) and n.endswith(suffix)))
            return Choice((*hf, index), shards)
    if "model.bin" in given:
        return Choice(tuple(name for name in _BESIDE_CT2 if name in given), ("model.bin",))
    single = sorted(n for n in given if "/" not in n and n.endswith((".bin", ".pt")) and not _is_no_model(n))
    if len(single) == 1:
        return Choice((), (single[0],), is_file=True)
    if single:
        raise CheckpointError(f"{repo} has several models; give one, as {repo}/{single[0]}: {_some(single)}.")
    raise CheckpointError(f"{repo} has no weights of a Whisper model; it has {_some(given) or 'no files'}.")


def fetch(name: str, options: HubOptions | None = None, elsewhere: str | None = None) -> Path:
    """Folder or file of a hub model: from the cache, or downloaded into it.

    Parameters
    ----------
    name
        ``owner/name``, or ``owner/name/file`` where a repository has several models.
    options
    elsewhere
        What an error says to do instead; not given: what there is for a Whisper model.

    Raises
    ------
    CheckpointError
        There is no such model, no network, or no permission; or the download was cut short.
    """
    options = options or HubOptions()
    owner, base, *rest = name.split("/", 2)
    repo, wanted = f"{owner}/{base}", rest[0] if rest else None
    elsewhere = elsewhere or _ELSEWHERE.format(repo=name if wanted is None else f"{repo} {wanted}")
    try:
        if options.local_files_only:
            return _cached_or_refused(repo, wanted, options, "local_files_only is set", elsewhere)
        return _download(repo, wanted, options)
    except CheckpointError:
        raise
    except Exception as error:  # the hub's errors have a base of their own in each of its versions
        return _after(error, repo, wanted, options, elsewhere)


def _download(repo: str, wanted: str | None, options: HubOptions) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    _reach()
    token: Any = options.token
    names = HfApi(token=token).list_repo_files(repo, revision=options.revision)
    choice = choose_files(repo, names, wanted)
    folder = Path()
    for files in (choice.beside, choice.weights):
        if files:
            folder = Path(
                snapshot_download(
                    repo,
                    revision=options.revision,
                    token=token,
                    cache_dir=options.cache_dir,
                    allow_patterns=[_literal(file) for file in files],
                    tqdm_class=_bar(shown=files is choice.weights and sys.stderr.isatty()),
                )
            )
    if missing := [file for file in choice.weights if not (folder / file).is_file()]:
        raise CheckpointError(f"{repo} was not fetched whole: {missing[0]} is missing; try again.")
    return folder / choice.weights[0] if choice.is_file else folder


def _bar(shown: bool) -> Any:
    """The library's progress bar, or one that stays silent; some of its bars write to files and pipes too."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **(options if shown else {**options, "disable": True}))

    return Bar


def _reach() -> None:
    """Fail at once where there is no network: the hub's library tries again for half a minute.

    Raises
    ------
    OSError
        No connection can be made.
    """
    from urllib.request import getproxies

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or getproxies():  # a proxy may know a way
        return
    place = urllib.parse.urlsplit(constants.ENDPOINT)
    port = place.port or (80 if place.scheme == "http" else 443)
    socket.create_connection((place.hostname or "", port), timeout=_CONNECT_SECONDS).close()


def _after(error: Exception, repo: str, wanted: str | None, options: HubOptions, elsewhere: str) -> Path:
    """What is left after the hub failed: a whole model in the cache, or an error that says why."""
    from huggingface_hub import errors

    debug(1, f"{repo}: {error!r}")
    if isinstance(error, errors.HFValidationError):
        raise CheckpointError(
            f"{repo!r} is not a model name; give a path, a size name, owner/name or nano."
        ) from None
    revision = options.revision or "main"
    if isinstance(error, errors.RevisionNotFoundError):
        raise CheckpointError(
            f"{repo} has no revision {revision!r} on the hub; give a branch, tag or commit."
        ) from None
    if isinstance(error, errors.GatedRepoError):
        raise CheckpointError(
            f"{repo} is open only to those who accepted its terms: do so at https://huggingface.co/{repo}, then "
            "give a token (HF_TOKEN, or hf auth login)."
        ) from None
    status = getattr(getattr(error, "response", None), "status_code", None)
    reasons = {
        401: "does not exist on the hub, or needs a token (HF_TOKEN, or hf auth login)",
        403: "is not open to your token",
        404: "is no path here and does not exist on the hub",
    }
    if status in reasons:
        raise CheckpointError(f"{repo} {reasons[status]}; {elsewhere}.") from None
    if isinstance(error, errors.OfflineModeIsEnabled):
        return _cached_or_refused(repo, wanted, options, "HF_HUB_OFFLINE is set", elsewhere)
    first_line = str(error).strip().partition("\n")[0] or type(error).__name__
    why = f"cannot be fetched: {f'the hub answers {status}' if status else first_line[:200]}"
    return _cached_or_refused(repo, wanted, options, why, elsewhere)


def _cached_or_refused(repo: str, wanted: str | None, options: HubOptions, why: str, elsewhere: str) -> Path:
    found = cached(repo, wanted, options)
    if found is not None:
        return found
    place = "only in part, or in another revision," if cached_bytes(repo, options.cache_dir) else "not"
    raise CheckpointError(f"{repo} is {place} on this machine and {why}; {elsewhere}.")


def cached(repo: str, wanted: str | None = None, options: HubOptions | None = None) -> Path | None:
    """The model's place in the cache where it is there whole, without asking the hub."""
    options = options or HubOptions()
    root = _repo_folder(repo, options.cache_dir)
    revision = options.revision or "main"
    reference = root / "refs" / revision
    try:
        commit = reference.read_text().strip() if reference.is_file() else revision
        folder = root / "snapshots" / commit
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        choice = choose_files(repo, names, wanted)
    except (OSError, CheckpointError, UnicodeDecodeError):
        return None
    for index in choice.beside:
        if index.endswith(".index.json") and not _has_shards(folder / index):
            return None
    if not choice.weights or (not choice.is_file and "config.json" not in names):
        return None
    return folder / choice.weights[0] if choice.is_file else folder


def cached_bytes(repo: str, cache_dir: str | Path | None = None) -> int:
    """Bytes that a repository takes in the cache, unfinished downloads included."""
    root = _repo_folder(repo, cache_dir)
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def free(repo: str, cache_dir: str | Path | None = None) -> int:
    """Remove a repository from the cache, every revision of it; gives the bytes freed.

    Raises
    ------
    CheckpointError
        Something cannot be removed.
    """
    n_bytes = cached_bytes(repo, cache_dir)
    root = _repo_folder(repo, cache_dir)
    if root.exists():
        try:
            shutil.rmtree(root)
        except OSError as error:
            raise CheckpointError(f"{root} cannot be removed: {error.strerror or error}.") from None
    return n_bytes


def cached_repos(cache_dir: str | Path | None = None) -> list[str]:
    """``owner/name`` of every model repository in the cache, Whisper's or not."""
    folders = sorted(_cache_root(cache_dir).glob("models--*--*"))
    return [folder.name.removeprefix("models--").replace("--", "/", 1) for folder in folders if folder.is_dir()]


def _cache_root(cache_dir: str | Path | None) -> Path:
    from huggingface_hub import constants

    return Path(cache_dir or constants.HF_HUB_CACHE).expanduser()


def _repo_folder(repo: str, cache_dir: str | Path | None) -> Path:
    return _cache_root(cache_dir) / f"models--{repo.replace('/', '--')}"


def _has_shards(index: Path) -> bool:
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        return bool(names) and all((index.parent / name).is_file() for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_no_model(name: str) -> bool:
    """Files of other kinds that end as models do."""
    return name.startswith(("training_args", "optimizer", "scheduler", "for-tests-")) or "encoder" in name


def _literal(name: str) -> str:
    """A pattern that this name alone fits."""
    return re.sub(r"([\[*?])", r"[\1]", name)


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:12]) + (f" and {len(ordered) - 12} more" if len(ordered) > 12 else "")
