"""TRL's checkpoints on a disk that is full, and damaged on the disk."""

import random
import resource
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from battery.peers import training, world
from battery.peers.interrupted import PATIENCE, checkpoints, whole, without_paths
from battery.peers.lives import Life, lived
from battery.peers.training import Run
from battery.row import Outcome, Size

FULL_IN_STEP, STEPS = 3, 4
OFFSETS = {
    "in the weights": 4_000,
    "near their end": 150_000,
    "in the optimiser": 180_000,
    "near its end": 300_000,
}
"""Where a file stops to grow: the weights take 160 KB, the optimiser's state twice as much."""


def train_on_a_full_disk(run: Run, offset: int) -> None:
    """From step 3's save on no file grows beyond `offset` bytes (`RLIMIT_FSIZE`, as EFBIG)."""
    trainer = training.trainer_of(run)
    whole_save = trainer._save_checkpoint

    def saving(*arguments: Any, **named: Any) -> None:
        if trainer.state.global_step == FULL_IN_STEP:
            resource.setrlimit(resource.RLIMIT_FSIZE, (offset, resource.RLIM_INFINITY))
        whole_save(*arguments, **named)

    trainer._save_checkpoint = saving
    training.fitted(trainer, run)


def disk(folder: Path, size: Size) -> Outcome:
    """What is said, what is left, and whether a restart with room again goes on by itself."""
    home = world.made(folder / "world")
    settings = {"max_steps": STEPS}
    undisturbed = Run(home.model, home.sft, folder / "whole", settings=settings)
    whole(undisturbed, folder / "whole.log")
    wanted = training.digests(undisturbed.out, undisturbed.out / f"checkpoint-{STEPS}")
    messages, told, resumed = {}, 0, 0
    for number, (name, offset) in enumerate(OFFSETS.items()):
        out, log = folder / f"full{number}", folder / f"full{number}.log"
        run = Run(home.model, home.sft, out, resume="last", settings=settings)
        ended = lived(log, PATIENCE, train_on_a_full_disk, run, offset)
        messages[name] = f"exit {ended.code}: {without_paths(ended.last_line)}"
        told += all(word in ended.last_line.lower() for word in ("free", "need"))
        again = lived(log, PATIENCE, training.train, run)
        if again.code:
            messages[name] += f"; restart: {without_paths(again.last_line)}"
        else:
            resumed += training.digests(out, out / f"checkpoint-{STEPS}") == wanted
    figure = (
        f"{told} of {len(OFFSETS)} messages say how much is free and needed "
        f"(`{messages['in the optimiser'][:90]}`); {resumed} of {len(OFFSETS)} restarts go on "
        "by themselves"
    )
    return Outcome(told == resumed == len(OFFSETS), figure, {"messages": messages})


def damage(folder: Path, size: Size) -> Outcome:
    """Bits flipped and files cut in the last of two checkpoints, then resumed from it."""
    home = world.made(folder / "world")
    run = Run(home.model, home.sft, folder / "whole", settings={"max_steps": STEPS})
    whole(run, folder / "whole.log")
    wanted = training.digests(run.out, run.out / f"checkpoint-{STEPS}")
    base = run.out / f"checkpoint-{STEPS - 1}"
    draw = random.Random(size.seed)
    files = sorted(path.name for path in base.iterdir())
    drawn = draw.choices(files, k=size.flips)
    cases = [("flips", name, draw.randrange(8 * (base / name).stat().st_size)) for name in drawn]
    cases += [("truncations", name, None) for name in files]
    told = {"flips": Counter(), "truncations": Counter()}
    by_file: dict[str, Counter[str]] = {name: Counter() for name in files}
    for kind, name, at in cases:
        data = bytearray((base / name).read_bytes())
        if at is None:
            del data[len(data) // 2 :]
        else:
            data[at // 8] ^= 1 << at % 8
        end = _resumed(folder / "damaged", run, base, name, bytes(data), wanted)
        told[kind][end] += 1
        by_file[name][f"{kind}: {end}"] += 1
    parts = [
        f"{counts['stopped'] + counts['stopped, file named']} of {counts.total()} {kind} stop the "
        f"run ({counts['stopped, file named']} by the file's name), {counts['other result']} "
        f"silently change its result, {counts['same result']} are not noticed and do not; "
        f"{counts['fell back']} fall back to the checkpoint before"
        for kind, counts in told.items()
    ]
    good = all(counts["fell back"] == counts.total() for counts in told.values())
    return Outcome(good, "; ".join(parts), {name: dict(counts) for name, counts in by_file.items()})


def _resumed(
    out: Path, run: Run, base: Path, name: str, data: bytes, wanted: dict[str, str]
) -> str:
    """How a run ends that finds `base` with one file damaged, and a whole checkpoint before it."""
    shutil.rmtree(out, ignore_errors=True)
    for checkpoint in checkpoints(run.out)[: STEPS - 1][-2:]:
        shutil.copytree(checkpoint, out / checkpoint.name)
    (out / base.name / name).write_bytes(data)
    again = Run(run.model, run.data, out, resume="last", settings=run.settings)
    ended = lived(out.parent / "damaged.log", PATIENCE, training.train, again)
    if ended.code:
        return "stopped, file named" if name in ended.last_line else "stopped"
    if f"checkpoint-{STEPS - 2}" in ended.said:
        return "fell back"
    same = training.digests(out, out / f"checkpoint-{STEPS}") == wanted
    return "same result" if same else "other result"


def retention(folder: Path, size: Size) -> Outcome:
    """Eleven steps of which two checkpoints are kept, and a second run into a folder in use."""
    home = world.made(folder / "world")
    steps, kept = 11, {"save_total_limit": 2}
    run = Run(home.model, home.sft, folder / "kept", settings={"max_steps": steps} | kept)
    whole(run, folder / "kept.log")
    left = [path.name for path in checkpoints(run.out)]
    right = left == [f"checkpoint-{steps - 1}", f"checkpoint-{steps}"]
    second = _second_run(folder, home)
    order = "numeric order, the last two kept" if right else f"kept {', '.join(left)}"
    refused = "refused" if second else "not refused: both write into it"
    return Outcome(right and second, f"{order}; a second run into a folder in use is {refused}", {})


def _second_run(folder: Path, home: world.World) -> bool:
    """Whether a run into the folder of one that is alive is refused."""
    settings = {"max_steps": 100_000, "save_total_limit": 2}
    first = Run(home.model, home.sft, folder / "shared", settings=settings)
    life = Life(folder / "first.log", training.train, first)
    until = time.monotonic() + PATIENCE
    while not checkpoints(first.out) and life.alive and time.monotonic() < until:
        time.sleep(0.1)
    other = Run(home.model, home.sft, first.out, settings={"max_steps": 1})
    ended = lived(folder / "second.log", PATIENCE, training.train, other)
    if not life.alive and ended.code:
        raise RuntimeError(f"neither run went on: {life.said()[-300:]}")
    life.stop(signal.SIGKILL)
    life.ended(10)
    return ended.code != 0
