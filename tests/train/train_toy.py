"""A tiny run for the loop's tests; as a script it is a run of its own, to be killed or ranked.

python train_toy.py OUT '{"ranks": 2, "optimizer": "muon", …}'
"""

import json
import math
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor

from accord.config.model import ModelConfig
from accord.config.train import TrainConfig
from accord.data.batch import TokenBatch
from accord.data.order import Order
from accord.data.packing import Example, Response, collate
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.objectives.loss import Loss
from accord.objectives.sft import next_token
from accord.train import Interrupted, Trainer, current_ranks, launch

SHAPE = ModelConfig(
    vocab_size=37,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    intermediate_size=40,
    max_position_embeddings=64,
)


def model(seed: int = 0) -> Decoder:
    return Decoder.init(SHAPE, seed)


def step(decoder: Decoder, batch: TokenBatch) -> Loss:
    hidden_ND = decoder(batch.ids_N, batch.position_N, Plan.of(batch.layout))
    hidden_SD = hidden_ND[batch.predict_S]
    return next_token(hidden_SD, decoder.head_weight_VD, batch.target_S, batch.weight_S)


class Rows:
    """Random sequences of different lengths, the same for the same seed and step."""

    def __init__(self, steps: int, batch_size: int, count: int = 24, seed: int = 7) -> None:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(3, 12, (count,), generator=generator).tolist()
        self.examples = [
            self._example(i, torch.randint(37, (n,), generator=generator).tolist())
            for i, n in enumerate(lengths)
        ]
        self.steps = steps
        self._order = Order(count, batch_size, seed)

    @staticmethod
    def _example(number: int, ids: list[int]) -> Example:
        rest = tuple(ids[1:])
        return Example((ids[0],), (Response(rest, (True,) * len(rest)),), f"row{number}")

    def rows(self, step: int) -> Sequence[Example]:
        return [self.examples[i] for i in self._order.indices(step)]

    def collate(self, rows: Sequence[Example]) -> TokenBatch:
        return collate(rows)


def config(**settings: object) -> TrainConfig:
    base: dict[str, object] = {"steps": 6, "batch_size": 8, "lr": 1e-2, "weight_decay": 0.1}
    return TrainConfig.model_validate(base | settings)


def train(
    folder: Path, settings: dict[str, object], poison: str = "", seconds: float = 0
) -> Trainer:
    """A run to its end."""
    chosen = config(**settings)
    assert chosen.steps is not None

    def run(decoder: Decoder, batch: TokenBatch) -> Loss:
        loss = step(decoder, batch)
        time.sleep(seconds)
        return replace(loss, total=loss.total * math.nan) if poison in batch.row_ids else loss

    trainer = Trainer(
        model(),
        run,
        Rows(chosen.steps, chosen.batch_size),
        chosen,
        folder,
        evaluate=Rows(2, 5, count=9, seed=8),
        console=Console(quiet=True),
    )
    trainer.fit()
    return trainer


def state(folder: Path, settings: dict[str, object]) -> dict[str, Tensor]:
    return train(folder, settings).export_state()


def rank_main(folder: Path, settings: dict[str, object]) -> None:
    """A run that leaves `final.safetensors`; row `poison` has a loss that is no number.

    A forward pass takes `seconds` longer, for kills to hit it.
    """
    settings = dict(settings)
    poison, seconds = str(settings.pop("poison", "")), float(str(settings.pop("seconds", 0)))
    trainer = train(folder, settings, poison, seconds)
    trainer.write(lambda weights: save_file(weights, folder / "final.safetensors"))


def jobs_main(jobs: list[tuple[str, dict[str, Any]]]) -> None:
    """One run after the other, so that the processes have to be started once only.

    `drop` names checkpoints that are taken away before the run.
    """
    for folder, settings in jobs:
        kept = {key: value for key, value in settings.items() if key != "drop"}
        for number in settings.get("drop", ()):
            target = Path(folder) / "accord" / "checkpoints" / f"step-{number}"
            current_ranks().on_first(partial(shutil.rmtree, target))
        rank_main(Path(folder), kept)


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        launch(jobs_main, int(sys.argv[1]), json.loads(sys.argv[2]))
    except Interrupted as stop:
        print(f"stopped {stop.step}", flush=True)
        raise SystemExit(128 + signal.SIGTERM) from None
