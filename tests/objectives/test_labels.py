"""Losses of wanted and unwanted responses against their formulas; metrics and margins."""

import math
from dataclasses import fields, replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.config.preference import LabelLoss, PreferenceStage
from accord.errors import AccordError
from accord.objectives.labels import (
    LABEL_LOSSES,
    LabelLogps,
    LabelSettings,
    label_loss,
    margins,
)

from .twins import gradients

F64 = torch.float64
SETTINGS = [LabelSettings(), LabelSettings(0.7, 1.3, 0.4), LabelSettings(3.0, 0.2, 2.0)]


def random_labels(rows: int = 7, seed: int = 0) -> LabelLogps:
    generator = torch.Generator().manual_seed(seed)
    logps, ref = (-5 * torch.rand(rows, generator=generator, dtype=F64) for _ in range(2))
    wanted = torch.arange(rows) % 3 != 1
    return LabelLogps(logps.requires_grad_(), ref, wanted, torch.full((rows,), 4.0, dtype=F64))


def written_out(name: str, labels: LabelLogps, s: LabelSettings, kl: float) -> Tensor:
    total = torch.zeros((), dtype=F64)
    for logp, ref, wanted in zip(labels.logps_R, labels.ref_R, labels.wanted_R, strict=True):
        z0 = kl if name == "kto" else 0.0
        r = logp - ref
        if wanted:
            value = s.desirable_weight / (1 + torch.exp(-s.beta * (r - z0)))
            total = total + s.desirable_weight - value
        else:
            value = s.undesirable_weight / (1 + torch.exp(-s.beta * (z0 - r)))
            total = total + s.undesirable_weight - value
    return total


def test_the_table_has_the_losses_and_settings_that_a_recipe_may_name() -> None:
    assert set(LABEL_LOSSES) == set(get_args(LabelLoss))
    assert all(spec.formula and spec.paper.startswith("arXiv ") for spec in LABEL_LOSSES.values())
    for field in fields(LabelSettings):
        assert PreferenceStage.model_fields[field.name].default == field.default


@pytest.mark.parametrize("name", LABEL_LOSSES)
@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
@pytest.mark.parametrize("kl", [0.0, 0.8])
def test_loss_and_gradient_equal_the_formula(name: str, chosen: LabelSettings, kl: float) -> None:
    labels = random_labels()
    loss = label_loss(name, labels, chosen, kl)
    slow = written_out(name, labels, chosen, kl)
    assert loss.total.item() == pytest.approx(slow.item(), abs=1e-8)
    assert loss.weight.item() == 7
    torch.testing.assert_close(
        gradients(loss.total, labels.logps_R), gradients(slow, labels.logps_R), atol=1e-8, rtol=0
    )
    assert torch.autograd.gradcheck(
        lambda logps_R: label_loss(name, replace(labels, logps_R=logps_R), chosen, kl).total,
        labels.logps_R,
    )


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_policy_equal_to_reference_starts_at_half_the_weights(name: str) -> None:
    labels = random_labels()
    same = replace(labels, ref_R=labels.logps_R.detach())
    total = label_loss(name, same, LabelSettings(0.7, 1.5, 0.5), 0.0).total
    wanted = int(labels.wanted_R.sum())
    assert total.item() == pytest.approx(0.75 * wanted + 0.25 * (7 - wanted))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), name=st.sampled_from(sorted(LABEL_LOSSES)))
def test_other_labels_turn_every_loss_round(seed: int, name: str) -> None:
    labels = random_labels(5, seed)
    other = replace(labels, wanted_R=~labels.wanted_R)
    one, two = (label_loss(name, each, LabelSettings(), 0.4).total for each in (labels, other))
    assert (one + two).item() == pytest.approx(5)


def test_a_greater_z0_changes_kto_alone() -> None:
    labels = random_labels()
    for name in LABEL_LOSSES:
        at_zero, at_half = (label_loss(name, labels, LabelSettings(), kl) for kl in (0.0, 0.5))
        assert (at_zero.total == at_half.total) == (name != "kto")
        total, by = at_half.metrics["kl"]
        assert (total / by).item() == 0.5
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="kl must be"):
            label_loss("kto", labels, LabelSettings(), wrong)


def test_metrics_by_hand_and_margins_of_unequal_sides() -> None:
    logps = torch.tensor([-1.0, -2.0, -6.0], dtype=F64)
    ref = torch.tensor([-3.0, -3.0, -4.0], dtype=F64)
    labels = LabelLogps(logps, ref, torch.tensor([True, True, False]), torch.ones(3))
    loss = label_loss("kto", labels, LabelSettings(0.5), 0.2)
    found = {name: (total.item(), by.item()) for name, (total, by) in loss.metrics.items()}
    assert found.pop("loss") == (pytest.approx(loss.total.item()), 3)
    assert found == {
        "rewards/chosen": (1.5, 2),
        "rewards/rejected": (-1.0, 1),
        "logps/chosen": (-3.0, 2),
        "logps/rejected": (-6.0, 1),
        "kl": (pytest.approx(0.6), 3),
    }
    means = {name: total / by for name, (total, by) in found.items()}
    assert margins(means) == {"rewards/margins": 0.75 + 1.0}
    assert margins({"rewards/chosen": 1.0, "loss": 2.0}) == {}


def test_groups_take_their_own_rows() -> None:
    labels = random_labels(6, seed=3)
    own = torch.tensor([True, True, False, True, False, False])
    groups = {"source:a": own, "language:ko": torch.zeros(6, dtype=torch.bool)}
    loss = label_loss("kto", labels, LabelSettings(0.7, 1.3, 0.4), 0.3, groups)
    part = LabelLogps(*(getattr(labels, field.name)[own] for field in fields(labels)))
    alone = label_loss("kto", part, LabelSettings(0.7, 1.3, 0.4), 0.3)
    for name in ("loss", "rewards/chosen", "rewards/rejected"):
        torch.testing.assert_close(loss.metrics[f"{name}/source:a"], alone.metrics[name])
        assert [value.item() for value in loss.metrics[f"{name}/language:ko"]] == [0, 0]
    means = {n: (total / by).item() for n, (total, by) in loss.metrics.items() if by}
    assert set(margins(means)) == {"rewards/margins", "rewards/margins/source:a"}
    assert margins(means)["rewards/margins/source:a"] == pytest.approx(
        means["rewards/chosen/source:a"] - means["rewards/rejected/source:a"]
    )
    assert not any(value.requires_grad for pair in loss.metrics.values() for value in pair)


def test_a_side_without_rows_has_no_mean() -> None:
    labels = random_labels(3)
    loss = label_loss("kto", replace(labels, wanted_R=torch.ones(3).bool()), LabelSettings(), 0.0)
    assert loss.metrics["rewards/rejected"][1].item() == 0
    assert loss.metrics["rewards/chosen"][1].item() == 3


def test_an_unknown_loss_is_named_with_its_neighbour() -> None:
    with pytest.raises(AccordError) as error:
        label_loss("kot", random_labels(), LabelSettings(), 0.0)
    assert error.value.fix == "did you mean 'kto'?"
