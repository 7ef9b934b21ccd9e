"""An audit's document as a screen of text, and as a page of Markdown; computes nothing."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accord.evaluation.audit.phrases import interval, number, percent

WIDTH = 104
MARKS = {"problem": "problem", "warning": "warning", "info": "note"}
CELL = 56
"""Characters of the first column of the screen."""

KINDS = {
    "raw": "over all answers",
    "within_pairs": "within pairs (partial)",
    "part": "within pairs (part)",
    "given_rating": "given the rating (partial)",
}

Document = Mapping[str, Any]
Form = Callable[[float], str]


@dataclass(frozen=True)
class Table:
    """Rows of what was measured, its number with the interval, and the rows it rests on."""

    title: str
    rows: Sequence[tuple[str, str, str]]


def screen(document: Document) -> list[str]:
    """The verdict and every measure, a line each."""
    lines = [headline(document), ""]
    for finding in document["verdict"]:
        mark = f"{MARKS[finding['severity']]}:"
        said = textwrap.wrap(finding["sentence"], WIDTH - 9)
        lines += [f"{mark if not at else '':<9}{line}" for at, line in enumerate(said)]
    for table in tables(document):
        lines += ["", f"{table.title:<{CELL}} value [95 %]           rows"]
        lines += [
            f"  {name:<{CELL - 2}} {value:<22} {rows}".rstrip() for name, value, rows in table.rows
        ]
    return lines


def page(document: Document) -> str:
    """The same as Markdown, with evidence and remedies."""
    lines = ["# Reward-model audit", "", headline(document), "", "## Verdict", ""]
    for finding in document["verdict"]:
        where = ", ".join(f"`{path}`" for path in finding["evidence"])
        remedy = f" Remedy: {finding['remedy']}." if finding["remedy"] else ""
        mark = MARKS[finding["severity"]]
        lines.append(
            f"- **{mark}** ({finding['name']}): {finding['sentence']}{remedy} From {where}."
        )
    for table in tables(document):
        lines += ["", f"## {table.title}", "", "| measure | value [95 %] | rows |", "|---|---|---|"]
        lines += [f"| {name} | {value} | {rows} |" for name, value, rows in table.rows]
    lines += [
        "",
        "## Reliability",
        "",
        "| mean confidence | share right | pairs |",
        "|---|---|---|",
    ]
    lines += [
        f"| {percent(part['confidence'])} | {percent(part['accuracy'])} | {part['pairs']} |"
        for part in document["calibration"]["table"]
    ]
    return "\n".join(lines) + "\n"


def headline(document: Document) -> str:
    """What was audited on how much."""
    pairs, model = document["pairs"], document.get("model", {})
    counts = f"{pairs['scored']} pairs of {pairs['prompts']} prompts"
    if pairs["scored"] < pairs["read"]:
        counts += f" ({pairs['read'] - pairs['scored']} leave no room for an answer)"
    return f"{model.get('folder', 'model')}: {counts}"


def tables(document: Document) -> Iterator[Table]:
    """Every measure of the document."""
    yield Table("Accuracy", list(_accuracy(document["accuracy"])))
    if document["truth"]:
        rows = [(k, v) for k, v in document["truth"].items() if k != "column"]
        title = f"Truth: {document['truth']['column']}"
        forms = {"correlation": number}
        yield Table(title, [_row(name, v, forms.get(name, percent)) for name, v in rows])
    dependence = [
        _row(f"{feature}, {KINDS[name]}", value, number)
        for feature, found in document["dependence"].items()
        for name, value in found.items()
        if name in KINDS
    ]
    yield Table("Correlation of the score with", dependence)
    calibration = document["calibration"]
    named = {"ece": "expected calibration error", "over_confidence": "too sure by"}
    yield Table("Calibration", [_row(s, calibration[k], number) for k, s in named.items()])
    yield Table("Must not change the score", list(_invariance(document)))
    probes = [
        _row(found["says"], found, percent, _drop(found))
        for found in document["sensitivity"].values()
    ]
    yield Table("A preferred answer scores lower", probes)
    shorts = _row("right short answers above nonsense", document["short_answers"], percent)
    yield Table("Known answers", [shorts])


def _accuracy(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield _row("all pairs", found["overall"], percent)
    for key in ("by_length", "by_longer", "by_source", "by_language"):
        parts = found[key]
        if key == "by_longer" or len(parts) > 1:
            for part in parts:
                yield _row(part["name"], part, percent)
    names = {"longer": "beside: always the longer", "words": "beside: TF-IDF ridge of these data"}
    for key, name in names.items():
        other = found["beside"][key]
        rows = found["overall"]["rows"]
        theirs = {"value": other.get("accuracy"), "ci95": other.get("ci95"), "rows": rows}
        yield _row(name, theirs | other, percent)


def _invariance(document: Document) -> Iterator[tuple[str, str, str]]:
    batching = document["batching"]
    for name, says in (
        ("alone", "alone"),
        ("padding", "beside the longest"),
        ("order", "reversed"),
    ):
        value = f"{batching[name]:.1e}"
        yield f"batch {says}: largest change", value, str(batching["rows"])
    yield "tolerance of the three", f"{batching['tolerance']:.1e}", ""
    for name, found in document["white_space"].items():
        says = f"{name.replace('_', ' ')}: pairs turned round"
        change = found.get("change")
        yield _row(says, found, percent, "" if change is None else f" by {change:.2g} spreads")


def _drop(found: Mapping[str, Any]) -> str:
    drop = found.get("drop")
    return "" if drop is None else f" by {number(drop)} spreads"


def _row(name: str, found: Mapping[str, Any], form: Form, note: str = "") -> tuple[str, str, str]:
    if "left_out" in found:
        return name, f"– {found['left_out']}", ""
    return name, interval(found, form), f"{found['rows']}{note}"
