"""Models to measure, in every form an engine reads.

In: a size name, ``nano``, or an HF folder. Out: a folder with tokenizer and configs, ggml files, a job.
Knows nothing of: engines' own conversions.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.peers.engine import Job
from benchmarks.random_models import cached_random_model
from whisperlite.checkpoint import open_checkpoint, resolve
from whisperlite.checkpoint.convert import convert

CACHE = Path(".cache") / "benchmarks"
COMPANIONS = ("tokenizer.json", "preprocessor_config.json", "generation_config.json")
N_VOCAB = 51865  # of the multilingual models before large-v3, for which nano's tokenizer is right


def model_folder(name: str, root: Path = CACHE) -> Path:
    """An HF folder of a model that may be written into: peers' converted forms are kept in it.

    Parameters
    ----------
    name : str
        ``nano``; a published size, made with random weights; or an HF folder, copied.

    Raises
    ------
    ValueError
        There is no such size or folder.
    """
    packaged = Path(resolve("nano"))
    packaged = packaged if packaged.is_dir() else packaged.parent
    source = packaged if name == "nano" else Path(name) if Path(name).is_dir() else cached_random_model(name)
    folder = root.resolve() / model_name(name)
    if not (folder / "config.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        same_vocabulary = open_checkpoint(source).dims.n_vocab == N_VOCAB
        for companion in COMPANIONS:
            if (source / companion).is_file():
                shutil.copy(source / companion, folder)
            elif same_vocabulary:
                shutil.copy(packaged / companion, folder)
        _link(source / "model.safetensors", folder / "model.safetensors")
        shutil.copy(source / "config.json", folder)
    return folder


def model_name(name: str) -> str:
    """Short name of a model in tables."""
    return Path(name).name


def ggml_file(folder: Path, kind: str) -> Path:
    """The model as a ggml file; made at the first call."""
    from tools.convert_ggml import companions

    path = folder / "converted" / f"ggml-{kind}.bin"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        convert(folder, path, "ggml", kind, companions)
    return path


def job_for(folder: Path, compute_type: str, threads: int, n_tokens: int, n_steps: int) -> Job:
    """What a worker is to do with a model; ggml types get their file."""
    files = {}
    if compute_type == "f16" or compute_type.startswith("q"):
        files[f"ggml-{compute_type}"] = str(ggml_file(folder, compute_type).resolve())
    return Job(folder, files, compute_type, threads, n_tokens, n_steps)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copy(source, target)
