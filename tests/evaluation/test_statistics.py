"""Intervals against enumeration, hand-worked cases and their own coverage."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.evaluation.statistics import (
    bootstrap,
    by_prompt,
    histogram,
    paired_difference,
    win_rate,
)

finite = st.floats(-100, 100, allow_nan=False)


def enumerated(means: list[float]) -> tuple[float, float]:
    """The exact bootstrap interval: every one of the n^n resamples, equally likely."""
    replicates = [np.mean(draw) for draw in product(means, repeat=len(means))]
    low, high = np.quantile(replicates, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def test_interval_equals_the_enumeration_of_all_resamples():
    means = [0.0, 1.0, 5.0, 2.5, 9.0]  # 3125 resamples
    low, high = enumerated(means)
    got = bootstrap([[m] for m in means], 60_000, seed=3)
    assert got.mean == pytest.approx(3.5)
    # with so many replications the quantile lands on the same atom or the one beside it
    assert got.low == pytest.approx(low, abs=0.11)
    assert got.high == pytest.approx(high, abs=0.21)


def test_two_prompts_by_hand():
    # resamples of {0, 1}: means 0 (1/4), .5 (1/2), 1 (1/4): the 2.5 % and 97.5 % points are 0 and 1
    got = bootstrap([[0.0], [1.0]], 4000, seed=1)
    assert (got.mean, got.low, got.high, got.n) == (0.5, 0.0, 1.0, 2)


def test_a_constant_has_no_width():
    got = bootstrap([[0.25]] * 7, 100, seed=1)
    assert (got.mean, got.low, got.high) == (0.25, 0.25, 0.25)


def test_samples_of_a_prompt_are_no_independent_evidence():
    one = [[0.0], [1.0], [3.0], [4.0]]
    copied = [row * 50 for row in one]
    assert bootstrap(one, 2000, seed=5) == bootstrap(copied, 2000, seed=5)


def test_prompts_weigh_the_same_however_many_samples_they_have():
    assert by_prompt([[1.0], [0.0, 0.0, 3.0]]).tolist() == [1.0, 1.0]


def test_pairing_removes_what_prompts_have_in_common():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 5, size=(80, 1))
    reference = difficulty + rng.normal(0, 0.1, size=(80, 1))
    policy = difficulty + 0.3 + rng.normal(0, 0.1, size=(80, 1))
    paired = paired_difference(policy, reference, 2000, seed=1)
    assert paired.excludes_zero and 0.2 < paired.low < 0.3 < paired.high < 0.4
    alone = bootstrap(policy, 2000, seed=1)
    assert alone.high - alone.low > 10 * (paired.high - paired.low)


def test_paired_difference_by_hand():
    got = paired_difference([[1.0, 3.0], [5.0, 5.0]], [[1.0, 1.0], [2.0, 2.0]], 4000, seed=1)
    assert (got.mean, got.low, got.high) == (2.0, 1.0, 3.0)  # differences 1 and 3


def test_ties_count_half():
    policy = np.array([[1.0, 2.0, 3.0, 3.0]]).T
    reference = np.array([[0.0, 2.0, 3.0, 9.0]]).T
    got = win_rate(policy, reference, 500, seed=1)
    assert got.mean == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert win_rate(policy, policy, 500, seed=1).to_json() == {
        "mean": 0.5,
        "ci95": [0.5, 0.5],
        "n": 4,
    }


@given(st.lists(st.lists(finite, min_size=2, max_size=2), min_size=2, max_size=6))
@settings(max_examples=30, deadline=None)
def test_swapping_policy_and_reference_negates_and_complements(rows):
    policy = np.array(rows)
    reference = policy[::-1]
    there = paired_difference(policy, reference, 200, seed=2)
    back = paired_difference(reference, policy, 200, seed=2)
    assert back.mean == pytest.approx(-there.mean)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    wins = win_rate(policy, reference, 200, seed=2)
    losses = win_rate(reference, policy, 200, seed=2)
    assert wins.mean + losses.mean == pytest.approx(1.0)
    assert 0.0 <= wins.low <= wins.high <= 1.0


@given(st.lists(finite, min_size=1, max_size=20), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_interval_lies_inside_the_values_and_repeats_with_its_seed(values, seed):
    rows = [[v] for v in values]
    got = bootstrap(rows, 100, seed)
    assert got == bootstrap(rows, 100, seed)
    slack = 1e-9 * max(1.0, *(abs(v) for v in values))
    assert min(values) - slack <= got.low <= got.high <= max(values) + slack


def test_chunks_do_not_change_the_interval(monkeypatch):
    rows = [[float(i)] for i in range(10)]
    whole = bootstrap(rows, 300, seed=9)
    monkeypatch.setattr("accord.evaluation.statistics.CHUNK", 70)
    assert bootstrap(rows, 300, seed=9) == whole


def test_coverage_is_near_95_percent_with_several_samples_a_prompt():
    rng = np.random.default_rng(11)
    covered = 0
    for trial in range(300):
        prompts = rng.normal(0.0, 1.0, size=(60, 1))
        got = bootstrap(prompts + rng.normal(0, 2.0, size=(60, 4)), 300, seed=trial)
        covered += got.low <= 0.0 <= got.high
    assert 0.91 <= covered / 300 <= 0.98


def test_nothing_to_average_is_refused():
    with pytest.raises(ValueError, match="at least one prompt"):
        bootstrap([], 10, seed=1)
    with pytest.raises(ValueError, match="sample for each"):
        bootstrap([[1.0], []], 10, seed=1)
    with pytest.raises(ValueError, match="same prompts"):
        paired_difference([[1.0]], [[1.0], [2.0]], 10, seed=1)


def test_histograms_share_their_bins_and_count_everything():
    edges, counts = histogram([np.array([0.0, 1.0]), np.array([0.5, 0.5, 1.0])], bins=4)
    assert edges == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert counts == [[1, 0, 0, 1], [0, 0, 2, 1]]


def test_whole_numbers_get_bins_of_a_whole_width():
    edges, counts = histogram([np.array([0.0, 1.0, 3.0, 3.0])], bins=4)
    assert (edges, counts) == ([-0.5, 0.5, 1.5, 2.5, 3.5], [[1, 1, 0, 2]])
    edges, counts = histogram([np.array([0.0, 9.0])], bins=4)
    assert (edges, counts) == ([-0.5, 2.5, 5.5, 8.5, 11.5], [[1, 0, 0, 1]])
    assert histogram([np.array([7.0, 7.0])])[1] == [[2]]


@given(st.lists(st.integers(-50, 200), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_no_value_falls_outside_its_histogram(values):
    edges, counts = histogram([np.array(values, dtype=float)])
    assert sum(counts[0]) == len(values) and len(edges) <= 25
