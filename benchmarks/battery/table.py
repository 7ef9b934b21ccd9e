"""The battery's table, and the lines it prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from battery.row import Row

BEGIN, END = "<!-- battery: written by a script -->", "<!-- /battery -->"


def line(row: Row, result: Mapping[str, Any]) -> str:
    """A row as it is printed while the battery runs."""
    mark = "pass" if result["passed"] else "FAIL"
    return f"{mark}  {row.key:<14} {result['figure']}  ({result['seconds']:.0f} s)"


def page(
    rows: Sequence[Row],
    results: Mapping[str, Mapping[str, Any]],
    peers: Mapping[str, Mapping[str, Any]],
) -> str:
    """All rows as a Markdown table; one that was not run says so."""
    lines = [
        "| row | what is done | passes when | | Accord | | TRL and transformers |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        told = [*_told(results.get(row.key), "not run"), *_told(peers.get(row.key), "—")]
        lines.append(" | ".join([f"| `{row.key}`", row.title, row.passes_when, *told]) + " |")
    return "\n".join(lines + _versions(peers))


def replaced(text: str, table: str) -> str:
    """A page with what stands between its two marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _told(result: Mapping[str, Any] | None, without: str) -> tuple[str, str]:
    if result is None:
        return "", without
    figure = str(result["figure"]).replace("|", "\\|").replace("\n", " ")
    return ("pass" if result["passed"] else "**fail**"), figure


def _versions(peers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    named = sorted({str(result["peer"]) for result in peers.values()})
    return ["", f"Peers: {'; '.join(named)}."] if named else []
