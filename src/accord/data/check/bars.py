"""Lengths as a table of percentiles and as bars of text."""

from rich.table import Table
from rich.text import Text

from accord.data.check.lengths import PERCENTILES, WHOLE, Lengths

EIGHTHS = " ▏▎▍▌▋▊▉█"
BAR = (3, 24)
"""Cells of the longest bar, at least and at most."""


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


def histogram(lengths: Lengths, limit: int | None, width: int) -> Table:
    """Bars of every part but the whole, a line a bin; the bin that holds `limit` is marked.

    Args:
        lengths: Of all parts in one unit.
        limit: A length to be pointed at, if any.
        width: Columns that there are for all of it.
    """
    parts = {name: spread for name, spread in lengths.parts.items() if name != WHOLE}
    most = max(max(spread.histogram) for spread in parts.values())
    pointer = f"← max_length {limit}" if limit else ""
    labels = (
        2 * len(str(lengths.edges[-1])) + 3 + len(pointer) + len(parts) * (len(f"{most:,}") + 3)
    )
    cells = min(BAR[1], max(BAR[0], (width - labels) // len(parts)))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_row("", *(Text(name, style="dim") for name in parts))
    for i in range(len(lengths.edges) - 1):
        low, high = lengths.edges[i], lengths.edges[i + 1] - 1
        name = str(low) if low == high else f"{low}–{high}"
        bars = [_bar(spread.histogram[i], most, cells) for spread in parts.values()]
        table.add_row(name, *bars, Text(pointer if limit and low <= limit <= high else ""))
    return table


def _bar(count: int, most: int, cells: int) -> Text:
    """A bar in eighths of a cell and its count; what is there is never invisible."""
    eighths = max(round(8 * cells * count / most), 1 if count else 0)
    bar = "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")
    return Text(f"{bar} {count:,}" if count else "")
