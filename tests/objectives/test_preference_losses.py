"""Every loss of pairs against its paper's formula, in float64; and which settings reach which."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import permutations, product
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.config.preference import (
    CAPPED,
    DIVERGING,
    FREE,
    LENGTHENED,
    NEEDS_SMOOTHING,
    SMOOTHED,
    WHOLE,
    LossSettings,
    PairLoss,
)
from accord.objectives.divergence import DIVERGENCES
from accord.objectives.pairs import PairLogps, PairSettings
from accord.objectives.preference import ld_weights, paired, preference_loss, sequence_logps
from accord.objectives.preference_losses import LOSSES

from .cases import F64, SETTINGS, at_reference, leaves, random_pairs, swapped
from .twins import gradients


@dataclass(frozen=True)
class One:
    """One pair as scalars, in the papers' symbols."""

    won: Tensor
    lost: Tensor
    ref_won: Tensor
    ref_lost: Tensor
    won_length: Tensor
    lost_length: Tensor
    s: PairSettings

    @property
    def ratios(self) -> tuple[Tensor, Tensor]:
        return self.won - self.ref_won, self.lost - self.ref_lost

    @property
    def scores(self) -> tuple[Tensor, Tensor]:
        """f'(t) of t = π/π_ref, up to a constant, of every divergence."""
        t, u = (torch.exp(ratio) for ratio in self.ratios)
        a = self.s.f_alpha_divergence_coef
        slope = {
            "reverse_kl": torch.log,
            "forward_kl": lambda t: -1 / t,
            "js_divergence": lambda t: torch.log(2 * t / (1 + t)),
            "alpha_divergence": lambda t: t ** (a - 1) / (a - 1),
        }[self.s.f_divergence_type]
        return slope(t), slope(u)

    @property
    def h(self) -> Tensor:
        return self.scores[0] - self.scores[1]

    @property
    def mean_h(self) -> Tensor:
        # A score's constant does not drop out once each is divided by its own length.
        at_one = replace(self, won=self.ref_won, lost=self.ref_lost).scores[0]
        won, lost = (score - at_one for score in self.scores)
        return won / self.won_length - lost / self.lost_length


