"""The policy losses against loops over sequences, and the traps of the field."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import AccordError
from accord.objectives.advantages import group_advantages
from accord.objectives.logprobs import token_logps
from accord.objectives.loss import Loss
from accord.objectives.policy import (
    IMPORTANCE,
    KL_ESTIMATORS,
    LOSSES,
    PPO_NAMES,
    PolicySettings,
    kl_estimate,
    policy_loss,
)

from .twins import gradients

F64 = torch.float64
# Sequence 2 has no token: a completion that was masked.
LENGTHS = [4, 1, 0, 7, 2]
EPSILONS = [(0.2, None), (0.1, 0.4)]
CASES = [
    PolicySettings(name, importance, low, high, beta, estimator, 9)
    for name, importance, (low, high), (beta, estimator) in product(
        LOSSES, IMPORTANCE, EPSILONS, [(0.0, "k3"), (0.3, "k1"), (0.3, "k2"), (0.3, "k3")]
    )
]

ONE_EACH = [PolicySettings(name, level, max_length=9) for name in LOSSES for level in IMPORTANCE]


def case(lengths: list[int] = LENGTHS, seed: int = 0) -> tuple[Tensor, ...]:
    """Log-probabilities, old ones, advantages, sequences, the reference's."""
    generator = torch.Generator().manual_seed(seed)
    logps = -3 * torch.rand(sum(lengths), generator=generator, dtype=F64)
    old = logps + 0.4 * torch.randn(len(logps), generator=generator, dtype=F64)
    ref = logps + 0.4 * torch.randn(len(logps), generator=generator, dtype=F64)
    sequence = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    pushes = torch.randn(len(lengths), generator=generator, dtype=F64)
    return logps.requires_grad_(), old, pushes[sequence], sequence, ref


def loss_of(settings_: PolicySettings, data: tuple[Tensor, ...], sequences: int) -> Loss:
    logps, old, advantages, sequence, ref = data
    return policy_loss(logps, old, advantages, sequence, sequences, settings_, ref)


def written_out(s: PolicySettings, data: tuple[Tensor, ...], sequences: int) -> Tensor:
    """The mean loss, token by token and sequence by sequence."""
    logps, old, advantages, sequence, ref = data
    high = 1 + (s.epsilon_high if s.epsilon_high is not None else s.epsilon)
    sums, lengths = [], []
    for r in range(sequences):
        own = [i for i in range(len(logps)) if sequence[i] == r]
        total = torch.zeros((), dtype=F64)
        for i in own:
            ratio = torch.exp(logps[i] - old[i])
            if s.importance == "sequence":
                ratio = torch.exp(sum((logps[j] - old[j]) for j in own) / len(own))
            a = advantages[i]
            if s.loss_type == "cispo":
                token = -min(ratio.item(), high) * a * logps[i]
            else:
                held = min(max(ratio, torch.tensor(1 - s.epsilon)), torch.tensor(high))
                token = -min(ratio * a, held * a)
            d = logps[i] - ref[i]
            kl = {"k1": d, "k2": 0.5 * d**2, "k3": torch.exp(-d) - 1 + d}[s.kl_estimator]
            total = total + token + s.beta * kl
        sums.append(total)
        lengths.append(len(own))
    if s.loss_type == "grpo":
        each = [total / max(n, 1) for total, n in zip(sums, lengths, strict=True)]
        return torch.stack(each).mean()
    whole = torch.stack(sums).sum()
    if s.loss_type == "dr_grpo":
        assert s.max_length is not None
        return whole / (sequences * s.max_length)
    return whole / sum(lengths)


@pytest.mark.parametrize("chosen", CASES, ids=str)
def test_loss_and_gradient_equal_the_loop(chosen: PolicySettings) -> None:
    data = case()
    loss = loss_of(chosen, data, 5)
    slow = written_out(chosen, data, 5)
    mean = loss.total / loss.weight
    assert mean.item() == pytest.approx(slow.item(), abs=1e-8)
    fast, twin = gradients(mean, data[0])[0], gradients(slow, data[0])[0]
    torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)


@pytest.mark.parametrize("chosen", [c for c in CASES if c.loss_type != "cispo"], ids=str)
def test_gradcheck(chosen: PolicySettings) -> None:
    logps, *rest = case()
    torch.autograd.gradcheck(lambda x: loss_of(chosen, (x, *rest), 5).total, (logps,))


