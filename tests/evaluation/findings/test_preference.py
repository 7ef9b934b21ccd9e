"""Stages trained on pairs."""

import math

import pytest
from planted import document, margins, named

from accord.evaluation.findings import findings


def test_a_run_that_hardly_moved():
    # Keural's DPO: loss .6924 and margin .0015 after an epoch
    doc = document()
    doc["curves"]["dpo"] = margins(margin=0.0015, chosen=0.0007)
    doc["policies"]["dpo"]["kl"] = {"mean": 0.004}
    finding = named(findings(doc))["policy_did_not_move"]
    assert finding["severity"] == "problem"
    assert finding["evidence"]["loss"] == pytest.approx(0.6924, abs=1e-4)
    assert "precision" in finding["remedy"]
    doc["policies"]["dpo"]["kl"] = {"mean": 3.0}
    assert "policy_moved" in named(findings(doc))


def test_a_run_without_evaluation_is_judged_by_its_margin():
    doc = document()
    doc["policies"] = {}
    doc["curves"]["dpo"] = margins(margin=0.0015, chosen=0.0)
    assert "policy_did_not_move" in named(findings(doc))


def test_a_run_that_left_without_a_margin_did_move():
    doc = document()
    doc["policies"] = {}
    doc["curves"]["dpo"] = margins(margin=0.0015, chosen=-2.0)
    found = named(findings(doc))
    assert "policy_did_not_move" not in found and "policy_moved" in found


def test_chosen_fell_in_nats():
    doc = document()
    doc["curves"]["dpo"] = margins(margin=2.0, chosen=-0.7)
    finding = named(findings(doc))["chosen_fell"]
    assert finding["evidence"]["nats"] == pytest.approx(-7.0)  # divided by beta
    assert finding["severity"] == "warning" and "−7.0 nats" in finding["sentence"]


def test_margin_explosion():
    doc = document()
    doc["curves"]["dpo"] = margins(margin=59.9, chosen=0.1)
    assert named(findings(doc))["margin_explosion"]["severity"] == "problem"
    doc["curves"]["dpo"] = margins(margin=9.9, chosen=0.1)
    assert "margin_explosion" not in named(findings(doc))


def test_a_margin_that_held_out_pairs_do_not_share_explodes_too():
    doc = document()
    doc["curves"]["dpo"] = margins(margin=59.9, chosen=0.1) | {"eval_rewards/margins": [[2, 0.4]]}
    assert "margin_explosion" in named(findings(doc))


def test_a_small_beta_does_not_hide_how_far_a_policy_went():
    doc = document()  # beta is 0.1: bounds are 10, and twice 30 nats
    doc["curves"]["dpo"] = margins(margin=6.1, chosen=0.1) | {"logps/chosen": [[1, -30], [2, -90]]}
    assert "margin_explosion" in named(findings(doc))
    doc["curves"]["dpo"] |= margins(margin=5.9, chosen=0.1)
    assert "margin_explosion" not in named(findings(doc))


def test_extreme_margins_do_not_overflow():
    doc = document()
    doc["curves"]["dpo"] = margins(margin=-2000.0, chosen=0.1)
    assert math.isfinite(named(findings(doc))["policy_moved"]["evidence"]["loss"])


def test_held_out_values_go_before_training_ones():
    doc = document()
    doc["curves"]["dpo"]["eval_rewards/chosen"] = [[1, 0.0], [2, -0.5]]
    assert named(findings(doc))["chosen_fell"]["evidence"]["rewards/chosen"] == -0.5


def test_the_last_tenth_of_training_steps_counts():
    doc = document()
    doc["curves"]["dpo"]["rewards/chosen"] = [[s, -1.0 if s > 18 else 9.0] for s in range(1, 21)]
    assert named(findings(doc))["chosen_fell"]["evidence"]["rewards/chosen"] == -1.0
