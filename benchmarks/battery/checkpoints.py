"""Checkpoints that are damaged, that do not fit the disk, and that have had their day."""

import errno
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from battery.row import Outcome, Row, Size

FILES = ("tensors.safetensors", "meta.json", "manifest.json")


def tensors(step: int) -> dict[str, Any]:
    """A state as a run has it: weights, moments, a counter, a roll-out in half precision."""
    import torch

    return {
        "weights/a": torch.full((16, 12), float(step)),
        "optimizer/a/exp_avg": torch.full((16, 12), step / 7),
        "optimizer/a/step": torch.tensor(float(step)),
        "collector/ids": torch.arange(40),
        "collector/half": torch.arange(9, dtype=torch.bfloat16),
    }


def meta(step: int) -> dict[str, Any]:
    """What is saved beside it."""
    return {"cursor": {"step": step, "num_tokens": 10 * step}}


def filled(folder: Path, *steps: int, keep: int = 9) -> tuple[Any, list[str]]:
    """A store with these steps, and the list that its warnings go to."""
    from accord.checkpoint.store import Store

    said: list[str] = []
    store = Store(folder, keep, said.append)
    for step in steps:
        store.save(step, tensors(step), meta(step))
    return store, said


# --- damaged files ---------------------------------------------------------------------------


