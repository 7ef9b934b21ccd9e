"""The fused head: log-probabilities and their gradients without ever holding [S, V] logits.

Axes: S scored tokens, R rows of one chunk, C rows whose softmax is taken at a time, D and E widths,
V vocabulary.

A chunk's logits are one matrix product into a reused [R, V] buffer. The softmax is taken C rows
at a time in float32 (float64 for float64 inputs) while they are in cache, and overwrites the
logits with G = softmax - onehot. Every gradient is then two products with G:
d(-log p)/d hidden = G W and d(-log p)/d head = Gᵀ hidden, rows scaled by ∂loss/∂(-log p).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_MIB = 1 << 20
# Measured with benchmarks/head.py on CPU: fewer rows stream the head's weights too often, more
# gain nothing.
_CHUNK_BYTES = {"cpu": 64 * _MIB, "cuda": 512 * _MIB}
_CHUNK_ROWS = {"cpu": (256, 1024), "cuda": (1024, 4096)}
_SOFTMAX_BYTES = {"cpu": 2 * _MIB, "cuda": 128 * _MIB}
# Up to here rounding a bf16 sum once a chunk adds less than the rounding of the result itself.
_CHUNKS_SUMMED_IN_BF16 = 8


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
    chunk = chunk or _chunk_rows(head_VD)
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
    chunk: int | None = None,
    keep_bytes: int = 64 * _MIB,
) -> tuple[Tensor, TokenStats]:
    """Log-probability of each target under softmax(hidden Wᵀ / temperature), differentiable.

    Chunks that fit into `keep_bytes` keep their probabilities for backward (three products in all);
    the others form them again (four), so that memory stays in O(chunk * V) whatever S is.

    Returns:
        `logps_S` (float32, or float64 for float64 inputs) and the tokens' statistics, which are
        those of the distribution at `temperature`.

    Raises:
        ValueError: `temperature` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    chunk = chunk or _chunk_rows(head_VD)
    if _wants_gradient(hidden_SD, head_VD):
        logps_S, entropy_S, correct_S = _apply(
            _TokenLogps, hidden_SD, head_VD, target_S, temperature, chunk, keep_bytes
        )
        return logps_S, TokenStats(entropy_S, correct_S)
    return _score_only(hidden_SD, head_VD, target_S, temperature, chunk)


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
    wide = _wide(hidden_SD.dtype)
    kl_S = hidden_SD.new_empty(len(hidden_SD), dtype=wide)
    # Four wide buffers of a chunk's size are alive at once, hence fewer rows than elsewhere.
    for rows in _slices(len(hidden_SD), chunk or max(1, _chunk_rows(head_VD) // 4)):
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
        softmax = _ChunkSoftmax(head_VD, 1.0, chunk)
        grads = _Gradients(hidden_SD, head_VD, ctx.needs_input_grad, chunk)
        buffer_RV = _buffer(hidden_SD, head_VD, chunk)
        parts = []
        for rows in _slices(len(hidden_SD), chunk):
            residual_RV = buffer_RV[: rows.stop - rows.start]
            parts.append(softmax.residual(hidden_SD[rows], target_S[rows], residual_RV))
            grads.add(rows, residual_RV, weight_S[rows])
        logps_S, entropy_S, correct_S = _joined(parts, hidden_SD)
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
        chunk: int,
        keep_bytes: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        softmax = _ChunkSoftmax(head_VD, temperature, chunk)
        shared_RV: Tensor | None = None
        parts, kept = [], []
        for rows in _slices(len(hidden_SD), chunk):
            size = rows.stop - rows.start
            keep_bytes -= size * len(head_VD) * head_VD.element_size()
            if keep_bytes >= 0:
                residual_RV = hidden_SD.new_empty(size, len(head_VD))
                kept.append(residual_RV)
                parts.append(softmax.residual(hidden_SD[rows], target_S[rows], residual_RV))
                continue
            if shared_RV is None:
                shared_RV = _buffer(hidden_SD[rows.start :], head_VD, chunk)
            parts.append(softmax.score(hidden_SD[rows], target_S[rows], shared_RV[:size]))
        ctx.save_for_backward(hidden_SD, head_VD, target_S, *kept)
        ctx.temperature, ctx.chunk = temperature, chunk
        logps_S, entropy_S, correct_S = _joined(parts, hidden_SD)
        ctx.mark_non_differentiable(entropy_S, correct_S)
        return logps_S, entropy_S, correct_S

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden_SD, head_VD, target_S, *kept = ctx.saved_tensors
        softmax = _ChunkSoftmax(head_VD, ctx.temperature, ctx.chunk)
        total = _Gradients(hidden_SD, head_VD, ctx.needs_input_grad, ctx.chunk)
        scale_S = grads[0] * (-1 / ctx.temperature)
        shared_RV: Tensor | None = None
        for number, rows in enumerate(_slices(len(hidden_SD), ctx.chunk)):
            if number < len(kept):
                residual_RV = kept[number]
            else:
                if shared_RV is None:
                    shared_RV = _buffer(hidden_SD[rows.start :], head_VD, ctx.chunk)
                residual_RV = shared_RV[: rows.stop - rows.start]
                softmax.residual(hidden_SD[rows], target_S[rows], residual_RV)
            total.add(rows, residual_RV, scale_S[rows])
        return (*total.result(), *(None,) * 4)


class _ChunkSoftmax:
    """Logits of a chunk to log-probabilities, through two small buffers that stay in cache."""

    def __init__(self, head_VD: Tensor, temperature: float, chunk: int) -> None:
        self.head_VD, self.temperature = head_VD, temperature
        vocabulary, wide = len(head_VD), _wide(head_VD.dtype)
        in_cache = _SOFTMAX_BYTES[_kind(head_VD)] // (vocabulary * wide.itemsize)
        self.step = min(chunk, max(8, in_cache))
        self.probs_CV = head_VD.new_empty(self.step, vocabulary, dtype=wide)
        self.logits_CV = torch.empty_like(self.probs_CV)

    def score(self, hidden_RD: Tensor, target_R: Tensor, out_RV: Tensor) -> tuple[Tensor, ...]:
        """Log-probability, entropy and correctness of each row; `out_RV` is overwritten."""
        torch.mm(hidden_RD, self.head_VD.t(), out=out_RV)
        return _stacked(
            self._score(out_RV[c], target_R[c])[1:] for c in _slices(len(out_RV), self.step)
        )

    def residual(self, hidden_RD: Tensor, target_R: Tensor, out_RV: Tensor) -> tuple[Tensor, ...]:
        """As `score`, and leaves softmax - onehot in `out_RV`."""
        torch.mm(hidden_RD, self.head_VD.t(), out=out_RV)
        parts = []
        for c in _slices(len(out_RV), self.step):
            probs_CV, *scores = self._score(out_RV[c], target_R[c])
            # p - 1 from the log-probability: exact where p is near 1, before any rounding to bf16.
            probs_CV.scatter_(1, target_R[c, None], torch.expm1(scores[0])[:, None])
            out_RV[c].copy_(probs_CV)
            parts.append(scores)
        return _stacked(parts)

    def _score(self, logits_CV: Tensor, target_C: Tensor) -> tuple[Tensor, ...]:
        probs_CV = self.probs_CV[: len(logits_CV)]
        # Wide logits are used where they stand: whoever calls overwrites them anyway.
        wide_CV = logits_CV
        if logits_CV.dtype != probs_CV.dtype:
            wide_CV = self.logits_CV[: len(logits_CV)].copy_(logits_CV)
        if self.temperature != 1:
            wide_CV.mul_(1 / self.temperature)
        torch.softmax(wide_CV, 1, out=probs_CV)
        top_C = wide_CV.amax(1)
        # The largest probability is exp(top - lse) and never underflows.
        lse_C = top_C - probs_CV.amax(1).log_()
        at_target_C = wide_CV.gather(1, target_C[:, None]).squeeze(1)
        correct_C = (at_target_C >= top_C).to(wide_CV.dtype)
        entropy_C = lse_C - wide_CV.mul_(probs_CV).sum(1)
        return probs_CV, at_target_C - lse_C, entropy_C, correct_C


class _Gradients:
    """Sums the gradients of hidden states and head over chunks."""

    def __init__(
        self, hidden_SD: Tensor, head_VD: Tensor, needs: tuple[bool, ...], chunk: int
    ) -> None:
        self.inputs_SD, self.head_VD = hidden_SD, head_VD
        self.hidden_SD = torch.empty_like(hidden_SD) if needs[0] else None
        few = len(hidden_SD) <= chunk * _CHUNKS_SUMMED_IN_BF16
        dtype = head_VD.dtype if few else _wide(head_VD.dtype)
        self.sum_VD = torch.zeros_like(head_VD, dtype=dtype) if needs[1] else None

    def add(self, rows: slice, residual_RV: Tensor, scale_R: Tensor) -> None:
        """Add scale * d(-log p) of a chunk."""
        scale_R1 = scale_R[:, None]
        if self.hidden_SD is not None:
            torch.mm(residual_RV, self.head_VD, out=self.hidden_SD[rows]).mul_(scale_R1)
        if self.sum_VD is None:
            return
        # Scaling the D columns of the hidden states is cheaper than the V of the residual.
        scaled_RD = (self.inputs_SD[rows] * scale_R1).to(residual_RV.dtype)
        if self.sum_VD.dtype == residual_RV.dtype:
            self.sum_VD.addmm_(residual_RV.t(), scaled_RD)
        else:
            self.sum_VD.add_(residual_RV.t() @ scaled_RD)

    def result(self) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of hidden states and head in their own dtypes; none where not asked for."""
        head_VD = None if self.sum_VD is None else self.sum_VD.to(self.head_VD.dtype)
        return self.hidden_SD, head_VD


def _score_only(
    hidden_SD: Tensor, head_VD: Tensor, target_S: Tensor, temperature: float, chunk: int
) -> tuple[Tensor, TokenStats]:
    with torch.no_grad():
        softmax = _ChunkSoftmax(head_VD, temperature, chunk)
        out_RV = _buffer(hidden_SD, head_VD, chunk)
        logps_S, entropy_S, correct_S = _joined(
            [
                softmax.score(hidden_SD[r], target_S[r], out_RV[: r.stop - r.start])
                for r in _slices(len(hidden_SD), chunk)
            ],
            hidden_SD,
        )
    return logps_S, TokenStats(entropy_S, correct_S)


def _apply(function: type[torch.autograd.Function], *args: Any) -> Any:
    return function.apply(*args)


def _wants_gradient(hidden_SD: Tensor, head_VD: Tensor) -> bool:
    return torch.is_grad_enabled() and (hidden_SD.requires_grad or head_VD.requires_grad)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _kind(tensor: Tensor) -> str:
    return "cpu" if tensor.device.type == "cpu" else "cuda"


def _chunk_rows(head_VD: Tensor) -> int:
    kind = _kind(head_VD)
    fewest, most = _CHUNK_ROWS[kind]
    rows = _CHUNK_BYTES[kind] // (len(head_VD) * head_VD.element_size())
    return min(most, max(fewest, rows))


def _buffer(hidden_SD: Tensor, head_VD: Tensor, chunk: int) -> Tensor:
    return hidden_SD.new_empty(min(chunk, len(hidden_SD)), len(head_VD))


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(at, min(at + step, length)) for at in range(0, length, step))


def _stacked(parts: Any) -> tuple[Tensor, ...]:
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _joined(parts: list[tuple[Tensor, ...]], hidden_SD: Tensor) -> tuple[Tensor, ...]:
    if parts:
        return _stacked(parts)
    return tuple(hidden_SD.new_zeros(0, dtype=_wide(hidden_SD.dtype)) for _ in range(3))
