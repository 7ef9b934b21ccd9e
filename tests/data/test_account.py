"""The account: what was read is what was kept and what was dropped, whoever counts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.account import Account

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["kept", "dropped", "truncated", "noted"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y"]),
        st.integers(1, 5),
    )
)


def account_of(events) -> Account:
    account = Account()
    for kind, source, why, count in events:
        if kind == "kept":
            account.kept(source, count)
        else:
            getattr(account, kind)(source, why, count)
    return account


def test_json_has_the_written_shape() -> None:
    account = account_of(
        [("kept", "a", "", 3), ("dropped", "a", "x", 2), ("truncated", "a", "y", 1)]
    )
    assert account.to_json() == {"a": {"kept": 3, "dropped": {"x": 2}, "truncated": {"y": 1}}}
    assert account.read("a") == 5


def test_withdrawn_rows_stay_in_the_sum() -> None:
    account = account_of([("kept", "a", "", 3)])
    account.withdraw("a", "unpaired", 2)
    assert account.to_json()["a"]["kept"] == 1
    assert account.read("a") == 3


@settings(deadline=None, max_examples=50)
@given(EVENTS, EVENTS)
def test_merging_is_counting_both(first, second) -> None:
    merged = account_of(first)
    merged.merge(account_of(second))
    assert merged.to_json() == account_of(first + second).to_json()
