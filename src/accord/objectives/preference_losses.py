"""The preference losses on pairs: a pure function and a table row each.

Notation: π and π_ref log-probabilities of response tokens, w chosen, l rejected, σ logistic;
r_w = Σπ_w - Σπ_ref,w and r_l likewise; s_w and s_l their scores under the divergence to the
reference (`divergence.scores`; under reverse KL themselves); h = s_w - s_l. Axis: P pairs.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.objectives.pairs import (
    PairLogps,
    PairSettings,
    Sides,
    by_length,
    difference,
    divergence_scores,
    logratios,
    means,
    sums,
)


def sigmoid(pairs: PairLogps, s: PairSettings) -> Tensor:
    """DPO, arXiv 2305.18290 eq. 7; smoothed as in cDPO: (1-ε)(-log σ(βh)) + ε(-log σ(-βh))."""
    return _smoothed(_capped(s.beta * difference(divergence_scores(pairs, s)), s), s)


def sigmoid_norm(pairs: PairLogps, s: PairSettings) -> Tensor:
    """`sigmoid` with each log-ratio divided by its response's length (Tülu 3, arXiv 2411.15124)."""
    h_P = difference(by_length(divergence_scores(pairs, s), pairs))
    return _smoothed(_capped(s.beta * h_P, s), s)


def ipo(pairs: PairLogps, s: PairSettings) -> Tensor:
    """IPO, arXiv 2310.12036 eq. 17, on per-token means: what its authors ran, and TRL's `ipo`."""
    h_P = difference(by_length(divergence_scores(pairs, s), pairs))
    return (h_P - 1 / (2 * s.beta)).square()


def ipo_sum(pairs: PairLogps, s: PairSettings) -> Tensor:
    """IPO, arXiv 2310.12036 eq. 17, on sums, as printed and in the first public code of DPO."""
    return (difference(divergence_scores(pairs, s)) - 1 / (2 * s.beta)).square()


def hinge(pairs: PairLogps, s: PairSettings) -> Tensor:
    """SLiC's hinge on DPO's margin, arXiv 2305.10425 section 2."""
    return torch.relu(1 - s.beta * difference(divergence_scores(pairs, s)))


def robust(pairs: PairLogps, s: PairSettings) -> Tensor:
    """Robust DPO, arXiv 2403.00409 section 3.1: unbiased if a share ε is flipped."""
    x_P = _capped(s.beta * difference(divergence_scores(pairs, s)), s)
    epsilon = s.label_smoothing
    clean_P, flipped_P = -F.logsigmoid(x_P), -F.logsigmoid(-x_P)
    return ((1 - epsilon) * clean_P - epsilon * flipped_P) / (1 - 2 * epsilon)


def exo_pair(pairs: PairLogps, s: PairSettings) -> Tensor:
    """EXO on pairs, arXiv 2402.00856 eq. 16: KL((σ(βh), σ(-βh)) || (1-ε, ε)).

    Raises:
        ValueError: ε is 0, where the divergence is infinite.
    """
    if not s.label_smoothing:
        raise ValueError("exo_pair needs label_smoothing above 0, such as 0.1")
    x_P = s.beta * difference(divergence_scores(pairs, s))
    won_P = x_P.sigmoid() * (F.logsigmoid(x_P) - math.log1p(-s.label_smoothing))
    lost_P = (-x_P).sigmoid() * (F.logsigmoid(-x_P) - math.log(s.label_smoothing))
    return won_P + lost_P


def nca_pair(pairs: PairLogps, s: PairSettings) -> Tensor:
    """NCA on pairs, arXiv 2402.05369 section 4.1: keeps log π_w from falling."""
    won_P, lost_P = s.beta * pairs.chosen_logratio_P, s.beta * pairs.rejected_logratio_P
    return -F.logsigmoid(won_P) - (F.logsigmoid(-won_P) + F.logsigmoid(-lost_P)) / 2


def bco_pair(pairs: PairLogps, s: PairSettings) -> Tensor:
    """BCO, arXiv 2404.04656 section 4, as TRL has it for pairs: without the reward shift δ."""
    won_P, lost_P = s.beta * pairs.chosen_logratio_P, s.beta * pairs.rejected_logratio_P
    return -F.logsigmoid(won_P) - F.logsigmoid(-lost_P)


def sppo_hard(pairs: PairLogps, s: PairSettings) -> Tensor:
    """SPPO, arXiv 2405.00675 eq. 4.7, with win rates 1 and 0; β is the paper's 1/η."""
    target = 1 / (2 * s.beta)
    won_P, lost_P = logratios(pairs)
    return (won_P - target).square() + (lost_P + target).square()


