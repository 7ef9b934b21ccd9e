"""Advantages against loops and hand-derived numbers."""

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.objectives.advantages import (
    adapt_kl,
    gae,
    group_advantages,
    reinforce_plus_plus,
    rloo,
    shaped_rewards,
    whiten,
)

F64 = torch.float64


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def gae_by_sums(
    rewards: list[float], values: list[float], bootstrap: float, gamma: float, lam: float
) -> list[float]:
    """A_t = Σ_k (γλ)^k δ_{t+k}, the sum written out."""
    after = [*values, bootstrap][1:]
    deltas = [r + gamma * n - v for r, n, v in zip(rewards, after, values, strict=True)]
    return [
        sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[t:]))
        for t in range(len(deltas))
    ]


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(0, 7), max_size=6),
    gamma=st.floats(0.1, 1),
    lam=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_gae_equals_its_sums(lengths: list[int], gamma: float, lam: float, seed: int) -> None:
    rewards, values = numbers(2, sum(lengths), seed=seed)
    bootstrap = numbers(len(lengths), seed=seed + 1)
    found, returns = gae(rewards, values, torch.tensor(lengths).long(), bootstrap, gamma, lam)
    expected = []
    pieces = zip(rewards.split(lengths), values.split(lengths), bootstrap.tolist(), strict=True)
    for r, v, b in pieces if lengths else ():
        expected += gae_by_sums(r.tolist(), v.tolist(), b, gamma, lam)
    assert found.tolist() == pytest.approx(expected, abs=1e-8)
    torch.testing.assert_close(returns, found + values)


def test_gae_by_hand() -> None:
    # γ = 1/2, λ = 1/2. First sequence ends by itself, the second is cut off before a state of 4.
    advantages, returns = gae(
        torch.tensor([0.0, 0.0, 8.0, 1.0]),
        torch.tensor([2.0, 4.0, 6.0, 1.0]),
        torch.tensor([3, 1]),
        torch.tensor([0.0, 4.0]),
        0.5,
        0.5,
    )
    # δ = (2 - 2, 3 - 4, 8 - 6) = (0, -1, 2); A = (0 - 1/4 + 2/16, -1 + 2/4, 2).
    # Cut off: δ = 1 + 4/2 - 1 = 2.
    assert advantages.tolist() == [-0.125, -0.5, 2.0, 2.0]
    assert returns.tolist() == [1.875, 3.5, 8.0, 3.0]


def test_a_cut_off_sequence_is_not_one_that_ended() -> None:
    case = torch.zeros(2), torch.ones(2), torch.tensor([2])
    ended, _ = gae(*case, torch.tensor([0.0]), 1.0, 1.0)
    cut, _ = gae(*case, torch.tensor([1.0]), 1.0, 1.0)
    assert ended.tolist() == [-1.0, -1.0] and cut.tolist() == [0.0, 0.0]


def test_lambda_one_is_the_return_less_the_value_and_zero_is_one_step() -> None:
    rewards, values = numbers(2, 5)
    case = rewards, values, torch.tensor([5]), torch.zeros(1, dtype=F64), 1.0
    _, returns = gae(*case, 1.0)
    torch.testing.assert_close(returns, rewards.flip(0).cumsum(0).flip(0))
    one_step, _ = gae(*case, 0.0)
    torch.testing.assert_close(one_step[:-1], rewards[:-1] + values[1:] - values[:-1])


def test_gae_refuses_what_does_not_belong_together() -> None:
    three, two = torch.zeros(3), torch.zeros(2)
    with pytest.raises(ValueError, match="do not make 3 tokens"):
        gae(three, three, torch.tensor([2, 2]), two, 1.0, 1.0)
    for rewards, bootstrap in ((two, two), (three, three), (three[:, None], two)):
        with pytest.raises(ValueError, match="one length"):
            gae(rewards, three, torch.tensor([1, 2]), bootstrap, 1.0, 1.0)


def test_shaped_rewards_by_hand() -> None:
    rewards = shaped_rewards(
        torch.tensor([10.0, 99.0, -1.0]),
        torch.tensor([-1.0, -2.0, -3.0]),
        torch.tensor([-2.0, -2.0, -1.0]),
        torch.tensor([2, 0, 1]),
        0.5,
    )
    # Log-ratios (1, 0, -2); the second response has no token to put its score on.
    assert rewards.tolist() == [-0.5, 10.0, 0.0]


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_shaped_rewards_add_up_to_score_less_kl(lengths: list[int], seed: int) -> None:
    logps, ref = numbers(2, sum(lengths), seed=seed)
    scores = numbers(len(lengths), seed=seed + 1)
    rewards = shaped_rewards(scores, logps, ref, torch.tensor(lengths), 0.3)
    pieces = zip(rewards.split(lengths), (logps - ref).split(lengths), scores, strict=True)
    for piece, ratio, score in pieces:
        assert piece.sum().item() == pytest.approx((score - 0.3 * ratio.sum()).item(), abs=1e-8)
        torch.testing.assert_close(piece[:-1], -0.3 * ratio[:-1])


