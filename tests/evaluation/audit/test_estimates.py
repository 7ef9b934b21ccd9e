"""Estimates over rows: their values, and intervals that know which rows belong together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.evaluation.audit.estimates import (
    correlation,
    part_correlation,
    partial_correlation,
    share,
)


def test_a_share_is_a_mean_and_its_interval_is_that_of_a_coin():
    value = np.array([1.0] * 60 + [0.0] * 40)
    found = share(value, range(100))
    assert (found.value, found.rows, found.prompts) == (0.6, 100, 100)
    # normal approximation: 0.6 ± 1.96 sqrt(0.24 / 100)
    assert found.low == pytest.approx(0.504, abs=0.015)
    assert found.high == pytest.approx(0.696, abs=0.015)


def test_rows_of_one_prompt_are_resampled_together():
    value = np.tile([1.0, 0.0], 50)
    apart = share(value, range(100))
    together = share(np.repeat([1.0, 0.0], 50), [at // 10 for at in range(100)])
    assert apart.value == together.value == 0.5
    assert together.prompts == 10
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_no_rows_give_no_number():
    found = share([], [])
    assert found.to_json() == {"value": None, "ci95": None, "rows": 0, "prompts": 0}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(20, 60))
def test_correlations_are_those_of_numpy(seed, count):
    x, y, z = np.random.default_rng(seed).normal(size=(3, count))
    y, x = y + z, x - 2 * z
    assert correlation(x, y, range(count)).value == pytest.approx(np.corrcoef(x, y)[0, 1])
    design = np.stack([np.ones(count), z], axis=1)
    left_x, left_y = (v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (x, y))
    found = partial_correlation(x, y, z, range(count))
    assert found.value == pytest.approx(np.corrcoef(left_x, left_y)[0, 1])
    assert found.low <= found.value <= found.high


def test_a_part_is_small_where_the_rest_is_large():
    y = np.tile([1.0, -1.0], 20)
    found = part_correlation(2 + 0.6 * y, y, range(40))
    assert found.value == pytest.approx(0.6 / np.sqrt(4 + 0.36))
    assert correlation(2 + 0.6 * y, y, range(40)).value == pytest.approx(1)
    assert part_correlation(0.6 * y, y, range(40)).value == pytest.approx(1)
    assert part_correlation(np.zeros(40), y, range(40)).value is None


def test_what_does_not_vary_has_no_correlation():
    found = correlation(np.ones(30), np.arange(30.0), range(30))
    assert found.value is None and found.low is None


def test_the_same_numbers_give_the_same_interval():
    value = np.random.default_rng(3).random(40)
    assert share(value, range(40)) == share(value, range(40))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_exception_in_few_rows_does_not_mean_never(value):
    found = share([value] * 24, range(24))
    # Clopper and Pearson, 24 of 24: 85.8 %
    far = found.low if value else 1 - found.high
    assert far == pytest.approx(0.8575, abs=1e-3)
    assert found.value == value
