"""What a checkpoint holds of a run, and which runs may go on from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from accord.config.train import TrainConfig
from accord.errors import AccordError
from accord.train.optim import Optimizer
from accord.train.precision import Weights

# Settings that decide how a run is watched and stored, or only reorder its sums.
_FREE = {
    "micro_batch_size",
    "micro_batch_tokens",
    "resume",
    "eval_every",
    "eval_rows",
    "save_every",
    "keep_last",
    "keep_steps",
    "async_save",
    "log_every",
    "trackers",
    "compile",
    "gradient_checkpointing",
}

_LATER = frozenset({"skip_spikes"})
"""Settings that came later: left out while unset, so that the runs from before are the same."""


@dataclass
class Cursor:
    """Where a run is; with the weights and the optimiser's state, all that its next step needs.

    Args:
        step: Optimiser steps taken or skipped: also the place in the data.
        num_tokens: Tokens read, over all ranks.
        skipped: Steps skipped because loss or gradient was not finite, or a spike.
        skipped_in_a_row: The latest that were not finite, without a good step since.
        losses: Of the latest steps taken, oldest first; empty unless spikes are skipped.
        norms: Of their gradients.
        spikes_in_a_row: The latest steps that were spikes.
    """

    step: int = 0
    num_tokens: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    losses: list[float] = field(default_factory=list[float])
    norms: list[float] = field(default_factory=list[float])
    spikes_in_a_row: int = 0


def pack_state(weights: Weights, optimizer: Optimizer) -> dict[str, Tensor]:
    """Masters and optimiser state as whole named tensors (all ranks must call it)."""
    tensors = {f"weights/{name}": tensor for name, tensor in weights.full().items()}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in optimizer.state().items()}
    return tensors


def load_state(tensors: Mapping[str, Tensor], weights: Weights, optimizer: Optimizer) -> None:
    """Take over what `pack_state` gave, on this or another number of ranks."""
    weights.load(under("weights/", tensors))
    optimizer.load(under("optimizer/", tensors))


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def run_identity(config: TrainConfig, steps: int, fingerprint: str) -> dict[str, Any]:
    """What has to be equal for a checkpoint to be continued, as plain JSON."""
    mine = (set(TrainConfig.model_fields) - _FREE) | {"lora"}
    settings = config.model_dump(mode="json", include=mine)
    settings = {k: v for k, v in settings.items() if k not in _LATER or v is not None}
    return {**settings, "steps": steps, "fingerprint": fingerprint}


def refuse_other_run(saved: Mapping[str, Any], mine: Mapping[str, Any], folder: Path) -> None:
    """Raise AccordError, naming the settings, if a checkpoint belongs to another run."""
    known = (*mine, *sorted(_LATER - mine.keys()))
    keys = [key for key in known if saved.get(key) != mine.get(key)]
    if not keys:
        return
    changes = ", ".join(f"{key} was {saved.get(key)} and is {mine.get(key)}" for key in keys)
    raise AccordError(
        f"the checkpoint was made with other settings: {changes}",
        str(folder),
        "use those settings again, set resume=false to start afresh, or choose another folder",
    )
