"""Cross-entropy is a sum and a weight: splitting a batch changes nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.objectives.sft import next_token

from .twins import full_entropies, full_logps, gradients, head_case


def test_loss_and_gradient_equal_their_twin() -> None:
    hidden, head, target, weight = head_case(19, 5, 23)
    loss = next_token(hidden, head, target, weight, chunk=4)
    slow = -(full_logps(hidden, head, target) * weight).sum()
    assert loss.total.item() == pytest.approx(slow.item(), abs=1e-8)
    assert loss.weight.item() == pytest.approx(weight.sum().item())
    for fast, twin in zip(
        gradients(loss.total, hidden, head), gradients(slow, hidden, head), strict=True
    ):
        torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)


def test_gradcheck() -> None:
    hidden, head, target, weight = head_case(5, 3, 4)
    torch.autograd.gradcheck(
        lambda h, w: next_token(h, w, target, weight, chunk=2).total, (hidden, head)
    )


def test_metrics_are_sums_over_tokens() -> None:
    hidden, head, target, weight = head_case(19, 5, 23)
    loss = next_token(hidden, head, target, weight)
    assert set(loss.metrics) == {"loss", "entropy", "mean_token_accuracy"}
    total, by = loss.metrics["entropy"]
    assert total.item() == pytest.approx(full_entropies(hidden, head).sum().item())
    assert by.item() == 19
    right, by = loss.metrics["mean_token_accuracy"]
    assert right.item() == ((hidden @ head.T).argmax(1) == target).sum().item()
    assert by.item() == 19
    assert loss.metrics["loss"][1].item() == loss.weight.item()
    assert not any(part.requires_grad for pair in loss.metrics.values() for part in pair)


def test_uniform_model_loses_log_v_a_token() -> None:
    hidden = torch.zeros(7, 3, requires_grad=True)
    head = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    loss = next_token(hidden, head, torch.arange(7), torch.ones(7))
    assert (loss.total / loss.weight).item() == pytest.approx(math.log(50), rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(tokens=st.integers(2, 30), cut=st.integers(0, 30), seed=st.integers(0, 99))
def test_two_micro_batches_sum_to_the_whole(tokens: int, cut: int, seed: int) -> None:
    hidden, head, target, weight = head_case(tokens, 4, 9, seed)
    whole = next_token(hidden, head, target, weight)
    parts = [
        next_token(hidden[s], head, target[s], weight[s])
        for s in (slice(None, min(cut, tokens)), slice(min(cut, tokens), None))
    ]
    total = parts[0].total + parts[1].total
    torch.testing.assert_close(total, whole.total)
    torch.testing.assert_close(parts[0].weight + parts[1].weight, whole.weight)
    torch.testing.assert_close(gradients(total, head), gradients(whole.total, head))
    for name, (value, by) in whole.metrics.items():
        torch.testing.assert_close(sum(p.metrics[name][0] for p in parts), value)
        torch.testing.assert_close(sum(p.metrics[name][1] for p in parts), by)


def test_nothing_to_score_is_zero_not_nan() -> None:
    hidden, head, target, weight = head_case(0, 3, 4)
    loss = next_token(hidden, head, target, weight)
    assert loss.total.item() == 0 and loss.weight.item() == 0
    assert all(value.item() == 0 for pair in loss.metrics.values() for value in pair)
