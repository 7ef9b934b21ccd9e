"""Crossed intervals against one-seed intervals, hand-worked cases and their own coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.evaluation.statistics import paired_difference
from accord.evaluation.study import crossed as module
from accord.evaluation.study.crossed import crossed, p_value, reach

SCORE = st.integers(-50, 50).map(lambda n: n / 10)


def studies(count: int, shape: tuple[int, int], spread: tuple[float, float, float]):
    """Simulated studies whose true mean is 0: effects of seeds, prompts and what is left."""
    rng = np.random.default_rng(7)
    seeds, prompts = shape
    for _ in range(count):
        yield (
            rng.normal(0, spread[0], (seeds, 1))
            + rng.normal(0, spread[1], (1, prompts))
            + rng.normal(0, spread[2], (seeds, prompts))
        )


def covered(shape: tuple[int, int], spread: tuple[float, float, float], count: int = 300) -> float:
    found = [crossed(v, 400, seed=i).interval for i, v in enumerate(studies(count, shape, spread))]
    return sum(i.low <= 0 <= i.high for i in found) / count


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(SCORE, SCORE), min_size=1, max_size=12), st.integers(0, 9))
def test_one_seed_is_the_paired_difference_to_the_bit(pairs, seed):
    policy, reference = (np.array([row])[:, :, None] for row in zip(*pairs, strict=True))
    expected = paired_difference(policy[0], reference[0], 300, seed)
    assert crossed((policy - reference)[:, :, 0], 300, seed).interval == expected


# 300 studies: the standard error of a coverage of .95 is .013
@pytest.mark.parametrize(
    ("shape", "spread"),
    [
        ((3, 40), (1.0, 0.2, 0.2)),  # seeds dominate: redrawing alone covers 76 %
        ((5, 40), (1.0, 0.2, 0.2)),
        ((5, 40), (0.3, 1.0, 1.0)),
        ((10, 40), (0.3, 1.0, 1.0)),
        ((1, 40), (0.0, 1.0, 1.0)),
    ],
)
def test_95_per_cent_intervals_cover_about_95_per_cent(shape, spread):
    assert 0.91 <= covered(shape, spread) <= 0.995


def test_never_too_narrow_where_seeds_make_no_difference():
    assert covered((3, 40), (0.0, 1.0, 1.0)) >= 0.95  # and too wide: the price of three seeds


def test_one_seed_cannot_cover_other_seeds():
    assert covered((1, 40), (1.0, 0.2, 0.2)) < 0.2
    assert "not another training run" in reach(1, 200)
    assert "2 degrees of freedom" in reach(3, 200) and "few" not in reach(3, 200)
    assert "16 prompts are few" in reach(3, 16)


def test_a_small_p_value_is_as_rare_as_it_says():
    found = [
        crossed(v, 1000, seed=i).p for i, v in enumerate(studies(300, (3, 20), (1.0, 0.2, 0.2)))
    ]
    # redrawing alone calls a fifth of such studies certain at 1 %
    assert sum(p <= 0.01 for p in found) / 300 <= 0.03


def test_copies_of_a_seed_add_certainty_only_about_prompts():
    rng = np.random.default_rng(1)
    row = rng.normal(0.5, 1.0, 50)
    one, many = crossed(row[None], 2000, 3), crossed(np.stack([row] * 4), 2000, 3)
    assert many.interval.low == pytest.approx(one.interval.low)
    assert many.interval.high == pytest.approx(one.interval.high)


def test_more_seeds_that_disagree_narrow_the_interval():
    few, many = (
        np.mean([np.ptp(_ends(v)) for v in studies(20, (s, 30), (1, 0.2, 0.2))]) for s in (3, 12)
    )
    assert many < few / 2


def _ends(values):
    interval = crossed(values, 400, 1).interval
    return interval.low, interval.high


def test_same_seed_same_bytes_whatever_the_chunk(monkeypatch):
    values = np.random.default_rng(0).normal(size=(3, 7))
    whole = crossed(values, 500, 4)
    assert crossed(values, 500, 4) == whole != crossed(values, 500, 5)
    for rows in (1, 3, 499):
        monkeypatch.setattr(module, "CHUNK", 21 * rows)
        assert crossed(values, 500, 4) == whole


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 4).flatmap(
        lambda seeds: st.lists(
            st.lists(SCORE, min_size=seeds, max_size=seeds), min_size=7, max_size=12
        )
    )
)
def test_p_agrees_with_the_interval_and_changes_of_sign(columns):
    values = np.array(columns).T
    got, mirrored = crossed(values, 400, 2), crossed(-values, 400, 2)
    assert got.p == mirrored.p and 1 / 401 <= got.p <= 1
    assert got.interval.low == pytest.approx(-mirrored.interval.high, abs=1e-12)
    if got.p > 0.06:
        assert not got.interval.excludes_zero
    if got.p < 0.04:
        assert got.interval.excludes_zero


def test_p_by_hand():
    assert p_value(np.array([1.0, 2.0, 3.0, -1.0])) == (1 + 2) / 5
    assert p_value(np.array([1.0, 2.0, 3.0, 4.0])) == 1 / 5
    assert p_value(np.zeros(9)) == 1.0  # no difference at all is no evidence


def test_two_prompts_that_agree_prove_nothing():
    assert crossed(np.ones((5, 2)), 200, 1).p == 0.5
    assert crossed(np.ones((5, 9)), 200, 1).p == 1 / 201


def test_nothing_has_no_interval():
    for values in (np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3)):
        with pytest.raises(ValueError, match="seeds, prompts"):
            crossed(values, 10, 1)
