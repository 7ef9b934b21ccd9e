"""A tiny mixture of experts to be trained, also over ranks."""

from collections.abc import Mapping
from pathlib import Path

import torch
import train_toy as toy
from rich.console import Console
from safetensors.torch import save_file

from accord.config.model import ModelConfig
from accord.data.packing import Example
from accord.model.decoder import Decoder
from accord.model.moe import moe_layers
from accord.train import Trainer

SHAPE = toy.SHAPE.model_copy(
    update={
        "num_experts": 4,
        "moe_intermediate_size": 16,
        "router_aux_loss_coef": 0.5,
        "router_z_loss_coef": 0.1,
    }
)


class Sized(toy.Rows):
    def tokens(self, rows: list[Example]) -> list[int]:
        return [example.tokens for example in rows]


def moe(shape: ModelConfig = SHAPE) -> Decoder:
    """A model whose routers favour some experts."""
    decoder = Decoder.init(shape, 0)
    with torch.no_grad():
        for layer in moe_layers(decoder):
            layer.router.weight.mul_(30)
    return decoder


def train(folder: Path, settings: Mapping[str, object]) -> None:
    """Two steps, which leave `final.safetensors`."""
    config = toy.config(steps=2, max_grad_norm=None, **settings)
    trainer = Trainer(moe(), toy.step, Sized(2, 8), config, folder, console=Console(quiet=True))
    trainer.fit()
    trainer.write(lambda weights: save_file(weights, folder / "final.safetensors"))
