"""The clipped policy losses: PPO, GRPO and its family, one function and a table of names.

Notation: ρ = π / π_old the importance ratio, A the advantage, ε the clip. Axes: S scored tokens,
R sequences, of which some may have no token (a masked completion).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from accord.errors import AccordError, did_you_mean
from accord.objectives.loss import Loss


@dataclass(frozen=True)
class PolicySettings:
    """What a policy loss may be tuned by.

    Args:
        loss_type: A name in `LOSSES`.
        importance: `token`: a ratio a token; `sequence`: one a sequence, exp of its mean
            log-ratio (GSPO, arXiv 2507.18071 eq. 7).
        epsilon: Lower clip: ρ is not followed below 1 - epsilon.
        epsilon_high: Upper clip (clip-higher, arXiv 2503.14476); none: epsilon.
        beta: Weight of the KL to the reference, inside the aggregation.
        kl_estimator: `k1`, `k2` or `k3`.
        max_length: What `dr_grpo` divides by: the most tokens a completion may have.
    """

    loss_type: str = "dapo"
    importance: str = "token"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    beta: float = 0.0
    kl_estimator: str = "k3"
    max_length: int | None = None

    @property
    def low(self) -> float:
        """1 - ε_low."""
        return 1 - self.epsilon

    @property
    def high(self) -> float:
        """1 + ε_high."""
        return 1 + (self.epsilon if self.epsilon_high is None else self.epsilon_high)


@dataclass(frozen=True)
class Sequences:
    """Which sequence each token belongs to, and how many tokens each sequence has."""

    sequence_S: Tensor
    lengths_R: Tensor

    def per_token(self, values_S: Tensor) -> Tensor:
        """Each token's share of its sequence's mean: the shares of a sequence add up to it."""
        return values_S / self.lengths_R[self.sequence_S]

    def means(self, values_S: Tensor) -> Tensor:
        """Mean over each sequence's tokens, [R]; 0 where it has none."""
        zeros_R = values_S.new_zeros(len(self.lengths_R))
        return zeros_R.index_add(0, self.sequence_S, self.per_token(values_S))


Surrogate = Callable[[Tensor, Tensor, Tensor, PolicySettings], Tensor]
Aggregate = Callable[[Tensor, Sequences, PolicySettings], tuple[Tensor, float]]


def clipped(ratio_S: Tensor, logps_S: Tensor, advantages_S: Tensor, s: PolicySettings) -> Tensor:
    """-min(ρA, clip(ρ, 1-ε_low, 1+ε_high) A): PPO, arXiv 1707.06347 eq. 7."""
    return -torch.minimum(ratio_S * advantages_S, ratio_S.clamp(s.low, s.high) * advantages_S)


def capped(ratio_S: Tensor, logps_S: Tensor, advantages_S: Tensor, s: PolicySettings) -> Tensor:
    """-sg(min(ρ, 1+ε_high)) A log π: CISPO, arXiv 2506.13585 eq. 4-5, with no lower clip."""
    return -ratio_S.detach().clamp(max=s.high) * advantages_S * logps_S


def over_sequences(loss_S: Tensor, sequences: Sequences, s: PolicySettings) -> tuple[Tensor, float]:
    """Mean over the tokens of each sequence, to be divided by the sequences."""
    return sequences.per_token(loss_S).sum(), len(sequences.lengths_R)


def over_tokens(loss_S: Tensor, sequences: Sequences, s: PolicySettings) -> tuple[Tensor, float]:
    """Sum over tokens, to be divided by the tokens."""
    return loss_S.sum(), len(loss_S)


def over_constant(loss_S: Tensor, sequences: Sequences, s: PolicySettings) -> tuple[Tensor, float]:
    """Sum over tokens by the longest length allowed, to be divided by the sequences."""
    if not s.max_length:
        raise ValueError("dr_grpo needs max_length, the most tokens a completion may have")
    return loss_S.sum() / s.max_length, len(sequences.lengths_R)


@dataclass(frozen=True)
class PolicySpec:
    """A row of the table: a token's loss, how tokens add up, the formula and its source."""

    surrogate: Surrogate
    aggregate: Aggregate
    formula: str
    paper: str


