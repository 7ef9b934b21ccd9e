"""The preference objective: named losses added up over pairs, and what is logged about them.

Notation: π and π_ref log-probabilities of response tokens, w chosen, l rejected. Axes: S scored
tokens, R sequences, P pairs; sequences 2i and 2i+1 are the chosen and the rejected response of
pair i.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import AccordError, did_you_mean
from accord.objectives.logprobs import TokenStats
from accord.objectives.loss import Loss, masked_sum
from accord.objectives.pairs import PairLogps, PairSettings, Sides, logratios
from accord.objectives.preference_losses import LOSSES, LossSpec, log_odds_ratio

GROUPED = ("loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins")
"""Metrics that are also given for every group."""

WITH_LIKELIHOOD = frozenset({"sft", "cpo", "orpo"})
"""Losses that hold the chosen response's likelihood, logged as `nll_loss`."""


def preference_loss(
    losses: Mapping[str, float],
    pairs: PairLogps,
    settings: PairSettings,
    weight_P: Tensor | None = None,
    groups: Mapping[str, Tensor] | None = None,
) -> Loss:
    """Weighted sum of the named losses, summed over pairs, to be divided by the number of pairs.

    Metrics under TRL's names. `loss` is what is minimised; `loss/<name>`, where there are several,
    and `nll_loss` are before their weight and before `weight_P`. Rewards are β(Σπ - Σπ_ref), so
    that `rewards/margins` includes β; where no loss needs a reference they are those of the first
    loss other than sft: β times Σπ (cpo, sft) or Σπ/|y| (simpo, orpo; `logps/` too), as in TRL's
    trainers. A tie is not accurate.

    Args:
        losses: Name in `LOSSES` to weight.
        pairs: Log-probabilities.
        settings: What the losses may be tuned by.
        weight_P: Multiplies each pair's loss, without gradient (WPO). None: 1.
        groups: Name such as `source:hh_rlhf` to a mask [P]; the metrics in `GROUPED` are also
            given over each group's pairs as `<metric>/<group>`, with weight 0 where it has none.

    Raises:
        AccordError: No loss has this name.
        ValueError: No loss at all.
    """
    specs = {name: _spec(name) for name in losses}
    if not specs:
        raise ValueError("a preference loss needs at least one name")
    each = {name: spec.function(pairs, settings) for name, spec in specs.items()}
    loss_P = torch.stack([weight * each[name] for name, weight in losses.items()]).sum(0)
    if weight_P is not None:
        loss_P = loss_P * weight_P.detach()
    values = {
        "loss": loss_P,
        **_reward_metrics(pairs, settings.beta, _reward(losses)),
        **_likelihood_metrics(losses, pairs),
    }
    if len(each) > 1:
        values |= {f"loss/{name}": one_P for name, one_P in each.items()}
    values = {name: value_P.detach() for name, value_P in values.items()}
    count = loss_P.detach().new_tensor(float(len(loss_P)))
    metrics = {name: (value_P.sum(), count) for name, value_P in values.items()}
    for group, mask_P in (groups or {}).items():
        metrics |= {f"{name}/{group}": masked_sum(values[name], mask_P) for name in GROUPED}
    return Loss(loss_P.sum(), count, metrics)


