"""Random pairs of float64 leaves, and settings under which every preference loss is finite."""

from dataclasses import replace

import torch
from torch import Tensor

from accord.objectives.pairs import PairLogps, PairSettings

F64 = torch.float64
SETTINGS = [
    PairSettings(label_smoothing=0.2),
    PairSettings(beta=2.0, label_smoothing=0.1, margin_cap=0.3, discopop_tau=0.6, simpo_gamma=0.0),
    PairSettings(0.7, 0.3, None, "forward_kl", cpo_alpha=0.4, simpo_gamma=1.3),
    PairSettings(0.5, 0.2, 0.1, "js_divergence", discopop_tau=2.0),
    PairSettings(1.0, 0.2, None, "alpha_divergence", 0.3),
]


def random_pairs(pairs: int = 7, seed: int = 0) -> PairLogps:
    """Sums between -5 and 0, lengths from 1 to 8; the policy's sums require gradients."""
    generator = torch.Generator().manual_seed(seed)
    sums = [-5 * torch.rand(pairs, generator=generator, dtype=F64) for _ in range(4)]
    lengths = [torch.randint(1, 9, (pairs,), generator=generator).to(F64) for _ in range(2)]
    return PairLogps(sums[0].requires_grad_(), sums[1].requires_grad_(), *sums[2:], *lengths)


def at_reference(pairs: PairLogps) -> PairLogps:
    """The same policy with itself as the reference."""
    return replace(
        pairs, ref_chosen_P=pairs.chosen_P.detach(), ref_rejected_P=pairs.rejected_P.detach()
    )


def swapped(pairs: PairLogps) -> PairLogps:
    """Chosen and rejected the other way round."""
    return PairLogps(
        pairs.rejected_P,
        pairs.chosen_P,
        pairs.ref_rejected_P,
        pairs.ref_chosen_P,
        pairs.rejected_lengths_P,
        pairs.chosen_lengths_P,
    )


def pair(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float) -> PairLogps:
    """One pair, of 2 and 4 tokens."""
    values = (chosen, rejected, ref_chosen, ref_rejected, 2.0, 4.0)
    return PairLogps(*(torch.tensor([value], dtype=F64) for value in values))


def leaves(pairs: PairLogps) -> tuple[Tensor, Tensor]:
    return pairs.chosen_P, pairs.rejected_P
