"""The critic's clipped loss against a loop, and the variance it explains."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.objectives.values import explained_variance, value_loss

from .twins import gradients

F64 = torch.float64


def case(tokens: int = 40, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Values, returns, old values."""
    generator = torch.Generator().manual_seed(seed)
    values, returns, old = torch.randn(3, tokens, generator=generator, dtype=F64)
    return values.requires_grad_(), returns, old


def written_out(values: Tensor, returns: Tensor, old: Tensor, clip: float | None) -> Tensor:
    total = torch.zeros((), dtype=F64)
    for v, r, o in zip(values, returns, old, strict=True):
        errors = [(v - r) ** 2]
        if clip is not None:
            low, high = o - clip, o + clip
            held = low if v < low else high if v > high else v
            errors.append((held - r) ** 2)
        total = total + 0.5 * max(errors)
    return total


@pytest.mark.parametrize("clip", [None, 0.2, 1.0])
def test_loss_and_gradient_equal_the_loop(clip: float | None) -> None:
    values, returns, old = case()
    loss = value_loss(values, returns, old, clip)
    slow = written_out(values, returns, old, clip)
    assert loss.total.item() == pytest.approx(slow.item(), abs=1e-8)
    assert loss.weight.item() == 40
    fast, twin = gradients(loss.total, values)[0], gradients(slow, values)[0]
    torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)
    torch.autograd.gradcheck(lambda v: value_loss(v, returns, old, clip).total, (values,))


def test_numbers_by_hand() -> None:
    # Moved by 2 towards the return: held at 1.5, error (1.5 - 3)² > 0; moved away: not held.
    values = torch.tensor([3.0, -2.0], dtype=F64, requires_grad=True)
    returns = torch.tensor([3.0, 3.0], dtype=F64)
    old = torch.tensor([1.0, 1.0], dtype=F64)
    loss = value_loss(values, returns, old, 0.5)
    assert loss.total.item() == 0.5 * (1.5**2 + 5**2)
    assert gradients(loss.total, values)[0].tolist() == [0.0, -5.0]
    assert [part.item() for part in loss.metrics["val/clipfrac_avg"]] == [1.0, 2.0]
    assert loss.metrics["loss/value_avg"][0].item() == loss.total.item()


@settings(deadline=None, max_examples=30)
@given(cut=st.integers(0, 40), seed=st.integers(0, 99))
def test_two_micro_batches_sum_to_the_whole(cut: int, seed: int) -> None:
    values, returns, old = case(seed=seed)
    whole = value_loss(values, returns, old, 0.3)
    parts = [value_loss(values[s], returns[s], old[s], 0.3) for s in (slice(cut), slice(cut, None))]
    total = parts[0].total + parts[1].total
    torch.testing.assert_close(total, whole.total)
    torch.testing.assert_close(gradients(total, values), gradients(whole.total, values))
    assert (parts[0].weight + parts[1].weight).item() == whole.weight.item()
    for name, pair in whole.metrics.items():
        for i in (0, 1):
            torch.testing.assert_close(sum(p.metrics[name][i] for p in parts), pair[i])


def test_explained_variance() -> None:
    values, returns, _ = case()
    mean = sum(returns.tolist()) / 40
    off = [r - v for r, v in zip(returns.tolist(), values.tolist(), strict=True)]
    spread = sum((r - mean) ** 2 for r in returns.tolist())
    left = sum((o - sum(off) / 40) ** 2 for o in off)
    assert explained_variance(values, returns) == pytest.approx(1 - left / spread, abs=1e-8)
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.full((40,), 3.0), returns) == pytest.approx(0)
    assert explained_variance(values, torch.ones(40)) == 0
    # float32 far from zero
    far = 1000 + torch.arange(100) / 100
    assert explained_variance(far / 2, far) == pytest.approx(0.75, abs=1e-3)


def test_metrics_have_no_gradient() -> None:
    metrics = value_loss(*case(), 0.2).metrics
    assert not any(part.requires_grad for pair in metrics.values() for part in pair)


def test_sizes_must_agree() -> None:
    three = torch.zeros(3)
    for other in (torch.zeros(3, 1), torch.zeros(2)):
        with pytest.raises(ValueError, match="one number a scored token"):
            value_loss(three, other, three, 0.2)


def test_no_tokens() -> None:
    values = torch.zeros(0, requires_grad=True)
    loss = value_loss(values, values, values, 0.2)
    assert loss.total.item() == 0 and loss.weight.item() == 0
    loss.total.backward()
