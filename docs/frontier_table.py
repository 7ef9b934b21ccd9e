"""The frontier's tables as Markdown: `python docs/frontier_table.py runs/frontier [SCORER]`.

Every number is read from the study's `study_report.json`: its `frontier` (each method's points) and
its `matched` (scores at the same KL).
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Document = Mapping[str, Any]


def main(folder: str, scorer: str | None = None) -> None:
    """Print every table of a study's folder."""
    document = json.loads((Path(folder) / "study_report.json").read_text(encoding="utf-8"))
    print("\n".join(tables(document, scorer or document["scorer"])))


def tables(document: Document, scorer: str) -> Iterator[str]:
    """Lines of Markdown: a table of every method's points, of scores at a KL, of differences."""
    yield f"### What each setting reached ({scorer})\n"
    yield "| method | setting | KL, nats | score |"
    yield "|---|---|--:|--:|"
    for method, points in document["frontier"].items():
        if all(method != name for name in document["references"].values()):
            yield from (_point(method, point, scorer) for point in points)
    if not document["matched"]:
        return
    matched = document["matched"]
    nats = [f"{kl:g}" for kl in matched["kl"]]
    yield f"\n### {scorer} at the same KL\n"
    yield from _table(
        ["method", *nats],
        [[name, *map(_at, column)] for name, column in matched["scores"][scorer].items()],
    )
    yield f"\n### Differences in {scorer} at the same KL\n"
    yield from _table(
        ["first − second", *nats],
        [
            [" − ".join(row["methods"]), *map(_at, row["at"])]
            for row in matched["differences"][scorer]
        ],
    )


def _point(method: str, point: Document, scorer: str) -> str:
    kl, score = point["kl"], point["scores"][scorer]
    setting = ", ".join(point["variants"])
    low, high = (f"{end:.2f}" for end in kl["ci95"])
    cost = f"{kl['mean']:.2f}" + (f" [{low}, {high}]" if low != high else "")
    return f"| {method} | {setting} | {cost} | {_at(score)} |"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'--:|' * (len(head) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _at(value: Document | None) -> str:
    """A mean with its interval; past a method's last point there is none."""
    if value is None:
        return "–"
    return f"{value['mean']:.2f} [{value['ci95'][0]:.2f}, {value['ci95'][1]:.2f}]".replace("-", "−")


if __name__ == "__main__":
    main(*sys.argv[1:3])
