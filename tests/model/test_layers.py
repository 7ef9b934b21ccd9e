"""Norm and feed-forward against their formulas in float64."""

import math

import pytest
import torch

from accord.config.model import ModelConfig
from accord.model.layers import GatedMLP, RMSNorm
from accord.model.moe import feed_forward


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)],
)
def test_rms_norm_and_its_gradients_are_the_formulas(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(33, 16, generator=generator).to(dtype) for _ in range(2))
    module = RMSNorm(16, 1e-5).to(dtype)
    with torch.no_grad():
        module.weight.copy_(torch.rand(16, generator=generator) + 0.5)
    x.requires_grad_()
    y = module(x)
    y.backward(grad)
    twin_x = x.detach().double().requires_grad_()
    twin_w = module.weight.detach().double().requires_grad_()
    twin = rms_norm(twin_x, twin_w, 1e-5)
    twin.backward(grad.double())
    assert x.grad is not None and module.weight.grad is not None
    for got, want in (
        (y, twin),
        (x.grad, twin_x.grad),
        (module.weight.grad, twin_w.grad),
    ):
        assert want is not None
        error = (got.double() - want).abs().max() / want.abs().max()
        assert error < tolerance


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4)])
def test_rms_norm_passes_gradcheck(shape: tuple[int, ...]) -> None:
    module = RMSNorm(4, 1e-5).double()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight = module.weight

    def normed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(normed, (x.requires_grad_(), weight))


def test_gated_feed_forward_multiplies_gate_and_up() -> None:
    config = ModelConfig(vocab_size=8, hidden_size=4, num_attention_heads=1, intermediate_size=6)
    module = feed_forward(config)
    assert isinstance(module, GatedMLP)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    gate, up = x @ module.gate.weight.T, x @ module.up.weight.T
    want = (gate / (1 + (-gate).exp()) * up) @ module.down.weight.T
    torch.testing.assert_close(module(x), want)


def test_plain_feed_forward_is_gelu_between_two_products() -> None:
    config = ModelConfig(
        vocab_size=8,
        hidden_size=4,
        num_attention_heads=1,
        intermediate_size=6,
        gated_mlp=False,
        activation="gelu_tanh",
        mlp_bias=True,
    )
    module = feed_forward(config)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    z = module.up(x)
    gelu = 0.5 * z * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    torch.testing.assert_close(module(x), module.down(gelu))
