"""The preference objective: sums of losses, weights, metrics, groups; the traps of the field."""

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import AccordError
from accord.objectives.logprobs import TokenStats, token_logps
from accord.objectives.loss import Loss
from accord.objectives.pairs import PairLogps, PairSettings
from accord.objectives.preference import (
    GROUPED,
    ld_weights,
    pair_token_metrics,
    paired,
    preference_loss,
    sequence_logps,
)
from accord.objectives.preference_losses import LOSSES

from .cases import F64, leaves, pair, random_pairs
from .twins import full_logps, gradients, head_case

SMOOTHED = PairSettings(0.5, 0.1)
REWARDS = ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"]


def figures(loss: Loss) -> dict[str, float]:
    return {name: (total / by).item() for name, (total, by) in loss.metrics.items()}


def test_numbers_by_hand() -> None:
    # Log-ratios 2 and -2 (lengths 2 and 4): h = 4, per token 1 + 1/2 = 1.5.
    one = pair(-3.0, -8.0, -5.0, -6.0)

    def total(name: str, s: PairSettings) -> float:
        return preference_loss({name: 1.0}, one, s).total.item()

    assert total("sigmoid", PairSettings(0.5)) == pytest.approx(math.log(1 + math.exp(-2)))
    assert total("sigmoid_norm", PairSettings(2.0)) == pytest.approx(math.log(1 + math.exp(-3)))
    expected = 0.9 * math.log(1 + math.exp(-2)) + 0.1 * math.log(1 + math.exp(2))
    assert total("sigmoid", PairSettings(0.5, 0.1)) == pytest.approx(expected)
    capped = PairSettings(0.5, margin_cap=1.0)
    assert total("sigmoid", capped) == pytest.approx(math.log(1 + math.exp(-1)))
    assert total("ipo", PairSettings(0.5)) == pytest.approx((1.5 - 1) ** 2)
    assert total("ipo_sum", PairSettings(0.5)) == pytest.approx((4 - 1) ** 2)
    assert total("hinge", PairSettings(0.2)) == pytest.approx(0.2)
    assert total("sppo_hard", PairSettings(0.25)) == pytest.approx(0)
    # Means -1.5 and -2: β 0.5, γ 0.5 leave -0.25; the likelihood term is 1.5.
    assert total("simpo", PairSettings(0.5)) == pytest.approx(math.log(1 + math.exp(0.25)))
    assert total("cpo", PairSettings(0.2)) == pytest.approx(math.log(1 + math.exp(-1)) + 1.5)
    odds = [math.exp(-1.5) / (1 - math.exp(-1.5)), math.exp(-2) / (1 - math.exp(-2))]
    expected = 1.5 + 0.3 * math.log(1 + odds[1] / odds[0])
    assert total("orpo", PairSettings(0.3)) == pytest.approx(expected)


def test_rewards_and_margins_include_beta() -> None:
    loss = preference_loss({"sigmoid": 1.0}, pair(-3.0, -8.0, -5.0, -6.0), PairSettings(0.5))
    assert all(by.item() == 1 for _, by in loss.metrics.values())
    assert figures(loss) == {
        "loss": pytest.approx(math.log(1 + math.exp(-2))),
        "rewards/chosen": 1.0,
        "rewards/rejected": -1.0,
        "rewards/accuracies": 1.0,
        "rewards/margins": 2.0,
        "logps/chosen": -3.0,
        "logps/rejected": -8.0,
    }


def test_rewards_without_a_reference_are_of_the_policy_alone() -> None:
    one = pair(-3.0, -8.0, 0.0, 0.0)
    found = {
        name: figures(preference_loss(losses, one, PairSettings(0.5)))
        for name, losses in {
            "cpo": {"cpo": 1.0},
            "simpo": {"sft": 0.2, "simpo": 1.0},
            "orpo": {"orpo": 1.0},
            "sft": {"sft": 1.0},
            "mixed": {"simpo": 1.0, "sigmoid": 1.0},
        }.items()
    }
    sums, means = ([-1.5, -4.0, 1.0, 2.5], [-3.0, -8.0]), ([-0.75, -1.0, 1.0, 0.25], [-1.5, -2.0])
    expected = {"cpo": sums, "simpo": means, "orpo": means, "sft": sums, "mixed": sums}
    for name, (rewards, logps) in expected.items():
        assert [found[name][metric] for metric in REWARDS] == rewards
        assert [found[name][f"logps/{side}"] for side in ("chosen", "rejected")] == logps
    assert {name for name in found if "nll_loss" in found[name]} == {"cpo", "simpo", "orpo", "sft"}
    assert {name for name in found if "log_odds_ratio" in found[name]} == {"orpo"}
    assert found["orpo"]["nll_loss"] == 1.5
    odds = math.log(math.exp(-1.5) / (1 - math.exp(-1.5)) / math.exp(-2) * (1 - math.exp(-2)))
    assert found["orpo"]["log_odds_chosen"] == pytest.approx(odds)
    assert found["orpo"]["log_odds_ratio"] == pytest.approx(-math.log(1 + math.exp(-odds)))


