"""Models of the Hugging Face hub.

In: ``owner/name``. Out: a folder in the hub's own cache, with one set of weights.
Knows nothing of: what the files contain.
"""

from __future__ import annotations

from pathlib import Path

from whisperlite.errors import CheckpointError

# One set of weights: some repositories hold the same model in several dtypes and formats.
PATTERNS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-?????-of-?????.safetensors",
)


def fetch(repo: str) -> Path:
    """Folder of a hub model: from the cache, or downloaded into it.

    Raises
    ------
    CheckpointError
        There is no such model, no network, or no permission.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    elsewhere = f"fetch it elsewhere (hf download {repo}) and give the folder, or use nano, which needs no network"
    try:
        return Path(snapshot_download(repo, allow_patterns=list(PATTERNS)))
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"{repo} is not on this machine and the hub cannot be reached; {elsewhere}."
        ) from None
    except HFValidationError:
        raise CheckpointError(
            f"{repo!r} is not a model name; give a path, a size name, owner/name or nano."
        ) from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        reason = {401: "does not exist or needs a login", 403: "is not open to you", 404: "does not exist"}.get(
            status or 0, f"could not be fetched (status {status})"
        )
        raise CheckpointError(f"{repo} {reason} on the hub; {elsewhere}.") from None
    except OSError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{repo} cannot be fetched: {first_line}; {elsewhere}.") from None