def aot(pairs: PairLogps, s: PairSettings) -> Tensor:
    """AOT on paired data, arXiv 2406.05882 section 3: sorted margins minus the reference's sorted.

    All pairs at hand are sorted together. A rank's loss is given to the pair whose policy has it.
    """
    margin_P, order_P = difference(sums(pairs)).sort()
    reference_P = (pairs.ref_chosen_P - pairs.ref_rejected_P).sort().values
    return _smoothed(s.beta * (margin_P - reference_P), s)[order_P.argsort()]


def aot_unpaired(pairs: PairLogps, s: PairSettings) -> Tensor:
    """AOT on unpaired data, arXiv 2406.05882 section 3: r_w sorted minus r_l sorted.

    All pairs at hand are sorted together. A rank's loss is given half to the pair of its chosen
    and half to the pair of its rejected response.
    """
    won_P, chosen_P = pairs.chosen_logratio_P.sort()
    lost_P, rejected_P = pairs.rejected_logratio_P.sort()
    loss_P = _smoothed(s.beta * (won_P - lost_P), s)
    return (loss_P[chosen_P.argsort()] + loss_P[rejected_P.argsort()]) / 2


def apo_zero(pairs: PairLogps, s: PairSettings) -> Tensor:
    """APO-zero, arXiv 2408.06266 eq. 7: chosen answers are better than the model's own."""
    return _falling(s.beta * pairs.chosen_logratio_P) + _falling(
        -s.beta * pairs.rejected_logratio_P
    )


def apo_down(pairs: PairLogps, s: PairSettings) -> Tensor:
    """APO-down, arXiv 2408.06266 eq. 8: chosen answers are worse than the model's own."""
    h_P = difference(logratios(pairs))
    return _falling(-s.beta * pairs.chosen_logratio_P) + _falling(s.beta * h_P)


def discopop(pairs: PairLogps, s: PairSettings) -> Tensor:
    """DiscoPOP's log-ratio modulated loss, arXiv 2406.08414 eq. 5, found by a language model."""
    x_P = s.beta * difference(divergence_scores(pairs, s))
    exponential_P = torch.exp(F.logsigmoid(x_P / s.discopop_tau) - x_P)
    return -F.logsigmoid(x_P) * torch.sigmoid(-x_P / s.discopop_tau) + exponential_P


def simpo(pairs: PairLogps, s: PairSettings) -> Tensor:
    """SimPO, arXiv 2405.14734 eq. 6; smoothed as `sigmoid`."""
    return _smoothed(s.beta * difference(means(pairs)) - s.simpo_gamma, s)


def cpo(pairs: PairLogps, s: PairSettings) -> Tensor:
    """CPO, arXiv 2401.08417 eq. 3; its first term smoothed as `sigmoid`."""
    return _smoothed(s.beta * difference(sums(pairs)), s) + s.cpo_alpha * pairs.nll_P


def orpo(pairs: PairLogps, s: PairSettings) -> Tensor:
    """ORPO, arXiv 2403.07691 eq. 6-7, with λ = β; the likelihood is of the response alone."""
    return pairs.nll_P - s.beta * F.logsigmoid(log_odds_ratio(pairs))


def log_odds_ratio(pairs: PairLogps) -> Tensor:
    """log odds(w) - log odds(l), odds = p / (1-p), p = exp(Σπ/|y|), [P].

    p is kept an epsilon below 1, where the odds (of an empty response, too) would be infinite.
    """
    won_P, lost_P = (mean_P.clamp(max=-torch.finfo(mean_P.dtype).eps) for mean_P in means(pairs))
    return (won_P - torch.log(-torch.expm1(won_P))) - (lost_P - torch.log(-torch.expm1(lost_P)))


def sft(pairs: PairLogps, s: PairSettings) -> Tensor:
    """-Σπ_w/|w|: the length-normalised NLL of Iterative RPO (arXiv 2404.19733 eq. 1).

    A mean over each chosen response's tokens, so that every pair weighs the same and splitting a
    step changes nothing. TRL takes one mean over all chosen tokens of a micro-batch, which is the
    same for one pair or responses of one length.
    """
    return pairs.nll_P


@dataclass(frozen=True)
class LossSpec:
    """A row of the table.

    Args:
        function: Pairs and settings to the loss of each pair, [P].
        formula: The loss of one pair.
        paper: Where it comes from.
        reward: What β is multiplied by in the logged rewards.
        own: Settings that only this loss has.
    """

    function: Callable[[PairLogps, PairSettings], Tensor]
    formula: str
    paper: str
    reward: Callable[[PairLogps], Sides] = logratios
    own: tuple[str, ...] = ()