@pytest.mark.parametrize("chosen", [c for c in CASES if c.loss_type == "cispo"], ids=str)
def test_gradcheck_of_cispo_with_its_weights_held(chosen: PolicySettings) -> None:
    # Finite differences would move the ratio, which is a constant to the gradient: π_old moves
    # along, so that ρ stays where it is.
    logps, old, advantages, sequence, ref = case()
    log_ratio = (logps - old).detach()

    def total(x: Tensor) -> Tensor:
        return loss_of(chosen, (x, x - log_ratio, advantages, sequence, ref), 5).total

    torch.testing.assert_close(total(logps), loss_of(chosen, (logps, *case()[1:]), 5).total)
    torch.autograd.gradcheck(total, (logps,))


def test_numbers_by_hand() -> None:
    # Ratios 2, 1/2, 1 and 3; ε 0.2 below and 0.5 above.
    logps = torch.tensor([2.0, 0.5, 1.0, 3.0], dtype=F64).log().requires_grad_()
    old, sequence = torch.zeros(4, dtype=F64), torch.tensor([0, 0, 0, 1])
    advantages = torch.tensor([2.0, -1.0, 1.0, -1.0], dtype=F64)
    chosen = PolicySettings("dapo", epsilon=0.2, epsilon_high=0.5)
    # -(1.5 * 2), +0.8, -1 and, a rise of what is bad being always followed, +3.
    loss = policy_loss(logps, old, advantages, sequence, 2, chosen)
    assert loss.total.item() == pytest.approx(-3 + 0.8 - 1 + 3) and loss.weight.item() == 4
    torch.testing.assert_close(
        gradients(loss.total, logps)[0], torch.tensor([0.0, 0.0, -1.0, 3.0], dtype=F64)
    )
    by_sequence = policy_loss(
        logps, old, advantages, sequence, 2, replace(chosen, loss_type="grpo")
    )
    assert by_sequence.total.item() == pytest.approx(-3.2 / 3 + 3)
    assert by_sequence.weight.item() == 2
    constant = policy_loss(
        logps, old, advantages, sequence, 2, replace(chosen, loss_type="dr_grpo", max_length=10)
    )
    assert constant.total.item() == pytest.approx(-0.2 / 10) and constant.weight.item() == 2
    found = {name: (total / by).item() for name, (total, by) in loss.metrics.items()}
    logs = [math.log(2), math.log(0.5), 0, math.log(3)]
    assert found == pytest.approx(
        {
            "loss": -0.05,
            "clip_ratio/low_mean": 1 / 4,
            "clip_ratio/high_mean": 1 / 4,
            "clip_ratio/region_mean": 2 / 4,
            "policy/approxkl_avg": sum(x * x for x in logs) / 8,
            "val/ratio": 6.5 / 4,
            "val/ratio_var": (1 + 0.25 + 0 + 4) / 4,
        }
    )


def test_sequence_importance_is_the_exponential_of_a_mean() -> None:
    logps = torch.tensor([0.3, -0.1, 0.9], dtype=F64, requires_grad=True)
    data = logps, torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64), torch.tensor([0, 0, 1])
    chosen = PolicySettings("grpo", "sequence", epsilon=0.5)
    loss = policy_loss(*data, 3, chosen)
    # exp(0.1), and exp(0.9) clipped at 1.5; a third sequence without tokens adds nothing.
    assert loss.total.item() == pytest.approx(-math.exp(0.1) - 1.5)
    assert loss.weight.item() == 3
    gradient = gradients(loss.total, logps)[0]
    assert gradient.tolist() == pytest.approx([-math.exp(0.1) / 2, -math.exp(0.1) / 2, 0])
    assert [part.item() for part in loss.metrics["clip_ratio/high_mean"]] == [1.0, 3.0]


def test_on_policy_the_gradient_is_the_advantage() -> None:
    logps, _, advantages, sequence, _ = case()
    for name in ("dapo", "cispo"):
        loss = policy_loss(logps, logps, advantages, sequence, 5, PolicySettings(name))
        torch.testing.assert_close(gradients(loss.total, logps)[0], -advantages)
        assert loss.metrics["val/ratio"][0].item() == len(logps)
        assert loss.metrics["policy/approxkl_avg"][0].item() == 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("importance", IMPORTANCE)
