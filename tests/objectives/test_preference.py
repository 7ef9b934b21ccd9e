"""Preference losses against their formulas, in float64, and the traps of the field."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import AccordError
from accord.objectives.logprobs import TokenStats, token_logps
from accord.objectives.loss import Loss
from accord.objectives.preference import (
    LOSSES,
    PairLogps,
    pair_token_metrics,
    paired,
    preference_loss,
    sequence_logps,
    with_chosen_nll,
)

from .twins import full_logps, gradients, head_case

F64 = torch.float64
SETTINGS = [
    {"beta": beta, "label_smoothing": smoothing, "margin_cap": cap}
    for beta, smoothing, cap in product((0.1, 2.0), (0.0, 0.2), (None, 0.3))
]


def random_pairs(pairs: int = 7, seed: int = 0) -> PairLogps:
    generator = torch.Generator().manual_seed(seed)
    sums = [-5 * torch.rand(pairs, generator=generator, dtype=F64) for _ in range(4)]
    lengths = [torch.randint(1, 9, (pairs,), generator=generator).to(F64) for _ in range(2)]
    return PairLogps(sums[0].requires_grad_(), sums[1].requires_grad_(), *sums[2:], *lengths)


def pair(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float) -> PairLogps:
    values = (chosen, rejected, ref_chosen, ref_rejected, 2.0, 4.0)
    return PairLogps(*(torch.tensor([value], dtype=F64) for value in values))


def written_out(
    name: str,
    pairs: PairLogps,
    beta: float,
    label_smoothing: float,
    margin_cap: float | None,
) -> Tensor:
    """The papers' formulas, one pair at a time, with a plain logarithm of a plain sigmoid."""
    total = torch.zeros((), dtype=F64)
    for i in range(len(pairs.chosen_P)):
        won = pairs.chosen_P[i] - pairs.ref_chosen_P[i]
        lost = pairs.rejected_P[i] - pairs.ref_rejected_P[i]
        if name == "sigmoid_norm":
            won = won / pairs.chosen_lengths_P[i]
            lost = lost / pairs.rejected_lengths_P[i]
        x = beta * (won - lost)
        if margin_cap is not None and x > margin_cap:
            x = torch.tensor(margin_cap, dtype=F64)
        right, wrong = 1 / (1 + torch.exp(-x)), 1 / (1 + torch.exp(x))
        total = total - (1 - label_smoothing) * torch.log(right)
        total = total - label_smoothing * torch.log(wrong)
    return total


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("chosen_settings", SETTINGS, ids=str)
def test_loss_and_gradient_equal_the_formula(name: str, chosen_settings: dict[str, float]) -> None:
    pairs = random_pairs()
    loss = preference_loss(name, pairs, **chosen_settings)  # type: ignore[arg-type]
    slow = written_out(name, pairs, **chosen_settings)  # type: ignore[arg-type]
    assert loss.total.item() == pytest.approx(slow.item(), abs=1e-8)
    assert loss.weight.item() == 7
    for fast, twin in zip(
        gradients(loss.total, pairs.chosen_P, pairs.rejected_P),
        gradients(slow, pairs.chosen_P, pairs.rejected_P),
        strict=True,
    ):
        torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("chosen_settings", SETTINGS, ids=str)
