"""What every objective returns: a sum, and what it is to be divided by."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
