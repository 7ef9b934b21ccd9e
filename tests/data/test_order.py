"""The order of rows: a pure function of seed and step."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data.order import Order
from accord.errors import AccordError


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 5), st.integers(1, 4))
def test_every_row_is_seen_once_an_epoch(rows: int, batch: int, seed: int, epochs: int) -> None:
    order = Order(rows, batch, seed)
    seen = [i for step in range(order.steps(epochs)) for i in order.indices(step)]
    for epoch in range(epochs):
        assert sorted(seen[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    assert len(seen) - rows * epochs < batch  # the last batch is only filled up
    assert all(len(order.indices(step)) == batch for step in range(order.steps(epochs)))


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    assert Order(100, 8, 1).indices(30) == Order(100, 8, 1).indices(30)
    assert Order(100, 8, 1).indices(3) != Order(100, 8, 2).indices(3)
    # the permutations of two epochs differ
    order = Order(50, 50, 1)
    assert order.indices(0) != order.indices(1)
    assert Counter(order.indices(0)) == Counter(order.indices(1))


def test_no_rows_is_refused_with_a_pointer_to_the_account() -> None:
    with pytest.raises(AccordError, match=r"no row to train on.*\n.*rows\.json"):
        Order(0, 4, 1)


def test_epoch_counts_rows_not_steps() -> None:
    assert Order(10, 4, 0).epoch(5) == 2.0
    assert Order(10, 4, 0).steps(1) == 3