def test_gradcheck(name: str, chosen_settings: dict[str, float]) -> None:
    pairs = random_pairs()

    def total(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
        moved = PairLogps(
            chosen_P,
            rejected_P,
            pairs.ref_chosen_P,
            pairs.ref_rejected_P,
            pairs.chosen_lengths_P,
            pairs.rejected_lengths_P,
        )
        loss = preference_loss(name, moved, **chosen_settings)  # type: ignore[arg-type]
        return with_chosen_nll(loss, moved, 0.5).total

    torch.autograd.gradcheck(total, (pairs.chosen_P, pairs.rejected_P))


def test_numbers_by_hand() -> None:
    # Log-ratios 2 and -2 (lengths 2 and 4): h = 4, per token 1 + 1/2 = 1.5.
    one = pair(-3.0, -8.0, -5.0, -6.0)
    assert preference_loss("sigmoid", one, beta=0.5).total.item() == pytest.approx(
        math.log(1 + math.exp(-2))
    )
    assert preference_loss("sigmoid_norm", one, beta=2.0).total.item() == pytest.approx(
        math.log(1 + math.exp(-3))
    )
    smoothed = 0.9 * math.log(1 + math.exp(-2)) + 0.1 * math.log(1 + math.exp(2))
    assert preference_loss(
        "sigmoid", one, beta=0.5, label_smoothing=0.1
    ).total.item() == pytest.approx(smoothed)
    assert preference_loss("sigmoid", one, beta=0.5, margin_cap=1.0).total.item() == pytest.approx(
        math.log(1 + math.exp(-1))
    )


def test_rewards_and_margins_include_beta() -> None:
    metrics = preference_loss("sigmoid", pair(-3.0, -8.0, -5.0, -6.0), beta=0.5).metrics
    found = {name: (value.item(), by.item()) for name, (value, by) in metrics.items()}
    assert found == {
        "loss": (pytest.approx(math.log(1 + math.exp(-2))), 1),
        "rewards/chosen": (1.0, 1),
        "rewards/rejected": (-1.0, 1),
        "rewards/accuracies": (1.0, 1),
        "rewards/margins": (2.0, 1),
        "logps/chosen": (-3.0, 1),
        "logps/rejected": (-8.0, 1),
    }


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_policy_equal_to_reference_loses_log_two_and_ties_are_wrong(
    name: str, smoothing: float
) -> None:
    pairs = random_pairs()
    same = PairLogps(
        pairs.chosen_P,
        pairs.rejected_P,
        pairs.chosen_P.detach(),
        pairs.rejected_P.detach(),
        pairs.chosen_lengths_P,
        pairs.rejected_lengths_P,
    )
    loss = preference_loss(name, same, beta=0.7, label_smoothing=smoothing)
    assert loss.total.item() == pytest.approx(7 * math.log(2), abs=1e-12)
    assert loss.metrics["rewards/accuracies"][0].item() == 0
    assert loss.metrics["rewards/margins"][0].item() == 0


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), beta=st.floats(0.01, 5), name=st.sampled_from(sorted(LOSSES)))
def test_swapping_the_responses_negates_h(seed: int, beta: float, name: str) -> None:
    a = random_pairs(1, seed)
    b = PairLogps(
        a.rejected_P,
        a.chosen_P,
        a.ref_rejected_P,
        a.ref_chosen_P,
        a.rejected_lengths_P,
        a.chosen_lengths_P,
    )
    one, two = (preference_loss(name, pairs, beta=beta) for pairs in (a, b))
    margins = (one.metrics["rewards/margins"][0], two.metrics["rewards/margins"][0])
    torch.testing.assert_close(margins[0], -margins[1])
    # -log σ(x) and -log σ(-x) differ by x and nothing else.
    ratios = (a.chosen_P - a.ref_chosen_P, a.rejected_P - a.ref_rejected_P)
    if name == "sigmoid_norm":
        ratios = (ratios[0] / a.chosen_lengths_P, ratios[1] / a.rejected_lengths_P)
    x = beta * (ratios[0] - ratios[1]).sum()
    torch.testing.assert_close(two.total - one.total, x, atol=1e-10, rtol=1e-8)


def test_a_pair_past_its_cap_gives_no_gradient() -> None:
    pairs = pair(-3.0, -8.0, -5.0, -6.0)
    pairs.chosen_P.requires_grad_()
    capped = preference_loss("sigmoid", pairs, beta=0.5, margin_cap=1.9).total
    free = preference_loss("sigmoid", pairs, beta=0.5, margin_cap=2.1).total
    assert gradients(capped, pairs.chosen_P)[0].item() == 0
    assert gradients(free, pairs.chosen_P)[0].item() < 0


