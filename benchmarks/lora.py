"""What adapters cost and save: memory of a step, size of what is left, exactness of the merge.

python benchmarks/lora.py

Each kind of training runs in a process of its own, since a process's peak never falls. `held` is
what stays between steps: weights, float32 masters and the optimiser's state.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
from rich.console import Console
from torch import Tensor

from accord.checkpoint.adapter import adapted, save_adapter
from accord.checkpoint.folder import load_model, save_model
from accord.config.lora import LoRAConfig
from accord.config.model import PRESETS, ModelConfig
from accord.config.train import TrainConfig
from accord.data.packing import Example, Response, collate
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.pipeline.merge import merge
from accord.stages.steps import language_step
from accord.text.tokenizer import Tokenizer
from accord.train import Trainer

assert peft  # loaded before the baseline is taken: full training would look smaller without it
SHAPE: dict[str, Any] = {
    "vocab_size": 8192,
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "intermediate_size": 1376,
    "max_position_embeddings": 512,
}
CONFIG = ModelConfig.model_validate({**PRESETS["llama"], **SHAPE})
LORA = LoRAConfig(r=16, lora_alpha=32)
KINDS = [(way, precision) for way in ("full", "lora") for precision in ("fp32", "bf16")]
BATCH, LENGTH, STEPS = 4, 128, 3


class Rows:
    """Random tokens."""

    steps = STEPS

    def rows(self, step: int) -> list[Example]:
        draw = torch.Generator().manual_seed(step)
        ids = torch.randint(CONFIG.vocab_size, (BATCH, LENGTH), generator=draw).tolist()
        whole = (True,) * (LENGTH - 1)
        return [
            Example(tuple(row[:1]), (Response(tuple(row[1:]), whole),), f"{step}-{i}")
            for i, row in enumerate(ids)
        ]

    def collate(self, rows: list[Example]) -> Any:
        return collate(rows)


def trained(way: str, precision: str, folder: Path) -> tuple[Trainer, Decoder]:
    settings = {"steps": STEPS, "batch_size": BATCH, "precision": precision, "lr": 1e-3}
    model = Decoder.init(CONFIG, 0)
    if way == "lora":
        adapted(model, LORA, 0)
    config = TrainConfig.model_validate(settings)
    quiet = Console(quiet=True)
    trainer = Trainer(model, language_step, Rows(), config, folder, console=quiet)
    tensors = [*model.parameters(), *trainer._weights.masters.values()]
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    trainer.fit()
    state = sum(t.nbytes for t in trainer._optimizer.state().values())
    print(json.dumps({"held": sum(held.values()) + state, "peak": peak()}))
    return trainer, model


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(way: str, precision: str) -> None:
    """One process: what it held, and how far its memory rose above that of its libraries."""
    print(json.dumps({"baseline": peak()}))
    with tempfile.TemporaryDirectory() as folder:
        trained(way, precision, Path(folder))


def sizes_and_exactness() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        tokenizer = Tokenizer.train(["a fox and a crow"], 258)
        save_model(Decoder.init(CONFIG, 0), home / "base", tokenizer)
        trainer, model = trained("lora", "fp32", home / "run")
        factors = trainer.export_state()
        save_adapter(factors, CONFIG, LORA, home / "base", home / "adapter", tokenizer)
        merge(home / "adapter", home / "merged")
        size = {
            part: (home / part / file).stat().st_size / 1e6
            for part, file in (
                ("adapter", "adapter_model.safetensors"),
                ("merged", "model.safetensors"),
            )
        }
        expected = logits(model)
        moved = (logits(load_model(home / "base")) - expected).abs().max()
        error = (logits(load_model(home / "merged")) - expected).abs().max()
        print(f"adapter {size['adapter']:.2f} MB, whole model {size['merged']:.1f} MB")
        print(f"training moved logits by up to {moved:.3f}; the merge is off by {error:.1e}")


@torch.no_grad()
def logits(model: Decoder) -> Tensor:
    batch = collate(Rows().rows(0))
    return model.logits(model(batch.ids_N, batch.position_N, Plan.of(batch.layout)))


def main() -> None:
    print(f"{sum(p.numel() for p in Decoder.empty(CONFIG, device='meta').parameters()):,} weights")
    print("| training | held between steps | peak over the libraries |")
    print("|---|---:|---:|")
    for way, precision in KINDS:
        command = [sys.executable, __file__, way, precision]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, int] = {}
        for line in done.stdout.splitlines():
            found |= json.loads(line)
        above = (found["peak"] - found["baseline"]) / 1e6
        print(f"| {way}, {precision} | {found['held'] / 1e6:.0f} MB | {above:.0f} MB |")
    sizes_and_exactness()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], sys.argv[2])
    else:
        main()
