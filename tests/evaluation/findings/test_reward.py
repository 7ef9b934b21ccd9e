"""Reward models: against chance, counted words, their own confidence and length."""

import pytest
from planted import named

from accord.evaluation.findings import findings


def baseline(ahead: float, ci95: list[float]) -> dict:
    """What a ridge reached on the same pairs, and by how much the model is ahead."""
    ridge = {"accuracy": 0.86, "ci95": [0.84, 0.88]}
    return ridge | {"margin_over": ahead, "margin_over_ci95": ci95}


def document(**changes) -> dict:
    heldout = {
        "accuracy": 0.87,
        "ci95": [0.85, 0.89],
        "ece": 0.03,
        "length_correlation": 0.1,
        "baseline": baseline(0.01, [-0.005, 0.025]),
    }
    return {
        "stages": {"rm": {"kind": "reward", "config": {}}, "sft": {"kind": "sft", "config": {}}},
        "heldout": {"rm": heldout | changes, "sft": {"reviews": {"bits_per_byte": 1.6}}},
    }


def test_a_healthy_reward_model():
    [finding] = findings(document())
    assert finding["name"] == "reward_model_accuracy" and finding["severity"] == "info"
    assert (
        "87.0%" in finding["sentence"]
        and "86.0%: ahead by +1.0 points [−0.5, +2.5]" in finding["sentence"]
    )
    [alone] = findings(document(baseline=None))
    assert alone["name"] == "reward_model_accuracy" and "ridge" not in alone["sentence"]


@pytest.mark.parametrize(
    ("changes", "name", "severity"),
    [
        ({"accuracy": 0.52, "ci95": [0.48, 0.56]}, "reward_model_at_chance", "problem"),
        (
            {"accuracy": 0.85, "baseline": baseline(-0.01, [-0.03, 0.01])},
            "reward_model_below_baseline",
            "warning",
        ),
        (
            {"accuracy": 0.80, "baseline": baseline(-0.06, [-0.08, -0.04])},
            "reward_model_below_baseline",
            "problem",
        ),
        ({"ece": 0.15}, "reward_model_miscalibrated", "warning"),
        ({"length_correlation": 0.7}, "reward_model_reads_length", "warning"),
        ({"length_correlation": -0.7}, "reward_model_reads_length", "warning"),
    ],
)
def test_planted_failures(changes, name, severity):
    found = findings(document(**changes))
    assert [(f["name"], f["severity"]) for f in found if f["severity"] != "info"] == [
        (name, severity)
    ]
    finding = named(found)[name]
    assert finding["remedy"] and finding["evidence"]["stage"] == "rm"
    value = next(iter(changes.values()))
    assert value in finding["evidence"].values()


@pytest.mark.parametrize(
    ("confidence", "said", "remedy"), [(0.95, "surer", "fewer"), (0.55, "less sure", "more steps")]
)
def test_miscalibration_has_a_direction(confidence, said, remedy):
    bins = [{"confidence": confidence, "accuracy": 0.75, "pairs": 100}]
    finding = named(findings(document(ece=0.2, calibration=bins)))["reward_model_miscalibrated"]
    assert said in finding["sentence"] and remedy in finding["remedy"]


@pytest.mark.parametrize(
    ("pairs", "confidence", "right", "said"),
    [
        # three standard errors of a share of 0.8: 3 · √(0.16 / n), below 0.2 from n = 37 on
        (37, 0.8, 0.6, True),
        (35, 0.8, 0.6, False),
        (4, 1.0, 0.75, False),  # no error is taken for less than that of half a pair
        (40, 1.0, 0.9, True),
        (4000, 0.8, 0.79, False),
    ],
)
def test_miscalibration_must_be_beyond_chance(pairs, confidence, right, said):
    bins = [
        {"confidence": confidence, "accuracy": right, "pairs": pairs},
        {"confidence": 0.6, "accuracy": 0.6, "pairs": 50},
    ]
    found = named(findings(document(ece=0.2, calibration=bins)))
    assert ("reward_model_miscalibrated" in found) is said
