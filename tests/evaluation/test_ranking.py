"""Held-out figures of a reward model: by hand, and the same from sums over any batches."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.evaluation.ranking import Ranked, beside, pair_figures, score_figures
from accord.evaluation.running import length_edges, running_figures, running_sums
from accord.objectives.reward import correlation, expected_calibration_error


def ranked(chosen: list[float], rejected: list[float], **more: Any) -> Ranked:
    count = len(chosen)
    defaults: dict[str, Any] = {"longer_P": np.arange(count), "unit_P": range(count)}
    return Ranked(np.array(chosen), np.array(rejected), **{**defaults, **more})


def test_figures_by_hand() -> None:
    # two right, one wrong, one tie, which counts as wrong
    found = pair_figures(
        ranked([2.0, 1.0, 0.0, 0.5], [0.0, 0.0, 3.0, 0.5], longer_P=np.array([3, 9, 5, 7]))
    )
    assert found["pairs"] == 4
    assert found["accuracy"] == 0.5
    assert found["margin"] == pytest.approx(0.0)
    low, high = found["ci95"]
    assert 0 <= low < 0.5 < high <= 1
    buckets = {part["bucket"]: (part["tokens"], part["accuracy"]) for part in found["by_length"]}
    assert buckets == {"short": ([3, 5], 0.5), "medium": ([7, 7], 0.0), "long": ([9, 9], 1.0)}
    assert sum(part["pairs"] for part in found["calibration"]) == 4
    # σ(2), σ(1) right, σ(3) wrong, σ(0) half right: in four bins of their own
    sure = [1 / (1 + math.exp(-x)) for x in (2, 1, 3)]
    want = ((1 - sure[0]) + (1 - sure[1]) + sure[2] + 0) / 4
    assert found["ece"] == pytest.approx(want)


def test_pairs_of_one_unit_are_resampled_together() -> None:
    right = np.tile([1.0, 0.0], 100)
    alone = pair_figures(ranked(right.tolist(), (1 - right).tolist()))
    blocks = np.repeat([1.0, 0.0] * 10, 10)
    alike = pair_figures(
        ranked(blocks.tolist(), (1 - blocks).tolist(), unit_P=np.repeat(range(20), 10).tolist())
    )
    assert alone["accuracy"] == alike["accuracy"] == 0.5
    narrow, wide = (part["ci95"][1] - part["ci95"][0] for part in (alone, alike))
    # ten pairs a unit: the interval is about √10 as wide
    assert wide / narrow == pytest.approx(math.sqrt(10), rel=0.15)
    # half-width 1.96 * 0.5 / √200
    assert narrow / 2 == pytest.approx(1.96 * 0.5 / math.sqrt(200), rel=0.1)


def test_a_paired_comparison_with_another_scorer() -> None:
    ours = ranked([1.0] * 90 + [0.0] * 10, [0.5] * 100)
    theirs = ranked([1.0] * 80 + [0.0] * 20, [0.5] * 100)
    found = beside(ours, theirs)
    assert found["accuracy"] == pytest.approx(0.8)
    assert found["margin_over"] == pytest.approx(0.1)
    low, high = found["margin_over_ci95"]
    assert 0 < low < 0.1 < high
    assert beside(ours, ours)["margin_over_ci95"] == [0.0, 0.0]


def test_distribution_and_length() -> None:
    scores = np.linspace(-1, 1, 101)
    found = score_figures(scores, 2 * np.arange(101.0) + 3)
    assert found["length_correlation"] == pytest.approx(1.0)
    assert found["rewards"]["mean"] == pytest.approx(0.0)
    assert found["rewards"]["quantiles"]["5%"] == pytest.approx(-0.9)
    assert sum(found["rewards"]["histogram"]["counts"]) == 101
    assert score_figures(scores, np.full(101, 4.0))["length_correlation"] is None


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(-30, 30).map(lambda x: x / 8),
            st.integers(-30, 30).map(lambda x: x / 8),
            st.integers(1, 40),
            st.integers(1, 40),
        ),
        min_size=2,
        max_size=30,
    ),
    st.integers(1, 7),
)
def test_sums_over_batches_give_the_figures_of_the_whole(rows: list[Any], size: int) -> None:
    edges = length_edges([max(row[2:]) for row in rows])
    totals: dict[str, tuple[float, float]] = {}
    for at in range(0, len(rows), size):
        part = torch.tensor(rows[at : at + size], dtype=torch.float64)
        scores, lengths = part[:, :2].flatten(), part[:, 2:].flatten()
        sums = running_sums(scores, lengths, part[:, 0] - part[:, 1], part[:, 2:].amax(1), edges)
        for name, (total, weight) in sums.items():
            held = totals.get(name, (0.0, 0.0))
            totals[name] = (held[0] + float(total), held[1] + float(weight))
    found, whole = running_figures(totals), torch.tensor(rows, dtype=torch.float64)
    margin = whole[:, 0] - whole[:, 1]
    assert found["ece"] == pytest.approx(expected_calibration_error(margin), abs=1e-9)
    scores, lengths = whole[:, :2].flatten(), whole[:, 2:].flatten()
    assert found["reward_std"] == pytest.approx(float(scores.std(correction=0)), abs=1e-6)
    want = correlation(scores, lengths)
    if not math.isnan(want):
        assert found["length_correlation"] == pytest.approx(want, abs=1e-6)
    right = sum(totals[f"accuracy/{name}"][0] for name in ("short", "medium", "long"))
    assert right == float((margin > 0).sum())
    assert sum(totals[f"accuracy/{n}"][1] for n in ("short", "medium", "long")) == len(rows)


def test_edges_cut_into_thirds() -> None:
    assert length_edges([]) == (0, 0)
    assert length_edges(list(range(1, 10))) == (3, 6)
    assert length_edges([5, 5, 5]) == (5, 5)
