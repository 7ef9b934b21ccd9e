"""Bradley-Terry and the reward model's measurements."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.objectives.reward import (
    bradley_terry,
    correlation,
    expected_calibration_error,
    prefix_error,
    rating_error,
)

from .twins import gradients

F64 = torch.float64


def scores(pairs: int = 9, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Chosen, rejected, margins."""
    generator = torch.Generator().manual_seed(seed)
    chosen, rejected, margin = torch.randn(3, pairs, generator=generator, dtype=F64)
    return chosen.requires_grad_(), rejected.requires_grad_(), margin.abs()


@pytest.mark.parametrize("with_margin", [False, True])
@pytest.mark.parametrize("centering", [0.0, 0.3])
def test_loss_and_gradient_equal_the_formula(with_margin: bool, centering: float) -> None:
    chosen, rejected, margin = scores()
    given_margin = margin if with_margin else None
    loss = bradley_terry(chosen, rejected, given_margin, centering)
    slow = torch.zeros((), dtype=F64)
    for i in range(9):
        ahead = chosen[i] - rejected[i] - (margin[i] if with_margin else 0)
        slow = slow - torch.log(1 / (1 + torch.exp(-ahead)))
        slow = slow + centering * (chosen[i] + rejected[i]) ** 2
    assert loss.total.item() == pytest.approx(slow.item(), abs=1e-8)
    assert loss.weight.item() == 9
    for fast, twin in zip(
        gradients(loss.total, chosen, rejected), gradients(slow, chosen, rejected), strict=True
    ):
        torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)
    torch.autograd.gradcheck(
        lambda c, r: bradley_terry(c, r, given_margin, centering).total, (chosen, rejected)
    )


def test_numbers_by_hand() -> None:
    loss = bradley_terry(
        torch.tensor([2.0, 1.0, 0.0]), torch.tensor([-1.0, 1.0, 4.0]), torch.ones(3), 0.5
    )
    expected = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1)) + math.log(1 + math.exp(5))
    assert loss.total.item() == pytest.approx(expected + 0.5 * (1 + 4 + 16), rel=1e-6)
    found = {name: (a.item(), b.item()) for name, (a, b) in loss.metrics.items()}
    assert found == {
        "loss": (loss.total.item(), 3),
        "accuracy": (1, 3),  # the tie is wrong
        "margin": (-1, 3),
        "min_reward": (-1, 1),
        "mean_reward": (7, 6),
        "max_reward": (4, 1),
    }


def test_equal_scores_lose_log_two() -> None:
    loss = bradley_terry(torch.ones(4), torch.ones(4))
    assert (loss.total / loss.weight).item() == pytest.approx(math.log(2))
    assert loss.metrics["accuracy"][0].item() == 0


def test_a_step_moves_the_chosen_up_and_the_rejected_down() -> None:
    chosen, rejected, _ = scores()
    up, down = gradients(bradley_terry(chosen, rejected).total, chosen, rejected)
    assert (up < 0).all() and (down > 0).all()


@settings(deadline=None, max_examples=30)
@given(cut=st.integers(0, 9), seed=st.integers(0, 99))
def test_two_micro_batches_sum_to_the_whole(cut: int, seed: int) -> None:
    chosen, rejected, margin = scores(seed=seed)
    whole = bradley_terry(chosen, rejected, margin, 0.1)
    parts = [
        bradley_terry(chosen[s], rejected[s], margin[s], 0.1)
        for s in (slice(cut), slice(cut, None))
    ]
    total = parts[0].total + parts[1].total
    torch.testing.assert_close(total, whole.total)
    torch.testing.assert_close(gradients(total, chosen), gradients(whole.total, chosen))
    for name in ("loss", "accuracy", "margin", "mean_reward"):
        for i in (0, 1):
            found = sum(p.metrics[name][i] for p in parts)
            torch.testing.assert_close(found, whole.metrics[name][i])
    extremes = [p.metrics["max_reward"] for p in parts]
    assert sum(by.item() for _, by in extremes) == len([s for s in (cut, 9 - cut) if s])


