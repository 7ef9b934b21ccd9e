"""What the original claimed is judged by the study's numbers alone."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "study_claims.py"))


def claim(family, after, before, context, difference, told):
    return {
        "family": family, "after": after, "before": before, "context": context, "scorer": "rm",
        "difference": difference, "distinguishable": told, "sentence": f"{after} {difference}",
    }  # fmt: skip


def document(claims=(), **others):
    variants = ["phase1", "sampling5", "training5", "phase5", "group"]
    return {"scorer": "rm", "claims": list(claims), "variants": variants, **others}


@pytest.mark.parametrize(
    ("difference", "told", "verdict"),
    [(0.4, True, "confirmed"), (-0.4, True, "refuted"), (0.4, False, "undecidable")],
)
def test_a_direction_is_that_of_a_difference_told_from_chance(difference, told, verdict):
    numbers = document([claim("policies", "ppo", "sft", "phase1", difference, told)])
    test = SCRIPT["direction"]("policies", "ppo", "sft", "phase1", 1)
    assert test(numbers) == (verdict, f"ppo {difference}")


@pytest.mark.parametrize(
    ("second", "verdict"), [((0.2, False), "refuted"), ((0.2, True), "undecidable")]
)
def test_judges_may_not_contradict_each_other(second, verdict):
    first = claim("policies", "dpo", "sft", "phase1", -0.4, True)
    other = {**claim("policies", "dpo", "sft", "phase1", *second), "scorer": "judge"}
    numbers = document([first, other], primary=["rm", "judge"])
    assert SCRIPT["direction"]("policies", "dpo", "sft", "phase1", 1)(numbers)[0] == verdict


def test_runs_that_are_an_earlier_variants_are_looked_up_there():
    numbers = document([claim("policies", "dpo", "sft", "phase1", 0.1, True)])
    test = SCRIPT["direction"]("policies", "dpo", "sft", "group", -1)
    assert test(numbers)[0] == "refuted"
    with pytest.raises(LookupError, match="ppo − sft"):
        SCRIPT["direction"]("policies", "ppo", "sft", "group", 1)(numbers)


@pytest.mark.parametrize(
    ("training", "sampling", "verdict"),
    [
        ((0.5, True), (0.1, False), "confirmed"),
        ((-0.5, True), (3.4, True), "refuted"),
        ((0.1, False), (3.4, True), "refuted"),  # sampling made it
        ((0.1, False), (0.2, False), "undecidable"),
    ],
)
def test_a_gain_between_phases_is_trainings_only_where_training_alone_has_it(
    training, sampling, verdict
):
    numbers = document(
        [
            claim("variants", "training5", "phase1", "grpo", *training),
            claim("variants", "sampling5", "phase1", "grpo", *sampling),
        ]
    )
    assert SCRIPT["phase_gain"]("grpo")(numbers)[0] == verdict


def curves(stage, metric, by_variant):
    found = {
        variant: {metric: {"seeds": {str(s): [[1, v], [2, v]] for s, v in enumerate(values)}}}
        for variant, values in by_variant.items()
    }
    return {"training": {stage: {"curves": found, "shared": {"kl": "phase1"}}}}


def test_margins_losses_and_groups_are_read_off_the_curves():
    margins = {"phase1": [599.0, 2.0], "beta": [261.0, 1.0]}
    found = SCRIPT["margin_explodes"](document(**curves("dpo", "rewards/margins", margins)))
    assert found[0] == "confirmed" and "599.000 and 2.000" in found[1]
    calm = {"phase1": [1.5, 2.0], "beta": [0.3, 1.0]}
    assert SCRIPT["margin_explodes"](document(**curves("dpo", "rewards/margins", calm)))[0] == (
        "refuted"
    )
    for values, verdict in (([0.01, 0.02], "confirmed"), ([0.01, 0.6], "refuted")):
        numbers = document(**curves("dpo", "loss", {"phase1": values}))
        assert SCRIPT["loss_vanishes"](numbers)[0] == verdict
    for four, eight, verdict in ((0.4, 0.0, "confirmed"), (0.0, 0.0, "refuted")):
        shares = {"phase1": [four, four], "group": [eight, eight]}
        numbers = document(**curves("grpo", "frac_reward_zero_std", shares))
        assert SCRIPT["groups_collapse"](numbers)[0] == verdict


def test_a_ranking_needs_every_pair_told_apart():
    policies = ("sft", "dpo", "ppo", "grpo")
    for told, last, verdict in (
        (True, (2, 1, 4, 3), "confirmed"),
        (True, (1, 2, 4, 3), "refuted"),
        (False, (2, 1, 4, 3), "undecidable"),
    ):
        ranked = {
            name: {"rm": {"overall": dict(zip(policies, order, strict=True))}}
            for name, order in (("phase1", (2, 3, 1, 4)), ("phase5", last))
        }
        claims = [
            claim("policies" if before == "sft" else "methods", after, before, phase, 1.0, told)
            for phase in ("phase1", "phase5")
            for before, after in (
                ("sft", "dpo"), ("sft", "ppo"), ("sft", "grpo"),
                ("dpo", "ppo"), ("dpo", "grpo"), ("ppo", "grpo"),
            )
        ]  # fmt: skip
        found = SCRIPT["ranking"](document(claims, ranks=ranked))
        assert found[0] == verdict
        assert "phase1: ppo, sft, dpo, grpo; phase5: " in found[1]


@pytest.mark.parametrize(
    ("dpo", "verdict"), [(5.0, "confirmed"), (1.0, "undecidable"), (0.1, "refuted")]
)
def test_scatter_over_prompts(dpo, verdict):
    scores = {"sft": [0, 1.0], "dpo": [0, dpo], "ppo": [0, 1.0], "grpo": [0, 0.5]}
    numbers = document(per_prompt={"phase1": {p: {"rm": s} for p, s in scores.items()}})
    assert SCRIPT["most_varied"](numbers)[0] == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.0, 0.1, "confirmed"), (0.3, 0.7, "undecidable"), (0.8, 1.0, "refuted")],
)
def test_short_answers_are_those_of_the_audits(low, high, verdict):
    share = {"value": (low + high) / 2, "ci95": [low, high], "rows": 24}
    found = SCRIPT["short_answers"](document(audits={"rm": {"short_answers": share}}))
    assert found[0] == verdict and "of 24 questions" in found[1]
    assert SCRIPT["short_answers"](document())[0] == "undecidable"


def test_the_table_stands_between_its_marks():
    found = SCRIPT["Claimed"]("It rains | pours", lambda _: ("refuted", "a | b"))
    SCRIPT["table"].__globals__["CLAIMS"] = (found,)
    page = "Before.\n<!-- claims -->\nold\n<!-- end claims -->\nAfter."
    text = SCRIPT["filled"](page, document())
    assert "old" not in text and text.startswith("Before.") and text.endswith("After.")
    assert "**refuted** | a &#124; b |" in text
