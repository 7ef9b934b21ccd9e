"""The fused head once more, with an entropy that has a gradient: for an entropy bonus.

Axes: S scored tokens, R rows of one chunk, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from accord.objectives.chunks import (
    Allowed,
    ChunkSoftmax,
    Gradients,
    allowed,
    chunk_buffer,
    chunk_rows,
    joined,
    slices,
)
from accord.objectives.logprobs import TokenStats


def token_logps_entropies(
    hidden_SD: Tensor,
    head_VD: Tensor,
    target_S: Tensor,
    *,
    temperature: float = 1.0,
    forbidden: Tensor | None = None,
    support: tuple[Tensor, Tensor] | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor, TokenStats]:
    """`logprobs.token_logps`, and each token's entropy in nats, both differentiable.

    Nothing of size [S, V] is held, and nothing kept: backward forms every chunk's logits again
    (four products in all). A target that is left out gets no gradient by either.

    Args:
        hidden_SD: Hidden states that predict the targets.
        head_VD: The head's weights.
        target_S: int64, the predicted tokens.
        temperature: The logits are divided by it.
        forbidden: As in `token_logps`.
        support: As in `token_logps`.
        chunk: Rows worked on at a time; none: by measurement.

    Returns:
        `logps_S`, `entropy_S` over the tokens allowed, and the statistics without gradient.

    Raises:
        ValueError: `temperature` is not positive, or the offsets do not fit.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    limits = allowed(len(hidden_SD), forbidden, support)
    chunk = chunk or chunk_rows(head_VD)
    logps_S, entropy_S, correct_S = _apply(hidden_SD, head_VD, target_S, temperature, limits, chunk)
    return logps_S, entropy_S, TokenStats(entropy_S.detach(), correct_S)


class _LogpsEntropies(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_SD: Tensor,
        head_VD: Tensor,
        target_S: Tensor,
        temperature: float,
        limits: Allowed | None,
        chunk: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        softmax = ChunkSoftmax(head_VD, temperature, chunk, limits)
        out_RV = chunk_buffer(hidden_SD, head_VD, chunk)
        logps_S, entropy_S, correct_S = joined(
            [
                softmax.score(hidden_SD[r], target_S[r], out_RV[: r.stop - r.start], r.start)
                for r in slices(len(hidden_SD), chunk)
            ],
            hidden_SD,
        )
        ctx.save_for_backward(hidden_SD, head_VD, target_S, logps_S == -torch.inf)
        ctx.temperature, ctx.limits, ctx.chunk = temperature, limits, chunk
        ctx.mark_non_differentiable(correct_S)
        return logps_S, entropy_S, correct_S

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden_SD, head_VD, target_S, outside_S = ctx.saved_tensors
        by_logp_S, by_entropy_S = (grad.masked_fill(outside_S, 0) for grad in grads[:2])
        softmax = ChunkSoftmax(head_VD, ctx.temperature, ctx.chunk, ctx.limits)
        total = Gradients(hidden_SD, head_VD, ctx.needs_input_grad, ctx.chunk)
        scale_S = torch.full_like(by_logp_S, 1 / ctx.temperature)
        out_RV = chunk_buffer(hidden_SD, head_VD, ctx.chunk)
        for rows in slices(len(hidden_SD), ctx.chunk):
            slope_RV = out_RV[: rows.stop - rows.start]
            softmax.derivative(
                hidden_SD[rows],
                target_S[rows],
                slope_RV,
                by_logp_S[rows],
                by_entropy_S[rows],
                rows.start,
            )
            total.add(rows, slope_RV, scale_S[rows])
        return (*total.result(), *(None,) * 4)


def _apply(*inputs: Any) -> Any:
    return _LogpsEntropies.apply(*inputs)
