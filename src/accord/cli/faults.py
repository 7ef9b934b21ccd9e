"""What the system, a missing package or a fault of Accord's own comes to in a user's words."""

import errno
import os
import sys
import traceback
from importlib.metadata import PackageNotFoundError, requires, version

from accord.errors import AccordError

_BY_NUMBER = {
    errno.ENOENT: ("there is no such file or folder", "look at the path"),
    errno.EACCES: ("this may not be read or written", "look at the permissions"),
    errno.EPERM: ("this may not be read or written", "look at the permissions"),
    errno.EROFS: ("this disk cannot be written", "give a folder on another disk"),
    errno.ENOTDIR: ("a file stands where a folder is wanted", "give another path"),
    errno.EEXIST: ("a file stands where a folder is wanted", "give another path"),
    errno.EISDIR: ("a folder stands where a file is wanted", "give another path"),
    errno.ENOSPC: ("the disk is full", "free some space and run it again"),
    errno.EDQUOT: ("your share of the disk is full", "free some space and run it again"),
    errno.EMFILE: ("too many files are open", "raise the limit: ulimit -n 4096"),
    errno.ENAMETOOLONG: ("the name is too long", "give a shorter one"),
    errno.ELOOP: ("links lead in a ring", "give the file itself"),
    errno.EIO: ("the disk cannot be read or written", "look at the disk, then run it again"),
}

_PACKAGES = {"yaml": "pyyaml"}
"""Modules that are not called as their package is."""


def in_words(error: Exception) -> AccordError | None:
    """An error that is not Accord's own as a user's mistake or misfortune; none: it is a fault."""
    if isinstance(error, OSError):
        what, fix = _BY_NUMBER.get(
            error.errno or 0, (error.strerror or str(error), "mend that and run it again")
        )
        return AccordError(what, str(error.filename or ""), fix)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing(error.name.partition(".")[0])
    if isinstance(error, MemoryError) or _names_memory(error):
        return AccordError(
            "the memory is full",
            fix="lower micro_batch_size or max_length, or set gradient_checkpointing: true",
        )
    return None


def _names_memory(error: Exception) -> bool:
    """Whether torch ran out of memory, on a GPU or a CPU; without importing it to ask."""
    short = type(error).__name__ == "OutOfMemoryError"
    return short or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _missing(package: str) -> AccordError | None:
    """What to install, where the package is one that Accord names; else the fault is ours."""
    for line in requires("accord") or ():
        name = line.partition(";")[0].strip().rstrip("0123456789.,<>=!~ ").partition("[")[0]
        if name != "accord" and name.replace("-", "_") == _PACKAGES.get(package, package):
            _, _, extra = line.partition("extra == ")
            wanted = f"accord[{extra.strip(chr(34) + chr(39))}]" if extra else name
            return AccordError(f"{name} is not installed", fix=f"pip install '{wanted}'")
    return None


def fault(error: Exception, again: str) -> str:
    """The screen of a fault of Accord's own: what happened, where, what to do about it.

    Args:
        error: What was raised.
        again: The command line that raised it.
    """
    try:
        number = version("accord")
    except PackageNotFoundError:
        number = "unknown"
    python = ".".join(map(str, sys.version_info[:3]))
    first = (str(error).strip().splitlines() or [""])[0]
    own = [
        f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}accord{os.sep}" in f[0]
    ]
    place = f"accord{own[-1][0].rpartition('accord')[2]}:{own[-1].lineno}" if own else "unknown"
    return "\n".join(
        (
            f"error: a fault in Accord itself: {type(error).__name__}: {first:.300}".rstrip(": "),
            f"  where: {place}, accord {number}, Python {python}",
            f"  fix:   report it, with the traceback: {again}",
        )
    )
