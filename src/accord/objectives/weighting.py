"""Weights of pairs by how likely the policy is to write them: WPO.

Preference data that other models wrote is off-policy; WPO (arXiv 2406.11827) weighs each pair by
the policy's own probability of both responses, without gradient, so that training is nearer to
training on the policy's samples. Axes: S scored tokens, R sequences (2i chosen, 2i+1 rejected),
P pairs, C rows of a chunk, D width, V vocabulary.
"""

import torch
from torch import Tensor

from accord.objectives.chunks import chunk_buffer, chunk_rows, slices, wide_dtype


def wpo_weights(mean_logps_R: Tensor) -> Tensor:
    """exp(mean π_w) exp(mean π_l), at most 1, without gradient: arXiv 2406.11827 eq. 2.

    Args:
        mean_logps_R: Each response's mean log-probability a token in nats.

    Returns:
        `weight_P`.
    """
    return _pair_products(mean_logps_R).clamp(max=1)


def aligned_weights(mean_aligned_R: Tensor) -> Tensor:
    """The product over a pair of exp(mean (π - log Σ_v p_v²)), without gradient.

    WPO's sampled alignment (arXiv 2406.11827 section 3.2) as TRL's `use_weighting`: a token counts
    by how its probability compares to that which tokens drawn from the policy have on average, so
    that a policy without certainty is not punished for it. May exceed 1.

    Args:
        mean_aligned_R: Each response's mean of π - `token_log_squares`.

    Returns:
        `weight_P`.
    """
    return _pair_products(mean_aligned_R)


@torch.no_grad()
def token_log_squares(hidden_SD: Tensor, head_VD: Tensor, chunk: int | None = None) -> Tensor:
    """log Σ_v p_v² of softmax(hidden Wᵀ) at each token, in nats, without gradient.

    Returns:
        `log_S`, float32 (float64 for float64 inputs).
    """
    wide = wide_dtype(hidden_SD.dtype)
    log_S = hidden_SD.new_empty(len(hidden_SD), dtype=wide)
    # As many wide buffers as logits are alive beside these, hence fewer rows than elsewhere.
    chunk = chunk or max(1, chunk_rows(head_VD) // 4)
    buffer_CV = chunk_buffer(hidden_SD, head_VD, chunk)
    for rows in slices(len(hidden_SD), chunk):
        logits_CV = buffer_CV[: rows.stop - rows.start]
        torch.mm(hidden_SD[rows], head_VD.t(), out=logits_CV)
        wide_CV = logits_CV.to(wide)
        lse_C = wide_CV.logsumexp(1)
        log_S[rows] = wide_CV.mul_(2).logsumexp(1).sub_(2 * lse_C)
    return log_S


def _pair_products(mean_R: Tensor) -> Tensor:
    mean_R = mean_R.detach()
    return torch.exp(mean_R[0::2] + mean_R[1::2])