def sig(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def nls(x: Tensor) -> Tensor:
    return -torch.log(sig(x))


def capped(x: Tensor, cap: float | None) -> Tensor:
    return x if cap is None or x < cap else torch.tensor(cap, dtype=F64)


def smoothed(x: Tensor, s: PairSettings) -> Tensor:
    return (1 - s.label_smoothing) * nls(x) + s.label_smoothing * nls(-x)


def robust(o: One) -> Tensor:
    e, x = o.s.label_smoothing, capped(o.s.beta * o.h, o.s.margin_cap)
    return ((1 - e) * nls(x) - e * nls(-x)) / (1 - 2 * e)


def exo_pair(o: One) -> Tensor:
    e, q = o.s.label_smoothing, sig(o.s.beta * o.h)
    return q * torch.log(q / (1 - e)) + (1 - q) * torch.log((1 - q) / e)


def nca_pair(o: One) -> Tensor:
    won, lost = (o.s.beta * ratio for ratio in o.ratios)
    return nls(won) + nls(-won) / 2 + nls(-lost) / 2


def bco_pair(o: One) -> Tensor:
    won, lost = (o.s.beta * ratio for ratio in o.ratios)
    return nls(won) + nls(-lost)


def sppo_hard(o: One) -> Tensor:
    eta = 1 / o.s.beta
    won, lost = o.ratios
    return (won - eta * (1 - 0.5)) ** 2 + (lost - eta * (0 - 0.5)) ** 2


def apo_zero(o: One) -> Tensor:
    won, lost = (o.s.beta * ratio for ratio in o.ratios)
    return -sig(won) + sig(lost) + 1


def apo_down(o: One) -> Tensor:
    won, lost = (o.s.beta * ratio for ratio in o.ratios)
    return sig(won) - sig(won - lost) + 1


def discopop(o: One) -> Tensor:
    x = o.s.beta * o.h
    modulation = sig(x / o.s.discopop_tau)
    return (1 - modulation) * nls(x) + modulation * torch.exp(-x)


def simpo(o: One) -> Tensor:
    won, lost = o.won / o.won_length, o.lost / o.lost_length
    return smoothed(o.s.beta * won - o.s.beta * lost - o.s.simpo_gamma, o.s)


def cpo(o: One) -> Tensor:
    x = o.s.beta * o.won - o.s.beta * o.lost
    return smoothed(x, o.s) + o.s.cpo_alpha * sft(o)


def orpo(o: One) -> Tensor:
    won, lost = torch.exp(o.won / o.won_length), torch.exp(o.lost / o.lost_length)
    odds_ratio = (won / (1 - won)) / (lost / (1 - lost))
    return sft(o) + o.s.beta * nls(torch.log(odds_ratio))


def sft(o: One) -> Tensor:
    return -o.won / o.won_length


TWINS: dict[str, Callable[[One], Tensor]] = {
    "sigmoid": lambda o: smoothed(capped(o.s.beta * o.h, o.s.margin_cap), o.s),
    "sigmoid_norm": lambda o: smoothed(capped(o.s.beta * o.mean_h, o.s.margin_cap), o.s),
    "ipo": lambda o: (o.mean_h - 1 / (2 * o.s.beta)) ** 2,
    "ipo_sum": lambda o: (o.h - 1 / (2 * o.s.beta)) ** 2,
    "hinge": lambda o: max(1 - o.s.beta * o.h, 0 * o.h),
    "robust": robust,
    "exo_pair": exo_pair,
    "nca_pair": nca_pair,
    "bco_pair": bco_pair,
    "sppo_hard": sppo_hard,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "discopop": discopop,
    "simpo": simpo,
    "cpo": cpo,
    "orpo": orpo,
    "sft": sft,
}


def transported(name: str, pairs: PairLogps, s: PairSettings) -> Tensor:
    """AOT as optimal transport: the least total cost over all ways to match the two samples."""
    if name == "aot":
        left = list(pairs.chosen_P - pairs.rejected_P)
        right = list(pairs.ref_chosen_P - pairs.ref_rejected_P)
    else:
        left = list(pairs.chosen_P - pairs.ref_chosen_P)
        right = list(pairs.rejected_P - pairs.ref_rejected_P)
    costs = [[smoothed(s.beta * (one - other), s) for other in right] for one in left]
    numbers = [[cost.item() for cost in row] for row in costs]
    best = min(
        permutations(range(len(left))),
        key=lambda order: sum(numbers[i][j] for i, j in enumerate(order)),
    )
    return torch.stack([costs[i][j] for i, j in enumerate(best)]).sum()


def written_out(name: str, pairs: PairLogps, s: PairSettings) -> Tensor:
    if name in WHOLE:
        return transported(name, pairs, s)
    columns = [getattr(pairs, field.name) for field in fields(pairs)[:6]]
    return torch.stack([TWINS[name](One(*row, s)) for row in zip(*columns, strict=True)]).sum()


def test_the_table_has_the_losses_that_a_recipe_may_name() -> None:
    assert set(LOSSES) == set(get_args(PairLoss)) == set(TWINS) | WHOLE
    assert all(spec.formula and spec.paper.startswith("arXiv ") for spec in LOSSES.values())


def test_settings_have_the_recipe_s_names_and_defaults() -> None:
    for field in fields(PairSettings):
        assert LossSettings.model_fields[field.name].default == field.default


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
def test_loss_and_gradient_equal_the_formula(name: str, chosen: PairSettings) -> None:
    pairs = random_pairs(6)
    loss = preference_loss({name: 1.0}, pairs, chosen)
    slow = written_out(name, pairs, chosen)
    assert loss.total.item() == pytest.approx(slow.item(), abs=1e-8)
    assert loss.weight.item() == 6
    fast, twin = (
        torch.autograd.grad(total, leaves(pairs), allow_unused=True, materialize_grads=True)
        for total in (loss.total, slow)
    )
    torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)
    assert any(grad.abs().max() > 1e-3 for grad in twin) or name == "hinge"


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
def test_gradcheck(name: str, chosen: PairSettings) -> None:
    pairs = random_pairs(5, seed=3)

    def total(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
        moved = replace(pairs, chosen_P=chosen_P, rejected_P=rejected_P)
        return preference_loss({name: 1.0}, moved, chosen).total

    torch.autograd.gradcheck(total, leaves(pairs))


CONSTANTS: dict[str, Callable[[float, float], float]] = {
    "sigmoid": lambda b, e: math.log(2),
    "sigmoid_norm": lambda b, e: math.log(2),
    "ipo": lambda b, e: 1 / (4 * b * b),
    "ipo_sum": lambda b, e: 1 / (4 * b * b),
    "hinge": lambda b, e: 1.0,
    "robust": lambda b, e: math.log(2),
    "exo_pair": lambda b, e: -math.log(2) - math.log(e * (1 - e)) / 2,
    "nca_pair": lambda b, e: 2 * math.log(2),
    "bco_pair": lambda b, e: 2 * math.log(2),
    "sppo_hard": lambda b, e: 1 / (2 * b * b),
    "aot": lambda b, e: math.log(2),
    "aot_unpaired": lambda b, e: math.log(2),
    "apo_zero": lambda b, e: 1.0,
    "apo_down": lambda b, e: 1.0,
    "discopop": lambda b, e: (math.log(2) + 1) / 2,
}


def test_every_loss_with_a_reference_has_a_constant_to_start_from() -> None:
    assert set(CONSTANTS) == set(LOSSES) - FREE


@pytest.mark.parametrize("name", CONSTANTS)
@pytest.mark.parametrize("divergence", ["reverse_kl", "forward_kl", "js_divergence"])
def test_policy_equal_to_reference_starts_at_the_loss_s_constant(
    name: str, divergence: str
) -> None:
    pairs = at_reference(random_pairs())
    chosen = PairSettings(0.7, 0.3, f_divergence_type=divergence)
    loss = preference_loss({name: 1.0}, pairs, chosen)
    assert loss.total.item() == pytest.approx(7 * CONSTANTS[name](0.7, 0.3), abs=1e-12)
    assert loss.metrics["rewards/accuracies"][0].item() == 0
    assert loss.metrics["rewards/margins"][0].item() == 0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), beta=st.floats(0.01, 5))
