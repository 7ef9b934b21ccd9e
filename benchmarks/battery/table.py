"""The battery's table, and the lines it prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from battery.row import Row

BEGIN, END = "<!-- battery: written by a script -->", "<!-- /battery -->"


def line(row: Row, result: Mapping[str, Any]) -> str:
    """A row as it is printed while the battery runs."""
    mark = "pass" if result["passed"] else "FAIL"
    return f"{mark}  {row.key:<14} {result['figure']}  ({result['seconds']:.0f} s)"


def page(rows: Sequence[Row], results: Mapping[str, Mapping[str, Any]]) -> str:
    """All rows as a Markdown table; one that was not run says so."""
    lines = ["| row | what is done | passes when | | figure |", "|---|---|---|---|---|"]
    for row in rows:
        result = results.get(row.key)
        mark, figure = ("", "not run") if result is None else _told(result)
        lines.append(f"| `{row.key}` | {row.title} | {row.passes_when} | {mark} | {figure} |")
    return "\n".join(lines)


def replaced(text: str, table: str) -> str:
    """A page with what stands between its two marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _told(result: Mapping[str, Any]) -> tuple[str, str]:
    figure = str(result["figure"]).replace("|", "\\|").replace("\n", " ")
    return ("pass" if result["passed"] else "**fail**"), figure