LOSSES: Mapping[str, LossSpec] = MappingProxyType(
    {
        "sigmoid": LossSpec(sigmoid, "-log σ(βh)", "arXiv 2305.18290 eq. 7"),
        "sigmoid_norm": LossSpec(
            sigmoid_norm, "-log σ(β(s_w/|w| - s_l/|l|))", "arXiv 2411.15124 section 5"
        ),
        "ipo": LossSpec(ipo, "(s_w/|w| - s_l/|l| - 1/(2β))²", "arXiv 2310.12036 eq. 17, per token"),
        "ipo_sum": LossSpec(ipo_sum, "(h - 1/(2β))²", "arXiv 2310.12036 eq. 17, on sums"),
        "hinge": LossSpec(hinge, "max(0, 1 - βh)", "arXiv 2305.10425 section 2"),
        "robust": LossSpec(
            robust,
            "((1-ε)(-log σ(βh)) - ε(-log σ(-βh))) / (1-2ε)",
            "arXiv 2403.00409 section 3.1",
        ),
        "exo_pair": LossSpec(
            exo_pair,
            "σ(βh) log(σ(βh)/(1-ε)) + σ(-βh) log(σ(-βh)/ε)",
            "arXiv 2402.00856 eq. 16",
        ),
        "nca_pair": LossSpec(
            nca_pair,
            "-log σ(βr_w) - ½ log σ(-βr_w) - ½ log σ(-βr_l)",
            "arXiv 2402.05369 section 4.1",
        ),
        "bco_pair": LossSpec(
            bco_pair, "-log σ(βr_w) - log σ(-βr_l)", "arXiv 2404.04656 section 4, δ = 0 as TRL"
        ),
        "sppo_hard": LossSpec(
            sppo_hard, "(r_w - 1/(2β))² + (r_l + 1/(2β))²", "arXiv 2405.00675 eq. 4.7"
        ),
        "aot": LossSpec(
            aot,
            "-log σ(β(sort(Σπ_w - Σπ_l) - sort(Σπ_ref,w - Σπ_ref,l)))",
            "arXiv 2406.05882 section 3",
        ),
        "aot_unpaired": LossSpec(
            aot_unpaired, "-log σ(β(sort(r_w) - sort(r_l)))", "arXiv 2406.05882 section 3"
        ),
        "apo_zero": LossSpec(apo_zero, "1 - σ(βr_w) + σ(βr_l)", "arXiv 2408.06266 eq. 7"),
        "apo_down": LossSpec(apo_down, "σ(βr_w) + 1 - σ(β(r_w - r_l))", "arXiv 2408.06266 eq. 8"),
        "discopop": LossSpec(
            discopop,
            "(1-m)(-log σ(βh)) + m exp(-βh), m = σ(βh/τ)",
            "arXiv 2406.08414 eq. 5",
            own=("discopop_tau",),
        ),
        "simpo": LossSpec(
            simpo,
            "-log σ(β(Σπ_w/|w| - Σπ_l/|l|) - γ)",
            "arXiv 2405.14734 eq. 6",
            means,
            own=("simpo_gamma",),
        ),
        "cpo": LossSpec(
            cpo,
            "-log σ(β(Σπ_w - Σπ_l)) - α Σπ_w/|w|",
            "arXiv 2401.08417 eq. 3",
            sums,
            own=("cpo_alpha",),
        ),
        "orpo": LossSpec(
            orpo,
            "-Σπ_w/|w| - β log σ(log o_w - log o_l), o = p/(1-p), p = exp(Σπ/|y|)",
            "arXiv 2403.07691 eq. 6",
            means,
        ),
        "sft": LossSpec(sft, "-Σπ_w/|w|", "arXiv 2404.19733 eq. 1", sums),
    }
)


def _capped(x_P: Tensor, s: PairSettings) -> Tensor:
    return x_P if s.margin_cap is None else x_P.clamp(max=s.margin_cap)


def _smoothed(x_P: Tensor, s: PairSettings) -> Tensor:
    epsilon = s.label_smoothing
    return -(1 - epsilon) * F.logsigmoid(x_P) - epsilon * F.logsigmoid(-x_P)


def _falling(x_P: Tensor) -> Tensor:
    """1 - σ(x), exact where σ(x) is near 1."""
    return torch.sigmoid(-x_P)
