"""Bars and tables of lengths, by hand."""

import io

from rich.console import Console, RenderableType

from accord.data.check.bars import histogram, percentiles
from accord.data.check.lengths import lengths_of


def lines(shown: RenderableType) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=70).print(shown)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_bars_are_as_long_as_their_counts() -> None:
    """The longest bar is 24 cells: 3 of 16 are 4.5 of them, 1 is 1.5."""
    lengths = lengths_of({"chosen": [8] * 16 + [20] * 3, "rejected": [13], "whole": [21] * 20})
    assert lines(histogram(lengths, 12, 120)) == [
        "       chosen                       rejected",
        " 8–11  ████████████████████████ 16",
        "12–15                               █▌ 1      ← max_length 12",
        "16–23  ████▌ 3",
    ]


def test_narrow_screens_get_shorter_bars() -> None:
    lengths = lengths_of({"chosen": [8] * 16, "rejected": [8] * 4})
    assert lines(histogram(lengths, None, 1)) == [
        "      chosen  rejected",
        "8–11  ███ 16  ▊ 4",
    ]


def test_a_line_a_part() -> None:
    lengths = lengths_of({"text": [1, 2, 3, 1000], "whole": [2, 3, 4, 1001]})
    assert lines(percentiles(lengths)) == [
        "        rows    mean   least   5 %   median    95 %    99 %    most",
        "text       4   251.5       1     1        2   1,000   1,000   1,000",
        "whole      4   252.5       2     2        3   1,001   1,001   1,001",
    ]
