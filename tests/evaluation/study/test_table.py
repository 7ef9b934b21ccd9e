"""Runs are joined only where they were evaluated alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from made_study import PHASE_5, cell, settings

from accord.errors import AccordError
from accord.evaluation.study.table import table

SCORED = {"sft": {"length": [1.0, 2.0, 3.0]}, "grpo": {"length": [4.0, 5.0, 7.0]}}


def shifted(by):
    return {p: {s: [v + by for v in vs] for s, vs in row.items()} for p, row in SCORED.items()}


def test_rows_are_seeds_ascending_and_columns_prompts_by_id():
    scores = table([cell(shifted(10), seed=5), cell(SCORED, seed=2)])
    assert scores.seeds == {"base": (2, 5)}
    assert scores.values["base"]["grpo"]["length"].tolist() == [[4, 5, 7], [14, 15, 17]]
    assert scores.prompts[0] == ("p000", "text of p000")
    assert scores.references == {"base": "sft"} and scores.scorers == ["length"]
    assert scores.of("base", "sft", "length", [5]).tolist() == [[11, 12, 13]]


@examples(deadline=None, max_examples=20)
@given(st.permutations(range(3)), st.permutations(range(3)))
def test_order_of_runs_and_prompts_does_not_matter(seeds, prompts):
    ids = ["p000", "p001", "p002"]
    straight = table([cell(shifted(s), seed=s) for s in range(3)])
    mixed = table(
        [
            cell(
                {
                    p: {n: [v[i] for i in prompts] for n, v in row.items()}
                    for p, row in shifted(s).items()
                },
                seed=s,
                ids=[ids[i] for i in prompts],
            )
            for s in seeds
        ]
    )
    assert mixed.seeds == straight.seeds and mixed.prompts == straight.prompts
    for policy in SCORED:
        ours, theirs = (t.values["base"][policy]["length"] for t in (mixed, straight))
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("protocol", "named"),
    [
        ({"sampling": PHASE_5}, "sampling"),
        ({"samples_per_prompt": 4}, "samples_per_prompt"),
        ({"reference": "grpo"}, "reference"),
        ({"rewards": {"learned": {"model": "rm"}}}, "rewards"),
        ({"scorers": ["vader"]}, "scorers"),
        ({"ids": ["p000", "p001", "other"]}, "prompts"),
    ],
)
def test_what_differs_and_is_no_factor_is_refused_and_named(protocol, named):
    for variant, seed in (("base", 2), ("other", 1)):
        with pytest.raises(AccordError, match="evaluated differently") as caught:
            table([cell(SCORED), cell(SCORED, variant, seed, **protocol)])
        assert f"{named} (" in caught.value.what


def test_what_differs_as_the_factor_is_let_through_between_variants_only():
    warm, cold = settings(), settings(report__sampling=PHASE_5)
    scores = table(
        [cell(SCORED, resolved=warm), cell(SCORED, "cold", resolved=cold, sampling=PHASE_5)]
    )
    assert list(scores.values) == ["base", "cold"]
    with pytest.raises(AccordError, match="samples_per_prompt"):
        table(
            [
                cell(SCORED, resolved=warm),
                cell(SCORED, "cold", resolved=cold, sampling=PHASE_5, samples_per_prompt=2),
            ]
        )
    with pytest.raises(AccordError, match="different settings: stages"):
        table([cell(SCORED, resolved=warm), cell(SCORED, seed=2, resolved=cold, sampling=PHASE_5)])


def test_a_judge_may_be_the_factor_and_only_shared_scorers_are_compared():
    both = {p: {**row, "extra": row["length"]} for p, row in SCORED.items()}
    more = settings(report__rewards={"learned": {"model": "rm"}, "extra": {"function": "length"}})
    added = {"extra": {"function": "length"}}
    scores = table([cell(SCORED), cell(both, "more", resolved=more, rewards=added)])
    assert scores.scorers == ["length"]


def test_prompts_as_the_factor_leave_those_that_are_shared():
    fewer = settings(report__prompts={"count": 2})
    small = {p: {"length": row["length"][:2]} for p, row in SCORED.items()}
    scores = table([cell(SCORED), cell(small, "fewer", resolved=fewer)])
    assert [prompt for prompt, _ in scores.prompts] == ["p000", "p001"]
    with pytest.raises(AccordError, match="share no evaluation prompt"):
        table([cell(SCORED), cell(small, "fewer", ids=["x", "y"], resolved=fewer)])


def test_runs_that_cannot_be_used_are_named():
    with pytest.raises(AccordError, match="nothing to compare"):
        table([])
    with pytest.raises(AccordError, match="Two runs have seed 1"):
        table([cell(SCORED), cell(SCORED)])
    empty = cell(SCORED, seed=7)
    with pytest.raises(AccordError, match="seed 7 has no evaluated samples"):
        table([type(empty)("base", 7, {"policies": {}}, {})])
    with pytest.raises(AccordError, match="seed 2 has no score 'length' of 'grpo'"):
        table([cell(SCORED), cell({"sft": SCORED["sft"]}, seed=2)])
    broken = {**SCORED, "grpo": {"length": [1.0, float("nan"), 2.0]}}
    with pytest.raises(AccordError, match="no score 'length' of 'grpo'"):
        table([cell(broken)])
