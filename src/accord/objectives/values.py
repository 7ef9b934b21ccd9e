"""The critic's loss, and how much of the returns it explains. Axes: S scored tokens."""

import torch
from torch import Tensor

from accord.objectives.loss import Loss


def value_loss(
    values_S: Tensor, returns_S: Tensor, old_values_S: Tensor, cliprange: float | None
) -> Loss:
    """Sum over tokens of max((V - R)², (clip(V, V_old ± c) - R)²) / 2, to be divided by tokens.

    The clip is that of the PPO authors' code (openai/baselines, ppo2); without a cliprange the
    loss is (V - R)² / 2.
    Metrics: `loss/value_avg`, and `val/clipfrac_avg`, the share of tokens whose clipped error is
    the larger one.

    Args:
        values_S: V, differentiable.
        returns_S: R.
        old_values_S: V at the roll-out.
        cliprange: c; none: no clip.

    Raises:
        ValueError: Sizes that differ.
    """
    shapes = [list(tensor.shape) for tensor in (values_S, returns_S, old_values_S)]
    if values_S.dim() != 1 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"expected vectors of one length, one number a scored token; got {shapes}")
    returns_S = returns_S.detach().to(values_S.dtype)
    old_values_S = old_values_S.detach().to(values_S.dtype)
    free_S = (values_S - returns_S).square()
    worst_S, held_S = free_S, torch.zeros_like(free_S.detach())
    if cliprange is not None:
        moved_S = (values_S - old_values_S).clamp(-cliprange, cliprange)
        clipped_S = (old_values_S + moved_S - returns_S).square()
        worst_S = torch.maximum(free_S, clipped_S)
        held_S = (clipped_S > free_S).to(held_S.dtype)
    total = worst_S.sum() / 2
    tokens = total.detach().new_tensor(float(len(values_S)))
    metrics = {
        "loss/value_avg": (total.detach(), tokens),
        "val/clipfrac_avg": (held_S.sum(), tokens),
    }
    return Loss(total, tokens, metrics)


def explained_variance(values_S: Tensor, returns_S: Tensor) -> float:
    """`critic/vf_explained_var` = 1 - Var(R - V) / Var(R).

    1 is a perfect critic, 0 one that says the same everywhere; 0 too where the returns do not vary.
    """
    spread = returns_S.double().var(correction=0).item()
    left = (returns_S.double() - values_S.detach().double()).var(correction=0).item()
    return 1 - left / spread if spread > 0 else 0.0
