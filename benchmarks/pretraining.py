"""One optimiser step of next-token training: transformers, a plain loop, Accord's Trainer."""

import json
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import work
from harness import Contender, Gate, Row

BATCHES = 4
GPT2 = {"preset": "gpt2-124m", "vocab_size": 50257}


def loop(gate: Gate, model: Any, loss_of: Callable[[Any], Any], batches: list[Any]) -> None:
    """Forward, backward, clip, fused AdamW: the same for transformers and the plain model."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    for batch in cycle(batches):
        gate.step()
        loss = loss_of(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        gate.note("first_loss", loss.item())
        gate.note("first_grad_norm", norm.item())


def transformers(gate: Gate, folder: str, sizes: dict[str, int], bf16: bool) -> None:
    """The model of the hub's library, with its own loss."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()

    def loss_of(ids: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(input_ids=ids, labels=ids, use_cache=False).loss

    loop(gate, model, loss_of, [torch.tensor(b) for b in work.token_batches(BATCHES, **sizes)])


def plain(gate: Gate, folder: str, sizes: dict[str, int]) -> None:
    """A hand-written model, full logits, cross_entropy."""
    import torch
    import torch.nn.functional as F

    from plain import Llama

    model = Llama(folder)

    def loss_of(ids: Any) -> Any:
        return F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

    loop(gate, model, loss_of, [torch.tensor(b) for b in work.token_batches(BATCHES, **sizes)])


class GatedSource:
    """Batches in their own order; a step begins when the loop asks for its rows."""

    steps = 1_000_000

    def __init__(
        self, gate: Gate, batches: list[Any], collate: Callable[[Any], Any], folder: Path
    ) -> None:
        self._gate, self._batches, self.collate = gate, batches, collate
        self._log = folder / "accord" / "metrics.jsonl"

    def rows(self, step: int) -> Any:
        """The rows of a step, once the gate opens."""
        if step == 1:
            first, _, _ = self._log.read_text().partition("\n")
            for note, name in (("first_loss", "loss"), ("first_grad_norm", "grad_norm")):
                self._gate.note(note, json.loads(first)[name])
        self._gate.step()
        return self._batches[step % len(self._batches)]


def settings(precision: str, compile: bool, batch: int) -> dict[str, Any]:
    """What a recipe would say; a log line is written at every step, a checkpoint never."""
    return {
        "steps": GatedSource.steps,
        "batch_size": batch,
        "precision": precision,
        "compile": compile,
        "schedule": "constant",
        "save_every": GatedSource.steps,
        "data": [{"source": "made.jsonl"}],
    }


def accord(
    gate: Gate, folder: str, sizes: dict[str, int], precision: str, compile: bool = False
) -> None:
    """The real Trainer with the pretraining stage's step."""
    from rich.console import Console

    from accord.checkpoint.folder import load_model
    from accord.config.stages import PretrainStage
    from accord.data.packing import Blocks
    from accord.stages.steps import language_step
    from accord.train import Trainer

    batches = work.token_batches(BATCHES, **sizes)
    batch, time = len(batches[0]), len(batches[0][0])
    text = [token for rows in batches for row in rows for token in row]
    blocks = Blocks.of([text[1:]], text[0], text[0], time)
    numbers = [list(range(i * batch, (i + 1) * batch)) for i in range(BATCHES)]
    config = PretrainStage(tokenizer="made", max_length=time, **settings(precision, compile, batch))
    with tempfile.TemporaryDirectory() as kept:
        Trainer(
            load_model(folder),
            language_step,
            GatedSource(gate, numbers, blocks.collate, Path(kept)),
            config,
            Path(kept),
            console=Console(quiet=True),
        ).fit()


def row(folder: Path, quick: bool, compile: bool = False) -> Row:
    """The study model, batches of 8 sequences of 256 tokens."""
    here = {"folder": work.write_model(folder / "study", work.STUDY), "sizes": {}}
    tokens = work.BATCH * work.TIME
    contenders = [
        Contender("transformers fp32", transformers, tokens, {**here, "bf16": False}),
        Contender("transformers bf16", transformers, tokens, {**here, "bf16": True}),
        Contender("plain loop fp32", plain, tokens, here),
        Contender("accord fp32", accord, tokens, {**here, "precision": "fp32"}),
        Contender("accord bf16", accord, tokens, {**here, "precision": "bf16"}),
    ]
    if compile:
        compiled = {**here, "precision": "bf16", "compile": True}
        contenders.append(Contender("accord bf16 compiled", accord, tokens, compiled))
    return Row(
        "pretraining",
        "Train step, 1.5 M study model, 8 x 256 tokens",
        "tokens",
        contenders,
        steps=1 if quick else BATCHES,
        rounds=2 if quick else 7,
        targets=[("accord bf16", "transformers fp32", 5.0)],
    )


def large_row(folder: Path, quick: bool) -> Row:
    """GPT-2 124 M, batches of 4 sequences of 256 tokens."""
    sizes = {"batch": 4, "vocabulary": GPT2["vocab_size"]}
    here = {"folder": work.write_model(folder / "gpt2", GPT2), "sizes": sizes}
    tokens = sizes["batch"] * work.TIME
    return Row(
        "pretraining-large",
        "Train step, GPT-2 124 M, 4 x 256 tokens",
        "tokens",
        [
            Contender("transformers fp32", transformers, tokens, {**here, "bf16": False}),
            Contender("transformers bf16", transformers, tokens, {**here, "bf16": True}),
            Contender("accord fp32", accord, tokens, {**here, "precision": "fp32"}),
            Contender("accord bf16", accord, tokens, {**here, "precision": "bf16"}),
        ],
        steps=1,
        rounds=1 if quick else 5,
        targets=[("accord bf16", "transformers bf16", 1.5)],
    )


def growth_row(folder: Path, quick: bool) -> Row:
    """Accord alone at 1, 2 and 4 times the context, the batch and the vocabulary."""
    base = {"batch": work.BATCH, "time": work.TIME, "vocabulary": work.VOCABULARY}
    contenders = []
    for what, key in (("base", None), ("context", "time"), ("batch", "batch"), ("vocabulary",) * 2):
        for times in (2, 4) if key else (1,):
            sizes = {**base, key: base[key] * times} if key else base
            shape = {
                **work.STUDY,
                "vocab_size": sizes["vocabulary"],
                "max_position_embeddings": sizes["time"],
            }
            name = f"{what} x{times}" if key else what
            here = work.write_model(folder / name.replace(" ", "-"), shape)
            given = {"folder": here, "sizes": sizes, "precision": "fp32"}
            contenders.append(Contender(name, accord, sizes["batch"] * sizes["time"], given))
    return Row(
        "growth",
        "Accord's train step fp32, 1.5 M study model, as it grows from 8 x 256 tokens, V 8,000",
        "tokens",
        contenders,
        steps=1,
        rounds=1 if quick else 5,
    )