def test_whitened_values_have_mean_zero_and_unbiased_variance_one() -> None:
    x = 3 + 5 * numbers(50)
    mean, spread = statistics.mean(x.tolist()), statistics.stdev(x.tolist())
    expected = [(value - mean) / (spread**2 + 1e-8) ** 0.5 for value in x.tolist()]
    assert whiten(x).tolist() == pytest.approx(expected, abs=1e-8)
    scaled = [value / (spread**2 + 1e-8) ** 0.5 for value in x.tolist()]
    assert whiten(x, shift_mean=False).tolist() == pytest.approx(scaled, abs=1e-8)


def test_whitening_one_value_or_equal_ones_is_finite() -> None:
    assert whiten(torch.tensor([3.0])).tolist() == [0.0]
    assert whiten(torch.tensor([3.0, 3.0])).tolist() == [0.0, 0.0]
    assert len(whiten(torch.zeros(0))) == 0


def test_group_advantages_by_hand() -> None:
    # Means 2 and 7; unbiased deviations sqrt(2) and 0.
    rewards = torch.tensor([[1.0, 3.0], [7.0, 7.0]], dtype=F64)
    group, figures = group_advantages(rewards, "group")
    assert group.flatten().tolist() == pytest.approx(
        [-1 / (2**0.5 + 1e-4), 1 / (2**0.5 + 1e-4), 0, 0]
    )
    none, _ = group_advantages(rewards, "none")
    assert none.flatten().tolist() == [-1.0, 1.0, 0.0, 0.0]
    batch, _ = group_advantages(rewards, "batch")
    spread = statistics.stdev([1, 3, 7, 7]) + 1e-4
    assert batch.flatten().tolist() == pytest.approx([-1 / spread, 1 / spread, 0, 0])
    assert figures.mean_G.tolist() == [2.0, 7.0]
    assert figures.std_G.tolist() == pytest.approx([2**0.5, 0])
    assert figures.zero_spread == 0.5


ESTIMATORS = {
    "group": lambda r: group_advantages(r, "group")[0],
    "batch": lambda r: group_advantages(r, "batch")[0],
    "none": lambda r: group_advantages(r, "none")[0],
    "rloo": rloo,
    "reinforce_plus_plus": reinforce_plus_plus,
}


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(deadline=None, max_examples=25)
@given(
    groups=st.integers(1, 4),
    k=st.integers(2, 9),
    shift=st.floats(-9, 9),
    seed=st.integers(0, 99),
)
def test_laws_of_group_advantages(name: str, groups: int, k: int, shift: float, seed: int) -> None:
    rewards = numbers(groups, k, seed=seed)
    found = ESTIMATORS[name](rewards)
    assert found.shape == (groups, k)
    # Of a group they add up to nothing, keep its order, and do not see a constant.
    torch.testing.assert_close(found.sum(1), torch.zeros(groups, dtype=F64), atol=1e-9, rtol=0)
    assert torch.equal(found.argsort(1), rewards.argsort(1))
    torch.testing.assert_close(ESTIMATORS[name](rewards + shift), found, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_group_without_spread_gets_exactly_nothing(name: str, dtype: torch.dtype) -> None:
    rewards = torch.tensor([[0.1] * 3, [0.1, 0.7, 0.9], [1 / 3] * 3], dtype=dtype)
    found = ESTIMATORS[name](rewards)
    assert found[0].tolist() == found[2].tolist() == [0.0] * 3
    assert found[1].abs().min().item() > 0
    assert ESTIMATORS[name](rewards[:1]).tolist() == [[0.0] * 3]
    assert group_advantages(rewards)[1].zero_spread == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_groups_have_two_axes_and_more_than_one_completion(name: str) -> None:
    for shape in ((6,), (6, 1), (2, 3, 1)):
        with pytest.raises(ValueError, match=r"rewards are \[groups, completions >= 2\]"):
            ESTIMATORS[name](torch.zeros(shape))


def test_rloo_is_the_reward_less_the_mean_of_the_others() -> None:
    rewards = numbers(3, 4)
    for g in range(3):
        for i in range(4):
            others = [rewards[g, j].item() for j in range(4) if j != i]
            expected = rewards[g, i].item() - sum(others) / 3
            assert rloo(rewards)[g, i].item() == pytest.approx(expected, abs=1e-8)


def test_reinforce_plus_plus_is_centred_by_group_and_scaled_by_the_batch() -> None:
    rewards = numbers(3, 4)
    centred = [r - sum(row) / 4 for row in rewards.tolist() for r in row]
    spread = (statistics.variance(centred) + 1e-8) ** 0.5
    found = reinforce_plus_plus(rewards).flatten().tolist()
    assert found == pytest.approx([c / spread for c in centred], abs=1e-8)


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="scale is group, batch or none, not 'rows'"):
        group_advantages(torch.zeros(1, 2), "rows")  # type: ignore[arg-type]


def test_the_kl_coefficient_follows_the_error_within_a_fifth() -> None:
    # Error (6.6 - 6) / 6 = 0.1 over 256 of 10 000 completions.
    assert adapt_kl(0.2, 6.6, 6.0, 10_000, 256) == pytest.approx(0.2 * (1 + 0.1 * 0.0256))
    assert adapt_kl(0.2, 60.0, 6.0, 1000, 100) == pytest.approx(0.2 * 1.02)
    assert adapt_kl(0.2, -5.0, 6.0, 1000, 100) == pytest.approx(0.2 * 0.98)
    assert adapt_kl(0.2, 6.0, 6.0, 1000, 100) == 0.2
