"""What may be said of two runs: numbers only where they were measured alike."""

import json

import pytest

from accord.evaluation.compare.document import compare_document
from accord.evaluation.compare.text import screen
from accord.evaluation.statistics import paired_difference


def compared(a, b) -> dict:
    return compare_document(a, b, resamples=500)


def claim(found: dict, policy: str, scorer: str) -> dict:
    (one,) = [c for c in found["claims"] if (c["context"], c["scorer"]) == (policy, scorer)]
    return one


def test_a_difference_is_b_less_a_paired_over_the_shared_prompts(run):
    a, b = run(), run(gain=0.5, dpo__beta=1.0)
    found = compared(a, b)
    one = claim(found, "dpo", "vader")
    values = [
        [[s["policies"]["dpo"]["scores"]["vader"]] for s in side.document["samples"]]
        for side in (b, a)
    ]
    by_hand = paired_difference(*values, resamples=500, seed=0)
    assert one["difference"] == pytest.approx(0.5)
    assert one["ci95"] == pytest.approx([by_hand.low, by_hand.high])
    assert one["distinguishable"]


def test_of_two_single_runs_no_difference_is_an_effect(run):
    found = compared(run(), run(gain=0.5, dpo__beta=1.0))
    one = claim(found, "dpo", "vader")
    assert not one["causal"]
    assert "the effect is not told from the luck of a run" in one["sentence"]
    assert any("A difference between single runs is not an effect" in s for s in found["said"])


def test_a_model_that_is_the_same_in_both_is_not_compared(run):
    found = compared(run(), run(gain=0.5, dpo__beta=1.0))
    assert {c["context"] for c in found["claims"]} == {"dpo"}
    assert {row["policy"] for row in found["means"] if row["same_model"]} == {"sft"}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"eval__sampling__temperature": 0.3}, "sampling.temperature (0.7 → 0.3)"),
        ({"eval__reference": "dpo"}, "reference (sft → dpo)"),
    ],
)
def test_another_protocol_gives_no_number_but_the_means(run, changes, part):
    found = compared(run(), run(gain=3.43, dpo__beta=1.0, **changes))
    assert found["claims"] == []
    assert all(row["claim"] is None and row["not_compared"] for row in found["means"])
    (sentence,) = [s for s in found["said"] if "not comparable" in s]
    assert part in sentence
    assert "cannot be called an effect of training" in sentence
    means = {(r["policy"], r["scorer"]): r for r in found["means"]}
    row = means["dpo", "vader"]
    assert row["b"]["mean"] - row["a"]["mean"] == pytest.approx(3.43)


def test_what_the_evaluation_alone_moves_is_said(run):
    b = run(eval__sampling__temperature=0.3)
    b.document["policies"]["sft"]["scores"]["vader"] = {"mean": 9.0, "ci95": [8.0, 9.5], "n": 40}
    (sentence,) = [s for s in compared(run(), b)["said"] if "alone" in s]
    assert "sft is the same model in both" in sentence
    assert "→ 9" in sentence


def test_other_prompts_give_no_number(run):
    b = run(gain=0.5, dpo__beta=1.0)
    del b.document["samples"][0]
    found = compared(run(), b)
    assert found["claims"] == []
    assert found["protocol"] == [{"part": "prompts", "a": 40, "b": 39, "shared": 39}]


def test_a_judge_that_is_another_model_is_no_ruler(run):
    found = compared(run(), run(gain=0.5, seed=2))
    assert set(found["not_compared"]) == {"fluency", "learned"}
    assert "rm, is not the same model" in found["not_compared"]["learned"]
    assert {c["scorer"] for c in found["claims"]} == {"vader", "length"}
    assert "chance" in claim(found, "dpo", "vader")["sentence"]


def test_tokens_of_two_tokenizers_are_not_counted_against_each_other(run):
    found = compared(run(), run(tokenizer__vocab_size=500))
    assert "tokenizers differ" in found["not_compared"]["length"]
    assert "vader" not in found["not_compared"]


def test_a_scorer_defined_otherwise_is_not_compared(run):
    b = run(dpo__beta=1.0, eval__rewards__learned={"function": "vader"})
    assert "defined otherwise" in compared(run(), b)["not_compared"]["learned"]


def test_holm_is_taken_over_all_that_is_compared(run):
    found = compared(run(), run(gain=0.5, dpo__beta=1.0))
    assert {c["comparisons"] for c in found["claims"]} == {4} == {len(found["claims"])}


def test_stages_data_and_held_out_rows_stand_side_by_side(run):
    b = run(dpo__beta=1.0)
    b.document["curves"]["dpo"]["loss"][1][1] = 0.25
    b.document["rows"]["sft"]["pairs"]["kept"] = 8
    b.document["heldout"]["sft"]["overall"] |= {"bits_per_byte": 1.5, "tokens": 41}
    found = compared(run(), b)
    stages = {stage["stage"]: stage for stage in found["stages"]}
    assert stages["sft"]["same"]
    assert not stages["dpo"]["same"]
    assert stages["dpo"]["metrics"]["loss"] == {"a": 0.5, "b": 0.25, "difference": -0.25}
    assert stages["dpo"]["tokens_per_second"]["a"] == 20.0
    assert stages["dpo"]["peak_memory_bytes"]["a"] == 9.0
    assert stages["dpo"]["steps"]["a"] == 2
    assert [(r["a"]["kept"], r["b"]["kept"]) for r in found["data"]] == [(9, 8)]
    (held,) = found["heldout"]
    assert held["difference"] == -0.5
    assert not held["same_rows"]


def test_findings_that_only_one_has(run):
    def finding(name: str, policy: str) -> dict:
        evidence = {"policy": policy}
        return {
            "name": name,
            "severity": "warning",
            "sentence": f"{policy} {name}",
            "evidence": evidence,
            "remedy": "",
        }

    a, b = run(), run()
    a.document["findings"] = [finding("collapse", "dpo"), finding("rambling", "dpo")]
    b.document["findings"] = [finding("collapse", "dpo"), finding("rambling", "sft")]
    found = compared(a, b)["findings"]
    assert [f["evidence"]["policy"] for f in found["a"]] == ["dpo"]
    assert [f["evidence"]["policy"] for f in found["b"]] == ["sft"]
    assert [f["name"] for f in found["both"]] == ["collapse"]


def test_runs_without_an_evaluation_are_compared_without_scores(run):
    b = run(dpo__beta=1.0)
    b.document.update(policies={}, samples=[], protocol={})
    found = compared(run(), b)
    assert found["means"] == found["claims"] == found["samples"] == []
    assert any("not evaluated" in sentence for sentence in found["said"])
    assert found["settings"][0]["key"] == "beta"


def test_a_run_beside_itself(run):
    found = compared(run(), run())
    assert found["settings"] == found["claims"] == found["seeds"] == []
    assert "No setting that could change a result differs." in found["said"]


def test_the_screen_says_it_all_within_the_terminal(run):
    found = compared(run("runs/a"), run("runs/b", gain=0.5, dpo__beta=1.0))
    lines = screen(found, 100)
    text = "\n".join(lines)
    assert lines[:2] == ["A  runs/a  (invented)", "B  runs/b  (invented)"]
    for part in ("dpo.beta", "training (dpo)", "the same model", "+0.5", "say p00", "Mean scores"):
        assert part in text
    assert json.loads(json.dumps(found, allow_nan=False)) == found
