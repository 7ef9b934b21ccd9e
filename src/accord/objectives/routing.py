"""Auxiliary losses of a mixture of experts.

Load balancing is E Σ_e f_e P_e (arXiv 2101.03961, eq. 4 to 6): f_e is how many of a token's k
experts are e and P_e the router's probability of e, both means over all tokens of the batch, as in
transformers' `load_balancing_loss_func`; but of each layer by itself, and then the mean over
layers. Pooled over layers, as there, layers that are uneven in opposite ways cost nothing, and
experts die unpunished. Even use gives k, one expert for all E.
f has no gradient, so that with the f of the whole batch the loss is a sum over tokens: the terms of
a batch's parts add up to it.

Axes: L layers, N tokens of the stream, E experts.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class RouterTerms(NamedTuple):
    """Sums over the rows (tokens times layers) of a part of a batch; all rows' mean is the loss.

    Args:
        aux: Load balancing, differentiable.
        z: Squared log-sum-exp of the logits (arXiv 2202.08906, eq. 5), differentiable.
        entropy: Of the router's probabilities, in nats, without gradient.
    """

    aux: Tensor
    z: Tensor
    entropy: Tensor


def router_terms(logits_LNE: Tensor, share_LE: Tensor) -> RouterTerms:
    """The terms of a part of a batch, scalars in float32 (float64 of float64).

    Args:
        logits_LNE: Of the routers.
        share_LE: f of the whole batch: each layer's assignments to each expert, over its tokens.
    """
    wide_LNE = logits_LNE.to(torch.promote_types(logits_LNE.dtype, torch.float32))
    lse_LN = wide_LNE.logsumexp(-1)
    chance_LNE = (wide_LNE - lse_LN[..., None]).exp()
    weighted_LE = share_LE.to(chance_LNE.dtype) * chance_LNE.sum(1)
    entropy = torch.special.entr(chance_LNE.detach()).sum()
    return RouterTerms(share_LE.shape[1] * weighted_LE.sum(), lse_LN.square().sum(), entropy)
