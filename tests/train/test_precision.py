import pytest
import torch
from torch import nn

from accord.train.parallel import Ranks
from accord.train.precision import Weights

ONE = Ranks(0, 1, torch.device("cpu"))
BF16 = torch.bfloat16


def test_updates_below_bfloat16_resolution_add_up() -> None:
    """At 1.0 bfloat16 steps by 2^-7; 10,000 steps of 2e-6 are 0.02, which plain bf16 loses."""
    model = nn.Linear(4, 4)
    nn.init.ones_(model.weight)
    weights = Weights(model, BF16, ONE)
    naive = torch.ones(4, 4, dtype=BF16)
    for _ in range(10_000):
        weights.masters["weight"].sub_(2e-6)
        naive.sub_(2e-6)
    weights.publish()
    assert torch.equal(naive, torch.ones(4, 4, dtype=BF16))
    torch.testing.assert_close(
        weights.masters["weight"], torch.full((4, 4), 0.98), atol=5e-4, rtol=0
    )
    assert model.weight.dtype is BF16
    assert torch.equal(model.weight.data, torch.full((4, 4), 0.98).to(BF16))


def test_adamw_at_a_tiny_rate_moves_bf16_weights() -> None:
    model = nn.Linear(4, 4, bias=False)
    nn.init.ones_(model.weight)
    weights = Weights(model, BF16, ONE)
    adamw = torch.optim.AdamW(list(weights.masters.values()), lr=2e-6, weight_decay=0.0)
    for _ in range(3000):
        model.weight.grad = torch.ones_like(model.weight)
        weights.hand_over()
        adamw.step()
        weights.publish()
        weights.clear()
    torch.testing.assert_close(
        weights.masters["weight"], torch.full((4, 4), 0.994), atol=2e-4, rtol=0
    )
    assert (model.weight < 1).all()


def test_gradients_are_handed_over_and_summed_in_float32() -> None:
    model = nn.Linear(2, 1, bias=False)
    weights = Weights(model, BF16, ONE)
    for value in (256.0, 1.0, 1.0):
        model.weight.grad = torch.full_like(model.weight, value)
        weights.hand_over()
        assert model.weight.grad is None
    gradient = weights.masters["weight"].grad
    assert gradient is not None and gradient.dtype is torch.float32
    assert torch.equal(gradient, torch.full((1, 2), 258.0))  # bf16 would stay at 256
    assert float(weights.norm_squared()) == pytest.approx(2 * 258.0**2)
    weights.scale(0.5)
    assert torch.equal(gradient, torch.full((1, 2), 129.0))
    weights.clear()
    assert weights.gradients() == []


def test_in_fp32_masters_are_the_weights() -> None:
    model = nn.Linear(3, 2)
    weights = Weights(model, torch.float32, ONE)
    assert weights.masters["weight"].data_ptr() == model.weight.data_ptr()


def test_frozen_weights_compute_and_are_neither_trained_nor_saved() -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    weights = Weights(model, BF16, ONE)
    assert set(weights.masters) == set(weights.shapes) == set(weights.full()) == {"weight"}
    assert model.bias.dtype is BF16
    weights.load({"weight": torch.full((2, 3), 0.3)})
    weights.release()
    assert (model.weight.dtype, model.bias.dtype) == (torch.float32, BF16)


def test_release_gives_the_model_its_masters() -> None:
    model = nn.Linear(3, 2)
    exact = model.weight.detach().clone()
    weights = Weights(model, BF16, ONE)
    weights.release()
    assert torch.equal(model.weight, exact)


def test_loading_reaches_the_weights_that_compute() -> None:
    model = nn.Linear(3, 2)
    weights = Weights(model, BF16, ONE)
    weights.load({"weight": torch.full((2, 3), 0.3), "bias": torch.zeros(2)})
    assert torch.equal(model.weight.data, torch.full((2, 3), 0.3).to(BF16))
    assert torch.equal(weights.masters["weight"], torch.full((2, 3), 0.3))
