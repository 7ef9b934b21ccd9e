"""The parts of a block that look at one token at a time: norms and feed-forward.

Axes: N tokens of the stream, D width of the model.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config.model import ModelConfig


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis, the square in float32 (arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_ND: Tensor) -> Tensor:
        """Normalise the last axis."""
        if x_ND.is_cpu and torch.is_grad_enabled():
            return _RMSNorm.apply(x_ND, self.weight, self.eps)
        return F.rms_norm(x_ND, self.weight.shape, self.weight, self.eps)


class _RMSNorm(torch.autograd.Function):
    """RMS norm whose gradient is taken by layer norm's fused kernel.

    On the CPU torch differentiates RMS norm operation by operation, at three to eight times the
    cost. With a mean of zero and r = 1/rms, layer norm's input gradient lacks only what its
    centring subtracts, r * mean(grad * weight), which is added back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, inverse_rms = torch.ops.aten._fused_rms_norm(x, weight.shape, weight, eps)
        ctx.save_for_backward(x, weight, inverse_rms)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, r = ctx.saved_tensors
        wide = weight.to(r.dtype)
        grad_x, _, _ = torch.ops.aten.native_layer_norm_backward(
            grads[0], x, weight.shape, torch.zeros_like(r), r, wide, wide, [True, False, False]
        )
        centring = r * ((grads[0] @ weight) / weight.numel()).unsqueeze(-1)
        # the kernel would add the weight's gradient up in bfloat16, a sum adds in float32
        grad_weight = (grads[0] * x).mul_(r).flatten(0, -2).sum(0)
        return grad_x + centring.to(x.dtype), grad_weight, None


def norm(config: ModelConfig) -> nn.Module:
    """The norm a config asks for, over the model's width."""
    if config.norm == "rmsnorm":
        return RMSNorm(config.hidden_size, config.norm_eps)
    return nn.LayerNorm(config.hidden_size, config.norm_eps)


class MLP(nn.Module):
    """down(act(up(x)))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.up = nn.Linear(width, inner, bias)
        self.down = nn.Linear(inner, width, bias)
        self.activation = config.activation

    def forward(self, x_ND: Tensor) -> Tensor:
        """Apply to every token."""
        return self.down(activate(self.up(x_ND), self.activation))


class GatedMLP(nn.Module):
    """down(act(gate(x)) * up(x)) (arXiv 2002.05202, eq. 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate = nn.Linear(width, inner, bias)
        self.up = nn.Linear(width, inner, bias)
        self.down = nn.Linear(inner, width, bias)
        self.activation = config.activation

    def forward(self, x_ND: Tensor) -> Tensor:
        """Apply to every token."""
        return self.down(activate(self.gate(x_ND), self.activation) * self.up(x_ND))


def activate(x: Tensor, name: str) -> Tensor:
    """`silu` or `gelu_tanh` (GPT-2's approximation), elementwise."""
    return F.silu(x) if name == "silu" else F.gelu(x, approximate="tanh")
