"""What every objective returns: a sum, and what it is to be divided by."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """A loss as a sum and its weight; the loop divides once, by the weight of the whole batch.

    Args:
        total: Scalar; sum over what is averaged (tokens or pairs), differentiable.
        weight: Scalar; how much that sum is to be divided by (tokens or pairs), no gradient.
        metrics: Name to (sum, weight), detached scalars; reported as sum / weight.
    """

    total: Tensor
    weight: Tensor
    metrics: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


def masked_sum(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the values under a mask, and of the mask; a value outside never counts, even NaN."""
    mask = mask.to(values.dtype)
    return torch.where(mask > 0, values * mask, 0).sum(), mask.sum()
