"""What the updates of a policy stage did: each failure planted, and absent from healthy runs."""

import pytest
from planted import STEPS, course, document, named, policy_stage

from accord.evaluation.findings import findings

FAILURES = [
    ("ppo", "kl_runaway", {"objective__kl": (0.1, 10.0, 16.0)}, "warning"),
    ("grpo", "kl_runaway", {"objective__kl": (0.1, 20.0, 40.0)}, "problem"),
    ("ppo", "steps_too_large", {"val__ratio": (1.0, 1.3)}, "warning"),
    ("ppo", "steps_too_large", {"val__ratio": (1.0, 0.8)}, "warning"),
    ("ppo", "steps_too_large", {"policy__clipfrac_avg": (0.1, 0.5)}, "warning"),
    ("grpo", "steps_too_large", {"clip_ratio__region_mean": (0.0, 0.5)}, "warning"),
    (
        "online",
        "sampler_differs",
        {"sampling__sampling_logp_difference__mean": (0.1, 0.1)},
        "problem",
    ),
    ("ppo", "entropy_lost", {"policy__entropy_avg": (2.5, 0.5, 0.2)}, "warning"),
    ("grpo", "entropy_lost", {"entropy": (2.5, 0.5, 0.2)}, "warning"),
    ("ppo", "critic_explains_nothing", {"critic__vf_explained_var": (-1.0, -0.3)}, "warning"),
    ("online", "margin_explosion", {"rewards__margins": (0.0, 20.0, 40.0)}, "problem"),
]


@pytest.mark.parametrize(("kind", "name", "changes", "severity"), FAILURES)
def test_planted_failures_are_named(kind, name, changes, severity):
    found = findings(policy_stage(kind, **changes))
    assert {f["name"] for f in found if f["severity"] != "info"} == {name}
    finding = named(found)[name]
    assert finding["severity"] == severity
    assert finding["evidence"]["stage"] == kind and kind in finding["sentence"]
    assert finding["remedy"]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ppo", {"val__ratio": (1.0, 1.05)}),
        ("ppo", {"critic__vf_explained_var": (-1.0, 0.2, 0.5)}),  # late, not early
        ("grpo", {"objective__kl": (0.1, 6.0, 8.0)}),
        ("grpo", {"entropy": (2.5, 1.2)}),
    ],
)
def test_what_is_no_failure(kind, changes):
    found = findings(policy_stage(kind, **changes))
    assert [f["name"] for f in found if f["severity"] != "info"] == []


@pytest.mark.parametrize(("kl", "severity"), [(5.0, None), (14.0, "warning"), (30.0, "problem")])
def test_pairs_that_lead_far_away_are_seen_by_the_evaluation(kl, severity):
    doc = document(length=20.0)
    doc["policies"]["dpo"]["kl"] = {"mean": kl}
    assert named(findings(doc)).get("kl_runaway", {}).get("severity") == severity


def test_kl_is_held_against_its_target():
    doc = policy_stage("ppo", objective__kl=(0.1, 5.0, 5.0))
    doc["stages"]["ppo"]["config"]["kl_target"] = 2.0
    finding = named(findings(doc))["kl_over_target"]
    assert finding["severity"] == "warning" and finding["evidence"]["kl_target"] == 2.0
    doc["stages"]["ppo"]["config"]["kl_target"] = 4.0
    assert "kl_over_target" not in named(findings(doc))


def test_the_remedy_names_the_stages_own_key():
    for kind, key in (("ppo", "kl_coef"), ("grpo", "beta"), ("online", "beta")):
        found = named(findings(policy_stage(kind, objective__kl=(0.1, 40.0))))
        assert key in found["kl_runaway"]["remedy"]


def test_a_critic_is_not_judged_by_its_first_roll_outs():
    doc = policy_stage("ppo", critic__vf_explained_var=(-1.0, -1.0))
    doc["curves"]["ppo"]["critic/vf_explained_var"] = [[1, -0.5], [5, -0.1]]
    assert "critic_explains_nothing" not in named(findings(doc))


def test_a_critic_on_its_way_up_is_left_in_peace():
    assert "critic_explains_nothing" not in named(
        findings(policy_stage("ppo", critic__vf_explained_var=(-0.5, -0.02)))
    )
    assert "critic_explains_nothing" in named(
        findings(policy_stage("ppo", critic__vf_explained_var=(-0.05, -0.05)))
    )


@pytest.mark.parametrize(
    ("losses", "said"), [((0.26, 0.22, 0.19), False), ((0.26, 0.19, 0.19), True)]
)
def test_a_critic_whose_loss_still_falls_is_left_in_peace(losses, said):
    doc = policy_stage("ppo", critic__vf_explained_var=(0.0, 0.0))
    still = {"critic/vf_explained_var": [[s, 0.0] for s in range(1, STEPS + 1)]}
    doc["curves"]["ppo"] |= still | {"loss/value_avg": course(*losses, noise=0.005)}
    assert ("critic_explains_nothing" in named(findings(doc))) is said
