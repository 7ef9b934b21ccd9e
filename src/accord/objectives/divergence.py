"""Scores of f-DPO: what a log-ratio to the reference is worth under a divergence other than KL.

f-DPO (arXiv 2309.16240) puts f'(π/π_ref) in the place of log π/π_ref. With t = π/π_ref of
a whole response and u = log t; a score's constant drops out of the difference of two responses.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import AccordError, did_you_mean


def reverse_kl(u: Tensor, alpha: float) -> Tensor:
    """u: DPO as it was first written; f'(t) = log t + 1 without its constant."""
    return u


def forward_kl(u: Tensor, alpha: float) -> Tensor:
    """1 - 1/t: f'(t) = -1/t plus a constant, so that the score of t = 1 is 0."""
    return -_expm1(-u)


def js_divergence(u: Tensor, alpha: float) -> Tensor:
    """log(2t / (1 + t)), at most log 2."""
    return math.log(2) + F.logsigmoid(u)


def alpha_divergence(u: Tensor, alpha: float) -> Tensor:
    """(t^(α-1) - 1) / (α - 1); its limit u where α is 1."""
    if abs(alpha - 1) < 1e-6:
        return u
    return _expm1((alpha - 1) * u) / (alpha - 1)


DIVERGENCES: Mapping[str, Callable[[Tensor, float], Tensor]] = MappingProxyType(
    {
        "reverse_kl": reverse_kl,
        "forward_kl": forward_kl,
        "js_divergence": js_divergence,
        "alpha_divergence": alpha_divergence,
    }
)


def scores(logratio_P: Tensor, f_divergence_type: str, alpha: float) -> Tensor:
    """f'(t) of each response's log-ratio u = log t, differentiable, 0 where u is 0.

    Exponents past what the dtype holds are cut off (80 in float32, as in TRL): such a response's
    score stays finite and gets no gradient.

    Raises:
        AccordError: No divergence has this name.
    """
    if f_divergence_type not in DIVERGENCES:
        raise AccordError(
            f"unknown f_divergence_type '{f_divergence_type}'",
            fix=did_you_mean(f_divergence_type, DIVERGENCES),
        )
    return DIVERGENCES[f_divergence_type](logratio_P, alpha)


def _expm1(exponent: Tensor) -> Tensor:
    wide = exponent if exponent.dtype == torch.float64 else exponent.float()
    largest = 700.0 if wide.dtype == torch.float64 else 80.0
    return torch.expm1(wide.clamp(max=largest))
