"""Rated pairs: better over worse by the gap, of like length, nobody used too often."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.data import RatedPairs
from accord.data.account import Account
from accord.data.pairs import UNPAIRED, rated_pairs
from accord.data.rows import TextRow
from accord.data.split import normalised
from accord.errors import AccordError


def rated(text, rating, where=""):
    return TextRow(text, where=where, source="s", extra={"rating": rating})


RATED = st.lists(
    st.tuples(st.integers(1, 12), st.floats(-4, 4, width=32), st.sampled_from("abc")),
    min_size=1,
    max_size=40,
).map(lambda rows: [rated(" ".join(w * n), r, f"f:{i}") for i, (n, r, w) in enumerate(rows)])

CONFIGS = st.builds(
    RatedPairs,
    gap=st.floats(0.5, 3),
    length_ratio=st.one_of(st.none(), st.floats(1, 2)),
    pairs_per_row=st.integers(1, 3),
)


def pairs_or_none(rows, config, seed=1, account=None):
    try:
        return rated_pairs(rows, config, seed, account)
    except AccordError as error:
        assert error.what.startswith("No two of")
        return []


@settings(deadline=None, max_examples=80)
@given(RATED, CONFIGS)
def test_every_pair_keeps_every_promise(rows, config) -> None:
    pairs = pairs_or_none(rows, config)
    for pair in pairs:
        chosen, rejected = pair.chosen[0].content, pair.rejected[0].content
        assert pair.extra["chosen_rating"] - pair.extra["rejected_rating"] >= config.gap
        assert normalised(chosen) != normalised(rejected)
        assert pair.prompt == ()
        lengths = sorted((len(chosen.split()), len(rejected.split())))
        if config.length_ratio is not None:
            assert lengths[1] / lengths[0] <= config.length_ratio + 1e-6
    sides = [pair.where.split(" > ") for pair in pairs]
    assert len(set(map(tuple, sides))) == len(sides)
    for side in (0, 1):
        uses = Counter(places[side] for places in sides)
        assert max(uses.values(), default=0) <= config.pairs_per_row


@settings(deadline=None, max_examples=40)
@given(RATED, CONFIGS, st.randoms())
def test_the_order_of_the_rows_is_nothing(rows, config, random) -> None:
    shuffled = random.sample(rows, len(rows))
    assert pairs_or_none(rows, config) == pairs_or_none(shuffled, config)


@settings(deadline=None, max_examples=40)
@given(RATED, CONFIGS)
def test_a_pair_is_missed_only_where_none_is_possible(rows, config) -> None:
    def fits(better, worse):
        lengths = sorted((len(better.text.split()), len(worse.text.split())))
        alike = config.length_ratio is None or lengths[1] / lengths[0] <= config.length_ratio
        gap = better.extra["rating"] - worse.extra["rating"] >= config.gap
        return alike and gap and better.text != worse.text

    possible = any(fits(a, b) for a in rows for b in rows)
    assert bool(pairs_or_none(rows, config)) == possible


def test_a_ratio_of_five_quarters_lets_five_words_meet_four() -> None:
    rows = [rated("a b c d e", 2), rated("a b c d", 0), rated("a b c", 0)]
    (pair,) = rated_pairs(rows, RatedPairs(), 1)
    assert pair.rejected[0].content == "a b c d"


def test_what_finds_no_partner_is_withdrawn() -> None:
    rows = [rated("a b", 2), rated("c d", "0"), rated("e f g h i", 0)]
    account = Account()
    account.kept("s", 3)
    rated_pairs(rows, RatedPairs(), 1, account)
    assert account.to_json()["s"] == {
        "kept": 2,
        "dropped": {UNPAIRED: 1},
        "truncated": {},
        "notes": {"pairs made": 1},
    }


def test_seeds_differ() -> None:
    rows = [rated(f"text {n}", n / 10, f"f:{n}") for n in range(60)]
    config = RatedPairs(pairs_per_row=1)
    first, second = (rated_pairs(rows, config, seed) for seed in (1, 2))
    assert first == rated_pairs(rows, config, 1)
    assert first != second


def test_each_fault_of_a_rating_has_its_place() -> None:
    with pytest.raises(AccordError, match=r"no rating 'rating'.\n.*f:3\n.*did you mean 'ratings'"):
        rated_pairs([TextRow("a", where="f:3", extra={"ratings": 1})], RatedPairs(), 1)
    for value in ("high", None, True, float("nan")):
        with pytest.raises(AccordError, match=r"is .*, not a number"):
            rated_pairs([rated("a", value)], RatedPairs(), 1)
    with pytest.raises(AccordError, match=r"lower pairs\.gap"):
        rated_pairs([rated("a", 0), rated("b", 1)], RatedPairs(), 1)
    with pytest.raises(AccordError, match="No two of 0 texts"):
        rated_pairs([], RatedPairs(), 1)