def test_a_better_completion_becomes_likelier_in_one_step(name: str, importance: str) -> None:
    table = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=F64)
    table.requires_grad_()
    head = torch.eye(6, dtype=F64)
    target, sequence = torch.tensor([1, 4, 4, 2]), torch.tensor([0, 0, 1, 1])
    advantages = group_advantages(torch.tensor([[1.0, 0.0]], dtype=F64))[0].flatten()
    states = torch.tensor([0, 1, 0, 2])
    before, _ = token_logps(table[states], head, target)
    chosen = PolicySettings(name, importance, max_length=2)
    loss = policy_loss(before, before, advantages[sequence], sequence, 2, chosen)
    (loss.total / loss.weight).backward()
    assert table.grad is not None
    after, _ = token_logps((table - 0.1 * table.grad).detach()[states], head, target)
    assert (after[:2] > before[:2]).all() and (after[2:] < before[2:]).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("importance", IMPORTANCE)
def test_groups_without_spread_give_no_gradient(name: str, importance: str) -> None:
    logps, old, _, sequence, _ = case([3, 2, 4])
    rewards = torch.full((1, 3), 0.1, dtype=F64)
    advantages = group_advantages(rewards)[0].flatten()[sequence]
    chosen = PolicySettings(name, importance, max_length=4)
    loss = policy_loss(logps, old, advantages, sequence, 3, chosen)
    assert loss.total.item() == 0
    assert gradients(loss.total, logps)[0].abs().max().item() == 0


@pytest.mark.parametrize("wrong", [1, 2, 3, 4])
def test_one_axis_too_many_is_refused_and_not_broadcast(wrong: int) -> None:
    data = list(case([1] * 4))
    data[wrong] = data[wrong][:, None]
    with pytest.raises(ValueError, match=r"one number a scored token; got .*\[4, 1\]"):
        loss_of(PolicySettings(), tuple(data), 4)
    with pytest.raises(ValueError, match="one number a scored token"):
        policy_loss(data[0][:, None], *(d.view(4, 1) for d in data[1:4]), 4, PolicySettings())


