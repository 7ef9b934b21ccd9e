"""Mixtures of experts: dead experts and collapsed routers, and healthy ones."""

import pytest
from planted import named

from accord.evaluation.findings import findings

EVEN = {"router/dead_experts": 0.0, "router/busiest": 0.3, "router/load_max": 1.2}


def trained(kind: str = "pretrain", start: int = 0, **levels: float) -> dict:
    """A run of 40 lines whose figures are even at first and at these levels from `start` on."""
    after = EVEN | {f"router/{name}": value for name, value in levels.items()}
    curves = {
        name: [[s, after[name] if s > start else EVEN[name]] for s in range(1, 41)] for name in EVEN
    }
    stages = {"run": {"kind": kind, "config": {"kind": kind}}}
    return named(findings({"stages": stages, "curves": {"run": curves}}))


@pytest.mark.parametrize("kind", ["pretrain", "sft", "reward", "preference", "ppo", "grpo"])
def test_a_dead_expert_is_found_in_every_kind_of_training(kind: str) -> None:
    found = trained(kind, start=20, dead_experts=2.0)
    assert set(found) == {"dead_experts"}
    assert found["dead_experts"]["severity"] == "warning"
    evidence = found["dead_experts"]["evidence"]
    assert evidence["experts"] == 2 and evidence["steps"][1] == 40
    assert 20 <= evidence["steps"][0] <= 23
    assert "router_aux_loss_coef" in found["dead_experts"]["remedy"]


def test_an_expert_idle_in_a_line_or_two_is_not_dead() -> None:
    assert trained(start=37, dead_experts=1.0) == {}


def test_a_collapsed_router_is_a_problem_and_its_dead_experts_are_not_said_again() -> None:
    found = trained(start=10, dead_experts=6.0, busiest=0.97, load_max=3.9)
    assert set(found) == {"router_collapsed"}
    assert found["router_collapsed"]["severity"] == "problem"
    assert "97 %" in found["router_collapsed"]["sentence"]


@pytest.mark.parametrize("levels", [{}, {"busiest": 0.6, "load_max": 2.4}, {"busiest": 0.95}])
def test_uneven_and_few_experts_are_no_collapse(levels: dict[str, float]) -> None:
    assert trained(**levels) == {}


def test_dense_models_have_no_routers() -> None:
    stages = {"run": {"kind": "sft", "config": {}}}
    loss = [[s, 2.0 - s / 60] for s in range(1, 41)]
    found = named(findings({"stages": stages, "curves": {"run": {"loss": loss}}}))
    assert not {"dead_experts", "router_collapsed"} & set(found)
