"""Curves and held-out figures of a study's stages, over seeds, shared runs once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_study import RECIPE, evaluation

from accord.evaluation.study.table import Cell
from accord.evaluation.study.training import POINTS, binned, heldout, shared, training

SCORED = {"sft": {"length": [1.0]}}


def run(mark="x", kind="preference", heldout=None, **curves):
    """The document of a run with one stage, `dpo`."""
    return {
        "stages": {"dpo": {"kind": kind, "fingerprint": mark}},
        "curves": {"dpo": curves} if curves else {},
        "heldout": {"dpo": heldout} if heldout else {},
        "findings": [],
    }


def cell(variant, seed, document):
    return Cell(variant, seed, evaluation(SCORED, ["p"]), RECIPE, document)


def line(*values):
    return [[step, value] for step, value in enumerate(values, 1)]


def test_curves_are_averaged_over_seeds_and_each_seed_kept():
    cells = [
        cell("a", 1, run("1", loss=line(1.0, 3.0))),
        cell("a", 2, run("2", loss=line(3.0, 4.0))),
    ]
    found = training(cells)["dpo"]
    curve = found["curves"]["a"]["loss"]
    assert found["kind"] == "preference" and found["shared"] == {} and found["thresholds"] == {}
    assert curve["mean"] == [[1, 2.0], [2, 3.5]]
    assert curve["seeds"] == {"1": [[1, 1.0], [2, 3.0]], "2": [[1, 3.0], [2, 4.0]]}
    assert (curve["first"], curve["last"]) == (2.0, 3.5)


def test_ends_are_tenths_of_the_whole_curve_not_of_what_is_kept():
    values = [5.0] * 30 + [0.0] * 240 + [7.0] * 30
    curve = training([cell("a", 1, run(loss=line(*values)))])["dpo"]["curves"]["a"]["loss"]
    assert (curve["first"], curve["last"]) == (5.0, 7.0)
    assert len(curve["mean"]) == POINTS


def test_the_mean_stands_where_all_seeds_have_a_value():
    cells = [
        cell("a", 1, run("1", loss=line(1.0, 3.0, 9.0))),
        cell("a", 2, run("2", loss=line(3.0))),
    ]
    assert training(cells)["dpo"]["curves"]["a"]["loss"]["mean"] == [[1, 2.0]]


def test_runs_that_variants_share_stand_once():
    cells = [
        cell(v, s, run(f"{m}{s}", loss=line(1.0)))
        for v, m in (("a", "x"), ("b", "x"), ("c", "y"))
        for s in (1, 2)
    ]
    assert shared(cells, "dpo") == {"b": "a"}
    found = training(cells)["dpo"]
    assert list(found["curves"]) == ["a", "c"] and found["shared"] == {"b": "a"}


def test_runs_are_not_shared_under_other_seeds_or_without_fingerprints():
    more = [cell("a", 1, run("1")), cell("b", 1, run("1")), cell("b", 2, run("2"))]
    assert shared(more, "dpo") == {}
    assert shared([cell("a", 1, run("")), cell("b", 1, run(""))], "dpo") == {}


def test_only_metrics_that_say_something_of_their_kind_are_kept():
    logged = {"loss": line(1.0), "learning_rate": line(1.0), "judges/vader/mean": line(0.5),
              "eval_loss": line(2.0), "reward": line(1.0)}  # fmt: skip
    kept = training([cell("a", 1, run(**logged))])["dpo"]["curves"]["a"]
    assert list(kept) == ["loss", "judges/vader/mean", "eval_loss"]


def test_a_group_counts_as_collapsed_below_a_tenth_of_its_first_spread():
    logged = {"reward_std": line(2.0, 0.1), "frac_reward_zero_std": line(0.0, 0.9)}
    found = training([cell("a", 1, run(kind="grpo", **logged))])["dpo"]["thresholds"]
    assert found == {"a": {"reward_std": pytest.approx(0.2), "frac_reward_zero_std": 0.5}}


def test_heldout_figures_of_a_reward_model_of_text_and_of_pairs():
    reward = run(kind="reward", heldout={"accuracy": 0.75, "ece": None, "ci95": [0.7, 0.8]})
    assert list(heldout([cell("a", 1, reward)])["dpo"]["a"]) == ["accuracy"]
    text = run(kind="sft", heldout={"tales": {"bits_per_byte": 2.5, "rows": 3}})
    [figure] = heldout([cell("a", 1, text)])["dpo"]["a"].items()
    assert figure == ("bits_per_byte, tales", {"mean": 2.5, "range": [2.5, 2.5], "per_seed": [2.5]})
    pairs = run(**{"eval_loss": line(0.7, 0.5), "loss": line(0.1, 0.2)})
    assert heldout([cell("a", 1, pairs)])["dpo"]["a"]["loss"]["mean"] == 0.5


def test_without_documents_of_runs_there_is_nothing():
    bare = [Cell("a", 1, evaluation(SCORED, ["p"]), RECIPE)]
    assert training(bare) == {} and heldout(bare) == {}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5), max_size=400))
def test_binning_keeps_the_mean_and_the_order(values):
    points = line(*values)
    found = binned(points)
    assert len(found) == min(POINTS, len(points))
    assert [s for s, _ in found] == sorted(s for s, _ in found)
    if values and len(values) % POINTS == 0:
        assert sum(v for _, v in found) / len(found) == pytest.approx(sum(values) / len(values))
    if len(values) <= POINTS:
        assert found == points
