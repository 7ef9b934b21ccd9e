"""A model folder to the hub: what would be uploaded first, then the upload."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from accord.checkpoint.adapter_folder import ADAPTER_CONFIG
from accord.checkpoint.folder import CARD, CONFIG
from accord.errors import AccordError

LEFT = ("checkpoint*", ".saving", "optimizer*", "*.pt", "*.bin")
"""What other trainers leave among a model's files; Accord's record in `accord/` stays here."""


@dataclass(frozen=True)
class Upload:
    """Files of a folder that would be uploaded, with their sizes in bytes."""

    folder: Path
    files: Sequence[tuple[str, int]]

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(size for _, size in self.files)

    def lines(self) -> list[str]:
        """A line a file, and their sum."""
        width = max(len(name) for name, _ in self.files)
        shown = [f"  {name.ljust(width)}  {size:>15,}" for name, size in self.files]
        return [*shown, f"  {'together'.ljust(width)}  {self.bytes:>15,}"]


def upload_of(folder: Path) -> Upload:
    """What `push` would upload; nothing is sent.

    Raises:
        AccordError: The folder holds no model or no card, or checkpoints of a training run
            among its files.
    """
    if not any((folder / mark).is_file() for mark in (CONFIG, ADAPTER_CONFIG)):
        raise AccordError("The folder holds no model.", str(folder), "give a model folder")
    card = folder / CARD
    if not card.is_file() or not card.read_text(encoding="utf-8").startswith("---\n"):
        raise AccordError(
            "The folder has no model card: nobody could tell what the model is or may be used for.",
            str(card),
            "write a README.md whose front matter names licence, language and data",
        )
    if left := sorted(path.name for pattern in LEFT for path in folder.glob(pattern)):
        raise AccordError(
            f"The folder holds {', '.join(left)} of a training run, as large as the model many "
            "times over.",
            str(folder),
            "delete them, or copy the model's own files to another folder",
        )
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return Upload(folder, [(path.name, path.stat().st_size) for path in paths])


def push(upload: Upload, name: str, private: bool, api: Any = None) -> str:
    """Upload a folder's files as one commit; gives the model's address.

    Args:
        upload: As `upload_of` gives it.
        name: `owner/name`.
        private: Whether a repository that is made now is private.
        api: Stand-in for `huggingface_hub.HfApi()`.

    Raises:
        AccordError: Not logged in, no right to write there, or no connection.
    """
    if name.count("/") != 1 or not all(name.split("/")):
        raise AccordError(f"'{name}' is no name of a model", name, "write OWNER/NAME")
    hub = import_module("huggingface_hub")
    api = api or hub.HfApi()
    try:
        api.whoami()
        api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=str(upload.folder),
            allow_patterns=[file for file, _ in upload.files],
            commit_message="Upload with Accord",
        )
    except import_module("huggingface_hub.errors").LocalTokenNotFoundError:
        what = "The model was not uploaded: nobody is logged in to the hub on this machine."
        raise AccordError(what, name, "log in first: hf auth login") from None
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise AccordError(
            f"The model was not uploaded: {reason}", name, "log in first: hf auth login"
        ) from None
    return f"hub:{name}"
