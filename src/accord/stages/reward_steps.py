"""What the loop does with a batch of scored responses."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from accord.config.reward import RatedGroups, RewardStage
from accord.data.scoring import ScoreBatch
from accord.evaluation.running import Edges, running_sums
from accord.objectives.loss import Loss
from accord.objectives.reward import bradley_terry, prefix_error, rating_error

Step = Callable[[Any, ScoreBatch], Loss]


def reward_step(config: RewardStage, edges: Edges) -> Step:
    """Bradley-Terry on a batch's pairs, averaged within each group, and the error to its ratings.

    A group's pairs share its texts, so that the group is what is averaged over: how groups fall
    into micro-batches and ranks changes nothing.

    Args:
        config: Margin, centering and the weight of the ratings.
        edges: Longest short and longest medium response in tokens, for accuracy by length.
    """
    groups_of = config.pairs if isinstance(config.pairs, RatedGroups) else RatedGroups()
    weight, every = groups_of.regression, groups_of.every_token

    def step(model: Any, batch: ScoreBatch) -> Loss:
        values_N = model.token_values(batch) if every else None
        scores_R = model(batch) if values_N is None else values_N[batch.last_R]
        margin_P = batch.margin_P if config.use_margin else None
        chosen_P, rejected_P = scores_R[batch.chosen_P], scores_R[batch.rejected_P]
        pairs = bradley_terry(chosen_P, rejected_P, margin_P, config.centering)
        longer_P = torch.maximum(batch.length_R[batch.chosen_P], batch.length_R[batch.rejected_P])
        metrics = {
            **pairs.metrics,
            **running_sums(
                scores_R.detach(),
                batch.length_R,
                (chosen_P - rejected_P).detach(),
                longer_P,
                edges,
            ),
        }
        if batch.rating_R is None:
            return Loss(pairs.total, pairs.weight, metrics)
        total, groups = _by_group(batch, chosen_P, rejected_P, config.centering)
        if weight:
            error = rating_error(scores_R, batch.rating_R)
            metrics |= error.metrics
            # groups are of one size: their mean errors add up to this
            total = total + weight * error.total * (batch.groups / error.weight)
            groups = groups.new_tensor(float(batch.groups))
        if values_N is not None:
            error = prefix_error(values_N, batch.sequence_N, batch.rating_R)
            metrics |= error.metrics
            total = total + every * error.total * (batch.groups / error.weight)
            groups = groups.new_tensor(float(batch.groups))
        return Loss(total, groups, metrics)

    return step


def _by_group(
    batch: ScoreBatch, chosen_P: Tensor, rejected_P: Tensor, centering: float
) -> tuple[Tensor, Tensor]:
    """Sum over groups of the mean loss of their pairs, and how many groups have any."""
    sizes = torch.bincount(batch.group_P, minlength=batch.groups).tolist()
    total, groups = chosen_P.sum() * 0.0, 0
    for ahead, behind in zip(chosen_P.split(sizes), rejected_P.split(sizes), strict=True):
        if len(ahead):
            loss = bradley_terry(ahead, behind, None, centering)
            total = total + loss.total / loss.weight
            groups += 1
    return total, chosen_P.detach().new_tensor(float(groups))
