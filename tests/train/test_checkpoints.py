from dataclasses import replace
from pathlib import Path

import pytest
import torch
import train_toy as toy
from rich.console import Console
from torch import nn

from accord.checkpoint.store import Store
from accord.data.batch import TokenBatch
from accord.errors import AccordError
from accord.objectives.loss import Loss
from accord.train import Trainer
from accord.train.checkpoints import refuse_not_finite


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_bad_number_among_many_is_named(bad: float):
    good = {"a": torch.zeros(3, 4), "none": torch.zeros(0), "count": torch.tensor(2.0)}
    refuse_not_finite(good, 1)
    good["a"][1, 2] = bad
    with pytest.raises(AccordError, match="After step 7 the training state is not finite") as error:
        refuse_not_finite(good, 7)
    assert error.value.where == "a"


def test_weights_that_overflow_in_a_finite_step_are_not_saved(tmp_path: Path):
    """The first step is skipped; the second is finite, and lr takes its weights past float32."""
    source = toy.Rows(2, 8)
    first = [row.row_id for row in source.rows(0)]

    def step(model: nn.Module, batch: TokenBatch) -> Loss:
        loss = toy.step(model, batch)
        return replace(loss, total=loss.total * (torch.nan if [*batch.row_ids] == first else 1.0))

    config = toy.config(steps=2, schedule="constant", save_every=1, lr=1e39)
    trainer = Trainer(toy.model(), step, source, config, tmp_path, console=Console(quiet=True))
    with pytest.raises(AccordError, match="After step 2 the training state") as error:
        trainer.fit()
    assert error.value.where.startswith("weights/")
    kept = Store(tmp_path / "accord" / "checkpoints").latest()
    assert kept is not None and kept.step == 1
    assert all(tensor.isfinite().all() for tensor in kept.tensors().values())
