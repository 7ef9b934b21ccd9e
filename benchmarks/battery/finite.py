"""Loss or gradient without a number, in every kind of trained stage, on one rank or one of two."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from battery import resume

STEPS, LONG = 4, 9
"""Steps of a run with one bad step, and of one that is bad from its second step on."""
RANKED: tuple[str, ...] = ("pretrain", "sft", "reward", "preference", "ppo", "grpo", "online")
TRAINED: tuple[str, ...] = (*RANKED, "preference, kto", "preference, moving reference")


@dataclass(frozen=True)
class Poison:
    """What is no number, and where.

    Args:
        value: `nan` or `inf`.
        place: `loss`; `gradient`, below a finite loss; `before`: what KTO measures before a step.
        first: The first pass of that kind that it is in, from 0.
        count: In how many of them.
        rank: Of which rank.
    """

    value: float
    place: str
    first: int
    count: int = 1
    rank: int = 0

    def __str__(self) -> str:
        return f"{self.value} in the {self.place} of rank {self.rank}"


def poisoned(step: Callable[..., Any], poison: Poison) -> Callable[..., Any]:
    """A stage's step with the poison in some of its passes."""
    import torch

    from accord.train import current_ranks

    passes = 0

    def bad(model: Any, batch: Any) -> Any:
        nonlocal passes
        loss, learns = step(model, batch), torch.is_grad_enabled()
        before = not learns and getattr(batch, "label_R", batch) is None
        if current_ranks().rank != poison.rank or before != (poison.place == "before"):
            return loss
        if not (learns or before):
            return loss
        passes += 1
        if not poison.first < passes <= poison.first + poison.count:
            return loss
        if poison.place == "gradient":
            loss.total.register_hook(lambda gradient: gradient * poison.value)
            return loss
        return replace(loss, total=loss.total * 0 + poison.value)

    return bad


def run(home: Path, case: str, folder: Path, steps: int, poison: Poison) -> str:
    """A poisoned stage; what ended it, or nothing."""
    from accord.errors import AccordError
    from accord.train.loop import Trainer

    begin = Trainer.__init__

    def init(self: Any, model: Any, step: Any, *rest: Any, **named: Any) -> None:
        begin(self, model, poisoned(step, poison), *rest, **named)

    with patch.object(Trainer, "__init__", init):
        try:
            resume.trained(home, case, folder, steps)
        except AccordError as error:
            return error.what
    return ""


def tensors(folder: Path) -> dict[int, dict[str, Any]]:
    """Weights and optimiser state of every checkpoint, by its step; a model folder's, as step 0."""
    from safetensors.torch import load_file

    found = {}
    for path in (folder / "accord" / "checkpoints").iterdir():
        held = load_file(path / "tensors.safetensors")
        kept = {n: t for n, t in held.items() if not n.startswith("collector/")}
        found[int(path.name.removeprefix("step-"))] = kept
    for number, file in enumerate(sorted(folder.glob("**/model.safetensors"))):
        found[-number] = load_file(file)
    return found


def not_finite(folder: Path) -> Iterator[str]:
    """What was saved and is no number."""
    for step, held in tensors(folder).items():
        for name, tensor in held.items():
            if not tensor.isfinite().all():
                yield f"step {step}: {name} is not finite"


def faults_of_a_skip(folder: Path, ended: str) -> Iterator[str]:
    """What is wrong in a run of `STEPS` whose second step was bad."""
    import torch

    if ended:
        yield f"ended: {ended}"
        return
    lines = resume.log(folder)
    skipped = {line["step"]: line["skipped_rows"] for line in lines if "skipped_rows" in line}
    if list(skipped) != [2] or not all(skipped.values()):
        yield f"skipped {skipped}"
    saved = tensors(folder)
    if not all(torch.equal(saved[1][name], tensor) for name, tensor in saved[2].items()):
        yield "the skipped step changed the state"
    if saved[1].keys() != saved[2].keys():
        yield "the skipped step changed what there is of state"
    if all(torch.equal(saved[2][name], tensor) for name, tensor in saved[STEPS].items()):
        yield "nothing was learned after it"
    yield from not_finite(folder)


def faults_of_a_giving_up(folder: Path, ended: str) -> Iterator[str]:
    """What is wrong in a run that was bad from its second step on."""
    import torch

    if "5 steps in a row" not in ended:
        yield f"not given up: {ended or 'it came to its end'}"
    if list(folder.glob("**/model.safetensors")):
        yield "it left a model"
    lines = resume.log(folder)
    if [line["step"] for line in lines if "skipped_rows" in line] != [2, 3, 4, 5]:
        yield "not every skipped step is in the log"
    saved = tensors(folder)
    last = saved[max(saved)]
    if not all(torch.equal(saved[1][name], tensor) for name, tensor in last.items()):
        yield "a skipped step changed the state"
    yield from not_finite(folder)


def alone(folder: Path, cases: tuple[str, ...]) -> dict[str, list[str]]:
    """Faults of every case on one rank: the second of two micro-batches is bad, then all are."""
    home = resume.world(folder / "world")
    kinds = [(math.nan, "loss"), (math.inf, "loss"), (math.nan, "gradient"), (math.inf, "gradient")]
    found: dict[str, list[str]] = {}
    for number, case in enumerate(cases):
        value, place = kinds[number % len(kinds)]
        poisons = [Poison(value, place, first=3)]
        if "kto" in case:
            poisons.append(Poison(math.nan, "before", first=3))
        for poison in poisons:
            own = folder / f"{number}-{poison.place}"
            ended = run(home, case, own, STEPS, poison)
            found[f"{case}: {poison}"] = list(faults_of_a_skip(own, ended))
        own, always = folder / f"{number}-always", Poison(value, place, first=2, count=999)
        ended = run(home, case, own, LONG, always)
        found[f"{case}: {always}, always"] = list(faults_of_a_giving_up(own, ended))
    return found


def together(folder: Path, cases: tuple[str, ...]) -> dict[str, list[str]]:
    """Faults of every case on two ranks of which the second is poisoned."""
    from accord.train import launch

    home = resume.world(folder / "world")
    poison = Poison(math.nan, "loss", first=1, rank=1), Poison(math.inf, "gradient", 1, rank=1)
    jobs = [(case, folder / f"{i}", poison[i % 2]) for i, case in enumerate(cases)]
    launch(each_rank, 2, home, jobs)
    return {
        f"{case}: {bad} of 2": list(faults_of_a_skip(own, (own / "ended").read_text()))
        for case, own, bad in jobs
    }


def each_rank(home: Path, jobs: list[tuple[str, Path, Poison]]) -> None:
    """One rank's part in all jobs."""
    from accord.train import current_ranks

    for case, folder, poison in jobs:
        ended = run(home, case, folder, STEPS, poison)
        if current_ranks().rank == 0:
            (folder / "ended").write_text(ended)