def test_swapping_the_responses_negates_h(seed: int, beta: float) -> None:
    one = random_pairs(1, seed)
    other, s = swapped(one), PairSettings(beta, discopop_tau=1.0)
    # Of a loss f(βh): -log σ(x) and -log σ(-x) differ by x and nothing else.
    h = one.chosen_logratio_P - one.rejected_logratio_P
    won, lost = one.chosen_logratio_P, one.rejected_logratio_P
    mean_h = won / one.chosen_lengths_P - lost / one.rejected_lengths_P
    for name, margin in (("sigmoid", h), ("sigmoid_norm", mean_h), ("aot", h), ("aot_unpaired", h)):
        at, back = (preference_loss({name: 1.0}, p, s) for p in (one, other))
        torch.testing.assert_close(back.total - at.total, (beta * margin).sum())
        torch.testing.assert_close(
            at.metrics["rewards/margins"][0], -back.metrics["rewards/margins"][0]
        )
    for name, margin in (("ipo", mean_h), ("ipo_sum", h)):
        at, back = (preference_loss({name: 1.0}, p, s).total for p in (one, other))
        torch.testing.assert_close(back - at, (2 * margin / beta).sum())


BASE = PairSettings(0.5, 0.1)


def reached(change: PairSettings, pairs: PairLogps) -> set[str]:
    """Losses that a change of settings changes."""
    return {
        name
        for name, spec in LOSSES.items()
        if not torch.allclose(spec.function(pairs, BASE), spec.function(pairs, change))
    }


def test_settings_reach_the_losses_that_the_recipe_says() -> None:
    pairs = random_pairs(9, seed=5)
    assert reached(replace(BASE, label_smoothing=0.3), pairs) == SMOOTHED
    assert reached(replace(BASE, margin_cap=0.05), pairs) == CAPPED
    for divergence in ("forward_kl", "js_divergence", "alpha_divergence"):
        assert reached(replace(BASE, f_divergence_type=divergence), pairs) == DIVERGING
    assert reached(replace(BASE, f_alpha_divergence_coef=0.2), pairs) == set()
    assert reached(replace(BASE, beta=0.9), pairs) == set(LOSSES) - {"sft"}
    for setting, value in (("discopop_tau", 1.0), ("simpo_gamma", 2.0), ("cpo_alpha", 0.1)):
        owners = {name for name, spec in LOSSES.items() if setting in spec.own}
        assert len(owners) == 1
        assert reached(replace(BASE, **{setting: value}), pairs) == owners
    known = {field.name for field in fields(PairSettings)}
    assert all(known.issuperset(spec.own) for spec in LOSSES.values())


