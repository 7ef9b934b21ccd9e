"""Every finding where it belongs, and its absence where it does not."""

import copy
import math

import pytest

from accord.evaluation.findings import CHECKS, findings


def statistics(**changes) -> dict:
    healthy = {"distinct_2": 0.6, "unique": 1.0, "ended": 0.95, "length": 20.0, "copies": 0.01}
    return {"scores": {}, "kl": {"mean": 0.0}, "statistics": {**healthy, **changes}}


def document(**of_dpo) -> dict:
    """A healthy run, whose policy's statistics may be changed."""
    policies = {"sft": statistics(), "dpo": statistics(**of_dpo)}
    policies["dpo"]["kl"] = {"mean": 5.0}
    return {
        "protocol": {"reference": "sft"},
        "policies": policies,
        "comparisons": [],
        "stages": {
            "sft": {"kind": "sft", "config": {}},
            "dpo": {"kind": "preference", "config": {"beta": 0.1}},
        },
        "curves": {"dpo": curves(margin=1.5, chosen=0.2)},
        "rows": {},
    }


def curves(margin: float, chosen: float) -> dict:
    return {
        "rewards/margins": [[1, 0.0], [2, margin]],
        "rewards/chosen": [[1, 0.0], [2, chosen]],
    }


def comparison(scorer: str, difference: float, low: float, high: float) -> dict:
    return {
        "policy": "dpo",
        "reference": "sft",
        "scorer": scorer,
        "difference": difference,
        "ci95": [low, high],
        "win_rate": 0.5,
        "win_rate_ci95": [0.4, 0.6],
        "n": 256,
    }


def named(found: list[dict]) -> dict[str, dict]:
    return {finding["name"]: finding for finding in found}


def test_a_healthy_run_has_no_warning_and_says_so():
    found = findings(document())
    assert {f["severity"] for f in found} == {"info"}
    assert set(named(found)) == {"policy_moved", "chosen_kept", "ends_kept", "diversity_kept"}
    assert all(f["remedy"] == "" for f in found)


def test_sentences_of_comparisons():
    doc = document()
    doc["comparisons"] = [
        comparison("vader", 0.351, 0.284, 0.407),
        comparison("length", -0.1, -0.9, 0.7),
    ]
    found = named(findings(doc))
    assert found["difference"]["sentence"] == (
        "dpo − sft in vader = +0.35 [0.28, 0.41], 256 prompts."
    )
    assert found["not_distinguishable"]["sentence"] == (
        "dpo − sft in length: not distinguishable (−0.10 [−0.90, 0.70], 256 prompts)."
    )
    assert found["difference"]["evidence"]["difference"] == 0.351


@pytest.mark.parametrize(
    ("changes", "name", "severity"),
    [
        ({"ended": 0.72}, "rambling", "warning"),
        ({"length": 30.0}, "longer_completions", "warning"),
        ({"distinct_2": 0.45}, "diversity_fell", "warning"),
        ({"distinct_2": 0.3}, "diversity_fell", "problem"),
        ({"unique": 0.73}, "collapse", "warning"),
        ({"unique": 0.2}, "collapse", "problem"),
        ({"copies": 0.05}, "copies_rose", "warning"),
    ],
)
def test_statistics_that_went_wrong(changes, name, severity):
    assert name not in named(findings(document()))
    finding = named(findings(document(**changes)))[name]
    assert finding["severity"] == severity
    assert finding["remedy"] and "dpo" in finding["sentence"]
    [changed] = changes.values()
    assert changed in finding["evidence"].values()


@pytest.mark.parametrize(
    "changes",
    [{"ended": 0.91}, {"length": 23.0}, {"distinct_2": 0.55}, {"unique": 0.9}, {"copies": 0.02}],
)
def test_small_changes_are_no_finding(changes):
    assert {f["severity"] for f in findings(document(**changes))} == {"info"}


def test_a_reference_without_variety_is_not_the_policys_fault():
    doc = document(unique=0.7)
    doc["policies"]["sft"]["statistics"]["unique"] = 0.7
    assert "collapse" not in named(findings(doc))


