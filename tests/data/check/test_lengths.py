"""Lengths of parts against counts by hand and by brute force."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.check.lengths import BINS, edges_of, lengths_of, text_sizes
from accord.data.rows import ChatRow, PairRow, TextRow
from accord.text.messages import Message


def said(text: str, role: str = "text") -> tuple[Message, ...]:
    return (Message(role, text),)


def test_parts_of_every_kind_of_row() -> None:
    rows = [
        PairRow(prompt=said("one two"), chosen=said("abc"), rejected=said("a b c d")),
        ChatRow(prompt=(), completion=said("xy")),
        ChatRow(prompt=said("only asked"), completion=()),
        TextRow("five words are in here"),
    ]
    sizes = text_sizes(rows)
    assert sizes["characters"] == {
        "prompt": [7, 10],
        "chosen": [3],
        "rejected": [7],
        "response": [2],
        "text": [22],
        "whole": [14, 2, 10, 22],
    }
    assert sizes["words"]["whole"] == [6, 1, 2, 5]


def test_percentiles_are_lengths_that_rows_have() -> None:
    spread = lengths_of({"text": list(range(1, 101))}).parts["text"]
    assert spread.percentiles == {"min": 1, "p5": 5, "p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert (spread.rows, spread.mean) == (100, 50.5)


def test_edges_by_hand() -> None:
    assert edges_of(0, 0) == (0, 1)
    assert edges_of(0, 5) == (0, 1, 2, 3, 4, 6)
    assert edges_of(300, 300) == (256, 384)
    assert edges_of(1, 1500) == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_the_histogram_counts_what_lies_between_its_edges(values: list[int]) -> None:
    lengths = lengths_of({"chosen": values, "whole": [10**7]})
    edges = lengths.edges
    assert list(edges) == sorted(set(edges)) and len(edges) <= max(BINS + 1, 22)
    counts = [sum(a <= v < b for v in values) for a, b in pairwise(edges)]
    assert list(lengths.parts["chosen"].histogram) == counts
    assert sum(counts) == len(values)
    assert counts[0] and counts[-1]
