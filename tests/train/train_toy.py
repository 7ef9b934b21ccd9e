"""A tiny run for the loop's tests; as a script it is a run of its own, to be killed or ranked.

python train_toy.py OUT '{"ranks": 2, "optimizer": "muon", …}'
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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
from accord.train import Interrupted, Trainer, launch

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


def train(folder: Path, settings: dict[str, object]) -> Trainer:
    """A run to its end; `source` says how many rows a step has."""
    chosen = config(**settings)
    assert chosen.steps is not None
    trainer = Trainer(
        model(),
        step,
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
    if slow := settings.pop("seconds_a_step", 0):
        _slow_down(float(str(slow)))
    if poison := settings.pop("poison", None):
        _poison(str(poison))
    trainer = train(folder, settings)
    trainer.write(lambda weights: save_file(weights, folder / "final.safetensors"))


def _slow_down(seconds: float) -> None:
    fast = Rows.rows

    def rows(self: Rows, step: int) -> Sequence[Example]:
        time.sleep(seconds)
        return fast(self, step)

    Rows.rows = rows


def _poison(row: str) -> None:
    def poisoned(decoder: Decoder, batch: TokenBatch) -> Loss:
        loss = clean_step(decoder, batch)
        return replace(loss, total=loss.total * (float("nan") if row in batch.row_ids else 1.0))

    clean_step = step
    globals()["step"] = poisoned


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    ranks = options.pop("ranks", 1)
    print("ready", flush=True)
    try:
        launch(rank_main, ranks, out, options)
    except Interrupted as stop:
        print(f"stopped {stop.step}", flush=True)
        raise SystemExit(128 + signal.SIGTERM) from None
    os._exit(0)
