"""The evaluation section of a card says what the evaluation found, and touches nothing else."""

import json
from pathlib import Path

from accord.report.card import model_card
from accord.report.card_evaluation import BEGIN, END, evaluation_text, with_evaluations


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / "accord" / name).read_text())


def text(stages: dict[str, Path], policy: str, **changed: object) -> str:
    found = read(stages["report"], "evaluation.json")
    found["protocol"] |= changed
    return evaluation_text(policy, found, read(stages[policy], "stage.json"), "f00d")


def test_scores_stand_with_intervals_beside_the_difference_to_the_reference(stages):
    found = read(stages["report"], "evaluation.json")
    shown = text(stages, "dpo")
    [compared] = [c for c in found["comparisons"] if (c["policy"], c["scorer"]) == ("dpo", "vader")]
    score = found["policies"]["dpo"]["scores"]["vader"]
    [row] = [line for line in shown.splitlines() if line.startswith("| vader |")]
    cells = [cell.strip().replace("−", "-") for cell in row.strip("|").split("|")]
    assert float(cells[1]) == round(score["mean"], 3)
    assert [float(end) for end in cells[2].split(" to ")] == [round(e, 3) for e in score["ci95"]]
    assert float(cells[3]) == round(compared["difference"], 3)
    assert [float(e) for e in cells[4].split(" to ")] == [round(e, 3) for e in compared["ci95"]]
    assert f"{found['protocol']['prompts']:,} prompts" in shown
    assert "| KL from the reference, nats |" in shown and "`f00d`" in shown
    assert "to the reference `sft`" in shown


def test_the_reference_has_no_difference_to_itself(stages):
    shown = text(stages, "sft")
    assert "difference" not in shown and "KL from" not in shown
    assert "were compared with this model" in shown


def test_what_it_was_trained_for_or_on_is_said_beside_the_figure(all_stages):
    rewards = {"learned": {"model": "rm"}, "vader": {"function": "vader"}}
    shown = text(all_stages, "ppo", rewards=rewards, scorers=["length", "vader", "learned"])
    assert "trained to raise `learned`:" in shown
    assert "trained to raise" not in text(all_stages, "dpo", rewards=rewards)
    seen = {"ppo": {"prompts": 3, "of": 64, "examples": []}}
    assert "3 of 64 prompts were among its training rows" in text(
        all_stages, "ppo", trained_on=seen
    )


def test_only_what_stands_between_the_marks_is_replaced(stages):
    card = model_card(stages["dpo"]).replace("# dpo", "# A name of my own")
    assert card.count(BEGIN) == card.count(END) == 1 and "## Evaluation" not in card
    once = with_evaluations(card, ["first"])
    assert "## Evaluation\n\nfirst" in once
    assert with_evaluations(once, ["first"]) == once
    twice = with_evaluations(once, ["second", "third"])
    assert "first" not in twice and "second\n\nthird" in twice
    for part in (0, -1):
        border = (BEGIN, END)[part]
        assert twice.split(border)[part] == card.split(border)[part]


def test_a_card_without_marks_stays_as_it_is():
    for card in ("# mine\n", f"# cut {BEGIN} short", f"{END} the wrong way round {BEGIN}"):
        assert with_evaluations(card, ["x"]) == card


def test_a_reward_model_has_no_place_for_answers(all_stages):
    assert BEGIN not in model_card(all_stages["rm"])
