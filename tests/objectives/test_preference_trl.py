"""TRL's own loss code gives every shared preference loss the same value, gradient and rewards.

`DPOTrainer._compute_loss` runs on a stand-in for the trainer that holds the settings it reads; each
token's log-probability is a leaf. The trainers themselves, kernels and collators included, are in
`test_trl`.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.loss import Loss
from accord.objectives.pairs import PairSettings
from accord.objectives.preference import ld_weights, paired, preference_loss, sequence_logps
from accord.objectives.weighting import aligned_weights

from .twins import gradients

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore"),  # the peer's own warnings are not ours to mend
]

CHOSEN, REJECTED = [4, 2, 7, 3, 5], [2, 6, 7, 1, 3]
LONGEST = 7
BETA = 0.7


@dataclass(frozen=True)
class Case:
    """Our losses and settings, and what TRL calls them."""

    losses: dict[str, float]
    settings: PairSettings = field(default_factory=lambda: PairSettings(BETA))
    theirs: tuple[str, ...] = ()
    ld_alpha: float | None = None
    weighted: bool = False
    pairs: int = 5

    @property
    def dtype(self) -> torch.dtype:
        """TRL's alpha divergence knows no float64."""
        alpha = self.settings.f_divergence_type == "alpha_divergence"
        return torch.float32 if alpha else torch.float64


def at(**settings: Any) -> PairSettings:
    return replace(PairSettings(BETA), **settings)


SMOOTHED = at(label_smoothing=0.2)
PLAIN = ("sigmoid", "sigmoid_norm", "ipo", "hinge", "nca_pair", "bco_pair", "sppo_hard")
PLAIN = (*PLAIN, "apo_zero", "apo_down", "discopop", "aot", "aot_unpaired")
DIVERGING = ("sigmoid", "sigmoid_norm", "ipo", "hinge", "robust", "exo_pair", "discopop")
CASES = {
    **{name: Case({name: 1.0}) for name in PLAIN},
    **{
        f"smoothed {name}": Case({name: 1.0}, SMOOTHED)
        for name in ("robust", "exo_pair", "aot", "aot_unpaired")
    },
    # TRL's `sigmoid` ignores label_smoothing; its `aot` on one pair is the smoothed sigmoid.
    "smoothed sigmoid": Case({"sigmoid": 1.0}, SMOOTHED, ("aot",), pairs=1),
    # TRL's mean is over all chosen tokens of a micro-batch: for one pair the same as ours.
    "sft": Case({"sft": 1.0}, pairs=1),
    "sum": Case({"sigmoid": 0.8, "apo_zero": 0.5, "ipo": 0.1}),
    "sum with sft": Case({"sigmoid": 0.8, "sft": 0.3, "apo_zero": 0.5}, pairs=1),
    "another τ": Case({"discopop": 1.0}, at(discopop_tau=0.8)),
    **{
        f"ld_alpha {name}": Case({name: 1.0}, ld_alpha=0.3)
        for name in ("sigmoid_norm", "ipo", "hinge", "nca_pair", "sppo_hard", "aot", "apo_down")
    },
    "ld_alpha 0": Case({"sigmoid": 1.0}, ld_alpha=0.0),
    "ld_alpha leaves sft alone": Case({"hinge": 1.0, "sft": 0.4}, ld_alpha=0.2, pairs=1),
    # TRL weighs in place, which autograd refuses after hinge's relu; and it gives the weights of
    # the pairs to the ranks of aot.
    **{
        f"weighted {name}": Case({name: 1.0}, weighted=True)
        for name in PLAIN
        if name not in {"hinge", "aot", "aot_unpaired"}
    },
    "weighted sum": Case({"ipo": 1.0, "bco_pair": 0.4}, weighted=True),
    "weighted sft": Case({"sft": 1.0, "sigmoid": 1.0}, weighted=True, pairs=1),
    **{
        f"{divergence} {name}": Case(
            {name: 1.0}, at(f_divergence_type=divergence, label_smoothing=smoothing)
        )
        for divergence in ("forward_kl", "js_divergence", "alpha_divergence")
        for name, smoothing in zip(DIVERGING, (0, 0, 0, 0, 0.2, 0.2, 0), strict=True)
    },
    **{
        f"alpha {alpha}": Case(
            {"sigmoid": 1.0},
            at(f_divergence_type="alpha_divergence", f_alpha_divergence_coef=alpha),
        )
        for alpha in (0.2, 1.0, 2.0)
    },
}


