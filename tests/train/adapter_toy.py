"""The toy run of train_toy with adapters; as a script a run of each family on several ranks.

python adapter_toy.py RANKS OUT '{"precision": "bf16", …}'
"""

import json
import sys
from functools import partial
from pathlib import Path

import torch
import train_toy as toy
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor

from accord.checkpoint.adapter import adapted
from accord.config.lora import LoRAConfig
from accord.config.model import PRESETS, ModelConfig
from accord.model.decoder import Decoder
from accord.train import Trainer, launch

# a head that can tell tokens apart before anything is trained
SHARED = {
    "vocab_size": 37,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
SHAPES = {
    name: ModelConfig.model_validate({**PRESETS[name], **SHARED}) for name in ("llama", "gpt2")
}
LORA = LoRAConfig(r=3, lora_alpha=6)


def trainer(folder: Path, settings: dict[str, object], family: str = "llama") -> Trainer:
    chosen = toy.config(**settings)
    assert chosen.steps is not None
    model = adapted(Decoder.init(SHAPES[family], 0), LORA, 4)
    rows = toy.Rows(chosen.steps, chosen.batch_size)
    return Trainer(
        model, toy.step, rows, chosen, folder, console=Console(quiet=True), fingerprint="base"
    )


def rank_main(out: Path, settings: dict[str, object]) -> None:
    for family in SHAPES:
        done = trainer(out / family, settings, family)
        done.fit()
        done.write(partial(_save, out / family))


def _save(folder: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, folder / "final.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    launch(rank_main, int(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
