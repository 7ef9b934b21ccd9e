"""Holm against the closed test it abbreviates, and by hand."""

from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.evaluation.study.holm import holm


def closed(p_values: list[float]) -> list[float]:
    """Closed testing: Bonferroni of every set a comparison is in; it needs all of them."""
    members = range(len(p_values))
    sets = list(chain.from_iterable(combinations(members, n + 1) for n in members))
    level = {s: min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets}
    return [max(p for s, p in level.items() if i in s) for i in members]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_equals_the_closed_test(p_values):
    assert holm(p_values) == pytest.approx(closed(p_values))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_order_does_not_matter(p_values, random):
    order = list(range(len(p_values)))
    random.shuffle(order)
    expected = holm(p_values)
    assert holm([p_values[i] for i in order]) == [expected[i] for i in order]


def test_by_hand():
    # sorted: .01 × 4, .02 × 3, .03 × 2, .5; the third may not fall below the second
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([]) == []
