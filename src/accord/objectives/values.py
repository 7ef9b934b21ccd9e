"""The critic's loss, and how much of the returns it explains. Axes: S scored tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor

from accord.objectives.loss import Loss


def value_loss(
    values_S: Tensor, returns_S: Tensor, old_values_S: Tensor, cliprange: float | None
) -> Loss:
    """Sum over tokens of max((V - R)², (clip(V, V_old ± c) - R)²) / 2, to be divided by tokens.

    The clip is that of the PPO authors' code (openai/baselines, ppo2); without a cliprange the
    loss is (V - R)² / 2.
    Metrics: `loss/value_avg`; `val/clipfrac_avg`, the share of tokens whose clipped error is the
    larger one; and the four means that `explained_variance` takes.

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
    figures = {"val/clipfrac_avg": held_S, **_moments(values_S.detach(), returns_S)}
    metrics = {name: (value_S.sum(), tokens) for name, value_S in figures.items()}
    return Loss(total, tokens, {"loss/value_avg": (total.detach(), tokens), **metrics})


def explained_variance(means: Mapping[str, float]) -> float:
    """`critic/vf_explained_var` = 1 - Var(R - V) / Var(R), from the means of `value_loss`.

    1 is a perfect critic, 0 one that says the same everywhere; NaN where the returns do not vary.
    """
    spread = means["val/returns_sq"] - means["val/returns"] ** 2
    left = means["val/error_sq"] - means["val/error"] ** 2
    return 1 - left / spread if spread > 0 else float("nan")


def _moments(values_S: Tensor, returns_S: Tensor) -> dict[str, Tensor]:
    # float64: a difference of squares follows.
    error_S, returns_S = (returns_S - values_S).double(), returns_S.double()
    return {
        "val/error": error_S,
        "val/error_sq": error_S.square(),
        "val/returns": returns_S,
        "val/returns_sq": returns_S.square(),
    }
