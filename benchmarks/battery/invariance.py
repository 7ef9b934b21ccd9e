"""The first step's gradient, however its rows are split, packed, ordered or shared over ranks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from battery import resume

ROWS = 8
"""Rows of the step."""
KEPT = 40
"""Rows of each data file: enough for a step without repeating one."""
CASES: tuple[str, ...] = (
    *("pretrain", "sft", "reward", "preference", "preference, kto", "ppo", "grpo", "online"),
)
OWN: dict[str, Any] = {
    "batch_size": ROWS,
    "max_grad_norm": None,
    "optimizer": "adamw",
    "precision": "fp32",
    "async_save": False,
}
SPLITS: Mapping[str, dict[str, Any]] = {
    "1x8": {"micro_batch_size": 8},
    "2x4": {"micro_batch_size": 4},
    "8x1": {"micro_batch_size": 1},
    "by tokens": {"micro_batch_size": None, "micro_batch_tokens": 200},
    "rows reversed": {"micro_batch_size": 8},
}
"""8x1 is also the step without packing: each row is a stream of its own."""


def world(folder: Path) -> Path:
    """The stages' data and starting model."""
    with patch.object(resume, "ROWS_KEPT", KEPT):
        return resume.world(folder)


def gradient(home: Path, case: str, folder: Path, split: str) -> dict[str, Any]:
    """The gradient of a stage's first step by parameter; all ranks call it, the first gets it."""
    from accord.train import current_ranks
    from accord.train.loop import Trainer

    begin = Trainer.__init__

    def init(self: Any, model: Any, step: Any, source: Any, *rest: Any, **named: Any) -> None:
        if split == "rows reversed":
            rows = source.rows
            object.__setattr__(source, "rows", lambda step: [*rows(step)][::-1])
        begin(self, model, step, source, *rest, **named)

    own = {case: resume.CASES[case] | OWN | SPLITS[split]}
    with patch.dict(resume.CASES, own), patch.object(Trainer, "__init__", init):
        resume.trained(home, case, folder, 1)
    return first_moments(folder) if current_ranks().rank == 0 else {}


def first_moments(folder: Path) -> dict[str, Any]:
    """Gradients from the first checkpoint: AdamW's first moment is 0.1 of the first of them."""
    from safetensors.torch import load_file

    held = load_file(folder / "accord" / "checkpoints" / "step-1" / "tensors.safetensors")
    return {n: t.double() * 10 for n, t in held.items() if n.endswith("/exp_avg")}


def apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """Largest absolute difference of any number; infinite where there are other parameters."""
    if a.keys() != b.keys() or not a:
        return float("inf")
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def shared(home: Path, folder: Path, cases: Sequence[str]) -> None:
    """One of two ranks: the first step of every case."""
    for case in cases:
        gradient(home, case, folder / case, "2x4")


def differences(folder: Path, cases: Sequence[str], ranks: int) -> dict[str, dict[str, float]]:
    """By case and way of splitting, the largest difference from one whole batch.

    Args:
        folder: Empty.
        cases: Stages.
        ranks: 2 to share the step over as many processes too; 1 leaves that out.
    """
    from accord.train import launch

    home = world(folder / "world")
    if ranks > 1:
        launch(shared, ranks, home, folder / "ranks", cases)
    found: dict[str, dict[str, float]] = {}
    for case in cases:
        own = {split: gradient(home, case, folder / split / case, split) for split in SPLITS}
        whole = own.pop("1x8")
        if ranks > 1:
            own[f"{ranks} ranks"] = first_moments(folder / "ranks" / case)
        largest = max(float(tensor.abs().max()) for tensor in whole.values())
        found[case] = {split: apart(whole, other) for split, other in own.items()}
        found[case]["largest gradient"] = largest
    return found | {"padded rows, sft": {"padding": padded_apart()}}


def padded_apart() -> float:
    """Next-token loss of rows of unlike lengths: right-padded and masked, or end to end."""
    import torch
    from torch.nn.functional import cross_entropy

    from accord.config.model import ModelConfig
    from accord.data.packing import Example, Response, collate
    from accord.model import Decoder, Plan
    from accord.stages.steps import language_step

    shape: dict[str, Any] = {**resume.SHAPE, "vocab_size": 61}
    draw = torch.Generator().manual_seed(4)
    rows = [torch.randint(61, (n,), generator=draw).tolist() for n in range(5, 29, 3)]
    packed, padded = (Decoder.init(ModelConfig(**shape), 2) for _ in range(2))
    examples = [
        Example((row[0],), (Response(tuple(row[1:]), (True,) * (len(row) - 1)),), str(i))
        for i, row in enumerate(rows)
    ]
    loss = language_step(packed, collate(examples))
    (loss.total / loss.weight).backward()
    longest = max(map(len, rows))
    ids_BT = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    target_BT = torch.tensor([row[1:] + [-100] * (longest - len(row) + 1) for row in rows])
    position_N = torch.arange(longest).repeat(len(rows))
    hidden_ND = padded(ids_BT.flatten(), position_N, Plan.dense(len(rows), longest))
    cross_entropy(padded.logits(hidden_ND), target_BT.flatten()).backward()
    ours, theirs = (
        {n: p.grad.double() for n, p in model.named_parameters() if p.grad is not None}
        for model in (packed, padded)
    )
    return apart(ours, theirs)
