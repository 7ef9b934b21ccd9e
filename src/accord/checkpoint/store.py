"""Checkpoints that survive kills, full disks and flipped bits.

A checkpoint is a folder `step-N` with `tensors.safetensors`, `meta.json` and `manifest.json`, which
holds the SHA-256 of the other two. It is written under a temporary name, made durable, renamed, and
only then are older ones deleted. Nothing is ever unpickled.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.errors import AccordError

TENSORS, META, MANIFEST = "tensors.safetensors", "meta.json", "manifest.json"
_NAME = re.compile(r"step-(\d+)")
_TEMPORARY = ".tmp-"
_HEADER_BYTES = 1 << 20  # safetensors header, JSON files and the folder itself


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files agree with its manifest.

    Args:
        step: Optimiser steps that are done.
        folder: Where its files are.
        meta: What was saved beside the tensors (plain JSON).
    """

    step: int
    folder: Path
    meta: dict[str, Any]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, on the CPU."""
        return load_file(self.folder / TENSORS)


class Store:
    """The checkpoints of one run.

    Args:
        folder: Made when the first checkpoint is saved.
        keep_last: How many of the newest stay.
        keep_steps: Steps that stay besides.
        warn: Called with a line for each checkpoint that is damaged.
    """

    def __init__(
        self,
        folder: Path,
        keep_last: int = 1,
        warn: Callable[[str], None] = print,
        keep_steps: Collection[int] = (),
    ) -> None:
        self.folder, self._keep, self._warn = folder, keep_last, warn
        self._kept = frozenset(keep_steps)

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Path:
        """Write a checkpoint and return its folder; it is durable before any older one goes.

        Checkpoints of later steps go too: a run that saves step N again has left them behind.

        Raises:
            AccordError: The disk has too little room or cannot be written to; the last good
                checkpoint is untouched.
        """
        needed = sum(t.numel() * t.element_size() for t in tensors.values())
        self.check_space(needed)
        self.clean()
        target = self.folder / f"step-{step}"
        fresh = self.folder / f"{_TEMPORARY}{target.name}"
        try:
            fresh.mkdir(parents=True)
            self._write(fresh, step, tensors, meta)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise (self._full(needed) if is_full(error) else self._unwritten(error)) from error
        if target.exists():
            # Same step, saved before: the name has to be free for the new one.
            target.rename(self.folder / f"{_TEMPORARY}old-{target.name}")
        fresh.rename(target)
        _sync(self.folder)
        self._retire(step)
        return target

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, by number; damaged ones are named in a warning."""
        for step in sorted(self._steps(), reverse=True):
            folder = self.folder / f"step-{step}"
            fault = find_fault(folder)
            if fault is None:
                return self.at(step)
            self._warn(f"checkpoint {folder} is damaged ({fault}); trying the one before it")
        return None

    def at(self, step: int) -> Checkpoint:
        """The checkpoint of `step`, unverified: for one that `latest` has just named."""
        folder = self.folder / f"step-{step}"
        return Checkpoint(step, folder, json.loads((folder / META).read_bytes())["meta"])

    def clean(self) -> None:
        """Remove what a killed save has left half-written."""
        for left in self.folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left)

    def clear(self) -> None:
        """Remove every checkpoint: a run starts afresh."""
        self.clean()
        for step in self._steps():
            self._remove(step)

    def check_space(self, needed: int) -> None:
        """Raise AccordError, with free and needed bytes, if `needed` bytes do not fit the disk."""
        if self._free() < needed + _HEADER_BYTES:
            raise self._full(needed)

    def _free(self) -> int:
        place = next(p for p in (self.folder, *self.folder.absolute().parents) if p.exists())
        return shutil.disk_usage(place).free

    def _full(self, needed: int) -> AccordError:
        return AccordError(
            f"too little disk space for a checkpoint: {self._free():,} bytes free, "
            f"{needed + _HEADER_BYTES:,} needed",
            str(self.folder),
            "free some space and run it again: it goes on from the last good checkpoint",
        )

    def _unwritten(self, error: Exception) -> AccordError:
        return AccordError(
            f"a checkpoint could not be written: {error}",
            str(self.folder),
            "mend that and run it again: it goes on from the last good checkpoint",
        )

    def _steps(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        names = (_NAME.fullmatch(p.name) for p in self.folder.iterdir() if p.is_dir())
        return [int(match[1]) for match in names if match]

    def _write(
        self, folder: Path, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
    ) -> None:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(whole, folder / TENSORS)
        (folder / META).write_bytes(_canonical({"step": step, "meta": dict(meta)}))
        for name in (TENSORS, META):
            _sync(folder / name)
        files = {name: _entry(folder / name) for name in (META, TENSORS)}
        (folder / MANIFEST).write_bytes(_canonical({"files": files, "step": step}))
        _sync(folder / MANIFEST)
        _sync(folder)

    def _retire(self, newest: int) -> None:
        steps = self._steps()
        older = sorted(step for step in steps if step <= newest and step not in self._kept)
        for step in [s for s in steps if s > newest] + older[: -self._keep]:
            self._remove(step)
        self.clean()

    def _remove(self, step: int) -> None:
        # Renamed first, so that a kill in the middle leaves no half-deleted checkpoint.
        folder = self.folder / f"step-{step}"
        gone = self.folder / f"{_TEMPORARY}old-{folder.name}"
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone)


def find_fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, naming the file, or none if it is whole."""
    try:
        raw = (folder / MANIFEST).read_bytes()
        manifest = json.loads(raw)
        entries: dict[str, dict[str, Any]] = manifest["files"]
        # A flipped bit in the manifest itself either changes what it says or how it is written.
        if raw != _canonical(manifest) or f"step-{manifest['step']}" != folder.name:
            return f"{MANIFEST} is not as it was written"
        if set(entries) != {TENSORS, META}:
            return f"{MANIFEST} names other files"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} cannot be read"
    for name, entry in entries.items():
        if not (folder / name).is_file() or _entry(folder / name) != entry:
            return f"{name} is missing or does not match its SHA-256"
    return None


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True).encode() + b"\n"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_full(error: Exception) -> bool:
    """Whether an error of the system or of safetensors says that the disk is full."""
    # safetensors words the system's error; its number is only in the text.
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"(os error {errno.ENOSPC})" in str(error)