_CLIPPED = "l = -min(ρA, clip(ρ, 1-ε, 1+ε_high)A)"
LOSSES: Mapping[str, PolicySpec] = MappingProxyType(
    {
        "grpo": PolicySpec(
            clipped, over_sequences, f"1/R Σ_R 1/|o| Σ l, {_CLIPPED}", "arXiv 2402.03300 eq. 3"
        ),
        "dapo": PolicySpec(
            clipped, over_tokens, f"1/Σ|o| Σ_R Σ l, {_CLIPPED}", "arXiv 2503.14476 eq. 8"
        ),
        "dr_grpo": PolicySpec(
            clipped, over_constant, f"1/(R L) Σ_R Σ l, {_CLIPPED}", "arXiv 2503.20783 section 3.2"
        ),
        # TRL divides it by the tokens of each micro-batch. Here every loss is divided by the
        # weight of the whole step, which makes it dapo.
        "bnpo": PolicySpec(
            clipped, over_tokens, f"1/Σ|o| Σ_R Σ l, {_CLIPPED}", "TRL's name; here as dapo"
        ),
        "cispo": PolicySpec(
            capped,
            over_tokens,
            "1/Σ|o| Σ_R Σ -sg(min(ρ, 1+ε_high)) A log π",
            "arXiv 2506.13585 eq. 4",
        ),
    }
)

KL_ESTIMATORS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "k1": lambda d_S: d_S,
        "k2": lambda d_S: d_S.square() / 2,
        "k3": lambda d_S: torch.expm1(-d_S) + d_S,
    }
)
"""Of d = log π - log π_ref: d, d²/2 and exp(-d) - 1 + d (Schulman, Approximating KL, 2020)."""

PPO_NAMES: Mapping[str, str] = MappingProxyType(
    {"loss": "loss/policy_avg", "clip_ratio/region_mean": "policy/clipfrac_avg"}
)
"""`policy_loss` of `dapo` with a symmetric clip is PPO's clipped surrogate as a mean over tokens
(arXiv 1707.06347 eq. 7); these are the names that PPO has for its figures."""


def kl_estimate(name: str, logps_S: Tensor, ref_logps_S: Tensor) -> Tensor:
    """The estimator `name` of KL(π || π_ref) at each token, in nats, differentiable.

    All have the mean KL or nearly so (k2) over tokens drawn from π. As a loss, k1's gradient is 0
    on average and says nothing of the reference; k2's is that of the KL.

    Raises:
        AccordError: No estimator has this name.
        ValueError: Sizes that differ.
    """
    if name not in KL_ESTIMATORS:
        raise AccordError(f"unknown KL estimator '{name}'", fix=did_you_mean(name, KL_ESTIMATORS))
    _check(logps_S, ref_logps_S)
    return KL_ESTIMATORS[name](logps_S - ref_logps_S.detach())


def policy_loss(
    logps_S: Tensor,
    old_logps_S: Tensor,
    advantages_S: Tensor,
    sequence_S: Tensor,
    sequences: int,
    settings: PolicySettings,
    ref_logps_S: Tensor | None = None,
) -> Loss:
    """The loss called `settings.loss_type`: a sum, and the tokens or sequences it is divided by.

    Metrics under TRL's names: `loss`; `kl` (where there is a reference; mean over tokens of the
    estimator); `clip_ratio/low_mean`, `high_mean` and `region_mean` (shares of tokens, or of
    sequences, whose gradient the clip takes), for cispo `cispo_clip_ratio`;
    `policy/approxkl_avg` = mean of (log ρ)²/2 over tokens; `val/ratio` = mean of ρ over tokens and
    `val/ratio_var` = mean of (ρ - 1)², the variance about the mean that ρ has under π_old.

    Args:
        logps_S: log π, differentiable.
        old_logps_S: log π_old, by which the tokens were drawn.
        advantages_S: A of each token.
        sequence_S: int64, each token's sequence.
        sequences: R, those without tokens included.
        settings: Loss, clip and KL.
        ref_logps_S: log π_ref; needed when beta is not 0.

    Raises:
        AccordError: An unknown loss, importance level or estimator.
        ValueError: Sizes that differ, or something that the loss needs and is missing.
    """
    spec = _spec(settings)
    _check(logps_S, old_logps_S, advantages_S, sequence_S)
    members = _members(logps_S, sequence_S, sequences)
    advantages_S = advantages_S.detach().to(logps_S.dtype)
    log_ratio_S = logps_S - old_logps_S.detach()
    weight_S = IMPORTANCE[settings.importance](log_ratio_S, members)
    ratio_S = weight_S.exp()
    loss_S = spec.surrogate(ratio_S, logps_S, advantages_S, settings)
    kl_S = None
    if ref_logps_S is not None:
        kl_S = kl_estimate(settings.kl_estimator, logps_S, ref_logps_S)
    if settings.beta:
        if kl_S is None:
            raise ValueError("beta is not 0: the reference's log-probabilities are needed")
        loss_S = loss_S + settings.beta * kl_S
    total, weight = spec.aggregate(loss_S, members, settings)
    divisor = total.detach().new_tensor(float(weight))
    metrics = {
        "loss": (total.detach(), divisor),
        **_clip_metrics(ratio_S.detach(), advantages_S, members, settings),
        **_token_metrics(log_ratio_S.detach(), kl_S),
    }
    return Loss(total, divisor, metrics)


