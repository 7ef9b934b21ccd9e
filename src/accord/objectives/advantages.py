"""From rewards to what each token is pushed by: pure functions, nothing differentiable.

Axes: S scored tokens, one sequence after another; R sequences; G groups of K completions.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# TRL's: keeps a group of nearly equal rewards from being blown up.
_SPREAD_FLOOR = 1e-4
_VARIANCE_FLOOR = 1e-8
_MAX_KL_ERROR = 0.2


@dataclass(frozen=True)
class GroupFigures:
    """What the rewards of each group are like.

    Args:
        mean_G: Mean reward.
        std_G: Its unbiased standard deviation.
        zero_spread: Share of groups whose rewards are all equal (`frac_reward_zero_std`).
    """

    mean_G: Tensor
    std_G: Tensor
    zero_spread: float


@torch.no_grad()
def gae(
    rewards_S: Tensor,
    values_S: Tensor,
    lengths_R: Tensor,
    bootstrap_R: Tensor,
    gamma: float,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation, arXiv 1506.02438 eq. 16, and the returns A + V.

    δ_t = r_t + γ V_{t+1} - V_t and A_t = δ_t + γλ A_{t+1}, in the dtype of the rewards.

    Args:
        rewards_S: Reward of each token.
        values_S: V_t, the value of the state that the token was drawn in.
        lengths_R: Tokens of each sequence; 0 is allowed.
        bootstrap_R: V after the last token: 0 where the sequence ended by itself, the value of
            the state that follows where it was cut off.
        gamma: Discount γ.
        lam: λ.

    Returns:
        `advantages_S` and `returns_S`.

    Raises:
        ValueError: Sizes that do not belong together.
    """
    _same_length(rewards_S, values_S)
    _same_length(lengths_R, bootstrap_R)
    row_S, column_S, last_R = _layout(lengths_R, len(rewards_S))
    some_R = lengths_R > 0
    next_S = torch.cat([values_S[1:], values_S[:1]])
    next_S[last_R[some_R]] = bootstrap_R[some_R].to(values_S.dtype)
    longest = int(lengths_R.max()) if len(lengths_R) else 0
    # Time first: each step of the recursion reads and writes one contiguous row.
    grid_TR = rewards_S.new_zeros(longest, len(lengths_R))
    grid_TR[column_S, row_S] = rewards_S + gamma * next_S - values_S
    for t in range(longest - 2, -1, -1):
        grid_TR[t] += gamma * lam * grid_TR[t + 1]
    advantages_S = grid_TR[column_S, row_S]
    return advantages_S, advantages_S + values_S


@torch.no_grad()
def shaped_rewards(
    scores_R: Tensor, logps_S: Tensor, ref_logps_S: Tensor, lengths_R: Tensor, kl_coef: float
) -> Tensor:
    """-c (log π - log π_ref) for each token, and the score on the last (arXiv 2203.02155 eq. 2).

    A sequence without tokens has nowhere to put its score, which is left out.

    Raises:
        ValueError: Sizes that do not belong together.
    """
    _same_length(logps_S, ref_logps_S)
    _same_length(scores_R, lengths_R)
    _, _, last_R = _layout(lengths_R, len(logps_S))
    some_R = lengths_R > 0
    rewards_S = -kl_coef * (logps_S - ref_logps_S)
    return rewards_S.index_add(0, last_R[some_R], scores_R[some_R].to(rewards_S.dtype))


@torch.no_grad()
def whiten(x_S: Tensor, shift_mean: bool = True) -> Tensor:
    """(x - mean) / std, or x / std without the shift: std = sqrt(unbiased variance + 1e-8).

    x holds unmasked tokens only. Without the shift, TRL's PPO (up to 1.12) gave
    (x - mean) / std + mean, which adds a constant to the reward of every token and so pays for
    length; here the scale alone changes. A single value has variance 0.
    """
    variance = x_S.var() if x_S.numel() > 1 else x_S.new_zeros(())
    centred_S = x_S - x_S.mean() if shift_mean else x_S
    return centred_S * (variance + _VARIANCE_FLOOR).rsqrt()


