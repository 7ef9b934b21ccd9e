"""The fused head: log-probabilities and their gradients without ever holding [S, V] logits.

Axes: S scored tokens, R rows of one chunk, D and E widths, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from accord.objectives.chunks import (
    MIB,
    Allowed,
    ChunkSoftmax,
    Gradients,
    allowed,
    chunk_buffer,
    chunk_rows,
    joined,
    slices,
    wide_dtype,
)


@dataclass(frozen=True)
class TokenStats:
    """What the head learns about each scored token on the way, without gradient.

    Args:
        entropy_S: Entropy in nats of the predicted distribution.
        correct_S: 1.0 where no token's logit exceeds the target's (ties count), else 0.0.
    """

    entropy_S: Tensor
    correct_S: Tensor


def weighted_nll(
    hidden_SD: Tensor,
    head_VD: Tensor,
    target_S: Tensor,
    weight_S: Tensor,
    *,
    chunk: int | None = None,
) -> tuple[Tensor, TokenStats]:
    """Sum over tokens of weight * -log softmax(hidden Wᵀ)[target], in nats.

    Gradients for `hidden_SD` and `head_VD` are formed in the forward pass; backward only scales
    them. Weights get none. `chunk` is how many rows are worked on at a time (none: by measurement).

    Returns:
        The sum (float32, or float64 for float64 inputs) and the tokens' statistics.
    """
    chunk = chunk or chunk_rows(head_VD)
    if _wants_gradient(hidden_SD, head_VD):
        total, entropy_S, correct_S = _apply(
            _WeightedNLL, hidden_SD, head_VD, target_S, weight_S, chunk
        )
        return total, TokenStats(entropy_S, correct_S)
    logps_S, stats = _score_only(hidden_SD, head_VD, target_S, 1.0, chunk)
    return -(logps_S * weight_S).sum(), stats


def token_logps(
    hidden_SD: Tensor,
    head_VD: Tensor,
    target_S: Tensor,
    *,
    temperature: float = 1.0,
    forbidden: Tensor | None = None,
    support: tuple[Tensor, Tensor] | None = None,
    chunk: int | None = None,
    keep_bytes: int = 64 * MIB,
) -> tuple[Tensor, TokenStats]:
    """Log-probability of each target under softmax(hidden Wᵀ / temperature), differentiable.

    Chunks that fit into `keep_bytes` keep their probabilities for backward (three products in all);
    the others form them again (four), so that memory stays in O(chunk * V) whatever S is.

    A target that `forbidden` or its support leaves out has log-probability -inf and gets no
    gradient, whatever the loss asks for; the other tokens' gradients stay exact.

    Args:
        hidden_SD: Hidden states that predict the targets.
        head_VD: The head's weights.
        target_S: int64, the predicted tokens.
        temperature: The logits are divided by it.
        forbidden: int64 ids that no token is predicted as.
        support: (ids_M, offsets [S + 1]), int64: token s is one of ids_M[offsets[s]:offsets[s+1]],
            and probabilities are renormalised over these, as top-k and top-p do.
        chunk: Rows worked on at a time; none: by measurement.
        keep_bytes: Room for probabilities kept for backward.

    Returns:
        `logps_S` (float32, or float64 for float64 inputs) and the tokens' statistics, which are
        those of the distribution at `temperature` over the tokens allowed.

    Raises:
        ValueError: `temperature` is not positive, or the offsets do not fit.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    chunk = chunk or chunk_rows(head_VD)
    limits = allowed(len(hidden_SD), forbidden, support)
    if _wants_gradient(hidden_SD, head_VD):
        logps_S, entropy_S, correct_S = _apply(
            _TokenLogps, hidden_SD, head_VD, target_S, temperature, limits, chunk, keep_bytes
        )
        return logps_S, TokenStats(entropy_S, correct_S)
    return _score_only(hidden_SD, head_VD, target_S, temperature, chunk, limits)


