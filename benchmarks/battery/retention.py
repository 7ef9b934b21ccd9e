"""Checkpoints that have had their day, and a folder that has its run already."""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from battery.checkpoints import FILES, tensors
from battery.row import Outcome, Row, Size


@contextmanager
def traced(calls: list[tuple[str, str]]) -> Iterator[None]:
    """Write down what is made durable, renamed and deleted, in order, by name."""
    fsync, rename, rmtree = os.fsync, os.rename, shutil.rmtree

    def sync(handle: int) -> None:
        fsync(handle)
        calls.append(("fsync", str(Path(f"/proc/self/fd/{handle}").readlink())))

    def move(source: Any, target: Any) -> None:
        rename(source, target)
        calls.append(("rename", f"{source} -> {target}"))

    def remove(path: Any, *rest: Any, **named: Any) -> None:
        calls.append(("delete", str(path)))
        rmtree(path, *rest, **named)

    with ExitStack() as stack:
        for owner, name, call in (
            (os, "fsync", sync),
            (os, "rename", move),
            (shutil, "rmtree", remove),
        ):
            stack.enter_context(patch.object(owner, name, call))
        yield


def order_fault(calls: Sequence[tuple[str, str]], folder: Path, step: int) -> str | None:
    """What came too early: nothing goes before the new checkpoint is durable under its name."""
    fresh, target = folder / f".tmp-step-{step}", folder / f"step-{step}"
    needed = [("fsync", str(fresh / name)) for name in FILES] + [("fsync", str(fresh))]
    renamed = ("rename", f"{fresh} -> {target}")
    if renamed not in calls:
        return "the new one was not renamed into its place"
    at = calls.index(renamed)
    missing = [what for what in needed if what not in calls[:at]]
    if missing:
        return f"renamed before {missing}"
    if calls[at + 1 : at + 2] != [("fsync", str(folder))]:
        return f"after the rename came {calls[at + 1 : at + 2]}"
    early = [call for call in calls[:at] if _takes_away(call, folder)]
    return f"before the new one stood: {early}" if early else None


def _takes_away(call: tuple[str, str], folder: Path) -> bool:
    """Whether a call deletes a checkpoint, or renames one away."""
    what, place = call
    return what in ("delete", "rename") and place.startswith(str(folder / "step-"))


def retained(folder: Path, draw: random.Random) -> list[str]:
    """A run of saves with drawn settings: what is kept, what is newest, and in which order."""
    from accord.checkpoint.store import Store

    keep = draw.randint(1, 3)
    steps = sorted({*draw.sample(range(1, 130), 8), *draw.sample((9, 10, 99, 100), 2)})
    named = set(draw.sample(steps, draw.randint(0, 3)))
    faults: list[str] = []
    store = Store(folder, keep, faults.append, named)
    for count, step in enumerate(steps, start=1):
        calls: list[tuple[str, str]] = []
        with traced(calls):
            store.save(step, tensors(step), {})
        done = steps[:count]
        others = [s for s in done if s not in named]
        expected = {*others[-keep:], *(s for s in done if s in named)}
        held = {int(path.name.removeprefix("step-")) for path in folder.iterdir()}
        if held != expected:
            faults.append(f"kept {sorted(held)}, not {sorted(expected)}")
        latest = store.latest()
        if latest is None or latest.step != step:
            faults.append(f"the newest is {latest and latest.step}, not {step}")
        wrong = order_fault(calls, folder, step)
        if wrong is not None:
            faults.append(f"step {step}: {wrong}")
    return faults


def second_run(home: Path) -> list[str]:
    """What is wrong with the answer to a run into a folder that another is writing."""
    from battery import kills

    first = kills.start(kills.data(home))
    try:
        kills.holding(home, first)
        second = kills.start(home)
        _, said = second.communicate()
    finally:
        first.kill()
        first.communicate()
    right = second.returncode == 2 and "another run is writing into this folder" in said
    return [] if right and str(first.pid) in said else [f"exit code {second.returncode}: {said}"]


def retention(folder: Path, size: Size, runs: int = 20) -> Outcome:
    """Runs of saves with drawn settings, and a second run into one folder."""
    draw = random.Random(size.seed)
    faults = [f for number in range(runs) for f in retained(folder / str(number), draw)]
    faults += second_run(folder / "locked")
    return Outcome(
        not faults,
        f"{runs} runs of saves: order of calls, what is kept and what is newest as stated; a "
        f"second run into the folder refused; {len(faults)} faults",
        {"faults": faults},
    )


RETENTION = Row(
    "retention",
    "retention, `latest`, and the folder's lock",
    "never deletes the previous before the new one is durable; numeric order; a second run refused",
    retention,
)
