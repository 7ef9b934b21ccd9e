"""A toy run with a step whose loss is many times the others', on one rank or several.

python spike_toy.py OUT RANKS '{"skip_spikes": 12, …}' sends its weights to OUT/final.safetensors
"""

import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import train_toy as toy
from rich.console import Console
from safetensors.torch import save_file

from accord.data.batch import TokenBatch
from accord.objectives.loss import Loss
from accord.train import Trainer, launch

STEPS, ODD, BATCH = 22, 19, 4
"""Steps of the run, the number of the odd one, and its rows."""


def source() -> toy.Rows:
    """No row comes twice, so that a row's id says its step."""
    return toy.Rows(STEPS, BATCH, count=STEPS * BATCH)


def trainer(folder: Path, settings: dict[str, Any], factor: float = 50.0) -> Trainer:
    """Step `ODD`, from 1, has its loss multiplied by `factor`."""
    rows = source()
    odd = {row.row_id for row in rows.rows(ODD - 1)}

    def step(model: Any, batch: TokenBatch) -> Loss:
        loss = toy.step(model, batch)
        return replace(loss, total=loss.total * (factor if odd & set(batch.row_ids) else 1.0))

    chosen = toy.config(steps=STEPS, batch_size=BATCH, **settings)
    return Trainer(toy.model(), step, rows, chosen, folder, console=Console(quiet=True))


def rank_main(folder: Path, settings: dict[str, Any]) -> None:
    dies = settings.pop("dies", math.inf)
    made = trainer(folder, settings)
    if dies < math.inf:
        _kill_after(made, dies)
    made.fit()
    made.write(lambda weights: save_file(weights, folder / "final.safetensors"))


def _kill_after(made: Trainer, steps: float) -> None:
    taken = made._take_step

    def counted(*arguments: Any) -> bool:
        if made._cursor.step >= steps:
            os.kill(os.getpid(), 9)
        return taken(*arguments)

    made._take_step = counted


if __name__ == "__main__":
    launch(rank_main, int(sys.argv[2]), Path(sys.argv[1]), json.loads(sys.argv[3]))
