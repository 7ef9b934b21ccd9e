"""What a policy wrote while it was trained: each failure planted, and absent from healthy runs."""

import pytest
from planted import comparison, course, named, policy_stage

from accord.evaluation.findings import findings
from accord.evaluation.findings.rollouts import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_stage_has_no_warning_and_says_that_the_judge_follows(kind):
    found = findings(policy_stage(kind))
    assert [f for f in found if f["severity"] != "info"] == []
    assert {"policy_moved", "judge_follows_reward"} <= set(named(found))


FAILURES = {
    "over_optimised": [
        ({"judges__vader__mean": (0.2, 0.6, 0.35)}, "warning"),
        ({"judges__vader__mean": (0.3, 0.6, 0.0)}, "problem"),
        ({"judges__vader__mean": (0.3, 0.1, -0.1)}, "problem"),
    ],
    "policy_did_not_move": [({"objective__kl": (0.0, 0.01, 0.0)}, "problem")],
    "reward_did_not_rise": [({"reward": (0.5, 0.5, 0.5)}, "warning")],
    "rollouts_repeat": [
        ({"unique": (0.99, 0.9, 0.7)}, "warning"),
        ({"unique": (0.99, 0.6, 0.2)}, "problem"),
    ],
    "length_drift": [
        ({"completions__mean_length": (18.0, 12.0, 7.0)}, "warning"),
        ({"completions__mean_length": (18.0, 25.0, 40.0)}, "warning"),
    ],
    "truncation_dominates": [
        ({"completions__clipped_ratio": (0.1, 0.3, 0.5)}, "warning"),
        ({"completions__clipped_ratio": (0.5, 0.9, 0.95)}, "problem"),
    ],
}
PLANTED = [(name, *case) for name, cases in FAILURES.items() for case in cases]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "changes", "severity"), PLANTED)
def test_planted_failures_are_named(kind, name, changes, severity):
    found = findings(policy_stage(kind, **changes))
    assert {f["name"] for f in found if f["severity"] != "info"} == {name}
    finding = named(found)[name]
    assert finding["severity"] == severity
    assert finding["evidence"]["stage"] == kind and kind in finding["sentence"]
    assert finding["remedy"]


@pytest.mark.parametrize(
    "changes",
    [
        {"judges__vader__mean": (0.2, 0.56, 0.54)},
        {"judges__vader__mean": (0.2, 0.6, 0.35), "reward": (0.0, 1.0, 0.6)},  # both fall
        {"judges__length__mean": (20.0, 24.0, 12.0)},  # measures no quality
        {"unique": (0.7, 0.7, 0.7)},  # as it was
        {"completions__mean_length": (18.0, 20.0, 22.0)},
        {"completions__clipped_ratio": (0.6, 0.3, 0.1)},
    ],
)
def test_what_is_no_failure(changes):
    found = findings(policy_stage("grpo", **changes))
    assert [f["name"] for f in found if f["severity"] != "info"] == []


@pytest.mark.parametrize(
    ("levels", "noise", "said"),
    [
        ((0.2, 0.6, 0.55), 0.0, False),  # less than a fifth of its rise is lost
        ((0.2, 0.6, 0.35), 0.0, True),
        ((0.2, 0.6, 0.35), 0.5, False),  # and within the noise
        ((0.5, 0.55, 0.48), 0.0, False),  # all of its rise, and not 15 % of its height
    ],
)
def test_a_judge_must_fall_far_and_beyond_chance(levels, noise, said):
    doc = policy_stage("ppo")
    doc["curves"]["ppo"]["judges/vader/mean"] = course(*levels, noise=noise)
    assert ("over_optimised" in named(findings(doc))) is said


def test_over_optimisation_says_when_and_at_what_cost():
    finding = named(findings(policy_stage("ppo", judges__vader__mean=(0.2, 0.6, 0.1))))
    evidence = finding["over_optimised"]["evidence"]
    assert evidence["step"] == 31  # the middle fifth of 60 steps
    assert evidence["judge_best"] > 0.5 and evidence["judge_end"] < 0.25
    assert evidence["reward_end"] > evidence["reward_then"]
    assert evidence["kl_end"] > evidence["kl_then"]
    assert "step 31" in finding["over_optimised"]["sentence"]
    assert "kl_coef" in finding["over_optimised"]["remedy"]


def test_the_rewards_name_of_ppo_will_do():
    doc = policy_stage("ppo", judges__vader__mean=(0.2, 0.6, 0.1))
    doc["curves"]["ppo"]["objective/scores"] = doc["curves"]["ppo"].pop("reward")
    assert "over_optimised" in named(findings(doc))


def test_a_short_run_is_not_judged_by_its_trends():
    doc = policy_stage("grpo", judges__vader__mean=(0.2, 0.6, -0.5))
    doc["curves"]["grpo"] = {name: points[::10] for name, points in doc["curves"]["grpo"].items()}
    assert {f["severity"] for f in findings(doc)} == {"info"}


def test_an_evaluated_kl_overrules_a_still_looking_roll_out():
    doc = policy_stage("grpo", objective__kl=(0.0, 0.01))
    doc["policies"] = {"grpo": {"kl": {"mean": 2.0}, "statistics": {}}}
    assert "policy_did_not_move" not in named(findings(doc))


@pytest.mark.parametrize(("end", "severity"), [(0.3, None), (0.6, "warning"), (0.9, "problem")])
def test_groups_without_spread(end, severity):
    doc = policy_stage("grpo", frac_reward_zero_std=(0.0, end, end), reward=(0.5, 0.5))
    found = named(findings(doc))
    assert found.get("groups_without_spread", {}).get("severity") == severity


@pytest.mark.parametrize(("unique", "severity"), [(0.95, "info"), (0.3, "problem")])
def test_groups_are_alike_where_the_task_is_solved(unique, severity):
    """Rewards that rose to one value: no fault while the completions differ."""
    solved = {"frac_reward_zero_std": (0.0, 0.9, 0.9), "reward": (0.1, 0.9, 1.0)}
    found = named(findings(policy_stage("grpo", unique=(1.0, unique, unique), **solved)))
    assert found["groups_without_spread"]["severity"] == severity


def test_length_drift_tells_the_correlation():
    found = named(findings(policy_stage("grpo", completions__mean_length=(18.0, 12.0, 7.0))))
    assert found["length_drift"]["evidence"]["correlation"] < -0.8
    still = policy_stage("grpo", completions__mean_length=(18.0, 7.0), reward=(0.5, 0.5))
    assert "length_drift" not in named(findings(still))


@pytest.mark.parametrize(
    ("judge", "severity"),
    [((0.2, 0.1, 0.3), None), ((0.02, -0.05, 0.09), "warning"), ((-0.3, -0.4, -0.2), "problem")],
)
def test_a_learned_reward_that_the_judge_does_not_share(judge, severity):
    doc = policy_stage("ppo")
    doc["protocol"] = {"rewards": {"learned": {"model": "rm"}, "exact": {"function": "exact"}}}
    doc["comparisons"] = [
        comparison("vader", *judge, policy="ppo"),
        comparison("learned", 1.0, 0.8, 1.2, policy="ppo"),
        comparison("exact", 1.0, 0.8, 1.2, policy="ppo"),
    ]
    found = [f for f in findings(doc) if f["name"] == "reward_without_judge"]
    assert [f["severity"] for f in found] == ([severity] if severity else [])
    doc["comparisons"][1]["ci95"] = [-0.1, 2.1]  # no gain in the learned reward either
    assert "reward_without_judge" not in named(findings(doc))