@torch.no_grad()
def group_advantages(
    rewards_GK: Tensor, scale: Literal["group", "batch", "none"] = "group"
) -> tuple[Tensor, GroupFigures]:
    """(r - mean of the group) / (std + 1e-4), arXiv 2402.03300 section 4.1.2.

    The unbiased standard deviation is the group's, the whole batch's (`batch`, arXiv 2508.08221)
    or left out (`none`, Dr. GRPO, arXiv 2503.20783). A group whose rewards are all equal gets
    advantages of exactly 0.

    Raises:
        ValueError: Rewards that are not [G, K] with K of at least 2, or an unknown scale.
    """
    centred_GK = _less_group_mean(rewards_GK)
    std_G = rewards_GK.std(1)
    figures = GroupFigures(rewards_GK.mean(1), std_G, _equal(rewards_GK).double().mean().item())
    if scale == "none":
        return centred_GK, figures
    if scale not in ("group", "batch"):
        raise ValueError(f"scale is group, batch or none, not '{scale}'")
    spread_G1 = std_G[:, None] if scale == "group" else rewards_GK.std()
    return centred_GK / (spread_G1 + _SPREAD_FLOOR), figures


@torch.no_grad()
def rloo(rewards_GK: Tensor) -> Tensor:
    """Reward less the mean of the group's other completions: RLOO, arXiv 2402.14740.

    Raises:
        ValueError: Rewards that are not [G, K] with K of at least 2.
    """
    completions = rewards_GK.shape[-1]
    return _less_group_mean(rewards_GK) * (completions / (completions - 1))


@torch.no_grad()
def reinforce_plus_plus(rewards_GK: Tensor) -> Tensor:
    """Reward less the group's mean, over the batch's spread: REINFORCE++, arXiv 2501.03262.

    The centred rewards' mean is 0, so that dividing them by their standard deviation whitens.

    Raises:
        ValueError: Rewards that are not [G, K] with K of at least 2.
    """
    return whiten(_less_group_mean(rewards_GK), shift_mean=False)


def adapt_kl(coef: float, kl: float, target: float, horizon: float, completions: int) -> float:
    """The KL coefficient after `completions` more: arXiv 1909.08593 section 2.2.

    e = clip((kl - target) / target, -0.2, 0.2); coef (1 + e completions / horizon).

    Args:
        coef: The coefficient so far.
        kl: Mean KL a completion, in nats.
        target: What it should be, in nats.
        horizon: Completions over which the coefficient may change by the error's share.
        completions: How many the KL was measured on.
    """
    error = min(max((kl - target) / target, -_MAX_KL_ERROR), _MAX_KL_ERROR)
    return coef * (1 + error * completions / horizon)


def _less_group_mean(rewards_GK: Tensor) -> Tensor:
    if rewards_GK.dim() != 2 or rewards_GK.shape[1] < 2:
        raise ValueError(
            f"rewards are [groups, completions >= 2], not {list(rewards_GK.shape)}: a group's "
            "mean says nothing about a single completion"
        )
    centred_GK = rewards_GK - rewards_GK.mean(1, keepdim=True)
    # The rounded mean of k equal rewards need not be that reward.
    return centred_GK.masked_fill(_equal(rewards_GK)[:, None], 0)


def _equal(rewards_GK: Tensor) -> Tensor:
    return rewards_GK.amax(1) == rewards_GK.amin(1)


def _layout(lengths_R: Tensor, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each token's sequence and place in it, and each sequence's last token."""
    ends_R = lengths_R.cumsum(0)
    if (int(ends_R[-1]) if len(ends_R) else 0) != tokens:
        raise ValueError(f"lengths of {lengths_R.tolist()} do not make {tokens} tokens")
    row_S = torch.arange(len(lengths_R), device=lengths_R.device).repeat_interleave(lengths_R)
    column_S = torch.arange(tokens, device=lengths_R.device) - (ends_R - lengths_R)[row_S]
    return row_S, column_S, ends_R - 1


def _same_length(one: Tensor, two: Tensor) -> None:
    if one.dim() != 1 or one.shape != two.shape:
        raise ValueError(
            f"expected two vectors of one length: {list(one.shape)}, {list(two.shape)}"
        )