def sequence_logps(
    logps_S: Tensor, sequence_S: Tensor, sequences: int, weight_S: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sum of log-probabilities and number of scored tokens of each sequence.

    A sequence without scored tokens gets sum 0 and length 0. Lengths count tokens, whatever
    `weight_S` (`ld_weights`) makes of them in the sums.

    Returns:
        `sums_R`, differentiable, and `lengths_R`, both of `logps_S`'s dtype.
    """
    zeros_R = logps_S.new_zeros(sequences)
    ones_S = logps_S.detach().new_ones(len(logps_S))
    weighted_S = logps_S if weight_S is None else logps_S * weight_S.detach()
    return zeros_R.index_add(0, sequence_S, weighted_S), zeros_R.index_add(0, sequence_S, ones_S)


def ld_weights(sequence_S: Tensor, lengths_R: Tensor, alpha: float) -> Tensor:
    """LD-DPO, arXiv 2409.06411: tokens past the pair's shorter response weigh alpha.

    The scored tokens of a sequence must be consecutive in S; the sequences may come in any order.

    Args:
        sequence_S: int64, each token's sequence.
        lengths_R: Scored tokens of each sequence, floating-point.
        alpha: Weight of the tokens past the shared length.

    Returns:
        `weight_S`, 1 or `alpha`, of `lengths_R`'s dtype.
    """
    at_S = torch.arange(len(sequence_S), device=sequence_S.device)
    first_R = torch.zeros(len(lengths_R), dtype=at_S.dtype, device=at_S.device)
    first_R = first_R.scatter_reduce(0, sequence_S, at_S, "amin", include_self=False)
    shorter_R = lengths_R.view(-1, 2).amin(1).repeat_interleave(2)
    shared_S = at_S - first_R[sequence_S] < shorter_R[sequence_S]
    one, tail = lengths_R.new_tensor(1.0), lengths_R.new_tensor(alpha)
    return torch.where(shared_S, one, tail)


def paired(
    sums_R: Tensor, lengths_R: Tensor, reference_R: Tensor, full_R: Tensor | None = None
) -> PairLogps:
    """Sequences 2i and 2i+1 as chosen and rejected.

    `full_R` are the sums without weights, where `sums_R` have some (`ld_weights`).

    Raises:
        ValueError: An odd number of sequences, or sizes that differ.
    """
    if len(sums_R) % 2 or not len(sums_R) == len(lengths_R) == len(reference_R):
        raise ValueError(
            "pairs need an even number of sequences, each with a length and a reference; got "
            f"{len(sums_R)} sums, {len(lengths_R)} lengths, {len(reference_R)} references"
        )
    reference_R = reference_R.to(sums_R.dtype)
    return PairLogps(
        sums_R[0::2],
        sums_R[1::2],
        reference_R[0::2],
        reference_R[1::2],
        lengths_R[0::2],
        lengths_R[1::2],
        None if full_R is None else full_R[0::2],
    )


def pair_token_metrics(stats: TokenStats, sequence_S: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """`entropy` over all response tokens, `mean_token_accuracy` over chosen ones, as TRL's."""
    chosen_S = (sequence_S % 2 == 0).to(stats.correct_S.dtype)
    return {
        "entropy": (stats.entropy_S.sum(), chosen_S.new_tensor(float(len(chosen_S)))),
        "mean_token_accuracy": ((stats.correct_S * chosen_S).sum(), chosen_S.sum()),
    }


def _spec(name: str) -> LossSpec:
    if name not in LOSSES:
        raise AccordError(f"unknown preference loss '{name}'", fix=did_you_mean(name, LOSSES))
    return LOSSES[name]


def _reward(losses: Mapping[str, float]) -> Callable[[PairLogps], Sides]:
    """What β multiplies in the rewards: log-ratios as soon as a loss looks at the reference."""
    rewards = [LOSSES[name].reward for name in sorted(losses, key=lambda name: name == "sft")]
    return logratios if logratios in rewards else rewards[0]


def _reward_metrics(
    pairs: PairLogps, beta: float, reward: Callable[[PairLogps], Sides]
) -> dict[str, Tensor]:
    zeros_P = torch.zeros_like(pairs.ref_chosen_P)
    alone = replace(pairs, ref_chosen_P=zeros_P, ref_rejected_P=zeros_P)
    chosen_P, rejected_P = (beta * side_P.detach() for side_P in reward(pairs))
    chosen_logps_P, rejected_logps_P = reward(alone)
    return {
        "rewards/chosen": chosen_P,
        "rewards/rejected": rejected_P,
        "rewards/accuracies": (chosen_P > rejected_P).to(chosen_P.dtype),
        "rewards/margins": chosen_P - rejected_P,
        "logps/chosen": chosen_logps_P,
        "logps/rejected": rejected_logps_P,
    }


def _likelihood_metrics(losses: Mapping[str, float], pairs: PairLogps) -> dict[str, Tensor]:
    found = {}
    if not WITH_LIKELIHOOD.isdisjoint(losses):
        found["nll_loss"] = pairs.nll_P
    if "orpo" in losses:
        odds_P = log_odds_ratio(pairs)
        found |= {"log_odds_chosen": odds_P, "log_odds_ratio": F.logsigmoid(odds_P)}
    return found
