"""Files that run code where they are unpickled, or reach out of their folder, given to the peer."""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from battery.peers import training, world
from battery.peers.interrupted import PATIENCE, whole, without_paths
from battery.peers.lives import lived
from battery.peers.training import Run
from battery.row import Outcome, Size

STEP = 2


class Canary:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def resumed_with(run: Run) -> None:
    training.train(run)


def loaded(folder: Path) -> None:
    """A model folder as anyone loads it: no remote code."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(folder)
    AutoTokenizer.from_pretrained(folder)


def loaded_distributed(folder: Path) -> None:
    """A distributed checkpoint as FSDP's restart loads it."""
    import torch
    from torch.distributed import checkpoint

    checkpoint.load({"weight": torch.zeros(2)}, checkpoint_id=str(folder), no_dist=True)


def save_distributed(folder: Path) -> None:
    import torch
    from torch.distributed import checkpoint

    checkpoint.save({"weight": torch.ones(2)}, checkpoint_id=str(folder), no_dist=True)


def _pickled(path: Path, mark: Path) -> None:
    import torch

    torch.save(Canary(mark), path)


def _bin_weights(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    _pickled(folder / "pytorch_model.bin", mark)


def _auto_map(folder: Path, mark: Path) -> None:
    code = f"import os\nos.mkdir({str(mark)!r})\nclass Config: pass\nclass Model: pass\n"
    (folder / "modeling_x.py").write_text(code)
    maps = {"AutoConfig": "modeling_x.Config", "AutoModelForCausalLM": "modeling_x.Model"}
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"auto_map": maps, "model_type": "x"}
    path.write_text(json.dumps(config))


def _index(named: Callable[[Path], str]) -> Callable[[Path, Path], None]:
    """Weights that lie outside of the folder; `mark` appears if they were read from there."""

    def plant(folder: Path, mark: Path) -> None:
        from safetensors import safe_open

        outside = folder.parent / f"outside-{folder.name}.safetensors"
        shutil.move(folder / "model.safetensors", outside)
        with safe_open(outside, "pt") as weights:
            names = list(weights.keys())
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, named(outside))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return plant


def _symlink(folder: Path, mark: Path) -> None:
    outside = folder.parent / f"outside-{folder.name}.safetensors"
    shutil.move(folder / "model.safetensors", outside)
    (folder / "model.safetensors").symlink_to(outside)


IN_A_CHECKPOINT = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")
IN_A_MODEL: Mapping[str, Callable[[Path, Path], None]] = {
    "pytorch_model.bin": _bin_weights,
    "auto_map": _auto_map,
}
OUTSIDE: Mapping[str, Callable[[Path, Path], None]] = {
    "../ in an index": _index(lambda outside: f"../{outside.name}"),
    "absolute path in an index": _index(str),
    "symlink": _symlink,
}


def files(folder: Path, size: Size) -> Outcome:
    """Does a canary run, are files outside read, and is the file named?"""
    home = world.made(folder / "world")
    run = Run(home.model, home.sft, folder / "whole", settings={"max_steps": STEP + 1})
    whole(run, folder / "whole.log")
    marks, log, ends = folder / "marks", folder / "log", {}
    marks.mkdir()
    for name in IN_A_CHECKPOINT:
        out = folder / name
        shutil.copytree(run.out / f"checkpoint-{STEP}", out / f"checkpoint-{STEP}")
        _pickled(out / f"checkpoint-{STEP}" / name, marks / name)
        again = Run(home.model, home.sft, out, resume="last", settings=run.settings)
        ends[name] = lived(log, PATIENCE, resumed_with, again)
    for name, plant in (IN_A_MODEL | OUTSIDE).items():
        model = folder / name.replace("/", "-")
        shutil.copytree(home.model, model)
        plant(model, marks / name.replace("/", "-"))
        ends[name] = lived(log, PATIENCE, loaded, model)
    name, place = ".metadata of a distributed checkpoint", folder / "distributed"
    lived(log, PATIENCE, save_distributed, place)
    (place / ".metadata").write_bytes(pickle.dumps(Canary(marks / name)))
    ends[name] = lived(log, PATIENCE, loaded_distributed, place)
    ran = sorted(path.name for path in marks.iterdir())
    followed = [name for name in OUTSIDE if ends[name].code == 0]
    refused = sum(end.code != 0 for name, end in ends.items() if name not in ran)
    told = {name: without_paths(end.last_line) for name, end in ends.items() if end.code}
    figure = (
        f"canary ran in {len(ran)} of {len(ends) - len(OUTSIDE)} ({', '.join(ran) or 'none'}); "
        f"{len(followed)} of {len(OUTSIDE)} paths out of the folder followed; "
        f"{refused} of {len(ends)} refused"
    )
    details = {"ran": ran, "followed": followed, "messages": told}
    return Outcome(not ran and not followed, figure, details)
