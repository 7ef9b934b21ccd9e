"""What the preference losses see of P pairs, and the few figures they are made of.

Notation: π and π_ref log-probabilities of response tokens, w chosen, l rejected;
r_w = Σπ_w - Σπ_ref,w and r_l likewise. Axis: P pairs.
"""

from dataclasses import dataclass

from torch import Tensor

from accord.objectives.divergence import scores


@dataclass(frozen=True)
class PairLogps:
    """Log-probabilities of P pairs in nats, summed over the response's tokens and its end token.

    Args:
        chosen_P: Σπ_w, differentiable.
        rejected_P: Σπ_l, differentiable.
        ref_chosen_P: Σπ_ref,w; zeros where no loss looks at the reference.
        ref_rejected_P: Σπ_ref,l; likewise.
        chosen_lengths_P: Scored tokens of the chosen response.
        rejected_lengths_P: Scored tokens of the rejected response.
        full_chosen_P: Σπ_w with every token at weight 1, where `chosen_P` has other weights
            (LD-DPO); what the likelihood terms of sft, cpo and orpo take. None: `chosen_P`.
    """

    chosen_P: Tensor
    rejected_P: Tensor
    ref_chosen_P: Tensor
    ref_rejected_P: Tensor
    chosen_lengths_P: Tensor
    rejected_lengths_P: Tensor
    full_chosen_P: Tensor | None = None

    @property
    def chosen_logratio_P(self) -> Tensor:
        """r_w = Σπ_w - Σπ_ref,w."""
        return self.chosen_P - self.ref_chosen_P

    @property
    def rejected_logratio_P(self) -> Tensor:
        """r_l = Σπ_l - Σπ_ref,l."""
        return self.rejected_P - self.ref_rejected_P

    @property
    def nll_P(self) -> Tensor:
        """-Σπ_w/|w|: the chosen response's mean negative log-probability a token."""
        full_P = self.chosen_P if self.full_chosen_P is None else self.full_chosen_P
        return -per_token(full_P, self.chosen_lengths_P)


@dataclass(frozen=True)
class PairSettings:
    """What a preference loss may be tuned by; names and defaults are the recipe's.

    Args:
        beta: Strength of the tie to the reference (τ of ipo, λ of orpo).
        label_smoothing: ε, the assumed share of flipped preferences, in [0, 0.5).
        margin_cap: Largest βh that is still pushed on; a pair past it gives no gradient.
        f_divergence_type: A name in `divergence.DIVERGENCES`.
        f_alpha_divergence_coef: α of the alpha divergence.
        discopop_tau: Temperature of discopop's blend.
        simpo_gamma: Target margin γ of simpo.
        cpo_alpha: Weight of the likelihood term in cpo.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    margin_cap: float | None = None
    f_divergence_type: str = "reverse_kl"
    f_alpha_divergence_coef: float = 0.5
    discopop_tau: float = 0.05
    simpo_gamma: float = 0.5
    cpo_alpha: float = 1.0


Sides = tuple[Tensor, Tensor]
"""A figure of the chosen and of the rejected responses, [P] each."""


def logratios(pairs: PairLogps) -> Sides:
    """r_w and r_l."""
    return pairs.chosen_logratio_P, pairs.rejected_logratio_P


def sums(pairs: PairLogps) -> Sides:
    """Σπ_w and Σπ_l."""
    return pairs.chosen_P, pairs.rejected_P


def means(pairs: PairLogps) -> Sides:
    """Σπ_w/|w| and Σπ_l/|l|."""
    return by_length(sums(pairs), pairs)


def per_token(sums_P: Tensor, lengths_P: Tensor) -> Tensor:
    """Each sum by its length; an empty response counts as length 1, so that its 0 stays 0."""
    return sums_P / lengths_P.clamp(min=1)


def divergence_scores(pairs: PairLogps, settings: PairSettings) -> Sides:
    """s_w and s_l: r_w and r_l under the settings' divergence, themselves for reverse KL."""
    won_P, lost_P = logratios(pairs)
    kind, alpha = settings.f_divergence_type, settings.f_alpha_divergence_coef
    return scores(won_P, kind, alpha), scores(lost_P, kind, alpha)


def by_length(sides: Sides, pairs: PairLogps) -> Sides:
    """Each side's figures by its responses' lengths."""
    won_P, lost_P = sides
    return per_token(won_P, pairs.chosen_lengths_P), per_token(lost_P, pairs.rejected_lengths_P)


def difference(sides: Sides) -> Tensor:
    """Chosen minus rejected, [P]."""
    return sides[0] - sides[1]
