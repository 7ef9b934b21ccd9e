"""Circles of preferences against reachability by brute force."""

from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.check.components import on_cycles

NODES = st.integers(0, 6)


def reaches(edges: list[tuple[int, int]], start: int, end: int) -> bool:
    seen, ahead = {start}, [start]
    while ahead:
        node = ahead.pop()
        new = {b for a, b in edges if a == node} - seen
        seen |= new
        ahead += new
    return end in seen


@given(st.lists(st.tuples(NODES, NODES), max_size=14))
@settings(deadline=None, max_examples=200)
def test_an_edge_is_on_a_circle_where_its_end_leads_back(edges: list[tuple[int, int]]) -> None:
    assert on_cycles(edges) == [reaches(edges, b, a) for a, b in edges]


def test_a_long_chain_needs_no_deep_stack() -> None:
    chain = [(i, i + 1) for i in range(50_000)]
    assert not any(on_cycles(chain))
    assert all(on_cycles([*chain, (50_000, 0)]))
