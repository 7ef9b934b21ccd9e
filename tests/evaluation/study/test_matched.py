"""Methods at the same KL: read off between points, never past them, with a study's intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_study import cell

from accord.evaluation.study.crossed import crossed
from accord.evaluation.study.matched import BEST_OF, matched, methods, weights
from accord.evaluation.study.table import table

PROMPTS = 40
REWARD = {"best_of": {
    "bo2": {"n": 2, "reward": [{"function": "vader"}]},
    "bo4": {"n": 4, "reward": [{"function": "vader"}]},
}}  # fmt: skip
STRENGTHS = {"tight": 1.0, "middle": 4.0, "loose": 9.0}


def made(seeds=(1, 2, 3), strengths=STRENGTHS):
    """Runs whose scores are √KL for DPO, 0.8 √KL for PPO, and a little noise."""
    rng, cells = np.random.default_rng(5), []
    for variant, kl in strengths.items():
        for seed in seeds:
            at = kl * (1 + 0.05 * seed)
            level = {
                "sft": 0.0,
                "dpo": np.sqrt(at),
                "ppo": 0.8 * np.sqrt(at),
                "bo2": 0.3,
                "bo4": 0.6,
            }
            noise = {p: 0.01 * rng.standard_normal(PROMPTS) for p in level}
            scored = {p: {"length": (v + noise[p]).tolist()} for p, v in level.items()}
            run = cell(scored, variant, seed, **REWARD)
            kls = {"sft": 0.0, "dpo": at, "ppo": 2 * at, "bo2": 0.19, "bo4": 0.64}
            run.evaluation["policies"] = {p: {"kl": {"mean": v}} for p, v in kls.items()}
            cells.append(run)
    return cells


def found(cells, resamples=400):
    return matched(cells, table(cells), resamples, 0)


def test_a_method_is_a_policy_of_every_variant_or_all_best_of_n():
    points = found(made())["methods"]
    assert list(points) == ["dpo", "ppo", BEST_OF]
    assert [p["variant"] for p in points["dpo"]] == list(STRENGTHS)
    assert [(p["variant"], p["policy"]) for p in points[BEST_OF]][:3] == [
        ("tight", "bo2"), ("tight", "bo4"), ("middle", "bo2"),
    ]  # fmt: skip


def test_a_score_is_read_off_the_line_between_two_points():
    cells = made()
    told = found(cells)
    kl = told["kl"].index(5.0)
    expected = []
    for seed in (1, 2, 3):
        near = {c.variant: c for c in cells if c.seed == seed}
        ends = [
            (
                near[v].evaluation["policies"]["dpo"]["kl"]["mean"],
                np.mean(
                    [
                        s["policies"]["dpo"]["scores"]["length"]
                        for s in near[v].evaluation["samples"]
                    ]
                ),
            )
            for v in ("middle", "loose")
        ]
        expected.append(np.interp(5.0, *zip(*ends, strict=True)))
    assert told["scores"]["length"]["dpo"][kl]["mean"] == pytest.approx(np.mean(expected))


def test_below_the_first_point_the_line_begins_at_the_reference():
    told = found(made())
    (start, end) = (
        told["scores"]["length"]["dpo"][told["kl"].index(k)]["mean"] for k in (0.1, 0.5)
    )
    assert end == pytest.approx(5 * start, abs=0.02)


def test_nothing_is_said_past_a_methods_last_point():
    told = found(made())
    reached = {name: [kl for kl, at in zip(told["kl"], column, strict=True) if at]
               for name, column in told["scores"]["length"].items()}  # fmt: skip
    assert reached["dpo"][-1] == 7.5  # 9 · 1.05 under the first seed, and 10 is past it
    assert reached["ppo"][-1] == 15.0
    assert reached[BEST_OF][-1] == 0.5
    for row in told["differences"]["length"]:
        for kl, at in zip(told["kl"], row["at"], strict=True):
            assert (at is not None) == all(kl in reached[name] for name in row["methods"])


def test_a_difference_is_paired_by_seed_and_prompt():
    cells = made()
    told = found(cells)
    both = methods(cells, table(cells))
    gap_SP = both["dpo"].at(3.0, "length") - both["ppo"].at(3.0, "length")
    (row,) = (r for r in told["differences"]["length"] if r["methods"] == ["dpo", "ppo"])
    assert row["at"][told["kl"].index(3.0)] == crossed(gap_SP, 400, 0).to_json()
    assert row["at"][told["kl"].index(3.0)]["ci95"][0] > 0


def test_seeds_that_not_every_variant_has_are_left_out():
    cells = [c for c in made() if (c.variant, c.seed) != ("loose", 3)]
    told = found(cells)
    assert told["scores"]["length"]["dpo"][0]["seeds"] == 2


def test_two_strengths_are_no_frontier():
    assert found(made(strengths={"tight": 1.0, "loose": 9.0})) == {}
    cells = made()
    for run in cells:
        del run.evaluation["policies"]
    assert found(cells) == {}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0.01, 30), min_size=1, max_size=6, unique=True),
    st.floats(0, 1),
)
def test_weights_are_those_of_linear_interpolation(places, share):
    kl_V = np.array([0.0, *places])
    kl = share * kl_V.max()
    score_V = np.random.default_rng(1).standard_normal(len(kl_V))
    order = kl_V.argsort()
    found_V = weights(kl_V, kl)
    assert found_V.sum() == pytest.approx(1) and (found_V >= -1e-12).all()
    assert found_V @ score_V == pytest.approx(np.interp(kl, kl_V[order], score_V[order]))


def test_points_at_one_kl_share_its_weight():
    assert weights(np.array([0.0, 2.0, 2.0]), 1.0).tolist() == [0.5, 0.25, 0.25]
