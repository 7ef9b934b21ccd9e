"""The mixture: shares by weight, every repeat and every row left out counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.account import Account
from accord.data.mixture import mixed, targets
from accord.data.rows import TextRow
from accord.errors import AccordError


def rows_of(**counts):
    return [TextRow(f"{s} {n}", source=s) for s, count in counts.items() for n in range(count)]


def mix(rows, weights, total=None, length=10):
    account = Account()
    for row in rows:
        account.kept(row.source)
    return mixed(rows, [length] * len(rows), weights, 1, account, total), account


def test_without_weights_everything_is_seen_once() -> None:
    places, account = mix(rows_of(a=3, b=2), {"a": None, "b": None})
    assert places == [0, 1, 2, 3, 4]
    assert account.to_json()["a"] == {"kept": 3, "dropped": {}, "truncated": {}}


def test_targets_by_hand() -> None:
    assert targets({"a": 100, "b": 10}, {"a": 3, "b": 1}, 40) == {"a": 30, "b": 10}
    # all of a (100) is 3/4, so b is 33.3
    whole = targets({"a": 100, "b": 10}, {"a": 3, "b": 1}, None)
    assert whole["a"] == pytest.approx(100)
    assert whole["b"] == pytest.approx(100 / 3)


def test_the_smaller_source_is_repeated_and_the_repeats_counted() -> None:
    places, account = mix(rows_of(a=9, b=2), {"a": 1.0, "b": 1.0})
    assert [places.count(p) for p in range(9)] == [1] * 9
    assert sorted(places.count(p) for p in (9, 10)) == [4, 5]
    assert account.to_json()["b"]["notes"] == {"seen again (mixture)": 7}
    assert account.to_json()["a"]["dropped"] == {}


def test_what_a_total_leaves_out_is_counted() -> None:
    places, account = mix(rows_of(a=9, b=9), {"a": 2.0, "b": None}, total=60)
    assert len([p for p in places if p < 9]) == 4
    assert len([p for p in places if p >= 9]) == 2
    assert account.to_json()["a"]["kept"] == 4
    assert account.to_json()["a"]["dropped"] == {"left out by the mixture's weights": 5}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.floats(0.1, 10)), min_size=1, max_size=4),
    st.integers(1, 2000),
    st.integers(1, 9),
)
def test_shares_are_met_within_half_a_row_and_nothing_is_lost(sources, total, length) -> None:
    names = [f"s{n}" for n in range(len(sources))]
    rows = rows_of(**{name: count for name, (count, _) in zip(names, sources, strict=True)})
    weights = {name: weight for name, (_, weight) in zip(names, sources, strict=True)}
    places, account = mix(rows, weights, total, length)
    again, account_again = mix(rows, weights, total, length)
    assert (places, account.to_json()) == (again, account_again.to_json())
    for name, (count, weight) in zip(names, sources, strict=True):
        tokens = length * sum(rows[p].source == name for p in places)
        assert abs(tokens - total * weight / sum(weights.values())) <= length / 2 + 1e-6 * total
        assert account.read(name) == count


def test_a_row_without_weight_entry_is_named() -> None:
    with pytest.raises(AccordError, match=r"did you mean 'movies'\?"):
        mix(rows_of(movie=1), {"movies": 1.0})