def _by_token(log_ratio_S: Tensor, members: Sequences) -> Tensor:
    return log_ratio_S


def _by_sequence(log_ratio_S: Tensor, members: Sequences) -> Tensor:
    return members.means(log_ratio_S)[members.sequence_S]


IMPORTANCE: Mapping[str, Callable[[Tensor, Sequences], Tensor]] = MappingProxyType(
    {"token": _by_token, "sequence": _by_sequence}
)
"""Importance level to the log-ratio that each token is weighed by."""


def _spec(settings: PolicySettings) -> PolicySpec:
    if settings.importance not in IMPORTANCE:
        name = settings.importance
        raise AccordError(f"unknown importance '{name}'", fix=did_you_mean(name, IMPORTANCE))
    if settings.loss_type not in LOSSES:
        name = settings.loss_type
        raise AccordError(f"unknown policy loss '{name}'", fix=did_you_mean(name, LOSSES))
    return LOSSES[settings.loss_type]


def _check(logps_S: Tensor, *others: Tensor) -> None:
    # [k] against [k, 1] would broadcast to [k, k] and train on every completion's advantage.
    shapes = [list(tensor.shape) for tensor in (logps_S, *others)]
    if logps_S.dim() != 1 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"expected vectors of one length, one number a scored token; got {shapes}")


def _members(logps_S: Tensor, sequence_S: Tensor, sequences: int) -> Sequences:
    ones_S = torch.ones_like(logps_S, requires_grad=False)
    lengths_R = logps_S.new_zeros(sequences).index_add(0, sequence_S, ones_S)
    return Sequences(sequence_S, lengths_R)


def _clip_metrics(
    ratio_S: Tensor, advantages_S: Tensor, members: Sequences, settings: PolicySettings
) -> dict[str, tuple[Tensor, Tensor]]:
    low_S = (ratio_S < settings.low) & (advantages_S < 0)
    high_S = (ratio_S > settings.high) & (advantages_S > 0)
    if settings.loss_type == "cispo":
        shares = {"cispo_clip_ratio": high_S}
    else:
        shares = {
            "clip_ratio/low_mean": low_S,
            "clip_ratio/high_mean": high_S,
            "clip_ratio/region_mean": low_S | high_S,
        }
    aggregate = over_sequences if settings.importance == "sequence" else over_tokens
    found = {}
    for name, flag_S in shares.items():
        total, weight = aggregate(flag_S.to(ratio_S.dtype), members, settings)
        found[name] = (total, total.new_tensor(float(weight)))
    return found


def _token_metrics(log_ratio_S: Tensor, kl_S: Tensor | None) -> dict[str, tuple[Tensor, Tensor]]:
    ratio_S = log_ratio_S.exp()
    tokens = ratio_S.new_tensor(float(len(ratio_S)))
    values = {
        "policy/approxkl_avg": log_ratio_S.square() / 2,
        "val/ratio": ratio_S,
        "val/ratio_var": (ratio_S - 1).square(),
    }
    if kl_S is not None:
        values["kl"] = kl_S.detach()
    return {name: (value_S.sum(), tokens) for name, value_S in values.items()}
