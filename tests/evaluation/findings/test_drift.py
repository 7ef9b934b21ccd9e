"""Other scripts, forgotten text, prompts that were trained on."""

import pytest
from planted import comparison, course, document, named, policy_stage, statistics

from accord.evaluation.findings import findings

KOREAN = "안녕하세요 오늘은 날씨가 참 좋습니다 " * 3
ENGLISH = "the weather is very good today, is it not " * 2


def with_samples(sft: str, dpo: str, prompt: str = "How is the weather?") -> dict:
    policies = {"sft": {"completion": sft}, "dpo": {"completion": dpo}}
    return {**document(), "samples": [{"prompt": prompt, "policies": policies}] * 4}


def test_a_policy_that_changes_its_script_is_named():
    finding = named(findings(with_samples(ENGLISH, ENGLISH + KOREAN)))["script_drift"]
    assert "Hangul" in finding["sentence"] and finding["evidence"]["policy"] == "dpo"
    letters = sum(map(str.isalpha, ENGLISH + KOREAN))
    share = sum(map(str.isalpha, KOREAN)) / letters
    assert finding["evidence"]["share"] == pytest.approx(share)
    assert finding["evidence"]["letters"] == 4 * letters


@pytest.mark.parametrize(
    ("sft", "dpo", "prompt"),
    [
        (ENGLISH, ENGLISH, "How is the weather?"),
        (KOREAN, KOREAN, "Say it in Korean"),  # what was asked for, the reference does it too
        (ENGLISH, KOREAN, "날씨 weather?"),  # the prompt uses both
        (ENGLISH, "좋다", "How is it?"),  # too few letters
        (ENGLISH, KOREAN, "1 + 1 = "),  # no letters to compare with
    ],
)
def test_what_is_no_drift(sft, dpo, prompt):
    assert "script_drift" not in named(findings(with_samples(sft, dpo, prompt)))


@pytest.mark.parametrize(("now", "severity"), [(2.01, None), (2.1, "warning"), (2.5, "problem")])
def test_text_that_an_earlier_stage_predicted_better(now, severity):
    doc = document()
    doc["stages"] = {
        "base": {"kind": "pretrain", "config": {}},
        "sft": {"kind": "sft", "config": {"from": "base"}},
        "other": {"kind": "sft", "config": {"from": "elsewhere"}},
    }
    doc["heldout"] = {
        "base": {"stories": {"bits_per_byte": 2.0}, "overall": {"bits_per_byte": 1.0}},
        "sft": {"stories": {"bits_per_byte": now}, "overall": {"bits_per_byte": 3.0}},
        "other": {"stories": {"bits_per_byte": 9.0}},  # did not come from base
    }
    found = [f for f in findings(doc) if f["name"] == "forgetting"]
    assert [f["severity"] for f in found] == ([severity] if severity else [])
    assert all(f["evidence"]["bits_per_byte"] == [2.0, now] for f in found)


def test_forgetting_is_told_over_several_stages():
    doc = document()
    doc["stages"]["sft"]["config"] = {"from": "base"}
    doc["stages"]["dpo"]["config"] = {"from": "sft", "beta": 0.1}
    doc["stages"]["base"] = {"kind": "pretrain", "config": {"from": "base"}}  # a circle ends
    doc["heldout"] = {
        "base": {"s": {"bits_per_byte": 1.0}},
        "dpo": {"s": {"bits_per_byte": 1.5}},
    }
    [finding] = [f for f in findings(doc) if f["name"] == "forgetting"]
    assert finding["evidence"]["stage"] == "dpo" and finding["evidence"]["earlier"] == "base"


def test_the_loss_on_chosen_responses_that_rises():
    doc = document()
    doc["curves"]["dpo"]["nll_loss"] = course(2.0, 2.1, 2.6)
    assert named(findings(doc))["forgetting"]["evidence"]["steps"] == [1, 60]
    doc["curves"]["dpo"]["nll_loss"] = course(2.0, 1.8, 2.05)
    assert "forgetting" not in named(findings(doc))


HELD = {"fraction": 0.1, "salt": "accord"}
ROWS = [{"source": "rows.jsonl"}]


def evaluated(trained: dict | None, prompts: dict | None, source: str = "rows.jsonl") -> dict:
    doc = document()
    doc["stages"]["sft"]["config"] = {"data": [{"source": source}], "heldout": trained}
    config = {"prompts": {"data": ROWS, "heldout": prompts}}
    doc["stages"]["report"] = {"kind": "evaluate", "config": config}
    doc["stages"]["tokenizer"] = {"kind": "tokenizer", "config": {"data": ROWS}}
    return doc


@pytest.mark.parametrize(
    ("trained", "prompts"),
    [
        ({"fraction": 0.0, "salt": "accord"}, HELD),
        ({"fraction": 0.05, "salt": "accord"}, HELD),
        ({"fraction": 0.1, "salt": "other"}, HELD),
        (HELD, None),
    ],
)
def test_prompts_that_a_stage_trained_on(trained, prompts):
    finding = named(findings(evaluated(trained, prompts)))["leakage"]
    assert finding["severity"] == "problem" and finding["evidence"]["stage"] == "sft"
    assert finding["evidence"]["sources"] == ["rows.jsonl"]


def test_prompts_that_are_held_out_alike_or_from_elsewhere():
    assert "leakage" not in named(findings(evaluated(HELD, HELD)))
    assert "leakage" not in named(findings(evaluated({**HELD, "fraction": 0.3}, HELD)))
    assert "leakage" not in named(findings(evaluated(None, HELD, "others.jsonl")))


def test_a_policy_without_an_end_token():
    doc = document()
    doc["policies"]["sft"] = statistics(ended=0.0)
    finding = named(findings(doc))["no_end_token"]
    assert finding["evidence"] == {"policy": "sft", "ended": 0.0}


def test_any_scorer_that_no_reward_is_made_of_is_a_judge():
    doc = policy_stage("ppo")
    doc["protocol"] = {"rewards": {"learned": {"model": "rm"}}, "scorers": ["truth", "fluency"]}
    doc["comparisons"] = [
        comparison("learned", 1.0, 0.8, 1.2, policy="ppo"),
        comparison("truth", -0.3, -0.4, -0.2, policy="ppo"),
        comparison("fluency", -0.1, -0.2, -0.05, policy="ppo"),
    ]
    [finding] = [f for f in findings(doc) if f["name"] == "reward_without_judge"]
    assert finding["severity"] == "problem" and "not in truth (−0.30" in finding["sentence"]
