"""Other scripts, forgotten text, prompts that were trained on."""

import pytest
from planted import comparison, course, document, named, policy_stage, statistics

from accord.evaluation.findings import findings


def strayed(share: float, letters: int = 400, sft: float = 0.0) -> dict:
    doc = document()
    scripts = ["Hangul"] if share else []
    doc["policies"]["dpo"]["strayed"] = {"share": share, "letters": letters, "scripts": scripts}
    doc["policies"]["sft"]["strayed"] = {"share": sft, "letters": letters, "scripts": scripts}
    return doc


def test_a_policy_that_changes_its_script_is_named():
    finding = named(findings(strayed(0.4, sft=0.25)))["script_drift"]
    assert "40% of the letters it wrote are in Hangul" in finding["sentence"]
    assert finding["evidence"] == {"policy": "dpo", "share": 0.4, "reference": 0.25, "letters": 400}


@pytest.mark.parametrize(
    ("ours", "letters", "theirs"),
    [(0.0, 400, 0.0), (0.4, 400, 0.35), (0.4, 99, 0.0), (0.1, 400, 0.0)],
)
def test_what_is_no_drift(ours, letters, theirs):
    assert "script_drift" not in named(findings(strayed(ours, letters, theirs)))


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


@pytest.mark.parametrize(("nats", "said"), [(-19.0, False), (-21.0, True), (5.0, False)])
def test_chosen_responses_that_a_policy_unlearned(nats, said):
    doc = document()  # beta is 0.1, so that a reward is a tenth of its nats
    doc["curves"]["dpo"] |= {
        "rewards/chosen": course(0.0, nats / 10, nats / 10, noise=0.0),
        "logps/chosen": course(-40.0, -40.0 + nats, -40.0 + nats, noise=0.0),
    }
    doc["curves"]["dpo"]["logps/chosen"][:6] = [[step, -40.0] for step in range(1, 7)]
    found = named(findings(doc)).get("forgetting")
    assert bool(found) is said
    if found:
        assert found["severity"] == "problem"
        assert found["evidence"]["nats"] == pytest.approx([40.0, 61.0])


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


@pytest.mark.parametrize(("count", "severity"), [(0, None), (3, "warning"), (4, "problem")])
def test_prompts_that_were_found_in_training_rows(count, severity):
    doc = evaluated(HELD, HELD)
    found = {"prompts": count, "of": 60, "examples": ["Where did the fox go?"][:count]}
    doc["protocol"]["trained_on"] = {"dpo": found, "sft": {"unknown": "it is gone"}}
    leaks = [f for f in findings(doc) if f["name"] == "leakage"]
    assert [f["severity"] for f in leaks] == ([severity] if severity else [])
    assert all("of 60 prompts" in f["sentence"] and "fox" in f["sentence"] for f in leaks)


def test_a_leak_that_was_counted_is_not_guessed_at_too():
    doc = evaluated(None, None)
    doc["protocol"]["trained_on"] = {"sft": {"prompts": 60, "of": 60, "examples": ["Where?"]}}
    [leak] = [f for f in findings(doc) if f["name"] == "leakage"]
    assert leak["evidence"]["share"] == 1.0


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