def test_a_tie_is_not_accurate() -> None:
    tied = pair(-3.0, -4.0, -1.0, -2.0)
    for name in LOSSES:
        found = figures(preference_loss({name: 1.0}, tied, SMOOTHED))
        assert found["rewards/margins"] == 0 or LOSSES[name].reward is not LOSSES["sigmoid"].reward
        assert found["rewards/accuracies"] == float(found["rewards/margins"] > 0)
    assert figures(preference_loss({"sigmoid": 1}, tied, SMOOTHED))["rewards/accuracies"] == 0


@settings(deadline=None, max_examples=30)
@given(
    weights=st.dictionaries(
        st.sampled_from(sorted(LOSSES)), st.floats(0.1, 3), min_size=2, max_size=4
    ),
    seed=st.integers(0, 99),
)
def test_losses_add_up_by_weight(weights: dict[str, float], seed: int) -> None:
    pairs = random_pairs(5, seed)
    loss = preference_loss(weights, pairs, SMOOTHED)
    each = {name: preference_loss({name: 1.0}, pairs, SMOOTHED) for name in weights}
    expected = sum(weight * each[name].total for name, weight in weights.items())
    torch.testing.assert_close(loss.total, expected)
    assert loss.metrics["loss"][0].item() == loss.total.item()
    for name in weights:
        torch.testing.assert_close(loss.metrics[f"loss/{name}"], each[name].metrics["loss"])
    found, twin = (
        torch.autograd.grad(total, leaves(pairs), allow_unused=True, materialize_grads=True)
        for total in (loss.total, expected)
    )
    torch.testing.assert_close(found, twin)


def test_one_loss_alone_has_no_part_of_its_name() -> None:
    loss = preference_loss({"sigmoid": 2.0}, random_pairs(), SMOOTHED)
    assert "loss/sigmoid" not in loss.metrics
    with pytest.raises(ValueError, match="at least one"):
        preference_loss({}, random_pairs(), SMOOTHED)


def test_a_weight_scales_its_pair_s_loss_and_gradient_and_gets_none() -> None:
    pairs = random_pairs()
    weight = torch.linspace(0, 1.5, 7, dtype=F64, requires_grad=True)
    for name in ("sigmoid", "sft", "bco_pair"):
        loss = preference_loss({name: 1.0}, pairs, SMOOTHED, weight)
        plain_P = LOSSES[name].function(pairs, SMOOTHED)
        torch.testing.assert_close(loss.total, (weight.detach() * plain_P).sum())
        assert loss.weight.item() == 7
        grads = gradients(loss.total, pairs.chosen_P)[0]
        torch.testing.assert_close(
            grads, weight.detach() * gradients(plain_P.sum(), leaves(pairs)[0])[0]
        )
        with pytest.raises(RuntimeError, match="not have been used"):
            gradients(preference_loss({name: 1.0}, pairs, SMOOTHED, weight).total, weight)


def test_a_weight_of_sorted_losses_stays_with_its_pair() -> None:
    """Only what pairs of weight 1 have a hand in gives gradient."""
    pairs = random_pairs()
    weight = torch.zeros(7, dtype=F64)
    weight[2] = 1
    for name in ("aot", "aot_unpaired"):
        total = preference_loss({name: 1.0}, pairs, SMOOTHED, weight).total
        grad = gradients(total, pairs.chosen_P)[0]
        assert grad[2] != 0
    aot = gradients(preference_loss({"aot": 1}, pairs, SMOOTHED, weight).total, pairs.chosen_P)[0]
    assert (aot != 0).sum() == 1
    ones = torch.ones(7, dtype=F64)
    for name in ("aot", "aot_unpaired"):
        totals = [preference_loss({name: 1}, pairs, SMOOTHED, w).total for w in (None, ones)]
        torch.testing.assert_close(*totals)


