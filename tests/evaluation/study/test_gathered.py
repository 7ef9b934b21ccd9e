"""Findings of many runs: the same one once, with where it stands."""

from made_study import RECIPE, evaluation

from accord.evaluation.study.gathered import gathered
from accord.evaluation.study.table import Cell


def finding(name, severity="warning", **evidence):
    return {"name": name, "severity": severity, "sentence": f"{name} {severity}.",
            "evidence": evidence, "remedy": "mend"}  # fmt: skip


def cell(variant, seed, *findings, stages=("dpo",)):
    ran = {stage: {"kind": "preference"} for stage in stages}
    document = {"stages": ran, "policies": {}, "findings": list(findings)}
    scored = {"sft": {"length": [1.0]}}
    return Cell(variant, seed, evaluation(scored, ["p"]), RECIPE, document)


def test_the_same_finding_stands_once_with_its_seeds():
    fell = finding("chosen_fell", stage="dpo")
    cells = [cell("a", 2, fell), cell("a", 1, fell), cell("b", 1), cell("b", 2, fell)]
    [found] = gathered(cells)
    assert found["variants"] == {"a": {"seeds": [1, 2], "of": 2}, "b": {"seeds": [2], "of": 2}}
    assert (found["runs"], found["of"], found["subject"]) == (3, 4, "dpo")


def test_what_two_stages_have_in_common_is_told_of_each():
    one, other = finding("kl_runaway", stage="ppo"), finding("kl_runaway", policy="grpo")
    assert [f["subject"] for f in gathered([cell("a", 1, one, other)])] == ["ppo", "grpo"]


def test_the_gravest_first_then_what_stands_in_most_runs():
    rare, often = finding("rare", stage="dpo"), finding("often", stage="dpo")
    grave, note = finding("grave", "problem"), finding("note", "info")
    cells = [cell("a", 1, note, rare, often), cell("a", 2, grave, often)]
    assert [f["name"] for f in gathered(cells)] == ["grave", "often", "rare", "note"]


def test_the_sentence_is_that_of_the_gravest_run():
    mild, grave = finding("x", "warning", stage="dpo"), finding("x", "problem", stage="dpo")
    [found] = gathered([cell("a", 1, mild), cell("b", 3, grave)])
    assert (found["severity"], found["sentence"]) == ("problem", "x problem.")
    assert found["example"] == {"variant": "b", "seed": 3}


def test_runs_without_the_stage_do_not_count():
    runs = [cell("a", 1, finding("x", stage="dpo")), cell("b", 1, stages=("ppo",))]
    assert gathered(runs)[0]["of"] == 1
    assert gathered([cell("a", 1, finding("leakage")), cell("b", 1)])[0]["of"] == 2


def test_differences_of_single_runs_are_left_to_the_claims():
    assert gathered([cell("a", 1, finding("difference"), finding("not_distinguishable"))]) == []
