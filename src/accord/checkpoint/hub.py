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