@pytest.mark.parametrize("chosen", ONE_EACH, ids=str)
@settings(deadline=None, max_examples=15)
@given(
    lengths=st.lists(st.integers(0, 5), min_size=2, max_size=6),
    cut=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_micro_batches_add_up_to_the_whole(
    chosen: PolicySettings, lengths: list[int], cut: int, seed: int
) -> None:
    chosen = replace(chosen, beta=0.2)
    data = case(lengths, seed)
    cut = min(cut, len(lengths) - 1)
    tokens = sum(lengths[:cut])
    whole = loss_of(chosen, data, len(lengths))
    parts = []
    for rows, first, count in (
        (slice(tokens), 0, cut),
        (slice(tokens, None), cut, len(lengths) - cut),
    ):
        logps, old, advantages, sequence, ref = (column[rows] for column in data)
        parts.append(loss_of(chosen, (logps, old, advantages, sequence - first, ref), count))
    total = parts[0].total + parts[1].total
    torch.testing.assert_close(total, whole.total)
    assert (parts[0].weight + parts[1].weight).item() == whole.weight.item()
    torch.testing.assert_close(gradients(total, data[0]), gradients(whole.total, data[0]))
    assert parts[0].metrics.keys() == whole.metrics.keys()
    for name, pair in whole.metrics.items():
        for i in (0, 1):
            torch.testing.assert_close(sum(p.metrics[name][i] for p in parts), pair[i])


@pytest.mark.parametrize("chosen", ONE_EACH, ids=str)
def test_sequences_that_are_all_masked_are_safe(chosen: PolicySettings) -> None:
    empty = torch.zeros(0, dtype=F64, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = policy_loss(empty, empty, empty, none, 3, replace(chosen, beta=0.1), empty)
    assert loss.total.item() == 0
    assert loss.weight.item() == (3 if chosen.loss_type in ("grpo", "dr_grpo") else 0)
    assert all(part.isfinite() for pair in loss.metrics.values() for part in pair)
    loss.total.backward()


def test_a_masked_completion_counts_in_the_mean_over_sequences() -> None:
    data = case()
    chosen = PolicySettings("grpo")
    assert loss_of(chosen, data, 5).total.item() == loss_of(chosen, data, 9).total.item()
    assert loss_of(chosen, data, 9).weight.item() == 9


@pytest.mark.parametrize("chosen", ONE_EACH, ids=str)
def test_nothing_but_the_policy_gets_a_gradient(chosen: PolicySettings) -> None:
    logps, old, advantages, sequence, ref = case()
    others = [column.clone().requires_grad_() for column in (old, advantages, ref)]
    loss = loss_of(replace(chosen, beta=0.1), (logps, *others[:2], sequence, others[2]), 5)
    loss.total.backward()
    assert logps.grad is not None and all(column.grad is None for column in others)
    assert not any(part.requires_grad for pair in loss.metrics.values() for part in pair)
    assert not loss.weight.requires_grad


def test_cispo_follows_tokens_that_ppo_would_clip() -> None:
    logps = torch.tensor([2.0], dtype=F64, requires_grad=True)
    data = logps, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64), torch.zeros(1).long()
    clipped = policy_loss(*data, 1, PolicySettings("dapo"))
    capped = policy_loss(*data, 1, PolicySettings("cispo", epsilon_high=4.0))
    assert gradients(clipped.total, logps)[0].item() == 0
    assert gradients(capped.total, logps)[0].item() == -5
    assert capped.metrics["cispo_clip_ratio"][0].item() == 1


def test_dapo_is_ppos_surrogate_and_ppos_clip_fraction() -> None:
    logps, old, advantages, sequence, _ = data = case()
    loss = policy_loss(*data[:4], 5, PolicySettings("dapo", epsilon=0.2))
    ratio = (logps - old).exp()
    free, held = -advantages * ratio, -advantages * ratio.clamp(0.8, 1.2)
    assert len(sequence) == loss.weight.item() == 14
    found = {PPO_NAMES.get(name, name): total.item() for name, (total, _) in loss.metrics.items()}
    assert found["loss/policy_avg"] == pytest.approx(torch.maximum(free, held).sum().item())
    assert found["policy/clipfrac_avg"] == (held > free).sum().item() > 0
    assert {"policy/approxkl_avg", "val/ratio", "val/ratio_var"} < set(found)


def test_kl_estimators_by_hand() -> None:
    logps, ref = torch.tensor([-1.0], dtype=F64), torch.tensor([-3.0], dtype=F64)
    found = {name: kl_estimate(name, logps, ref).item() for name in KL_ESTIMATORS}
    assert found == pytest.approx({"k1": 2.0, "k2": 2.0, "k3": math.exp(-2) - 1 + 2})


def test_kl_estimators_agree_with_the_exact_kl_on_average() -> None:
    logits, moved = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=F64)
    logps, ref = logits.log_softmax(0), (logits + 0.1 * moved).log_softmax(0)
    exact = (logps.exp() * (logps - ref)).sum().item()
    for name in KL_ESTIMATORS:
        mean = (logps.exp() * kl_estimate(name, logps, ref)).sum().item()
        assert mean == pytest.approx(exact, rel=0.1 if name == "k2" else 1e-9), name
    assert (kl_estimate("k3", logps, ref) >= 0).all()


@pytest.mark.parametrize(
    ("chosen", "what", "fix"),
    [
        (PolicySettings("grop"), "unknown policy loss 'grop'", "did you mean 'grpo'?"),
        (
            PolicySettings(importance="sequences"),
            "unknown importance 'sequences'",
            "did you mean 'sequence'?",
        ),
        (PolicySettings(kl_estimator="k4"), "unknown KL estimator 'k4'", "known: k1, k2, k3"),
    ],
)
def test_unknown_names_are_refused_with_their_neighbour(
    chosen: PolicySettings, what: str, fix: str
) -> None:
    with pytest.raises(AccordError) as error:
        loss_of(chosen, case(), 5)
    assert error.value.what == what
    assert error.value.fix == fix


def test_what_a_loss_needs_and_is_not_given() -> None:
    data = case()[:4]
    with pytest.raises(ValueError, match="dr_grpo needs max_length"):
        policy_loss(*data, 5, PolicySettings("dr_grpo"))
    with pytest.raises(ValueError, match="the reference's log-probabilities are needed"):
        policy_loss(*data, 5, PolicySettings(beta=0.1))
