"""The machinery of the fused head: a chunk's softmax, and the gradients that follow from it.

Axes: S scored tokens, R rows of one chunk, C rows whose softmax is taken at a time, D width,
V vocabulary.

A chunk's logits are one matrix product into a reused [R, V] buffer. The softmax is taken C rows
at a time in float32 (float64 for float64 inputs) while they are in cache, and overwrites the
logits with G = softmax - onehot. Every gradient is then two products with G:
d(-log p)/d hidden = G W and d(-log p)/d head = Gᵀ hidden, rows scaled by ∂loss/∂(-log p).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

MIB = 1 << 20
# Measured with benchmarks/head.py on CPU: fewer rows stream the head's weights too often, more
# gain nothing.
_CHUNK_BYTES = {"cpu": 64 * MIB, "cuda": 512 * MIB}
_CHUNK_ROWS = {"cpu": (256, 1024), "cuda": (1024, 4096)}
_SOFTMAX_BYTES = {"cpu": 2 * MIB, "cuda": 128 * MIB}
# A head gradient of more chunks than this is summed in float32, so that bf16 rounding does not
# swallow late terms; for fewer the float32 sum would cost 15 % at V = 50k and gain little.
_CHUNKS_SUMMED_IN_BF16 = 8


@dataclass(frozen=True)
class Allowed:
    """The tokens that a softmax runs over, where some are left out.

    Args:
        forbidden: int64 ids that no row may have; none: no such id.
        row_M: int64, the row that each entry of `ids_M` is of, ascending; none: no supports.
        ids_M: int64, what each row may have.
        offsets: Row s owns ids_M[offsets[s]:offsets[s + 1]].
    """

    forbidden: Tensor | None
    row_M: Tensor | None = None
    ids_M: Tensor | None = None
    offsets: tuple[int, ...] = ()

    def restrict_(self, logits_CV: Tensor, first: int) -> None:
        """Put `floor` in place of the logits left out; the C rows are `first` and what follows."""
        lowest = floor(logits_CV)
        if self.row_M is not None and self.ids_M is not None:
            own = slice(self.offsets[first], self.offsets[first + len(logits_CV)])
            where = self.row_M[own] - first, self.ids_M[own]
            kept_M = logits_CV[where]
            logits_CV.fill_(lowest).index_put_(where, kept_M)
        if self.forbidden is not None:
            logits_CV.index_fill_(1, self.forbidden, lowest)


def allowed(
    tokens: int, forbidden: Tensor | None, support: tuple[Tensor, Tensor] | None
) -> Allowed | None:
    """What `forbidden` and `support` (ids_M, offsets [S + 1]) leave of the vocabulary; none: all.

    Raises:
        ValueError: The support's offsets do not cover `tokens` rows and all its ids.
    """
    if support is None:
        return None if forbidden is None else Allowed(forbidden)
    ids_M, offsets = support
    bounds = offsets.tolist()
    if len(bounds) != tokens + 1 or bounds[0] != 0 or bounds[-1] != len(ids_M):
        raise ValueError(
            f"a support of {tokens} tokens needs {tokens + 1} offsets from 0 to {len(ids_M)}; "
            f"got {len(bounds)} from {bounds[:1]} to {bounds[-1:]}"
        )
    row_M = torch.arange(tokens, device=ids_M.device).repeat_interleave(
        offsets.diff().to(ids_M.device), output_size=len(ids_M)
    )
    return Allowed(forbidden, row_M, ids_M, tuple(bounds))


def floor(logits: Tensor) -> float:
    """The logit of a token left out: finite, so that 0 probability times it is 0 and not NaN."""
    return torch.finfo(logits.dtype).min


class ChunkSoftmax:
    """Logits of a chunk to log-probabilities, through two small buffers that stay in cache."""

    def __init__(
        self, head_VD: Tensor, temperature: float, chunk: int, limits: Allowed | None = None
    ) -> None:
        self.head_VD, self.temperature, self.limits = head_VD, temperature, limits
        vocabulary, wide = len(head_VD), wide_dtype(head_VD.dtype)
        in_cache = _SOFTMAX_BYTES[_kind(head_VD)] // (vocabulary * wide.itemsize)
        self.step = min(chunk, max(8, in_cache))
        self.probs_CV = head_VD.new_empty(self.step, vocabulary, dtype=wide)
        self.logits_CV = torch.empty_like(self.probs_CV)

    def score(
        self, hidden_RD: Tensor, target_R: Tensor, out_RV: Tensor, first: int = 0
    ) -> tuple[Tensor, ...]:
        """Log-probability, entropy and correctness of each row; `out_RV` is overwritten.

        `first` is the chunk's first row, by which `limits` know the rows.
        """
        torch.mm(hidden_RD, self.head_VD.t(), out=out_RV)
        return stacked(
            self._score(out_RV[c], target_R[c], first + c.start)[1:]
            for c in slices(len(out_RV), self.step)
        )

    def residual(
        self, hidden_RD: Tensor, target_R: Tensor, out_RV: Tensor, first: int = 0
    ) -> tuple[Tensor, ...]:
        """As `score`, and leaves softmax - onehot in `out_RV`."""
        torch.mm(hidden_RD, self.head_VD.t(), out=out_RV)
        parts = []
        for c in slices(len(out_RV), self.step):
            probs_CV, *scores = self._score(out_RV[c], target_R[c], first + c.start)
            # p - 1 from the log-probability: exact where p is near 1, before any rounding to bf16.
            probs_CV.scatter_(1, target_R[c, None], torch.expm1(scores[0])[:, None])
            out_RV[c].copy_(probs_CV)
            parts.append(scores)
        return stacked(parts)

    def derivative(
        self,
        hidden_RD: Tensor,
        target_R: Tensor,
        out_RV: Tensor,
        by_logp_R: Tensor,
        by_entropy_R: Tensor,
        first: int = 0,
    ) -> None:
        """Leave ∂(a log p + b H)/∂z in `out_RV`: a (onehot - p) - b p (log p + H).

        z are the logits over the temperature, H the entropy; a is `by_logp_R`, b `by_entropy_R`.
        """
        torch.mm(hidden_RD, self.head_VD.t(), out=out_RV)
        for c in slices(len(out_RV), self.step):
            probs_CV, logp_C, entropy_C, _ = self._score(out_RV[c], target_R[c], first + c.start)
            slope_CV = torch.special.entr(probs_CV, out=self.logits_CV[: len(probs_CV)])
            slope_CV.addcmul_(probs_CV, entropy_C[:, None], value=-1)
            slope_CV.mul_(by_entropy_R[c, None])
            probs_CV.scatter_(1, target_R[c, None], torch.expm1(logp_C)[:, None])
            slope_CV.addcmul_(probs_CV, by_logp_R[c, None], value=-1)
            out_RV[c].copy_(slope_CV)

    def _score(self, logits_CV: Tensor, target_C: Tensor, first: int) -> tuple[Tensor, ...]:
        probs_CV = self.probs_CV[: len(logits_CV)]
        # Wide logits are used where they stand: whoever calls overwrites them anyway.
        wide_CV = logits_CV
        if logits_CV.dtype != probs_CV.dtype:
            wide_CV = self.logits_CV[: len(logits_CV)].copy_(logits_CV)
        if self.temperature != 1:
            wide_CV.mul_(1 / self.temperature)
        if self.limits is not None:
            self.limits.restrict_(wide_CV, first)
        torch.softmax(wide_CV, 1, out=probs_CV)
        top_C = wide_CV.amax(1)
        # The largest probability is exp(top - lse) and never underflows.
        lse_C = top_C - probs_CV.amax(1).log_()
        at_target_C = wide_CV.gather(1, target_C[:, None]).squeeze(1)
        correct_C = (at_target_C >= top_C).to(wide_CV.dtype)
        entropy_C = lse_C - torch.linalg.vecdot(wide_CV, probs_CV)
        logp_C = at_target_C - lse_C
        if self.limits is not None:
            lowest = floor(wide_CV)
            outside_C = at_target_C == lowest
            logp_C.masked_fill_(outside_C, -torch.inf)
            correct_C.masked_fill_(outside_C, 0)
            entropy_C.masked_fill_(top_C == lowest, 0)  # a row that may have no token at all
        return probs_CV, logp_C, entropy_C, correct_C


class Gradients:
    """Sums the gradients of hidden states and head over chunks."""

    def __init__(
        self, hidden_SD: Tensor, head_VD: Tensor, needs: tuple[bool, ...], chunk: int
    ) -> None:
        self.inputs_SD, self.head_VD = hidden_SD, head_VD
        self.hidden_SD = torch.empty_like(hidden_SD) if needs[0] else None
        few = len(hidden_SD) <= chunk * _CHUNKS_SUMMED_IN_BF16
        dtype = head_VD.dtype if few else wide_dtype(head_VD.dtype)
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


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums and log-probabilities: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _kind(tensor: Tensor) -> str:
    return "cpu" if tensor.device.type == "cpu" else "cuda"


def chunk_rows(head_VD: Tensor) -> int:
    """Rows worked on at a time: within a budget of bytes, but enough for efficient products."""
    kind = _kind(head_VD)
    fewest, most = _CHUNK_ROWS[kind]
    rows = _CHUNK_BYTES[kind] // (len(head_VD) * head_VD.element_size())
    return min(most, max(fewest, rows))


def chunk_buffer(hidden_SD: Tensor, head_VD: Tensor, chunk: int) -> Tensor:
    """Uninitialised room for the logits of one chunk, in the dtype of the products."""
    return hidden_SD.new_empty(min(chunk, len(hidden_SD)), len(head_VD))


def slices(length: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most `step` that cover `range(length)`."""
    return (slice(at, min(at + step, length)) for at in range(0, length, step))


def stacked(parts: Iterable[Iterable[Tensor]]) -> tuple[Tensor, ...]:
    """Column by column, the parts one after another."""
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def joined(parts: list[tuple[Tensor, ...]], hidden_SD: Tensor) -> tuple[Tensor, ...]:
    """The three columns of a chunk's scores for all S tokens; empty ones when S is 0."""
    if parts:
        return stacked(parts)
    return tuple(hidden_SD.new_zeros(0, dtype=wide_dtype(hidden_SD.dtype)) for _ in range(3))