def test_prefix_error_against_a_loop_and_its_gradient() -> None:
    values = torch.tensor([0.5, -1.0, 2.0, 0.25, 3.0], dtype=torch.float64, requires_grad=True)
    sequence, rating = torch.tensor([-1, 0, 0, 1, -1]), torch.tensor([1.5, -0.5]).double()
    loss = prefix_error(values, sequence, rating)
    want = 0.0
    for number, goal in enumerate(rating.tolist()):
        mine = [v for v, s in zip(values.tolist(), sequence.tolist(), strict=True) if s == number]
        want += sum((v - goal) ** 2 for v in mine) / len(mine)
    assert loss.total.item() == pytest.approx(want, abs=1e-12)
    assert float(loss.weight) == 2
    torch.autograd.gradcheck(lambda v: prefix_error(v, sequence, rating).total, (values,))
    loss.total.backward()
    assert values.grad is not None and values.grad[0] == values.grad[4] == 0


def test_rating_error_is_a_squared_distance() -> None:
    found, rating, _ = scores()
    loss = rating_error(found, rating)
    slow = sum((a - b) ** 2 for a, b in zip(found, rating.detach(), strict=True))
    assert isinstance(slow, Tensor)
    assert loss.total.item() == pytest.approx(slow.item(), abs=1e-8)
    torch.testing.assert_close(gradients(loss.total, found), gradients(slow, found))
    assert loss.weight.item() == 9 and loss.metrics["rating_mse"][1].item() == 9
    torch.autograd.gradcheck(lambda s: rating_error(s, rating.detach()).total, (found,))


def test_sizes_must_agree() -> None:
    column, row = torch.zeros(3, 1), torch.zeros(3)
    for call in (
        lambda: bradley_terry(row, column),
        lambda: bradley_terry(row, row, column),
        lambda: rating_error(row, column),
        lambda: correlation(row, column),
    ):
        with pytest.raises(ValueError, match="vectors of one length"):
            call()


def test_calibration_by_hand() -> None:
    # p = 0.8 picks twice the chosen, p = 0.6 once and once not: gaps 0.2 of 2 and 0.1 of 2.
    odds = [math.log(0.8 / 0.2), math.log(0.8 / 0.2), math.log(0.6 / 0.4), -math.log(0.6 / 0.4)]
    found = expected_calibration_error(torch.tensor(odds, dtype=F64))
    assert found == pytest.approx((2 * 0.2 + 2 * 0.1) / 4)
    # One bin: right 3 of 4, sure 0.7 on average.
    assert expected_calibration_error(torch.tensor(odds), bins=1) == pytest.approx(0.05)


def test_calibration_at_its_ends() -> None:
    sure = torch.full((10,), 50.0)
    assert expected_calibration_error(sure) == pytest.approx(0)
    assert expected_calibration_error(-sure) == pytest.approx(1)
    assert expected_calibration_error(torch.zeros(10)) == 0
    assert math.isnan(expected_calibration_error(torch.zeros(0)))


def test_calibration_is_small_when_right_answers_follow_the_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    difference = 3 * torch.randn(20_000, generator=generator, dtype=F64)
    flipped = torch.rand(20_000, generator=generator, dtype=F64) > difference.abs().sigmoid()
    margins = torch.where(flipped, -difference.abs(), difference.abs())
    assert expected_calibration_error(margins) < 0.02
    assert expected_calibration_error(3 * margins) > 0.05


def test_correlation_is_pearsons() -> None:
    x, y, _ = (column.detach() for column in scores(30))
    expected = statistics.correlation(x.tolist(), y.tolist())
    assert correlation(x, y) == pytest.approx(expected, abs=1e-8)
    assert correlation(x, 3 * x + 5) == pytest.approx(1)
    assert correlation(x, -x) == pytest.approx(-1)
    assert math.isnan(correlation(x, torch.ones(30))) and math.isnan(correlation(x[:1], y[:1]))
    assert correlation(torch.tensor([3, 4, 5]), torch.tensor([1.0, 0.0, 2.0])) == pytest.approx(0.5)
