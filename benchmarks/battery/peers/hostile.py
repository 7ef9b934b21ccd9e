"""Files that run code where they are unpickled, or reach out of their folder, given to the peer.

What is planted in a model folder is what Accord's row plants (`battery.hostile_cases`); a run's
checkpoint and a distributed one are the peer's own.
"""

import pickle
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from battery.hostile_cases import CANARY, LEFT_ALONE, Bomb, cases, model_case, torch_saved
from battery.peers import training, world
from battery.peers.interrupted import PATIENCE, whole, without_paths
from battery.peers.lives import Ended, lived
from battery.peers.training import Run
from battery.row import Outcome, Size
from battery.small import small_folder

STEP, SECONDS = 2, 60.0
ADDRESSES = 8 << 30
"""Bytes that a reader may ask for: others work on the machine too."""
IN_A_CHECKPOINT = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")
UNTOUCHED = (*LEFT_ALONE, "auto_map of a model", "training_args.bin")
"""Files in which the hostile part is not needed: they may lie there, if nothing of them runs."""
DISTRIBUTED = ".metadata of a distributed checkpoint"


def plants() -> dict[str, Callable[[Path], None]]:
    """What is planted in model folders, by name."""
    found = cases().items()
    return {
        name: case.args[0]
        for name, case in found
        if isinstance(case, partial) and case.func is model_case
    }


def load_planted(name: str, folder: Path) -> None:
    """A model folder as anyone loads it: remote code is off unless it is asked for."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = small_folder(folder / "model")
    plants()[name](model)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    AutoModelForCausalLM.from_pretrained(model)
    AutoTokenizer.from_pretrained(model)


def load_distributed(folder: Path) -> None:
    """A distributed checkpoint with a hostile `.metadata`, as the restart of FSDP loads it."""
    import torch
    from torch.distributed import checkpoint

    place = folder / "distributed"
    checkpoint.save({"weight": torch.ones(2)}, checkpoint_id=str(place), no_dist=True)
    (place / ".metadata").write_bytes(pickle.dumps(Bomb(folder)))
    checkpoint.load({"weight": torch.zeros(2)}, checkpoint_id=str(place), no_dist=True)


def resumed(folder: Path, run: Run, name: str, log: Path) -> Ended:
    """A run that is resumed from a checkpoint with one file swapped for a pickle."""
    place = folder / f"checkpoint-{STEP}"
    shutil.copytree(run.out / place.name, place)
    (place / name).write_bytes(torch_saved(folder))
    again = Run(run.model, run.data, folder, resume="last", settings=run.settings)
    return lived(log, PATIENCE, training.train, again)


def files(folder: Path, size: Size) -> Outcome:
    """Does a canary run, and what is read that leads out of the folder or lies?"""
    home = world.made(folder / "world")
    run = Run(home.model, home.sft, folder / "whole", settings={"max_steps": STEP + 1})
    whole(run, folder / "whole.log")
    log, ends, ran = folder / "log", dict[str, Ended](), []
    works: dict[str, Callable[[Path], Ended]] = {
        name: lambda own, name=name: resumed(own, run, name, log) for name in IN_A_CHECKPOINT
    }
    works[DISTRIBUTED] = lambda own: lived(log, SECONDS, load_distributed, own)
    for name in plants():
        works[name] = lambda own, name=name: lived(log, SECONDS, load_planted, name, own)
    for number, (name, work) in enumerate(works.items()):
        own = folder / f"{number}"
        own.mkdir()
        ends[name] = work(own)
        if (own / CANARY).exists():
            ran.append(name)
    read = [name for name, end in ends.items() if end.code == 0 and name not in UNTOUCHED]
    alone = [name for name in UNTOUCHED if ends[name].code == 0]
    killed = [name for name, end in ends.items() if end.code < 0]
    told = {name: without_paths(end.last_line) for name, end in ends.items() if end.code > 0}
    refused = [name for name in told if name not in ran]
    figure = (
        f"canary made by {len(ran)} of {len(ends)} ({', '.join(ran) or 'none'}); {len(refused)} "
        f"refused, {len(alone)} left alone, {len(killed)} killed (memory, or after "
        f"{SECONDS:.0f} s), {len(read)} read: {', '.join(read) or 'none'}"
    )
    details = {"ran": ran, "read": read, "killed": killed, "messages": told}
    return Outcome(not ran and not read and not killed, figure, details)