@pytest.mark.parametrize(
    ("change", "name", "severity"),
    [
        (-0.03, "fluency_kept", "info"),
        (-0.4, "fluency_fell", "warning"),
        (-0.9, "fluency_fell", "problem"),
        (0.3, "fluency_kept", "info"),
    ],
)
def test_fluency(change, name, severity):
    doc = document()
    doc["comparisons"] = [comparison("fluency", change, change - 0.1, change + 0.1)]
    assert named(findings(doc))[name]["severity"] == severity


def test_a_run_that_hardly_moved():
    # Keural's DPO: loss .6924 and margin .0015 after an epoch
    doc = document()
    doc["curves"]["dpo"] = curves(margin=0.0015, chosen=0.0007)
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
    doc["curves"]["dpo"] = curves(margin=0.0015, chosen=0.0)
    assert "policy_did_not_move" in named(findings(doc))


def test_chosen_fell_in_nats():
    doc = document()
    doc["curves"]["dpo"] = curves(margin=2.0, chosen=-0.7)
    finding = named(findings(doc))["chosen_fell"]
    assert finding["evidence"]["nats"] == pytest.approx(-7.0)  # divided by beta
    assert finding["severity"] == "warning" and "−7.0 nats" in finding["sentence"]


def test_margin_explosion():
    doc = document()
    doc["curves"]["dpo"] = curves(margin=59.9, chosen=0.1)
    assert named(findings(doc))["margin_explosion"]["severity"] == "problem"
    doc["curves"]["dpo"] = curves(margin=9.9, chosen=0.1)
    assert "margin_explosion" not in named(findings(doc))


def test_extreme_margins_do_not_overflow():
    doc = document()
    doc["curves"]["dpo"] = curves(margin=-2000.0, chosen=0.1)
    assert math.isfinite(named(findings(doc))["policy_moved"]["evidence"]["loss"])


def test_held_out_values_go_before_training_ones():
    doc = document()
    doc["curves"]["dpo"]["eval_rewards/chosen"] = [[1, 0.0], [2, -0.5]]
    assert named(findings(doc))["chosen_fell"]["evidence"]["rewards/chosen"] == -0.5


def test_the_last_tenth_of_training_steps_counts():
    doc = document()
    doc["curves"]["dpo"]["rewards/chosen"] = [[s, -1.0 if s > 18 else 9.0] for s in range(1, 21)]
    assert named(findings(doc))["chosen_fell"]["evidence"]["rewards/chosen"] == -1.0


def test_overfitting():
    doc = document()
    doc["curves"]["sft"] = {"eval_loss": [[10, 2.0], [20, 1.5], [30, 1.52]]}
    assert "overfitting" not in named(findings(doc))
    doc["curves"]["sft"]["eval_loss"].append([40, 1.6])
    finding = named(findings(doc))["overfitting"]
    assert finding["evidence"]["step"] == 20 and "step 20" in finding["sentence"]


def test_rows_lost_by_accident_but_not_by_intent():
    doc = document()
    counts = {"kept": 80, "dropped": {"held out": 900, "shorter than 5 words": 50}}
    doc["rows"] = {"sft": {"reviews": {**counts, "truncated": {}}}}
    assert {f["severity"] for f in findings(doc)} == {"info"}
    counts["dropped"]["bad row"] = 20
    assert named(findings(doc))["rows_dropped"]["severity"] == "warning"
    doc["rows"]["sft"]["reviews"] = {"kept": 100, "dropped": {}, "truncated": {"too long": 11}}
    assert "11%" in named(findings(doc))["rows_truncated"]["sentence"]


def test_the_gravest_come_first():
    found = findings(document(unique=0.2, ended=0.5))
    order = [f["severity"] for f in found]
    assert order == sorted(order, key=["problem", "warning", "info"].index)
    assert order[0] == "problem"


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_fails_on_an_empty_document_or_changes_one(check):
    assert list(check({})) == []
    doc = document()
    before = copy.deepcopy(doc)
    list(check(doc))
    assert doc == before
