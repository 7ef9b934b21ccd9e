"""TRL where a loss is not a number, and where a batch is split or padded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from battery.peers import training, world
from battery.peers.interrupted import PATIENCE
from battery.peers.lives import lived
from battery.peers.training import Run
from battery.row import Outcome, Size

STEPS, POISONED = 6, 3
CLOSE = 1e-6
SPLITS = {"1×8": (8, 1), "2×4": (4, 2), "8×1": (1, 8)}
"""Rows of a micro-batch and micro-batches of a step: eight rows are a step."""


def train_with_a_nan(run: Run) -> None:
    """The loss of one batch is NaN, as an overflow in that batch makes it."""
    trainer = training.trainer_of(run)
    honest = trainer.compute_loss

    def poisoned(*arguments: Any, **named: Any) -> Any:
        loss = honest(*arguments, **named)
        if trainer.state.global_step != POISONED - 1:
            return loss
        return (
            (loss[0] * float("nan"), *loss[1:]) if isinstance(loss, tuple) else loss * float("nan")
        )

    trainer.compute_loss = poisoned
    training.fitted(trainer, run)


def nonfinite(folder: Path, size: Size) -> Outcome:
    """One NaN among the losses, by default and with `logging_nan_inf_filter` off."""
    home = world.made(folder / "world")
    told, lost = {}, 0
    for name, extra in {
        "default": {},
        "logging_nan_inf_filter=False": {"logging_nan_inf_filter": False},
    }.items():
        out = folder / name
        run = Run(home.model, home.sft, out, settings={"max_steps": STEPS} | extra)
        ended = lived(folder / "log", PATIENCE, train_with_a_nan, run)
        bad, tensors = _nan_tensors(out / "final" / "model.safetensors")
        lost += bad
        logged = _logged(out, POISONED)
        told[name] = (
            f"loss {logged} logged, exit {ended.code}, {bad} of {tensors} tensors saved are NaN"
        )
    figure = "; ".join(f"{name}: {what}" for name, what in told.items())
    return Outcome(lost == 0, figure, told)


def _nan_tensors(path: Path) -> tuple[int, int]:
    import torch
    from safetensors.torch import load_file

    if not path.exists():
        return 0, 0
    tensors = load_file(path)
    bad = sum(not bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    return bad, len(tensors)


def _logged(out: Path, step: int) -> str:
    import json

    if not (out / "log.json").exists():
        return "none"
    lines = json.loads((out / "log.json").read_text())
    return next(
        f"{line['loss']:g}" for line in lines if line.get("step") == step and "loss" in line
    )


def train_for_gradients(run: Run, path: Path) -> None:
    """The gradient of the first step, as the optimiser gets it."""
    import torch
    from transformers import TrainerCallback

    class Kept(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
            grads = {name: weight.grad.clone() for name, weight in model.named_parameters()}
            torch.save(grads, path)

    trainer = training.trainer_of(run)
    trainer.add_callback(Kept())
    trainer.train()


def accumulation(folder: Path, size: Size) -> Outcome:
    """The same eight rows as one batch, as two, as eight, and padded to a multiple of 64."""
    home = world.made(folder / "world", rows=8)
    worst = {
        method: _differences(folder, Run(home.model, data, folder / method, method))
        for method, data in (("SFT", home.sft), ("DPO", home.pairs))
    }
    figure = "; ".join(
        f"{method}: largest difference {max(cases.values()):.1e}" for method, cases in worst.items()
    )
    good = all(value <= CLOSE for cases in worst.values() for value in cases.values())
    return Outcome(good, f"{figure} (of gradients up to {_largest(folder):.2f})", worst)


def _differences(folder: Path, run: Run) -> Mapping[str, float]:
    import torch

    found = {}
    cases = SPLITS | {"padded": (8, 1)}
    for name, (rows, times) in cases.items():
        settings = {
            "max_steps": 1,
            "save_strategy": "no",
            "max_grad_norm": 0.0,
            "per_device_train_batch_size": rows,
            "gradient_accumulation_steps": times,
        } | ({"pad_to_multiple_of": 64} if name == "padded" else {})
        path = folder / f"{run.method}-{name}.pt"
        one = Run(run.model, run.data, run.out, run.method.lower(), settings=settings)
        ended = lived(folder / "log", PATIENCE, train_for_gradients, one, path)
        if ended.code:
            raise RuntimeError(ended.last_line)
        found[name] = torch.load(path, weights_only=True)
    first = found.pop("1×8")
    return {
        name: max(float((grads[each] - first[each]).abs().max()) for each in first)
        for name, grads in found.items()
    }


def _largest(folder: Path) -> float:
    import torch

    grads = torch.load(folder / "SFT-1×8.pt", weights_only=True)
    return max(float(grad.abs().max()) for grad in grads.values())
