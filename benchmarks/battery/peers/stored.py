"""TRL's checkpoints on a disk that is full, and damaged on the disk."""

import random
import resource
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from battery.peers import training, world
from battery.peers.interrupted import PATIENCE, checkpoints, whole, without_paths
from battery.peers.lives import lived
from battery.peers.training import Run
from battery.row import Outcome, Size

FULL_IN_STEP, STEPS = 3, 4
OFFSETS = {"in the weights": 4_000, "after the weights": 131_072, "in the optimiser": 180_000}
"""Where a file stops to grow: the weights take 120 KB, the optimiser's state twice as much."""


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
        "by themselves; space is not checked before a run"
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
    flips = [
        (name, draw.randrange(8 * (base / name).stat().st_size))
        for name in _drawn(draw, files, size.flips)
    ]
    told = {"flips": Counter(), "truncations": Counter()}
    by_file: dict[str, Counter[str]] = {name: Counter() for name in files}
    cases = [("flips", name, at) for name, at in flips]
    cases += [("truncations", name, None) for name in files]
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
        f"{counts['stopped']} of {counts.total()} {kind} stop the run, "
        f"{counts['other result']} silently change its result, {counts['same result']} do not"
        for kind, counts in told.items()
    ]
    good = all(counts["fell back"] == counts.total() for counts in told.values())
    figure = "; ".join(parts) + "; none is named, none falls back to the checkpoint before"
    return Outcome(good, figure, {name: dict(counts) for name, counts in by_file.items()})


def _drawn(draw: random.Random, files: list[str], count: int) -> list[str]:
    return [draw.choice(files) for _ in range(count)]


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
        return "stopped"
    same = training.digests(out, out / f"checkpoint-{STEPS}") == wanted
    return "same result" if same else "other result"