class Batch:
    """Random log-probabilities of padded answers; TRL stacks all chosen above all rejected."""

    def __init__(self, case: Case) -> None:
        generator = torch.Generator().manual_seed(3)
        self.lengths = CHOSEN[: case.pairs] + REJECTED[: case.pairs]
        rows = len(self.lengths)
        self.mask = torch.arange(LONGEST)[None] < torch.tensor(self.lengths)[:, None]
        draws = torch.rand(3, rows, LONGEST, generator=generator, dtype=torch.float64)
        # Multiples of 1/1024, whose sums are exact in float32 in any order.
        draws = (1024 * draws).round() / 1024 * self.mask
        self.logps = (-draws[0]).to(case.dtype).requires_grad_()
        self.ref = (-draws[1]).to(case.dtype)
        self.squares = (-draws[2]).to(case.dtype)
        self.sequence = torch.cat([torch.arange(0, rows, 2), torch.arange(1, rows, 2)])

    def sums(self, values_BT: Tensor, alpha: float | None = None) -> tuple[Tensor, Tensor]:
        row, column = self.mask.nonzero(as_tuple=True)
        values_S, sequence_S = values_BT[row, column], self.sequence[row]
        sums, lengths = sequence_logps(values_S, sequence_S, len(self.lengths))
        if alpha is not None:
            weight_S = ld_weights(sequence_S, lengths, alpha)
            sums, _ = sequence_logps(values_S, sequence_S, len(self.lengths), weight_S)
        return sums, lengths


def stand_in(case: Case) -> Any:
    return SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(
            device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x
        ),
        aux_loss_enabled=False,
        ld_alpha=case.ld_alpha,
        precompute_ref_logps=True,
        f_divergence_type=case.settings.f_divergence_type,
        f_alpha_divergence_coef=case.settings.f_alpha_divergence_coef,
        loss_types=list(case.theirs or case.losses),
        loss_weights=list(case.losses.values()),
        beta=case.settings.beta,
        label_smoothing=case.settings.label_smoothing,
        args=SimpleNamespace(discopop_tau=case.settings.discopop_tau),
        use_weighting=case.weighted,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )


def theirs(case: Case, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    from trl import DPOTrainer

    trainer = stand_in(case)
    zeros = torch.zeros_like(batch.logps.detach())
    outputs = SimpleNamespace(
        log_probs=batch.logps * batch.mask,
        log_sum_sq_probs=batch.squares,
        entropy=zeros,
        mean_logits=zeros,
        is_top1=zeros.bool(),
    )
    completion = torch.nn.functional.pad(batch.mask.long(), (1, 0))
    reference = batch.sums(batch.ref, case.ld_alpha)[0]
    inputs = {
        "input_ids": torch.zeros_like(completion),
        "attention_mask": torch.ones_like(completion),
        "completion_mask": completion,
        "ref_chosen_logps": reference[0::2],
        "ref_rejected_logps": reference[1::2],
    }
    loss = DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)
    return loss, {key: values[-1] for key, values in trainer._metrics["train"].items()}


def ours(case: Case, batch: Batch) -> Loss:
    full, lengths = batch.sums(batch.logps)
    sums, _ = batch.sums(batch.logps, case.ld_alpha)
    reference, _ = batch.sums(batch.ref, case.ld_alpha)
    weight_P = None
    if case.weighted:
        weight_P = aligned_weights(batch.sums(batch.logps - batch.squares)[0] / lengths)
    pairs = paired(sums, lengths, reference, full_R=full)
    return preference_loss(case.losses, pairs, case.settings, weight_P)


@pytest.mark.parametrize("name", CASES)
def test_loss_gradient_and_rewards_agree_with_trl(name: str) -> None:
    case = CASES[name]
    batch = Batch(case)
    expected, logged = theirs(case, batch)
    loss = ours(case, batch)
    mean = loss.total / loss.weight
    assert mean.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)
    found, twin = (gradients(total, batch.logps)[0] for total in (mean, expected))
    torch.testing.assert_close(found, twin, rtol=1e-6, atol=1e-6)
    assert twin.abs().max() > 1e-3
    if set(case.losses) != {"sft"}:  # whose rewards TRL has against a reference, which ours lacks
        for metric in ("chosen", "rejected", "accuracies", "margins"):
            total, by = loss.metrics[f"rewards/{metric}"]
            assert (total / by).item() == pytest.approx(logged[f"rewards/{metric}"], abs=1e-6)
