"""Rises and falls are claimed only where noise cannot make them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import course

from accord.evaluation.findings.trends import FEWEST, correlation, trend


def test_parts_and_error_by_hand():
    found = trend([[step, 1.0 if step % 2 else 3.0] for step in range(1, 11)])
    assert found is not None
    assert found.means == (2.0,) * 5
    assert found.steps == (2, 4, 6, 8, 10)
    # neighbours differ by 2: variance 2² / 2 = 2 a point, 1 a mean of two, 2 their difference
    assert found.error == pytest.approx(math.sqrt(2))


def test_too_few_points_have_no_trend():
    assert trend([[step, float(step)] for step in range(FEWEST - 1)]) is None
    assert trend([[step, float(step)] for step in range(FEWEST)]) is not None


def test_a_rise_and_a_fall_are_seen_through_noise():
    up = trend(course(0.0, 1.0, 0.4, noise=0.1))
    assert up is not None and up.best == 2
    assert up.rose(0, 2) and up.rose() and up.fell(2) and not up.fell()


def test_noise_alone_is_hardly_ever_a_trend():
    claimed = 0
    for seed in range(400):
        values = np.random.default_rng(seed).normal(size=40)
        found = trend(list(enumerate(values.tolist())))
        claimed += found is not None and (found.rose() or found.fell())
    assert claimed <= 8  # 3 standard errors: 1 in 370, and the error is itself estimated


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-5, 5), min_size=10, max_size=60),
    st.floats(0.1, 10),
    st.floats(-100, 100),
)
def test_no_trend_depends_on_unit_or_origin(values, unit, origin):
    mine = trend(list(enumerate(values)))
    other = trend([[step, unit * value + origin] for step, value in enumerate(values)])
    assert mine is not None and other is not None
    assert other.error == pytest.approx(unit * mine.error, abs=1e-9)
    for ours, theirs in zip(mine.means, other.means, strict=True):
        assert theirs == pytest.approx(unit * ours + origin, abs=1e-9)


def test_correlation_is_that_of_shared_steps():
    rng = np.random.default_rng(3)
    a = [[step, float(rng.normal())] for step in range(30)]
    b = [[step, value + float(rng.normal())] for step, value in a]
    expected = np.corrcoef([v for _, v in a[::2]], [v for _, v in b[::2]])[0, 1]
    assert correlation(a, b[::2]) == pytest.approx(expected)
    assert correlation(a, [[step, 1.0] for step, _ in a]) is None
    assert correlation(a, b[:5]) is None
