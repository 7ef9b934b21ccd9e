"""WPO's weights against their definitions, and Σp² of the vocabulary against full logits."""

import pytest
import torch

from accord.objectives.logprobs import token_logps
from accord.objectives.preference import sequence_logps
from accord.objectives.weighting import aligned_weights, token_log_squares, wpo_weights

from .twins import full_logps, head_case

F64 = torch.float64


def test_a_weight_is_the_product_of_both_answers_mean_probabilities() -> None:
    means = torch.tensor([-0.5, -1.0, -2.0, 0.0, 0.3, 0.1], dtype=F64, requires_grad=True)
    weight = wpo_weights(means)
    expected = torch.exp(torch.tensor([-1.5, -2.0, 0.0], dtype=F64))
    torch.testing.assert_close(weight, expected)
    assert not weight.requires_grad
    aligned = aligned_weights(means)
    torch.testing.assert_close(aligned[:2], expected[:2])
    assert aligned[2].item() == pytest.approx(torch.tensor(0.4, dtype=F64).exp().item())
    assert not aligned.requires_grad


@pytest.mark.parametrize("chunk", [None, 1, 3, 50])
def test_log_squares_equal_full_softmax(chunk: int | None) -> None:
    hidden, head, _, _ = head_case(11, 4, 9)
    probs = torch.softmax(hidden @ head.T, 1)
    found = token_log_squares(hidden, head, chunk)
    torch.testing.assert_close(found, probs.square().sum(1).log().detach(), atol=1e-10, rtol=0)
    assert not found.requires_grad
    assert len(token_log_squares(hidden[:0], head, chunk)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_squares_are_wide_and_survive_large_logits(dtype: torch.dtype) -> None:
    hidden, head, _, _ = head_case(5, 4, 9, dtype=dtype)
    found = token_log_squares(100 * hidden, 10 * head)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert (found <= 1e-3).all()


def test_a_uniform_policy_has_aligned_weights_of_one() -> None:
    """Every token is as probable as the policy's own are on average, whatever the vocabulary."""
    head = torch.zeros(9, 4, dtype=F64)
    hidden, _, target, _ = head_case(6, 4, 9)
    logps, _ = token_logps(hidden, head, target)
    aligned = logps - token_log_squares(hidden, head)
    sums, lengths = sequence_logps(aligned, torch.tensor([0, 0, 1, 2, 3, 3]), 4)
    torch.testing.assert_close(aligned_weights(sums / lengths), torch.ones(2, dtype=F64))
    plain, _ = sequence_logps(logps, torch.tensor([0, 0, 1, 2, 3, 3]), 4)
    torch.testing.assert_close(wpo_weights(plain / lengths), torch.full((2,), 1 / 81, dtype=F64))


def test_weights_through_the_head_equal_a_loop() -> None:
    hidden, head, target, _ = head_case(12, 4, 9)
    sequence = torch.tensor([0] * 3 + [1] * 2 + [2] * 6 + [3] * 1)
    logps, _ = token_logps(hidden, head, target, chunk=5)
    squares = token_log_squares(hidden, head, chunk=5)
    sums, lengths = sequence_logps(logps.detach() - squares, sequence, 4)
    found = aligned_weights(sums / lengths)
    full = torch.log_softmax(hidden @ head.T, 1)
    for pair in range(2):
        expected = 1.0
        for response in (2 * pair, 2 * pair + 1):
            own = sequence == response
            log_squares = torch.log((full[own].exp() ** 2).sum(1))
            expected *= torch.exp((full_logps(hidden, head, target)[own] - log_squares).mean())
        assert found[pair].item() == pytest.approx(expected.item(), abs=1e-10)
