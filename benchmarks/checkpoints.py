"""What checkpoints cost: a save beside a plain torch.save, and a training step that saves."""

import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import work
from harness import Contender, Gate, Row
from pretraining import GatedSource

LARGER: dict[str, Any] = {
    "vocab_size": 16000,
    "hidden_size": 512,
    "num_hidden_layers": 7,
    "num_attention_heads": 8,
    "intermediate_size": 1376,
    "max_position_embeddings": work.TIME,
}
SHAPES = {"1.5 M": work.STUDY, "30 M": LARGER}
EVERY = 10
"""Steps between two saves: what a run of 100 steps has by default."""
SPARED = {
    "fsync": ("accord.checkpoint.store._sync", lambda path: None),
    "hashing": ("accord.checkpoint.store._entry", lambda path: {"bytes": path.stat().st_size}),
}
"""What is left out of a save to see its price: where it stands, and what stands in for it."""


def state(shape: dict[str, Any]) -> dict[str, Any]:
    """Weights and AdamW's two moments, as a checkpoint has them."""
    import torch

    from accord.config.model import PRESETS, ModelConfig
    from accord.model import Decoder

    weights = Decoder.init(ModelConfig(**(PRESETS["llama"] | shape)), seed=0).state_dict()
    moments = {f"{name}/{key}": torch.randn_like(weight) for name, weight in weights.items()
               for key in ("exp_avg", "exp_avg_sq")}  # fmt: skip
    return {**weights, **moments}


def megabytes(shape: dict[str, Any]) -> float:
    """Of a checkpoint of this shape."""
    from accord.config.model import PRESETS, ModelConfig
    from accord.config.parameters import count_parameters

    return 3 * 4 * count_parameters(ModelConfig(**(PRESETS["llama"] | shape))).total / 1e6


def timed(gate: Gate, save: Any) -> None:
    """Save at every step; keeps the median of the milliseconds that a save took."""
    took: list[float] = []
    while True:
        gate.step()
        began = time.perf_counter()
        save(len(took))
        took.append(1e3 * (time.perf_counter() - began))
        gate.latest("save_ms", statistics.median(took))


def plain(gate: Gate, shape: dict[str, Any]) -> None:
    """One torch.save over the file before: no manifest, nothing durable, a kill leaves half."""
    import torch

    held = state(shape)
    with tempfile.TemporaryDirectory() as folder:
        timed(gate, lambda step: torch.save(held, Path(folder) / "state.pt"))


def accord(gate: Gate, shape: dict[str, Any], without: tuple[str, ...]) -> None:
    """The store that every stage saves into."""
    from accord.checkpoint.store import Store

    held = state(shape)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name in without:
            place, instead = SPARED[name]
            stack.enter_context(patch(place, instead))
        store = Store(Path(folder))
        timed(gate, lambda step: store.save(step, held, {}))


class Waited(GatedSource):
    """Knows how long it stood at the gate, which is nobody's work."""

    waited = 0.0

    def rows(self, step: int) -> Any:
        """The rows of a step, once the gate opens."""
        began = time.perf_counter()
        found = super().rows(step)
        self.waited += time.perf_counter() - began
        return found


def training(gate: Gate, folder: str, sizes: dict[str, int], saves: dict[str, Any]) -> None:
    """The real Trainer; keeps the share of its time that it spends in, or waits for, saves."""
    from rich.console import Console

    from accord.checkpoint.folder import load_model
    from accord.config.stages import PretrainStage
    from accord.data.packing import Blocks
    from accord.stages.steps import language_step
    from accord.train import Trainer
    from accord.train.checkpoints import Checkpoints

    (rows,) = work.token_batches(1, **sizes)
    text = [token for row in rows for token in row]
    blocks = Blocks.of([text[1:]], text[0], text[0], len(rows[0]))
    settings = {"steps": GatedSource.steps, "batch_size": len(rows), "schedule": "constant",
                "data": [{"source": "made.jsonl"}], "max_length": len(rows[0])}  # fmt: skip
    config = PretrainStage(tokenizer="made", **{**settings, **saves})
    save, spent, began = Checkpoints.save, 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as kept:
        source = Waited(gate, [list(range(len(rows)))], blocks.collate, Path(kept))

        def measured(checkpoints: Checkpoints, *rest: Any) -> None:
            nonlocal spent
            started = time.perf_counter()
            save(checkpoints, *rest)
            now = time.perf_counter()
            spent += now - started
            gate.latest("save_share", 100 * spent / (now - began - source.waited))

        with patch.object(Checkpoints, "save", measured):
            trainer = Trainer(load_model(folder), language_step, source, config, Path(kept),
                              console=Console(quiet=True))  # fmt: skip
            began = time.perf_counter()
            trainer.fit()


def save_row(size: str, folder: Path, quick: bool) -> Row:
    """Weights and moments of a model of this size, saved again and again."""
    del folder
    shape = SHAPES[size]
    many = megabytes(shape)
    kinds = {"": (), ", no fsync": ("fsync",), ", no fsync, no hashing": ("fsync", "hashing")}
    name = "checkpoints" if size == "1.5 M" else f"checkpoints-{size.replace(' ', '').lower()}"
    return Row(
        name,
        f"A checkpoint of the {size} model: {many:.0f} MB of weights and moments",
        "MB",
        [Contender("torch.save", plain, many, {"shape": shape})]
        + [
            Contender(f"accord{what}", accord, many, {"shape": shape, "without": without})
            for what, without in kinds.items()
        ],
        steps=2 if quick else 10,
        rounds=2 if quick else 7,
        targets=[("accord", "torch.save", None)],
        remarks=("torch.save writes one file over another: a kill in it leaves neither.",),
    )


def step_row(size: str, folder: Path, quick: bool) -> Row:
    """Training steps that save as often as a run of 100 steps does by default."""
    here = work.write_model(folder / "model", SHAPES[size])
    sizes = {"batch": work.BATCH, "time": work.TIME} if size == "1.5 M" else {"batch": 1}
    sizes |= {"vocabulary": SHAPES[size]["vocab_size"]}
    tokens = sizes["batch"] * work.TIME
    ways: dict[str, dict[str, Any]] = {
        "never saved": {"save_every": GatedSource.steps},
        "accord, saved in the step": {"save_every": EVERY},
        "accord, saved in the background": {"save_every": EVERY, "async_save": True},
    }
    name = "checkpoints-steps" if size == "1.5 M" else "checkpoints-steps-30m"
    return Row(
        name,
        f"Train step fp32 of the {size} model with a checkpoint every {EVERY} steps, "
        f"{sizes['batch']} x {work.TIME} tokens",
        "tokens",
        [
            Contender(way, training, tokens, {"folder": here, "sizes": sizes, "saves": saves})
            for way, saves in ways.items()
        ],
        steps=EVERY,
        rounds=2 if quick else 7,
        targets=[(way, "never saved", None) for way in list(ways)[1:]],
    )
