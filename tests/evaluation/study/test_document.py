"""The study's document: plain, complete, the same whatever order runs come in."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from made_study import cell, settings

from accord.evaluation.study.document import ranks, study_document

SCORED = {
    "sft": {"length": [1.0, 2.0, 3.0], "learned": [0.0, 0.0, 0.0]},
    "grpo": {"length": [3.0, 2.0, 1.0], "learned": [0.5, 0.5, 0.5]},
    "dpo": {"length": [2.0, 2.0, 5.0], "learned": [-1.0, 1.0, 0.0]},
}


def plus(by):
    return {p: {s: [v + by for v in vs] for s, vs in row.items()} for p, row in SCORED.items()}


def study(cells=None, **options):
    return study_document(
        cells or [cell(plus(0)), cell(plus(2), seed=2)], "A study", resamples=200, **options
    )


def test_plain_json_with_every_part():
    document = study()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["title"] == "A study" and document["variants"] == ["base"]
    assert document["seeds"] == {"base": [1, 2]} and document["policies"] == ["sft", "grpo", "dpo"]
    assert document["prompts"][2] == {"id": "p002", "prompt": "text of p002"}
    assert document["scorers"] == ["length", "learned"]
    assert document["per_prompt"]["base"]["grpo"]["length"] == [4.0, 3.0, 2.0]
    average = document["averages"]["base"]["grpo"]["length"]
    assert (average["mean"], average["n"], average["seeds"]) == (3.0, 3, 2)
    assert average["per_seed"] == [2.0, 4.0]
    assert len(document["claims"]) == 6 and len(document["limits"]) == 1


def test_deltas_by_hand():
    heat = study()["deltas"]["base"]["length"]
    assert heat == {"policies": ["grpo", "dpo"], "matrix": [[2, 0, -2], [1, 0, 2]]}


def test_ranks_are_of_the_scores_and_ties_share_them():
    found = study()["ranks"]["base"]["length"]
    # by prompt the scores are (1, 3, 2), (2, 2, 2), (3, 1, 5): the highest is first
    assert found["per_prompt"] == {"sft": [3, 2, 2], "grpo": [1, 2, 3], "dpo": [2, 2, 1]}
    assert found["overall"] == {"sft": 2.5, "grpo": 2.5, "dpo": 1.0}


def test_ranks_are_not_the_order_that_sorts():
    # argsort of these gives (1, 2, 0), which is no ranking: the original's mistake
    assert ranks(np.array([[10.0], [30.0], [20.0]]))[:, 0].tolist() == [3, 1, 2]
    assert ranks(np.array([[0.1 + 0.2], [0.3]]))[:, 0].tolist() == [1.5, 1.5]


def ranked(column):
    """Brute force: the mean place over every order that puts higher scores first."""
    ordered = sorted(column, reverse=True)
    return [np.mean([i + 1 for i, v in enumerate(ordered) if v == value]) for value in column]


@examples(deadline=None, max_examples=50)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_ranks_equal_the_mean_place(column):
    assert ranks(np.array([column], dtype=float).T)[:, 0].tolist() == ranked(column)


@examples(deadline=None, max_examples=10)
@given(st.permutations(range(4)))
def test_same_bytes_whatever_order_runs_come_in(order):
    cells = [cell(plus(seed**2), seed=seed) for seed in range(4)]
    mixed = study([cells[i] for i in order])
    assert json.dumps(mixed) == json.dumps(study(cells))
    assert json.dumps(study(cells, seed=1)) != json.dumps(study(cells))


def test_factors_say_what_may_be_concluded():
    cells = [
        cell(plus(seed), name, seed, resolved=resolved)
        for name, resolved in (("a", settings()), ("b", settings(grpo__lr=5e-6)))
        for seed in (1, 2)
    ]
    found = study(cells)["factors"]
    assert found["can"] == ["b − a isolates training: stages.grpo.lr (1e-05 → 5e-06)."]
    assert found["contrasts"][0]["training"] == {"stages.grpo.lr": [1e-5, 5e-6]}
    assert found["cannot"] == []


def test_a_judge_that_changes_with_the_policies_is_told():
    cells = [
        cell(plus(seed), name, seed, resolved=resolved)
        for name, resolved in (("a", settings()), ("b", settings(rm__lr=1e-5)))
        for seed in (1, 2)
    ]
    (sentence,) = study(cells)["factors"]["cannot"]
    assert sentence.startswith("b − a in learned: the judge changes with the policies; confounded")


def test_limits_name_few_seeds_and_too_few_resamples():
    (limit,) = study([cell(plus(0))])["limits"]
    assert limit.startswith("1 seed:") and "3 prompts are few" in limit
    short = study_document([cell(plus(0))], "", resamples=20)["limits"]
    assert "20 resamples are too few for 4 comparisons" in short[1]


def test_policies_that_a_variant_lacks_are_left_out_of_it_only():
    fewer = {p: SCORED[p] for p in ("sft", "grpo")}
    document = study([cell(SCORED), cell(fewer, "b", resolved=settings(grpo__lr=1.0))])
    assert document["policies"] == ["sft", "grpo", "dpo"]
    assert list(document["ranks"]["b"]["length"]["overall"]) == ["sft", "grpo"]
    assert {c["context"] for c in document["claims"] if c["family"] == "variants"} == {"grpo"}


@pytest.mark.parametrize("count", [1, 3])
def test_an_average_of_equal_runs_has_the_width_of_its_prompts(count):
    average = study([cell(plus(0), seed=s) for s in range(count)])["averages"]["base"]["sft"]
    assert average["learned"]["ci95"] == [0.0, 0.0]
    assert average["length"]["ci95"] == pytest.approx([1.0, 3.0], abs=0.34)