def test_groups_take_their_own_pairs_and_none_where_there_are_none() -> None:
    pairs = random_pairs(5, seed=4)
    own = torch.tensor([True, False, True, True, False])
    groups = {"source:a": own, "source:b": ~own, "language:ko": torch.zeros(5)}
    weight = torch.rand(5, generator=torch.Generator().manual_seed(0), dtype=F64)
    loss = preference_loss({"sigmoid": 1.0, "sft": 0.3}, pairs, SMOOTHED, weight, groups)
    part = PairLogps(*(getattr(pairs, field.name)[own] for field in fields(pairs)[:6]))
    alone = preference_loss({"sigmoid": 1.0, "sft": 0.3}, part, SMOOTHED, weight[own])
    for name in GROUPED:
        torch.testing.assert_close(loss.metrics[f"{name}/source:a"], alone.metrics[name])
        total, by = loss.metrics[f"{name}/language:ko"]
        assert (total.item(), by.item()) == (0, 0)
        torch.testing.assert_close(
            loss.metrics[f"{name}/source:a"][0] + loss.metrics[f"{name}/source:b"][0],
            loss.metrics[name][0],
        )
    plain = preference_loss({"sigmoid": 1.0, "sft": 0.3}, pairs, SMOOTHED, weight)
    assert len(loss.metrics) == len(plain.metrics) + 3 * len(GROUPED)
    assert not any(value.requires_grad for pair_ in loss.metrics.values() for value in pair_)


def test_a_pair_that_is_not_a_number_spoils_its_own_group_only() -> None:
    pairs = random_pairs(3)
    broken = replace(pairs, ref_chosen_P=torch.tensor([float("nan"), -1.0, -2.0], dtype=F64))
    first = torch.tensor([True, False, False])
    groups = {"source:a": first, "source:b": ~first}
    found = figures(preference_loss({"sigmoid": 1.0}, broken, SMOOTHED, None, groups))
    assert math.isnan(found["loss/source:a"])
    assert math.isfinite(found["loss/source:b"])


def test_nll_is_a_mean_over_tokens_then_over_pairs() -> None:
    pairs = PairLogps(
        *(torch.tensor(row, dtype=F64) for row in ([-6.0, -1.0], [-2.0, -2.0])),
        *(torch.zeros(2, dtype=F64) for _ in range(2)),
        *(torch.tensor(row, dtype=F64) for row in ([3.0, 1.0], [1.0, 1.0])),
    )
    plain = preference_loss({"sigmoid": 1.0}, pairs, SMOOTHED)
    loss = preference_loss({"sigmoid": 1.0, "sft": 0.5}, pairs, SMOOTHED)
    assert loss.metrics["nll_loss"][0].item() == loss.metrics["loss/sft"][0].item() == 2 + 1
    assert loss.total.item() == pytest.approx(plain.total.item() + 0.5 * 3)
    assert loss.weight.item() == 2


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_response_gives_numbers(name: str) -> None:
    logps_S = torch.tensor([-1.0, -2.0], dtype=F64, requires_grad=True)
    sums, lengths = sequence_logps(logps_S, torch.tensor([0, 0]), 4)
    assert sums.tolist() == [-3.0, 0.0, 0.0, 0.0] and lengths.tolist() == [2.0, 0.0, 0.0, 0.0]
    loss = preference_loss({name: 1.0}, paired(sums, lengths, torch.zeros(4)), SMOOTHED)
    assert math.isfinite(loss.total.item())
    assert all(math.isfinite(value) for value in figures(loss).values())
    assert gradients(loss.total, logps_S)[0].isfinite().all()


def test_no_tokens_at_all() -> None:
    sums, lengths = sequence_logps(torch.zeros(0), torch.zeros(0, dtype=torch.long), 2)
    assert sums.tolist() == [0.0, 0.0] and lengths.tolist() == [0.0, 0.0]
    assert ld_weights(torch.zeros(0, dtype=torch.long), lengths, 0.5).tolist() == []


def test_sequences_alternate_chosen_and_rejected() -> None:
    pairs = paired(
        torch.arange(4.0), torch.arange(4.0) + 10, torch.arange(4.0) + 20, torch.arange(4.0) + 30
    )
    assert [part.tolist() for part in vars(pairs).values()] == [
        [0.0, 2.0],
        [1.0, 3.0],
        [20.0, 22.0],
        [21.0, 23.0],
        [10.0, 12.0],
        [11.0, 13.0],
        [30.0, 32.0],
    ]
    for sums, reference in ((3, 3), (4, 2)):
        with pytest.raises(ValueError, match="even number of sequences"):
            paired(torch.zeros(sums), torch.zeros(sums), torch.zeros(reference))