def test_losses_without_a_reference_ignore_it() -> None:
    pairs = random_pairs(9, seed=6)
    zeros = torch.zeros_like(pairs.ref_chosen_P)
    blind = replace(pairs, ref_chosen_P=zeros, ref_rejected_P=zeros)
    same = {
        name
        for name, spec in LOSSES.items()
        if torch.equal(spec.function(pairs, BASE), spec.function(blind, BASE))
    }
    assert same == FREE


def test_only_losses_of_whole_steps_change_when_a_step_is_split() -> None:
    pairs = random_pairs(8, seed=9)
    halves = [
        PairLogps(*(getattr(pairs, field.name)[part] for field in fields(pairs)[:6]))
        for part in (slice(0, 4), slice(4, 8))
    ]
    split = {
        name
        for name in LOSSES
        if not torch.isclose(
            sum(preference_loss({name: 1.0}, half, BASE).total for half in halves),
            preference_loss({name: 1.0}, pairs, BASE).total,
        )
    }
    assert split == WHOLE


def test_losses_that_need_smoothing_are_no_losses_of_their_own_without_it() -> None:
    pairs, bare = random_pairs(), PairSettings(0.5)
    plain = LOSSES["sigmoid"].function(pairs, bare)
    torch.testing.assert_close(LOSSES["robust"].function(pairs, bare), plain, atol=0, rtol=0)
    with pytest.raises(ValueError, match="exo_pair needs label_smoothing"):
        LOSSES["exo_pair"].function(pairs, bare)
    others = set(LOSSES) - NEEDS_SMOOTHING
    found = {name: LOSSES[name].function(pairs, bare) for name in others}
    assert all(loss_P.isfinite().all() for loss_P in found.values())
    assert [name for name in others if torch.equal(found[name], plain)] == ["sigmoid"]


def test_tail_weights_reach_every_loss_but_the_likelihood() -> None:
    generator = torch.Generator().manual_seed(1)
    logps_S = -torch.rand(18, generator=generator, dtype=F64)
    sequence_S = torch.tensor([0] * 2 + [1] * 7 + [2] * 6 + [3] * 3)
    plain_R, lengths_R = sequence_logps(logps_S, sequence_S, 4)
    weighted_R, _ = sequence_logps(logps_S, sequence_S, 4, ld_weights(sequence_S, lengths_R, 0.3))
    reference_R = torch.linspace(-4, -2, 4, dtype=F64)
    plain = paired(plain_R, lengths_R, reference_R)
    weighted = paired(weighted_R, lengths_R, reference_R, full_R=plain_R)
    changed = {
        name
        for name, spec in LOSSES.items()
        if not torch.allclose(spec.function(plain, BASE), spec.function(weighted, BASE))
    }
    assert changed == LENGTHENED


# ipo squares a score, which under the divergences whose scores have no bound leaves float32.
FAR = [
    (name, divergence)
    for name, divergence in product(LOSSES, DIVERGENCES)
    if not name.startswith("ipo") or divergence in {"reverse_kl", "js_divergence"}
]


@pytest.mark.parametrize(("name", "divergence"), FAR)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_far_from_the_reference_everything_stays_finite_in_float32(
    name: str, divergence: str, scale: float
) -> None:
    rows = torch.tensor([[-1.0, -1.0, -2.0, -2.0], [-2.0, -1.0, -1.0, -2.0], [-1.0, -9, -9, -1.0]])
    sums = [(scale * column).contiguous() for column in rows.T]
    pairs = PairLogps(*sums, torch.full((3,), 4.0), torch.full((3,), 2.0))
    for leaf in leaves(pairs):
        leaf.requires_grad_()
    s = PairSettings(0.1, 0.1, f_divergence_type=divergence)
    total = preference_loss({name: 1.0}, pairs, s).total
    assert total.isfinite()
    for grad in torch.autograd.grad(
        total, leaves(pairs), allow_unused=True, materialize_grads=True
    ):
        assert grad.isfinite().all()


def test_a_pair_past_its_cap_gives_no_gradient() -> None:
    pairs = random_pairs(30, seed=2)
    s = PairSettings(0.5, margin_cap=0.4)
    for name in ("sigmoid", "robust"):
        total = preference_loss({name: 1.0}, pairs, replace(s, label_smoothing=0.1)).total
        past = 0.5 * (pairs.chosen_logratio_P - pairs.rejected_logratio_P) > 0.4
        assert 0 < past.sum() < 30
        grad = gradients(total, pairs.chosen_P)[0]
        assert torch.equal(grad == 0, past)
