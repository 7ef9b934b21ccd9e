"""Preference losses: pure functions of each response's log-probability, one table row each.

Notation: π and π_ref log-probabilities of response tokens, w chosen, l rejected, σ logistic,
h = (Σπ_w - Σπ_ref,w) - (Σπ_l - Σπ_ref,l). Axes: S scored tokens, R sequences, P pairs; sequences
2i and 2i+1 are the chosen and the rejected response of pair i.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor

from accord.errors import AccordError, did_you_mean
from accord.objectives.logprobs import TokenStats
from accord.objectives.loss import Loss


@dataclass(frozen=True)
class PairLogps:
    """Log-probabilities of P pairs in nats, summed over the response's tokens and its end token.

    Args:
        chosen_P: Σπ_w, differentiable.
        rejected_P: Σπ_l, differentiable.
        ref_chosen_P: Σπ_ref,w.
        ref_rejected_P: Σπ_ref,l.
        chosen_lengths_P: Scored tokens of the chosen response.
        rejected_lengths_P: Scored tokens of the rejected response.
    """

    chosen_P: Tensor
    rejected_P: Tensor
    ref_chosen_P: Tensor
    ref_rejected_P: Tensor
    chosen_lengths_P: Tensor
    rejected_lengths_P: Tensor

    @property
    def chosen_logratio_P(self) -> Tensor:
        """Σπ_w - Σπ_ref,w."""
        return self.chosen_P - self.ref_chosen_P

    @property
    def rejected_logratio_P(self) -> Tensor:
        """Σπ_l - Σπ_ref,l."""
        return self.rejected_P - self.ref_rejected_P


@dataclass(frozen=True)
class PairSettings:
    """What a preference loss may be tuned by.

    Args:
        beta: Strength of the tie to the reference.
        label_smoothing: ε, the assumed share of flipped preferences, in [0, 0.5).
        margin_cap: Largest βh that is still pushed on; a pair past it gives no gradient.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    margin_cap: float | None = None


@dataclass(frozen=True)
class LossSpec:
    """A row of the table: what is computed for each pair, its formula and where it comes from."""

    function: Callable[[PairLogps, PairSettings], Tensor]
    formula: str
    paper: str


def sigmoid(pairs: PairLogps, settings: PairSettings) -> Tensor:
    """DPO, arXiv 2305.18290 eq. 7; smoothed as in cDPO: (1-ε)(-log σ(βh)) + ε(-log σ(-βh))."""
    h_P = pairs.chosen_logratio_P - pairs.rejected_logratio_P
    return _smoothed(h_P, settings)


def sigmoid_norm(pairs: PairLogps, settings: PairSettings) -> Tensor:
    """`sigmoid` with each log-ratio divided by its response's length (Tülu 3, arXiv 2411.15124).

    An empty response counts as length 1, so that its log-ratio of 0 stays 0.
    """
    h_P = _per_token(pairs.chosen_logratio_P, pairs.chosen_lengths_P) - _per_token(
        pairs.rejected_logratio_P, pairs.rejected_lengths_P
    )
    return _smoothed(h_P, settings)


LOSSES: Mapping[str, LossSpec] = MappingProxyType(
    {
        "sigmoid": LossSpec(sigmoid, "-log σ(βh)", "arXiv 2305.18290 eq. 7"),
        "sigmoid_norm": LossSpec(
            sigmoid_norm,
            "-log σ(β((Σπ_w-Σπ_ref,w)/|w| - (Σπ_l-Σπ_ref,l)/|l|))",
            "arXiv 2411.15124, length-normalized DPO",
        ),
    }
)


def preference_loss(
    name: str,
    pairs: PairLogps,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    margin_cap: float | None = None,
) -> Loss:
    """Sum over pairs of the loss called `name`, to be divided by the number of pairs.

    Metrics under TRL's names; rewards are β(Σπ - Σπ_ref) for every loss, so `rewards/margins`
    includes β, and a tie is not accurate.

    Raises:
        AccordError: No loss has this name.
    """
    if name not in LOSSES:
        raise AccordError(f"unknown preference loss '{name}'", fix=did_you_mean(name, LOSSES))
    loss_P = LOSSES[name].function(pairs, PairSettings(beta, label_smoothing, margin_cap))
    return _summed(loss_P, {"loss": loss_P, **reward_metrics(pairs, beta)})


