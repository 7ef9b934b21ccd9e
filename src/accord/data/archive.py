"""One file out of a zip or tar archive, read into memory: nothing is extracted, linked or run."""

import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from accord.errors import AccordError

MAX_MEMBER = 2**30
"""Bytes a member may unpack to; more is an archive bomb or no text."""


MAX_ARCHIVE = 2**33
"""Bytes all members of a tar archive may have: finding one unpacks those before it."""


_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
    # what a damaged table of contents comes to: other methods, passwords, offsets, names
    NotImplementedError, RuntimeError, ValueError, LookupError, OverflowError, struct.error,
)  # fmt: skip


def read_member(archive: Path, members: Sequence[str]) -> bytes:
    """The bytes of a member; each further name is looked up in the archive before it.

    Raises:
        AccordError: No such member, not a plain file, too large, or not an archive.
    """
    with archive.open("rb") as stream:
        data = _member(stream, archive.name, members[0])
    for outer, inner in pairwise(members):
        data = _member(io.BytesIO(data), f"{archive.name}!{outer}", inner)
    return data


def _member(stream: BinaryIO, archive: str, path: str) -> bytes:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise AccordError(f"'{path}' is not a path inside an archive.", archive)
    try:
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as zipped:
                return _from_zip(zipped, archive, path)
        stream.seek(0)
        with tarfile.open(fileobj=stream, mode="r:*") as tar:
            return _from_tar(tar, archive, path)
    except _BROKEN as error:
        raise AccordError(f"Not a whole zip or tar archive: {error}.", archive) from None


def _from_zip(zipped: zipfile.ZipFile, archive: str, path: str) -> bytes:
    info = zipped.getinfo(_find(path, zipped.namelist(), archive))
    # the upper 16 bits hold the Unix mode, 0 where the archive was made elsewhere
    mode = info.external_attr >> 16
    if info.is_dir() or (mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
        raise AccordError(f"'{path}' is not a plain file.", archive)
    _check_size(info.file_size, archive, path)
    with zipped.open(info) as member:
        return member.read(info.file_size)


def _from_tar(tar: tarfile.TarFile, archive: str, path: str) -> bytes:
    size = 0
    for member in tar:
        size += member.size
        if size > MAX_ARCHIVE:
            raise AccordError(f"It unpacks to more than {MAX_ARCHIVE >> 20} MB.", archive, _TRUST)
    info = tar.getmember(_find(path, tar.getnames(), archive))
    _check_size(info.size, archive, path)
    # a link's target could be any other member; data has no need of links
    member = tar.extractfile(info) if info.isreg() else None
    if member is None:
        raise AccordError(f"'{path}' is not a plain file.", archive)
    return member.read(info.size)


_TRUST = "is it the archive that you meant? Fetch it from a source you trust"


def _check_size(size: int, archive: str, path: str) -> None:
    if size > MAX_MEMBER:
        what = f"'{path}' unpacks to more than {MAX_MEMBER // 2**20} MB."
        raise AccordError(what, archive, _TRUST)


def _find(path: str, names: Sequence[str], archive: str) -> str:
    """The member called `path`, or so called inside the one folder that an sdist wraps around."""
    known = set(names)
    if path in known:
        return path
    roots = {name.partition("/")[0] for name in names}
    if len(roots) == 1 and (inside := f"{next(iter(roots))}/{path}") in known:
        return inside
    raise AccordError(f"No file '{path}' in the archive.", archive, _nearest(path, names))


def _nearest(path: str, names: Sequence[str]) -> str:
    """A close name, else the files that end alike, else the first ones."""
    close = get_close_matches(path, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    alike = [name for name in names if name.endswith(PurePosixPath(path).suffix or path)]
    shown = sorted(alike or names)[:8]
    more = len(alike or names) - len(shown)
    return "it holds: " + ", ".join(shown) + (f" and {more} more" if more else "")