def test_tails_past_the_shorter_response_weigh_alpha() -> None:
    # Sequences of 3 and 5, 2 and 0, 1 and 1 tokens, the second before the first.
    sequence = torch.tensor([1, 1, 1, 1, 1, 0, 0, 0, 2, 2, 5, 4])
    lengths = torch.tensor([3, 5, 2, 0, 1, 1], dtype=F64)
    weight = ld_weights(sequence, lengths, 0.3)
    assert weight.tolist() == [1, 1, 1, 0.3, 0.3, 1, 1, 1, 0.3, 0.3, 1, 1]
    logps = torch.full((12,), -1.0, dtype=F64, requires_grad=True)
    sums, counted = sequence_logps(logps, sequence, 6, weight)
    assert sums.tolist() == pytest.approx([-3, -3.6, -0.6, 0, -1, -1])
    assert torch.equal(counted, lengths)
    torch.testing.assert_close(gradients(sums.sum(), logps)[0], weight)
    whole, _ = sequence_logps(logps, sequence, 6, ld_weights(sequence, lengths, 1.0))
    assert torch.equal(whole, sequence_logps(logps, sequence, 6)[0])


def test_token_metrics_take_accuracy_from_chosen_tokens_only() -> None:
    stats = TokenStats(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 0.0, 1.0, 1.0]))
    metrics = pair_token_metrics(stats, torch.tensor([0, 0, 1, 2]))
    assert [v.item() for v in metrics["entropy"]] == [10.0, 4.0]
    assert [v.item() for v in metrics["mean_token_accuracy"]] == [2.0, 3.0]


def test_an_unknown_loss_is_named_with_its_neighbour() -> None:
    with pytest.raises(AccordError) as error:
        preference_loss({"sigmod": 1.0}, random_pairs(), SMOOTHED)
    assert error.value.what == "unknown preference loss 'sigmod'"
    assert error.value.fix == "did you mean 'sigmoid'?"


def through_the_head(
    hidden: Tensor, head: Tensor, target: Tensor, sequence: Tensor, reference: Tensor
) -> Loss:
    logps, _ = token_logps(hidden, head, target, chunk=5)
    sums, lengths = sequence_logps(logps, sequence, len(reference))
    pairs = paired(sums, lengths, reference)
    return preference_loss({"sigmoid_norm": 1.0, "sft": 0.2}, pairs, PairSettings(1.5))


def test_two_micro_batches_sum_to_the_whole_through_the_head() -> None:
    hidden, head, target, _ = head_case(20, 4, 9)
    sequence = torch.tensor([0] * 3 + [1] * 7 + [2] * 4 + [3] * 6)
    reference = full_logps(hidden, head.flip(0), target).detach()
    reference = torch.zeros(4, dtype=F64).index_add(0, sequence, reference)
    whole = through_the_head(hidden, head, target, sequence, reference)
    first = through_the_head(hidden[:10], head, target[:10], sequence[:10], reference[:2])
    last = through_the_head(hidden[10:], head, target[10:], sequence[10:] - 2, reference[2:])
    total = first.total + last.total
    assert (first.weight + last.weight).item() == whole.weight.item() == 2
    torch.testing.assert_close(total, whole.total)
    torch.testing.assert_close(gradients(total, head), gradients(whole.total, head))
    for name, (value, _) in whole.metrics.items():
        torch.testing.assert_close(first.metrics[name][0] + last.metrics[name][0], value)


def test_loss_through_the_head_equals_a_loop_over_sequences() -> None:
    hidden, head, target, _ = head_case(20, 4, 9)
    sequence = torch.tensor([0] * 3 + [1] * 7 + [2] * 4 + [3] * 6)
    reference = torch.linspace(-9, -5, 4, dtype=F64)
    slow = torch.zeros((), dtype=F64)
    for i in range(2):
        won, lost = (full_logps(hidden, head, target)[sequence == 2 * i + j] for j in (0, 1))
        h = (won.sum() - reference[2 * i]) / len(won) - (lost.sum() - reference[2 * i + 1]) / len(
            lost
        )
        slow = slow + torch.log(1 + torch.exp(-1.5 * h)) - 0.2 * won.mean()
    fast = through_the_head(hidden, head, target, sequence, reference).total
    assert fast.item() == pytest.approx(slow.item(), abs=1e-8)
    for found, twin in zip(
        gradients(fast, hidden, head), gradients(slow, hidden, head), strict=True
    ):
        torch.testing.assert_close(found, twin, atol=1e-8, rtol=0)
