"""Models of the Hugging Face hub, fetched without pickles and without code."""

import hashlib
import re
from importlib import import_module
from pathlib import Path

from accord.errors import AccordError

WANTED = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "tokenizer.model", "*.tiktoken")


def fetched(name: str, revision: str | None = None) -> Path:
    """Folder of the model `owner/name` in the hub's own cache, downloaded where it has to be.

    Large files lie there under their SHA-256, which is computed again.

    Raises:
        AccordError: The hub cannot be reached or knows no such model; a file has another hash.
    """
    hub = import_module("huggingface_hub")
    pinned = {} if revision is None else {"revision": revision}
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=list(WANTED), **pinned))
    except (OSError, ValueError) as error:
        if type(error).__name__ == "LocalEntryNotFoundError":
            raise AccordError(
                f"the model 'hub:{name}' is not in the hub's cache, and the hub is out of reach",
                f"hub:{name}",
                "give a local folder, or look at the connection (and at HF_HUB_OFFLINE)",
            ) from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise AccordError(
            f"the model 'hub:{name}' could not be fetched: {reason}",
            f"hub:{name}",
            "check the name and the connection, or give a local folder",
        ) from None
    check_hashes(folder)
    return folder


def check_hashes(folder: Path) -> None:
    """Compare the files of a folder in the hub's cache with the hashes that they are kept under.

    Raises:
        AccordError: A file has another; both are named.
    """
    for path in sorted(folder.iterdir()):
        expected = path.resolve().name
        if not path.is_symlink() or not re.fullmatch(r"[0-9a-f]{64}", expected):
            continue  # small files are kept under git's hash of them
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise AccordError(
                f"{path.name} has SHA-256 {found}, expected {expected}.",
                str(path),
                f"its download is damaged: delete {path.resolve()} and fetch the model again",
            )