def lengths(size: int) -> list[int]:
    """Lengths to cut a file to: every one of a short file, every class of a long one."""
    if size <= 600:
        return list(range(size))
    near = [1 << power for power in range(size.bit_length())]
    found = {0, *near, *(n - 1 for n in near), *(n + 1 for n in near)}
    found |= {size - n for n in near} | {size * part // 16 for part in range(16)}
    return sorted(n for n in found if 0 <= n < size)


def fault(folder: Path, name: str, content: bytes | None) -> str | None:
    """What is wrong with the answer to one damaged file of the newest of two checkpoints."""
    path = folder / "step-2" / name
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    store, said = filled(folder)
    try:
        latest = store.latest()
    except Exception as error:
        return f"raised {error!r}"
    finally:
        path.write_bytes(whole)
    if latest is None or latest.step != 1:
        return "the damaged one was taken" if latest else "the good one before was not taken"
    if len(said) != 1 or "step-2 is damaged" not in said[0]:
        return f"said {said}"
    # a changed hash in the manifest reads as a changed file
    if name not in said[0] and not (name == "manifest.json" and any(f in said[0] for f in FILES)):
        return f"another file was named: {said[0]}"
    return None


def cuts(folder: Path) -> Iterator[tuple[str, str, bytes | None]]:
    """Every truncation of every file, and other whole-file damage: file, what was done, content."""
    for name in FILES:
        whole = (folder / "step-2" / name).read_bytes()
        for length in lengths(len(whole)):
            yield name, f"cut to {length} of {len(whole)}", whole[:length]
        yield name, "removed", None
        yield name, "a byte more", whole + b"\0"
        yield name, "all zeros", bytes(len(whole))
        yield name, "of the step before", (folder / "step-1" / name).read_bytes()


def flips(folder: Path, count: int, seed: int) -> Iterator[tuple[str, str, bytes | None]]:
    """Random bits flipped, one at a time, in files drawn alike however long they are."""
    draw = random.Random(seed)
    for _ in range(count):
        name = draw.choice(FILES)
        content = bytearray((folder / "step-2" / name).read_bytes())
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        content[place] ^= 1 << bit
        yield name, f"bit {bit} of byte {place}", bytes(content)


def found(folder: Path, cases: Iterator[tuple[str, str, bytes | None]]) -> tuple[int, list[str]]:
    """How many cases there were, and those that were not answered as they must be."""
    tried, missed = 0, []
    for name, done, content in cases:
        tried += 1
        wrong = fault(folder, name, content)
        if wrong is not None:
            missed.append(f"{name}, {done}: {wrong}")
    return tried, missed


def damage(folder: Path, size: Size) -> Outcome:
    """Truncations and flipped bits of a checkpoint; then a run that goes on past a damaged one."""
    from battery import resume

    store = folder / "store"
    filled(store, 1, 2)
    cut, uncut = found(store, cuts(store))
    flipped, unflipped = found(store, flips(store, size.flips, size.seed))
    fell_back = [f for name in FILES for f in resume.past_a_damaged(name, folder / name)]
    missed = [*uncut, *unflipped, *fell_back]
    return Outcome(
        not missed,
        f"{flipped - len(unflipped)} of {flipped} flips detected, {cut - len(uncut)} of {cut} "
        f"truncations and other damage; {len(FILES)} runs went on from the one before, "
        f"{len(fell_back)} faults",
        {"missed": missed},
    )


# --- full disks ------------------------------------------------------------------------------


@contextmanager
def small_disk(room: int) -> Iterator[None]:
    """A disk that has `room` bytes, though it says that there is plenty: others write too."""
    from safetensors.torch import save

    left = room

    def write(path: Path, content: bytes) -> None:
        nonlocal left
        part = content[:left]
        with path.open("wb") as file:
            file.write(part)
        left -= len(part)
        if len(part) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with ExitStack() as stack:
        stack.enter_context(patch.object(Path, "write_bytes", write))
        kept = stack.enter_context(patch("accord.checkpoint.store.save_file"))
        kept.side_effect = lambda held, path: write(path, save(held))
        yield


def full_at(folder: Path, room: int) -> str | None:
    """What is wrong after a save that finds `room` bytes; the step before was saved whole."""
    from accord.checkpoint.store import find_fault
    from accord.errors import AccordError

    store, said = filled(folder)
    try:
        with small_disk(room):
            store.save(2, tensors(2), meta(2))
    except AccordError as error:
        if "bytes free" not in error.what or "needed" not in error.what:
            return f"said: {error.what}"
    else:
        return "no error"
    left = sorted(path.name for path in folder.iterdir())
    latest = store.latest()
    if left != ["step-1"] or latest is None or find_fault(latest.folder) or said:
        return f"left {left}, said {said}"
    return None


def refused_before(home: Path) -> list[str]:
    """What is wrong with the answer to a run whose disk is too small from the start."""
    from rich.console import Console

    from accord.config.load import load_recipe
    from accord.errors import AccordError
    from accord.pipeline.execute import Setting
    from accord.pipeline.run import run
    from battery.kills import RECIPE

    usage = shutil.disk_usage(home)
    setting = Setting(1, home, Console(quiet=True))
    with patch.object(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000)):
        try:
            run(load_recipe(RECIPE, ()), home / "out", setting=setting)
        except AccordError as error:
            said = error.what
        else:
            return ["a run began on a disk that is too small for it"]
    began = sorted(path.name for path in (home / "out").iterdir())
    right = "1,000,000 bytes free, about" in said and "needed" in said and began == [".lock"]
    return [] if right else [f"said: {said}; left {began}"]


def disk_full(folder: Path, size: Size) -> Outcome:
    """A disk that fills up after any number of bytes, that is too small, and a real one."""
    from battery.small_disk import filled_up

    filled(folder / "store", 1)
    filled(folder / "whole", 2)
    most = sum(file.stat().st_size for file in (folder / "whole" / "step-2").iterdir())
    rooms = lengths(most)
    missed = [
        f"{room} of {most} bytes: {wrong}"
        for room in rooms
        if (wrong := full_at(folder / "store", room)) is not None
    ]
    missed += refused_before(folder)
    real, faults = filled_up(folder / "real")
    return Outcome(
        not missed and not faults,
        f"{len(rooms)} offsets within a checkpoint, the check before a run, and {real}: "
        f"{len(missed) + len(faults)} faults",
        {"missed": [*missed, *faults]},
    )


DISK_FULL = Row(
    "disk-full",
    "disk full at several offsets",
    "a message with free and needed bytes; the last good one intact; looked at before a run",
    disk_full,
)
DAMAGE = Row(
    "damage",
    "each checkpoint file truncated; random bits flipped",
    "detected by the SHA-256 manifest; falls back to the last good one; names the file",
    damage,
)
