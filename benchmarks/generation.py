"""Generation beside transformers' `generate` and a plain loop.

The study model completes prompts of 64 tokens by 128 tokens drawn at temperature 1, with no early
stop: every contender draws the same number. A step is a whole batch of completions.
"""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import work
from harness import Contender, Gate, Row

NEW = 128
ROUNDS = {1: 9, 8: 7, 64: 5}


class EndlessTokenizer:
    """Has no token that ends a completion."""

    end_id, pad_id = -1, None

    def __len__(self) -> int:
        return work.VOCABULARY

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))


def prompts(batch: int) -> list[list[int]]:
    """`batch` prompts of 64 tokens."""
    return work.token_batches(1, batch, work.PROMPT)[0]


def dtype_of(bf16: bool) -> Any:
    import torch

    return torch.bfloat16 if bf16 else torch.float32


def accord(gate: Gate, folder: str, batch: int, bf16: bool) -> None:
    """The rollout engine."""
    from accord.checkpoint.folder import load_model
    from accord.config.generate import SamplingConfig
    from accord.rollout.engine import Engine

    engine = Engine(load_model(folder, dtype_of(bf16)), EndlessTokenizer())  # type: ignore[arg-type]
    sampling = SamplingConfig(max_new_tokens=NEW)
    for turn in count():
        gate.step()
        engine.generate(prompts(batch), sampling, range(turn, turn + batch))


def transformers(gate: Gate, folder: str, batch: int, bf16: bool, **chosen: Any) -> None:
    """`generate`, with its dynamic or its static cache."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype_of(bf16)).eval()
    model.generation_config.eos_token_id = None
    ids = torch.tensor(prompts(batch))
    while True:
        gate.step()
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            max_new_tokens=NEW,
            pad_token_id=0,
            **chosen,
        )
        assert out.shape[1] == work.PROMPT + NEW


def plain(gate: Gate, folder: str, batch: int, bf16: bool) -> None:
    """Forward with transformers' cache, softmax, multinomial: the loop one writes by hand."""
    import torch
    from transformers import AutoModelForCausalLM

    from plain import drawn

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype_of(bf16)).eval()
    with torch.inference_mode():
        while True:
            gate.step()
            drawn(model, torch.tensor(prompts(batch)), NEW)


def row(batch: int, target: float, folder: Path, quick: bool) -> Row:
    """One size of batch."""
    here = {"folder": work.write_model(folder / "study", work.STUDY), "batch": batch}
    fp32, new = {**here, "bf16": False}, batch * NEW
    static = {**fp32, "cache_implementation": "static"}
    return Row(
        f"generation-{batch}",
        f"Generation, 1.5 M study model, prompt 64 + 128 new, batch of {batch}",
        "tokens",
        [
            Contender("transformers generate", transformers, new, fp32),
            Contender("transformers static cache", transformers, new, static),
            Contender("plain loop", plain, new, fp32),
            Contender("accord fp32", accord, new, fp32),
            Contender("accord bf16", accord, new, {**here, "bf16": True}),
        ],
        steps=1,
        rounds=2 if quick else ROUNDS[batch],
        targets=[("accord fp32", "transformers generate", target)],
    )