def test_chosen_nll_is_a_mean_over_tokens_then_over_pairs() -> None:
    pairs = PairLogps(
        *(torch.tensor(row, dtype=F64) for row in ([-6.0, -1.0], [-2.0, -2.0])),
        *(torch.zeros(2, dtype=F64) for _ in range(2)),
        *(torch.tensor(row, dtype=F64) for row in ([3.0, 1.0], [1.0, 1.0])),
    )
    plain = preference_loss("sigmoid", pairs)
    loss = with_chosen_nll(plain, pairs, 0.5)
    assert loss.metrics["nll_loss"][0].item() == 2 + 1
    assert loss.total.item() == pytest.approx(plain.total.item() + 0.5 * 3)
    assert loss.metrics["loss"][0].item() == loss.total.item()
    assert loss.weight.item() == 2


def test_an_empty_response_gives_numbers() -> None:
    logps_S = torch.tensor([-1.0, -2.0], dtype=F64, requires_grad=True)
    sums, lengths = sequence_logps(logps_S, torch.tensor([0, 0]), 4)
    assert sums.tolist() == [-3.0, 0.0, 0.0, 0.0] and lengths.tolist() == [2.0, 0.0, 0.0, 0.0]
    for name in LOSSES:
        pairs = paired(*sequence_logps(logps_S, torch.tensor([0, 0]), 4), torch.zeros(4))
        loss = with_chosen_nll(preference_loss(name, pairs, beta=0.5), pairs, 1.0)
        assert math.isfinite(loss.total.item())
        assert gradients(loss.total, logps_S)[0].isfinite().all()


def test_no_tokens_at_all() -> None:
    sums, lengths = sequence_logps(torch.zeros(0), torch.zeros(0, dtype=torch.long), 2)
    assert sums.tolist() == [0.0, 0.0] and lengths.tolist() == [0.0, 0.0]


def test_sequences_alternate_chosen_and_rejected() -> None:
    pairs = paired(torch.arange(4.0), torch.arange(4.0) + 10, torch.arange(4.0) + 20)
    assert [part.tolist() for part in vars(pairs).values()] == [
        [0.0, 2.0],
        [1.0, 3.0],
        [20.0, 22.0],
        [21.0, 23.0],
        [10.0, 12.0],
        [11.0, 13.0],
    ]
    for sums, reference in ((3, 3), (4, 2)):
        with pytest.raises(ValueError, match="even number of sequences"):
            paired(torch.zeros(sums), torch.zeros(sums), torch.zeros(reference))


def test_token_metrics_take_accuracy_from_chosen_tokens_only() -> None:
    stats = TokenStats(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 0.0, 1.0, 1.0]))
    metrics = pair_token_metrics(stats, torch.tensor([0, 0, 1, 2]))
    assert [v.item() for v in metrics["entropy"]] == [10.0, 4.0]
    assert [v.item() for v in metrics["mean_token_accuracy"]] == [2.0, 3.0]


def test_an_unknown_loss_is_named_with_its_neighbour() -> None:
    with pytest.raises(AccordError) as error:
        preference_loss("sigmod", random_pairs())
    assert error.value.what == "unknown preference loss 'sigmod'"
    assert error.value.fix == "did you mean 'sigmoid'?"


def through_the_head(
    hidden: Tensor, head: Tensor, target: Tensor, sequence: Tensor, reference: Tensor
) -> Loss:
    logps, _ = token_logps(hidden, head, target, chunk=5)
    sums, lengths = sequence_logps(logps, sequence, len(reference))
    pairs = paired(sums, lengths, reference)
    return with_chosen_nll(preference_loss("sigmoid_norm", pairs, beta=1.5), pairs, 0.2)


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
