"""What the first step tells: each constant against the loss itself."""

import math

import pytest
import torch
from planted import named

from accord.config.preference import FREE, LossSettings
from accord.evaluation.findings import findings
from accord.evaluation.findings.start import CONSTANTS
from accord.objectives.pairs import PairLogps, PairSettings
from accord.objectives.preference_losses import LOSSES


@pytest.mark.parametrize("name", sorted(set(LOSSES) - FREE))
@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_constants_are_the_losses_where_policy_and_reference_are_one(name, beta):
    won, lost = torch.tensor([-40.0, -7.0]).double(), torch.tensor([-35.0, -12.0]).double()
    lengths = torch.tensor([9.0, 4.0]).double()
    pairs = PairLogps(won, lost, won, lost, lengths, lengths + 1)
    smoothing = 0.1 if name in ("robust", "exo_pair") else 0.0
    loss = LOSSES[name].function(pairs, PairSettings(beta=beta, label_smoothing=smoothing))
    config = {"beta": beta, "label_smoothing": smoothing}
    assert CONSTANTS[name](config) == pytest.approx(float(loss.mean()), rel=1e-9)


def test_every_loss_with_a_reference_has_a_constant():
    assert set(CONSTANTS) == set(LOSSES) - FREE


def begun(config: dict | None = None, kind: str = "preference", **first: float) -> dict:
    """The findings of a stage whose first line holds these metrics; `__` stands for `/`."""
    curves = {name.replace("__", "/"): [[1, value]] for name, value in first.items()}
    stages = {"run": {"kind": kind, "config": {"kind": kind, **(config or {})}}}
    return named(findings({"stages": stages, "curves": {"run": curves}}))


SAME = {"rewards__chosen": 0.0, "rewards__rejected": 0.0}
APART = {"rewards__chosen": 0.002, "rewards__rejected": -0.004}


@pytest.mark.parametrize(
    ("config", "first", "expected"),
    [
        ({}, {"rewards__chosen": 0.4}, {"rewards/chosen": 0.0}),
        ({}, {"rewards__rejected": -0.006}, {"rewards/rejected": 0.0}),
        ({}, {**APART, "loss": 0.75}, {"loss": math.log(2)}),
        ({"loss": "hinge"}, {**APART, "loss": 1.1}, {"loss": 1.0}),
        ({"loss": "ipo", "beta": 0.5}, {"loss": 0.8}, {"loss": 1.0}),
        (
            {"loss": {"sigmoid": 1.0, "sft": 0.3}},
            {**APART, "loss": 2.0, "loss__sigmoid": 0.8, "loss__sft": 4.0},
            {"loss/sigmoid": math.log(2)},
        ),
        ({"loss": {"sigmoid": 2.0}}, {**APART, "loss": 0.75}, {"loss": 2 * math.log(2)}),
    ],
)
def test_a_reference_that_is_another_model(config, first, expected):
    evidence = begun(config, **first)["wrong_reference"]["evidence"]
    assert evidence["expected"] == pytest.approx(expected)
    assert evidence["step"] == 1 and set(evidence["found"]) == set(expected)


@pytest.mark.parametrize(
    ("config", "first"),
    [
        ({}, {**SAME, "loss": math.log(2)}),
        ({}, {**SAME, "loss": 0.9}),  # the two are one: something else is in the loss
        ({}, {**APART, "loss": 0.70}),
        ({"precision": "bf16"}, {"rewards__chosen": 0.2, "loss": 0.72}),
        ({"loss": "simpo"}, {"rewards__chosen": -3.0, "loss": 0.9}),  # has no reference
        ({"weighting": "wpo"}, {**APART, "loss": 0.2}),
        ({"loss": {"sigmoid": 1.0, "sft": 0.3}}, {**APART, "loss": 2.0, "loss__sigmoid": 0.69}),
    ],
)
def test_a_right_reference(config, first):
    assert "wrong_reference" not in begun(config, **first)


def test_a_log_that_does_not_begin_at_the_first_step_says_nothing_of_it():
    stages = {"run": {"kind": "preference", "config": {}}}
    curves = {"run": {"rewards/chosen": [[10, 3.0]], "loss": [[10, 0.2]]}}
    assert "wrong_reference" not in named(findings({"stages": stages, "curves": curves}))


@pytest.mark.parametrize("kind", ["ppo", "grpo", "online"])
def test_roll_outs_tell_it_by_their_kl(kind):
    tokens = {"completions__mean_length": 30.0}
    assert "wrong_reference" in begun({}, kind, objective__kl=2.0, **tokens)
    assert "wrong_reference" not in begun({}, kind, objective__kl=-0.1, **tokens)
    assert "wrong_reference" not in begun({"precision": "bf16"}, kind, objective__kl=1.0, **tokens)


def test_the_first_ratio():
    assert begun({}, "ppo", val__ratio=1.2)["ratio_not_one"]["severity"] == "problem"
    assert "ratio_not_one" not in begun({}, "ppo", val__ratio=1.001)


def first_uses(*apart: float, log_every: int = 1, precision: str = "fp32") -> dict:
    """The findings of a stage that draws at every second step and is that far from it then."""
    steps = range(1, 2 * len(apart), 2)
    curves = {
        "unique": [[step, 1.0] for step in steps],
        "policy/approxkl_avg": [
            point
            for step, gap in zip(steps, apart, strict=True)
            for point in ([step, gap], [step + 1, 0.5])  # its own updates lie before the second
        ],
    }
    config = {"log_every": log_every, "precision": precision}
    stages = {"run": {"kind": "grpo", "config": {"kind": "grpo", **config}}}
    return named(findings({"stages": stages, "curves": {"run": curves}}))


def test_roll_outs_of_an_older_policy():
    evidence = first_uses(0.0, 0.01, 0.02, 0.03)["rollouts_stale"]["evidence"]
    assert evidence["approxkl"] == pytest.approx(0.02) and evidence["steps"] == [1, 7]


def test_roll_outs_of_the_policy_itself():
    assert "rollouts_stale" not in first_uses(1e-9, 1e-4, 1e-5, 1e-3)
    assert "rollouts_stale" not in first_uses(0.02, 0.02)  # too few to say
    assert "rollouts_stale" not in first_uses(0.02, 0.02, 0.02, log_every=2)  # means of uses
    assert "rollouts_stale" not in first_uses(0.0, 5e-3, 5e-3, 5e-3, precision="bf16")


def test_settings_of_the_losses_are_those_of_the_recipe():
    told = {"beta": LossSettings().beta, "label_smoothing": 0.1}
    for constant in CONSTANTS.values():
        assert constant({}) == pytest.approx(constant(told))
