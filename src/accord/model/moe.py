"""Mixture of experts: each token is worked on by the few feed-forwards that its router chose.

The stream holds no padding and no expert has a capacity, so that every token is routed and none is
dropped. Tokens are sorted by expert, each expert multiplies its own rows, and what comes out is
put back and added up: gathers along a permutation only, whose gradients are gathers too, so that
the same tokens give the same bytes.

Axes: N tokens of the stream, D width, E experts, k experts of a token, A = N k assignments of
tokens to experts, I width inside an expert.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config.model import ModelConfig
from accord.model.layers import MLP, GatedMLP, activate

_ALIGNED = 16
"""Bytes that a row must be a multiple of for torch's grouped products."""


class Routed(NamedTuple):
    """What the router of one layer did in one forward pass.

    Args:
        logits_NE: The router's logits, with their gradient.
        ends_E: int32, where each expert's rows ended among the assignments it was given.
    """

    logits_NE: Tensor
    ends_E: Tensor


class Stacked(nn.Module):
    """One matrix an expert, [E, O, I]; of the router one row an expert, [E, D]."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))


class MixtureOfExperts(nn.Module):
    """The sum of a token's top-k experts, weighted by their probabilities (arXiv 2401.04088, 2.1).

    The router's softmax runs over all experts, in float32; the weights of the chosen ones are
    divided by their sum where `norm_topk_prob` says so. Experts are gated feed-forwards without
    biases, stored as one tensor each way.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts, width, inner = config.num_experts, config.hidden_size, config.expert_size
        assert experts is not None
        self.router = Stacked(experts, width)
        self.gate_up = Stacked(experts, 2 * inner, width)
        self.down = Stacked(experts, width, inner)
        self.top_k, self.normalised = config.num_experts_per_tok, config.norm_topk_prob
        self.activation = config.activation
        self.seen: list[Routed] | None = None
        """Where it is written while `recorded` watches."""

    def forward(self, x_ND: Tensor) -> Tensor:
        """Apply to every token."""
        logits_NE = F.linear(x_ND, self.router.weight)
        weight_Nk, expert_Nk = route(logits_NE, self.top_k, self.normalised)
        expert_A, order_A = expert_Nk.flatten().sort(stable=True)
        place_A = torch.empty_like(order_A)
        place_A[order_A] = torch.arange(len(order_A), device=order_A.device)
        all_E = torch.arange(len(self.router.weight), device=expert_A.device)
        ends_E = torch.searchsorted(expert_A, all_E, right=True).to(torch.int32)
        if self.seen is not None:
            self.seen.append(Routed(logits_NE, ends_E))
        rows_AD = _Sorted.apply(x_ND, order_A, place_A, self.top_k)
        out_AD = self.experts(rows_AD, ends_E)
        out_NkD = _Permuted.apply(out_AD, place_A, order_A).unflatten(0, expert_Nk.shape)
        return (out_NkD * weight_Nk[:, :, None]).sum(1).to(x_ND.dtype)

    def experts(self, rows_AD: Tensor, ends_E: Tensor) -> Tensor:
        """Each expert on its own rows, of which expert e's last is before `ends_E[e]`, [A, D]."""
        product = grouped if can_group(rows_AD, self.down.weight) else looped
        gate_AI, up_AI = product(rows_AD, self.gate_up.weight, ends_E).chunk(2, -1)
        return product(activate(gate_AI, self.activation) * up_AI, self.down.weight, ends_E)


def route(logits_NE: Tensor, top_k: int, normalised: bool) -> tuple[Tensor, Tensor]:
    """Weights (float32, or float64 of float64) and numbers of each token's experts, [N, k] each."""
    wide = torch.promote_types(logits_NE.dtype, torch.float32)
    weight_Nk, expert_Nk = logits_NE.softmax(-1, dtype=wide).topk(top_k, -1)
    return (weight_Nk / weight_Nk.sum(-1, True) if normalised else weight_Nk), expert_Nk


def can_group(x_AI: Tensor, weight_EOI: Tensor) -> bool:
    """Whether torch has a grouped product of these: by dtype, alignment and device."""
    sizes = (size * x_AI.element_size() for size in weight_EOI.shape[1:])
    if x_AI.dtype == torch.float64 or any(size % _ALIGNED for size in sizes):
        return False
    return x_AI.is_cpu or x_AI.dtype == torch.bfloat16


def grouped(x_AI: Tensor, weight_EOI: Tensor, ends_E: Tensor) -> Tensor:
    """x W^T with the matrix of each row's expert, as one operation, [A, O]."""
    return F.grouped_mm(x_AI, weight_EOI.transpose(1, 2), offs=ends_E)


def looped(x_AI: Tensor, weight_EOI: Tensor, ends_E: Tensor) -> Tensor:
    """As `grouped`, expert by expert: its slow twin, for what torch cannot group."""
    counts = ends_E.diff(prepend=ends_E.new_zeros(1)).tolist()
    parts = zip(x_AI.split(counts), weight_EOI.unbind(), strict=True)
    return torch.cat([F.linear(rows, weight_OI) for rows, weight_OI in parts])


class _Sorted(torch.autograd.Function):
    """A token's row for each of its assignments, in the order of the experts, [A, D].

    The gradient gathers each token's k rows and adds them up in order, where an index's own would
    add in whatever order threads come.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order_A: Tensor, place_A: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(place_A)
        ctx.k = k
        return x_ND.index_select(0, order_A.div(k, rounding_mode="floor"))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (place_A,) = ctx.saved_tensors
        return grads[0].index_select(0, place_A).unflatten(0, (-1, ctx.k)).sum(1), None, None, None


class _Permuted(torch.autograd.Function):
    """Rows `there`; `back` undoes it, for the gradient."""

    @staticmethod
    def forward(ctx: Any, x_AD: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x_AD.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return grads[0].index_select(0, back), None, None


@contextmanager
def recorded(layers: list[MixtureOfExperts]) -> Iterator[list[list[Routed]]]:
    """What the routers do in each forward pass while it is open, a list for each layer.

    What a checkpointed block computes again in its backward pass is not recorded.
    """
    seen: list[list[Routed]] = [[] for _ in layers]
    for layer, own in zip(layers, seen, strict=True):
        layer.seen = own
    try:
        yield seen
    finally:
        for layer in layers:
            layer.seen = None


def moe_layers(model: nn.Module) -> list[MixtureOfExperts]:
    """The mixtures of experts in a model, in order; each once."""
    return [part for part in model.modules() if isinstance(part, MixtureOfExperts)]


def feed_forward(config: ModelConfig) -> nn.Module:
    """The feed-forward part of a block: the one place that chooses its kind."""
    if config.num_experts is not None:
        return MixtureOfExperts(config)
    return GatedMLP(config) if config.gated_mlp else MLP(config)
