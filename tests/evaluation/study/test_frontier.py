"""Score against KL, and what was written: the same runs once, unlike evaluations apart."""

from made_study import PHASE_5, RECIPE, cell, settings

from accord.evaluation.study.frontier import SHOWN, evaluated_alike, frontier, over_seeds, samples
from accord.evaluation.study.table import table

WARM = settings(report__sampling=PHASE_5)


def scored(value):
    return {"sft": {"length": [0.0, 0.0]}, "dpo": {"length": [value, value]}}


def measured(kl, value=1.0, variant="base", seed=1, resolved=RECIPE):
    """A run whose DPO policy has this KL and score."""
    made = cell(scored(value), variant, seed, resolved=resolved)
    kls = {"sft": 0.0, "dpo": kl}
    interval = {"ci95": [kl - 1, kl + 1]}
    made.evaluation["policies"] = {p: {"kl": {"mean": k, **interval}} for p, k in kls.items()}
    return made


def points(cells):
    scores = table(cells)
    averages = {
        variant: {p: {"length": float(v["length"].mean())} for p, v in policies.items()}
        for variant, policies in scores.values.items()
    }
    return frontier(cells, scores, averages, 200, 0)


def test_points_stand_in_order_of_kl():
    cells = [
        measured(kl, value, name, resolved=settings(dpo__beta=kl))
        for name, kl, value in (("far", 9.0, 3.0), ("near", 1.0, 2.0), ("middle", 4.0, 5.0))
    ]
    found = points(cells)["dpo"]
    assert [(p["variants"], p["kl"]["mean"]) for p in found] == [
        (["near"], 1.0), (["middle"], 4.0), (["far"], 9.0),
    ]  # fmt: skip
    assert [p["scores"]["length"] for p in found] == [2.0, 5.0, 3.0]
    assert {p["alike"] for p in found} == {"far"}


def test_kl_is_averaged_over_seeds_and_its_interval_never_below_zero():
    found = points([measured(1.0, seed=1), measured(3.0, seed=2)])["dpo"][0]["kl"]
    assert found["mean"] == 2.0 and found["per_seed"] == [1.0, 3.0]
    assert found["ci95"][0] == 0.0 and found["ci95"][1] > 3.0


def test_one_seed_keeps_the_interval_over_prompts():
    assert points([measured(4.0)])["dpo"][0]["kl"]["ci95"] == [3.0, 5.0]


def test_a_bound_of_kl_needs_no_interval_and_is_called_one():
    run = measured(4.0)
    run.evaluation["policies"]["dpo"]["kl"] = {"mean": 1.5, "bound": True}
    found = points([run])
    assert found["dpo"][0]["kl"]["ci95"] == [1.5, 1.5] and found["dpo"][0]["kl"]["bound"]
    assert found["dpo"][0]["method"] == "dpo"
    run.evaluation["protocol"]["best_of"] = {"dpo": {"n": 4, "reward": [{"function": "vader"}]}}
    assert points([run])["dpo"][0]["method"] == "best of n"
    assert not found["sft"][0]["kl"]["bound"]


def test_variants_with_the_same_runs_are_one_point():
    grpo = settings(grpo__lr=1.0)
    found = points([measured(4.0), measured(4.0, variant="b", resolved=grpo)])
    assert [p["variants"] for p in found["dpo"]] == [["base", "b"]]


def test_a_policy_evaluated_in_two_ways_is_two_points_that_no_line_joins():
    found = points([measured(4.0), measured(4.0, variant="warm", resolved=WARM)])["dpo"]
    assert [(p["variants"], p["alike"]) for p in found] == [(["base"], "base"), (["warm"], "warm")]


def test_alike_is_the_first_variant_sampled_and_judged_so():
    both = settings(report__sampling=PHASE_5, dpo__beta=0.3)
    cells = [
        cell(scored(1), name, resolved=resolved)
        for name, resolved in (
            ("a", RECIPE), ("b", WARM), ("c", settings(dpo__beta=0.3)), ("d", both))
    ]  # fmt: skip
    assert evaluated_alike(table(cells)) == {"a": "a", "b": "b", "c": "a", "d": "b"}


def test_one_seed_has_no_interval_and_two_have_one_around_the_mean():
    assert over_seeds([2.0], 100, 0) == {"mean": 2.0, "ci95": None, "per_seed": [2.0]}
    found = over_seeds([1.0, 3.0], 1000, 0)
    low, high = found["ci95"]
    assert found["mean"] == 2.0 and low < 1.0 and high > 3.0


def test_without_kl_there_is_no_point():
    assert points([cell(scored(1.0))]) == {}


def test_samples_stand_side_by_side_and_alike_ones_once():
    cells = [cell(scored(1.0)), cell(scored(2.0), "b", resolved=settings(dpo__beta=0.3))]
    found = samples(cells, table(cells))
    assert found["seeds"] == {"base": 1, "b": 1}
    row = found["rows"][1]
    assert (row["id"], row["prompt"]) == ("p001", "text of p001")
    assert [(t["policy"], t["variants"], t["scores"]["length"]) for t in row["texts"]] == [
        ("sft", ["base", "b"], 0.0), ("dpo", ["base"], 1.0), ("dpo", ["b"], 2.0),
    ]  # fmt: skip


def test_a_few_prompts_are_shown():
    many = {"sft": {"length": [0.0] * 20}}
    made = [cell(many)]
    assert [row["id"] for row in samples(made, table(made))["rows"]] == [
        f"p{i:03}" for i in range(SHOWN)
    ]
