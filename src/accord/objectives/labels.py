"""Losses of single responses that are wanted or not: KTO and its kin, a table row each.

Notation: r = Σπ - Σπ_ref of a response, σ logistic, z0 the KL of policy to reference that KTO
takes as its point of reference. Axis: R responses.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from accord.errors import AccordError, did_you_mean
from accord.objectives.loss import Loss, masked_sum


@dataclass(frozen=True)
class LabelLogps:
    """Log-probabilities of R responses in nats, summed over their tokens and the end token.

    Args:
        logps_R: Σπ, differentiable.
        ref_R: Σπ_ref.
        wanted_R: bool, whether the response is a wanted one.
        lengths_R: Scored tokens.
    """

    logps_R: Tensor
    ref_R: Tensor
    wanted_R: Tensor
    lengths_R: Tensor


@dataclass(frozen=True)
class LabelSettings:
    """What a loss of labelled responses may be tuned by.

    Args:
        beta: Strength of the tie to the reference.
        desirable_weight: λ_D, weight of wanted responses.
        undesirable_weight: λ_U, weight of the others.
    """

    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0


def kto(reward_R: Tensor, sign_R: Tensor, shift: Tensor) -> Tensor:
    """KTO, arXiv 2402.01306 eq. 7: 1 - σ(±(βr - βz0))."""
    return torch.sigmoid(-sign_R * (reward_R - shift))


def apo_zero_unpaired(reward_R: Tensor, sign_R: Tensor, shift: Tensor) -> Tensor:
    """APO-zero, arXiv 2408.06266 eq. 7, response by response: 1 - σ(±βr)."""
    return torch.sigmoid(-sign_R * reward_R)


@dataclass(frozen=True)
class LabelSpec:
    """A row of the table.

    Args:
        function: βr [R], +1 where wanted and -1 elsewhere [R], and βz0, to 1 minus the value of
            each response before λ [R].
        formula: The loss of one response.
        paper: Where it comes from.
    """

    function: Callable[[Tensor, Tensor, Tensor], Tensor]
    formula: str
    paper: str


LABEL_LOSSES: Mapping[str, LabelSpec] = MappingProxyType(
    {
        "kto": LabelSpec(
            kto,
            "λ_D(1 - σ(β(r - z0))) if wanted, else λ_U(1 - σ(β(z0 - r)))",
            "arXiv 2402.01306 eq. 7",
        ),
        "apo_zero_unpaired": LabelSpec(
            apo_zero_unpaired,
            "λ_D(1 - σ(βr)) if wanted, else λ_U σ(βr)",
            "arXiv 2408.06266 eq. 7",
        ),
    }
)

REWARDS = ("rewards/chosen", "rewards/rejected")


def label_loss(
    name: str,
    labels: LabelLogps,
    settings: LabelSettings,
    kl: float,
    groups: Mapping[str, Tensor] | None = None,
) -> Loss:
    """Sum over responses of the loss called `name`, to be divided by the number of responses.

    Metrics under TRL's names: `loss`, `kl` (z0), and the means over wanted responses (`chosen`)
    and the others (`rejected`) of `rewards/` = βr and `logps/`, with weight 0 where the batch has
    none of a kind. A margin is a difference of two means, which no sum and weight can say:
    `margins` makes it of the means.

    Args:
        name: A name in `LABEL_LOSSES`.
        labels: Log-probabilities and labels.
        settings: What the loss may be tuned by.
        kl: z0 in nats, of the whole step and not below 0.
        groups: Name such as `source:hh_rlhf` to a mask [R]; `loss` and the rewards are also given
            over each group's responses as `<metric>/<group>`.

    Raises:
        AccordError: No loss has this name.
        ValueError: `kl` is below 0 or not finite.
    """
    if name not in LABEL_LOSSES:
        raise AccordError(f"unknown label loss '{name}'", fix=did_you_mean(name, LABEL_LOSSES))
    if not 0 <= kl < math.inf:
        raise ValueError(f"kl must be a number not below 0, not {kl}")
    beta, wanted_R = settings.beta, labels.wanted_R.bool()
    reward_R = beta * (labels.logps_R - labels.ref_R.to(labels.logps_R.dtype))
    z0, one, desirable, undesirable = reward_R.detach().new_tensor(
        [kl, 1.0, settings.desirable_weight, settings.undesirable_weight]
    )
    sign_R = torch.where(wanted_R, one, -one)
    one_R = LABEL_LOSSES[name].function(reward_R, sign_R, beta * z0)
    loss_R = torch.where(wanted_R, desirable, undesirable) * one_R
    count = reward_R.detach().new_tensor(float(len(reward_R)))
    values = {
        "loss": (loss_R, torch.ones_like(wanted_R)),
        "rewards/chosen": (reward_R, wanted_R),
        "rewards/rejected": (reward_R, ~wanted_R),
        "logps/chosen": (labels.logps_R, wanted_R),
        "logps/rejected": (labels.logps_R, ~wanted_R),
    }
    metrics = {
        key: masked_sum(value_R.detach(), kind_R) for key, (value_R, kind_R) in values.items()
    }
    for group, mask_R in (groups or {}).items():
        for key in ("loss", *REWARDS):
            value_R, kind_R = values[key]
            metrics[f"{key}/{group}"] = masked_sum(value_R.detach(), mask_R * kind_R)
    return Loss(loss_R.sum(), count, {**metrics, "kl": (z0 * count, count)})


def margins(means: Mapping[str, float]) -> dict[str, float]:
    """`rewards/margins`, and that of every group, of the means that `label_loss`'s metrics became.

    TRL's figure: mean reward of the wanted responses minus that of the others; left out where a
    side has no mean.
    """
    chosen, rejected = REWARDS
    return {
        f"rewards/margins{name.removeprefix(chosen)}": mean - means[other]
        for name, mean in means.items()
        if name.startswith(chosen) and (other := rejected + name.removeprefix(chosen)) in means
    }
