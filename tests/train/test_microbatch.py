"""A step that needs to know something of all its rows beforehand."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import train_toy as toy
from rich.console import Console

from accord.data.batch import TokenBatch
from accord.objectives.loss import Loss
from accord.train import Trainer
from accord.train.metrics import read_log


class Foreseeing(toy.Rows):
    """Rows that are read once before each step, and what was learned of them."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps, 8)
        self.beforehand = toy.Rows(steps, 8, seed=9)
        self.learned: list[float] = []

    def learn(self, figures: Mapping[str, tuple[float, float]]) -> None:
        self.learned.append(figures["loss"][0])


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.0])
def test_a_step_whose_foresight_is_no_number_is_skipped(tmp_path: Path, value: float):
    source = Foreseeing(3)
    second = {row.row_id for row in source.beforehand.rows(1)}

    def step(model: Any, batch: TokenBatch) -> Loss:
        loss, found = toy.step(model, batch), set(batch.row_ids)
        before = len(source.learned) < 2 and not loss.total.requires_grad
        return replace(loss, total=loss.total * (value if before and found <= second else 1.0))

    config = toy.config(steps=3, micro_batch_size=4)
    trainer = Trainer(toy.model(), step, source, config, tmp_path, console=Console(quiet=True))
    result = trainer.fit()
    bad = not math.isfinite(value)
    assert result.skipped == int(bad)
    assert len(source.learned) == 3 - bad and all(map(math.isfinite, source.learned))
    named = [line for line in read_log(trainer._log.path) if "skipped_rows" in line]
    assert [line["step"] for line in named] == [2] * bad
    assert all(len(line["skipped_rows"]) == 8 for line in named)
