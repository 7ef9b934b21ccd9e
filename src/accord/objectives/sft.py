"""Next-token cross-entropy: pretraining and SFT differ only in which tokens the batch scores.

Axes: S scored tokens, D width, V vocabulary.
"""

import torch
from torch import Tensor

from accord.objectives.logprobs import TokenStats, weighted_nll
from accord.objectives.loss import Loss


def next_token(
    hidden_SD: Tensor,
    head_VD: Tensor,
    target_S: Tensor,
    weight_S: Tensor,
    *,
    chunk: int | None = None,
) -> Loss:
    """Sum of weight * -log p over scored tokens, to be divided by the sum of weights.

    Metrics, under TRL's names: `loss` (weighted), `entropy` and `mean_token_accuracy` (a token
    counts once whatever its weight). A batch without scored tokens gives total 0 and weight 0.
    """
    total, stats = weighted_nll(hidden_SD, head_VD, target_S, weight_S, chunk=chunk)
    weight = weight_S.detach().to(total.dtype).sum()
    return Loss(
        total=total,
        weight=weight,
        metrics={"loss": (total.detach(), weight), **token_metrics(stats)},
    )


def token_metrics(stats: TokenStats) -> dict[str, tuple[Tensor, Tensor]]:
    """`entropy` and `mean_token_accuracy` as (sum, tokens)."""
    tokens = torch.full_like(stats.entropy_S[:1].sum(), len(stats.entropy_S))
    return {
        "entropy": (stats.entropy_S.sum(), tokens),
        "mean_token_accuracy": (stats.correct_S.sum(), tokens),
    }
