"""Lengths as a table of percentiles and as bars of text."""

from rich.table import Table
from rich.text import Text

from accord.data.check.lengths import PERCENTILES, WHOLE, Lengths

EIGHTHS = " ▏▎▍▌▋▊▉█"
WIDTH = 16
"""Cells of the longest bar."""


def percentiles(lengths: Lengths) -> Table:
    """A line a part: rows, mean and percentiles."""
    table = Table.grid(padding=(0, 3, 0, 0))
    for name in ("", "rows", "mean", *PERCENTILES):
        table.add_column(justify="right" if name else "left")
    heads = ["rows", "mean", "least", "5 %", "median", "95 %", "99 %", "most"]
    table.add_row("", *(Text(head, style="dim") for head in heads))
    for name, spread in lengths.parts.items():
        numbers = (f"{spread.percentiles[point]:,}" for point in PERCENTILES)
        table.add_row(name, f"{spread.rows:,}", f"{spread.mean:,.1f}", *numbers)
    return table


def histogram(lengths: Lengths, limit: int | None) -> Table:
    """Bars of every part but the whole, a line a bin; the bin that holds `limit` is marked."""
    parts = {name: spread for name, spread in lengths.parts.items() if name != WHOLE}
    most = max(max(spread.histogram) for spread in parts.values())
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_row("", *(Text(name, style="dim") for name in parts))
    for i in range(len(lengths.edges) - 1):
        low, high = lengths.edges[i], lengths.edges[i + 1] - 1
        name = str(low) if low == high else f"{low}–{high}"
        cells = [_bar(spread.histogram[i], most) for spread in parts.values()]
        marked = Text(f"← max_length {limit}" if limit and low <= limit <= high else "")
        table.add_row(name, *cells, marked)
    return table


def _bar(count: int, most: int) -> Text:
    """A bar in eighths of a cell and its count; what is there is never invisible."""
    eighths = max(round(8 * WIDTH * count / most), 1 if count else 0)
    bar = "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")
    return Text(f"{bar} {count:,}" if count else "")