@torch.no_grad()
def token_kl(
    hidden_SD: Tensor,
    head_VD: Tensor,
    ref_hidden_SE: Tensor,
    ref_head_VE: Tensor,
    *,
    chunk: int | None = None,
) -> Tensor:
    """Exact KL(π || π_ref) in nats over the whole vocabulary at each token, without gradient.

    Returns:
        `kl_S`, float32 (float64 for float64 inputs).
    """
    wide = wide_dtype(hidden_SD.dtype)
    kl_S = hidden_SD.new_empty(len(hidden_SD), dtype=wide)
    # Four wide buffers of a chunk's size are alive at once, hence fewer rows than elsewhere.
    for rows in slices(len(hidden_SD), chunk or max(1, chunk_rows(head_VD) // 4)):
        logp_RV = torch.log_softmax((hidden_SD[rows] @ head_VD.t()).to(wide), 1)
        ref_RV = torch.log_softmax((ref_hidden_SE[rows] @ ref_head_VE.t()).to(wide), 1)
        ref_RV.sub_(logp_RV).neg_()
        kl_S[rows] = torch.linalg.vecdot(logp_RV.exp_(), ref_RV)
    return kl_S


class _WeightedNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_SD: Tensor,
        head_VD: Tensor,
        target_S: Tensor,
        weight_S: Tensor,
        chunk: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        softmax = ChunkSoftmax(head_VD, 1.0, chunk)
        grads = Gradients(hidden_SD, head_VD, ctx.needs_input_grad, chunk)
        buffer_RV = chunk_buffer(hidden_SD, head_VD, chunk)
        parts = []
        for rows in slices(len(hidden_SD), chunk):
            residual_RV = buffer_RV[: rows.stop - rows.start]
            parts.append(softmax.residual(hidden_SD[rows], target_S[rows], residual_RV))
            grads.add(rows, residual_RV, weight_S[rows])
        logps_S, entropy_S, correct_S = joined(parts, hidden_SD)
        ctx.save_for_backward(*grads.result())
        ctx.mark_non_differentiable(entropy_S, correct_S)
        return -(logps_S * weight_S).sum(), entropy_S, correct_S

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (
            *(None if saved is None else saved * grads[0] for saved in ctx.saved_tensors),
            *(None,) * 3,
        )


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_SD: Tensor,
        head_VD: Tensor,
        target_S: Tensor,
        temperature: float,
        limits: Allowed | None,
        chunk: int,
        keep_bytes: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        softmax = ChunkSoftmax(head_VD, temperature, chunk, limits)
        shared_RV: Tensor | None = None
        parts, kept = [], []
        for rows in slices(len(hidden_SD), chunk):
            size, first = rows.stop - rows.start, rows.start
            keep_bytes -= size * len(head_VD) * head_VD.element_size()
            if keep_bytes >= 0:
                residual_RV = hidden_SD.new_empty(size, len(head_VD))
                kept.append(residual_RV)
                parts.append(softmax.residual(hidden_SD[rows], target_S[rows], residual_RV, first))
                continue
            if shared_RV is None:
                shared_RV = chunk_buffer(hidden_SD[first:], head_VD, chunk)
            parts.append(softmax.score(hidden_SD[rows], target_S[rows], shared_RV[:size], first))
        logps_S, entropy_S, correct_S = joined(parts, hidden_SD)
        ctx.save_for_backward(hidden_SD, head_VD, target_S, *kept)
        ctx.temperature, ctx.limits, ctx.chunk = temperature, limits, chunk
        ctx.outside_S = None if limits is None else logps_S == -torch.inf
        ctx.mark_non_differentiable(entropy_S, correct_S)
        return logps_S, entropy_S, correct_S

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden_SD, head_VD, target_S, *kept = ctx.saved_tensors
        softmax = ChunkSoftmax(head_VD, ctx.temperature, ctx.chunk, ctx.limits)
        total = Gradients(hidden_SD, head_VD, ctx.needs_input_grad, ctx.chunk)
        scale_S = grads[0] * (-1 / ctx.temperature)
        if ctx.outside_S is not None:
            scale_S.masked_fill_(ctx.outside_S, 0)
        shared_RV: Tensor | None = None
        for number, rows in enumerate(slices(len(hidden_SD), ctx.chunk)):
            if number < len(kept):
                residual_RV = kept[number]
            else:
                if shared_RV is None:
                    shared_RV = chunk_buffer(hidden_SD[rows.start :], head_VD, ctx.chunk)
                residual_RV = shared_RV[: rows.stop - rows.start]
                softmax.residual(hidden_SD[rows], target_S[rows], residual_RV, rows.start)
            total.add(rows, residual_RV, scale_S[rows])
        return (*total.result(), *(None,) * 5)


def _score_only(
    hidden_SD: Tensor,
    head_VD: Tensor,
    target_S: Tensor,
    temperature: float,
    chunk: int,
    limits: Allowed | None = None,
) -> tuple[Tensor, TokenStats]:
    with torch.no_grad():
        softmax = ChunkSoftmax(head_VD, temperature, chunk, limits)
        out_RV = chunk_buffer(hidden_SD, head_VD, chunk)
        logps_S, entropy_S, correct_S = joined(
            [
                softmax.score(hidden_SD[r], target_S[r], out_RV[: r.stop - r.start], r.start)
                for r in slices(len(hidden_SD), chunk)
            ],
            hidden_SD,
        )
    return logps_S, TokenStats(entropy_S, correct_S)


def _apply(function: type[torch.autograd.Function], *args: Any) -> Any:
    return function.apply(*args)


def _wants_gradient(hidden_SD: Tensor, head_VD: Tensor) -> bool:
    return torch.is_grad_enabled() and (hidden_SD.requires_grad or head_VD.requires_grad)
