"""Models out of the hub's cache: files are what their hash says, and links lead nowhere else."""

import hashlib
from pathlib import Path

import pytest

from accord.checkpoint.hub import check_hashes
from accord.errors import AccordError
from accord.text.confined import inside


def cached(home: Path, content: bytes, kept_as: str) -> Path:
    """A folder of the hub's cache with one file, under the name of a hash."""
    snapshot = home / "models--a--b" / "snapshots" / "revision"
    blobs = home / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / kept_as).write_bytes(content)
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs") / kept_as)
    return snapshot


def test_a_whole_file_is_taken(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, b"weights", hashlib.sha256(b"weights").hexdigest())
    check_hashes(snapshot)
    assert inside(snapshot / "model.safetensors").read_bytes() == b"weights"


def test_another_hash_is_refused_with_both(tmp_path: Path) -> None:
    expected, found = (hashlib.sha256(data).hexdigest() for data in (b"weights", b"weightz"))
    with pytest.raises(AccordError, match=f"{found}, expected {expected}"):
        check_hashes(cached(tmp_path, b"weightz", expected))


def test_links_may_stay_in_the_folder_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_text("s")
    (folder / "a.json").write_text("{}")
    (folder / "b.json").symlink_to("a.json")
    (folder / "c.json").symlink_to(tmp_path / "secret")
    assert inside(folder / "b.json") == folder / "b.json"
    with pytest.raises(AccordError, match="leads out of its folder"):
        inside(folder / "c.json")
    (tmp_path / "linked").symlink_to(folder)
    assert inside(tmp_path / "linked" / "b.json").is_file()