def with_chosen_nll(loss: Loss, pairs: PairLogps, sft_weight: float) -> Loss:
    """Add sft_weight * Σ_pairs -Σπ_w/|w|, the chosen response's mean negative log-probability.

    The length-normalised NLL term of Iterative RPO (arXiv 2404.19733): a mean over the tokens of
    each chosen response, then over pairs, so that every pair weighs the same whatever its length.
    Logged as `nll_loss`, before its weight; `loss` includes it with the weight.
    """
    nll_P = -_per_token(pairs.chosen_P, pairs.chosen_lengths_P)
    term = _summed(nll_P, {"nll_loss": nll_P})
    total = loss.total + sft_weight * term.total
    metrics = {**loss.metrics, **term.metrics, "loss": (total.detach(), loss.weight)}
    return replace(loss, total=total, metrics=metrics)


def sequence_logps(logps_S: Tensor, sequence_S: Tensor, sequences: int) -> tuple[Tensor, Tensor]:
    """Sum of log-probabilities and number of scored tokens of each sequence.

    A sequence without scored tokens gets sum 0 and length 0.

    Returns:
        `sums_R`, differentiable, and `lengths_R`, both of `logps_S`'s dtype.
    """
    zeros_R = logps_S.new_zeros(sequences)
    ones_S = logps_S.detach().new_ones(len(logps_S))
    return zeros_R.index_add(0, sequence_S, logps_S), zeros_R.index_add(0, sequence_S, ones_S)


def paired(sums_R: Tensor, lengths_R: Tensor, reference_R: Tensor) -> PairLogps:
    """Sequences 2i and 2i+1 as chosen and rejected.

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
    )


def reward_metrics(pairs: PairLogps, beta: float) -> dict[str, Tensor]:
    """TRL's reward and log-probability metrics, one value a pair, without gradient."""
    chosen_P = beta * pairs.chosen_logratio_P.detach()
    rejected_P = beta * pairs.rejected_logratio_P.detach()
    return {
        "rewards/chosen": chosen_P,
        "rewards/rejected": rejected_P,
        "rewards/accuracies": (chosen_P > rejected_P).to(chosen_P.dtype),
        "rewards/margins": chosen_P - rejected_P,
        "logps/chosen": pairs.chosen_P.detach(),
        "logps/rejected": pairs.rejected_P.detach(),
    }


def pair_token_metrics(stats: TokenStats, sequence_S: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """`entropy` over all response tokens, `mean_token_accuracy` over chosen ones, as TRL's."""
    chosen_S = (sequence_S % 2 == 0).to(stats.correct_S.dtype)
    return {
        "entropy": (stats.entropy_S.sum(), chosen_S.new_tensor(float(len(chosen_S)))),
        "mean_token_accuracy": ((stats.correct_S * chosen_S).sum(), chosen_S.sum()),
    }


def _smoothed(h_P: Tensor, settings: PairSettings) -> Tensor:
    x_P = settings.beta * h_P
    if settings.margin_cap is not None:
        x_P = x_P.clamp(max=settings.margin_cap)
    epsilon = settings.label_smoothing
    return -(1 - epsilon) * F.logsigmoid(x_P) - epsilon * F.logsigmoid(-x_P)


def _per_token(sums_P: Tensor, lengths_P: Tensor) -> Tensor:
    return sums_P / lengths_P.clamp(min=1)


def _summed(loss_P: Tensor, values: Mapping[str, Tensor]) -> Loss:
    pairs = loss_P.detach().new_tensor(float(len(loss_P)))
    metrics = {name: (value_P.detach().sum(), pairs) for name, value_P in values.items()}
    return Loss(loss_P.sum(), pairs, metrics)
