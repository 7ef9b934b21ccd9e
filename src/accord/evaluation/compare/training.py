"""What the stages of two runs did: time, speed, memory, where metrics ended, data, held out."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from accord.evaluation.compare.side import Side, either, pair
from accord.evaluation.findings.finding import mean

Points = Sequence[Sequence[float]]

MACHINE = ("tokens_per_second", "peak_memory_bytes", "eval_runtime")
"""Curves that are of the machine; they have columns of their own, or none."""
PLAN = ("learning_rate", "epoch", "num_tokens")
"""Curves that follow from the settings."""
MEASURED = ("bits_per_byte", "accuracy", "margin", "ece", "length_correlation")
"""Held-out figures, of text and of pairs."""
COUNTS = ("rows", "tokens", "pairs")


def stages(a: Side, b: Side) -> list[dict[str, Any]]:
    """A row a stage: `kind`, `same` (equal fingerprints), and pairs of figures and final metrics.

    Speed is the median of the log, memory its highest; a metric is the mean over the last tenth
    of the log, a held-out one its last value.
    """
    return [_stage(a, b, name) for name in either(a.stages, b.stages)]


def heldout(a: Side, b: Side) -> list[dict[str, Any]]:
    """Held-out figures of stages: `stage`, `part`, `what`, `a`, `b`, and whether rows agree."""
    found = []
    one, other = (dict(_heldout(side)) for side in (a, b))
    for key in either(one, other):
        mine, theirs = one.get(key, {}), other.get(key, {})
        counted = [what for what in COUNTS if what in mine or what in theirs]
        same = all(mine.get(what) == theirs.get(what) for what in counted)
        for what in MEASURED:
            if what in mine or what in theirs:
                row = {"stage": key[0], "part": key[1], "what": what, "same_rows": same}
                found.append({**row, **pair(mine.get(what), theirs.get(what))})
    return found


def data(a: Side, b: Side) -> list[dict[str, Any]]:
    """Rows that stages read, by source: `kept`, `dropped` and `truncated` of both sides."""
    one, other = (_rows(side) for side in (a, b))
    return [
        {
            "stage": key[0],
            "source": key[1],
            "a": one.get(key),
            "b": other.get(key),
            "same": one.get(key) == other.get(key),
        }
        for key in either(one, other)
    ]


def findings(a: Side, b: Side) -> dict[str, list[dict[str, Any]]]:
    """Findings that only one run has (`a`, `b`), and those of both, with both severities."""
    one, other = (
        {_finding(found): found for found in side.document.get("findings", [])} for side in (a, b)
    )
    shared = [
        {
            "name": one[key]["name"],
            "whose": key[1],
            "severity": [one[key]["severity"], other[key]["severity"]],
            "sentence": [one[key]["sentence"], other[key]["sentence"]],
        }
        for key in one
        if key in other
    ]
    return {
        "a": [found for key, found in one.items() if key not in other],
        "b": [found for key, found in other.items() if key not in one],
        "both": shared,
    }


def _stage(a: Side, b: Side, name: str) -> dict[str, Any]:
    facts = [side.stages.get(name, {}) for side in (a, b)]
    curves = [side.document.get("curves", {}).get(name, {}) for side in (a, b)]
    marks = [fact.get("fingerprint") for fact in facts]
    metrics = [m for m in either(*curves) if m not in (*MACHINE, *PLAN) and "_per_second" not in m]
    return {
        "stage": name,
        "kind": next(fact["kind"] for fact in facts if fact.get("kind")),
        "same": marks[0] is not None and marks[0] == marks[1],
        "seconds": pair(*(fact.get("seconds") for fact in facts)),
        "steps": pair(*(_steps(found) for found in curves)),
        "tokens_per_second": pair(*(_middle(c.get("tokens_per_second", [])) for c in curves)),
        "peak_memory_bytes": pair(*(_highest(c.get("peak_memory_bytes", [])) for c in curves)),
        "metrics": {m: pair(*(_end(m, found.get(m, [])) for found in curves)) for m in metrics},
    }


def _steps(found: Mapping[str, Points]) -> int | None:
    return int(found["loss"][-1][0]) if found.get("loss") else None


def _middle(points: Points) -> float | None:
    return median(value for _, value in points) if points else None


def _highest(points: Points) -> float | None:
    return max((value for _, value in points), default=None)


def _end(metric: str, points: Points) -> float | None:
    if not points:
        return None
    if metric.startswith("eval_"):
        return points[-1][1]
    return mean(points[-max(1, len(points) // 10) :])


def _heldout(side: Side) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    """(stage, source) to figures; of a stage that has one set the source is empty."""
    for stage, found in side.document.get("heldout", {}).items():
        if any(what in found for what in MEASURED):
            yield (stage, ""), found
        for source, figures in found.items():
            if isinstance(figures, Mapping) and any(what in figures for what in MEASURED):
                yield (stage, source), figures


def _rows(side: Side) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (stage, source): {
            "kept": account["kept"],
            "dropped": sum(account.get("dropped", {}).values()),
            "truncated": sum(account.get("truncated", {}).values()),
        }
        for stage, sources in side.document.get("rows", {}).items()
        for source, account in sources.items()
    }


def _finding(found: Mapping[str, Any]) -> tuple[str, str, str]:
    evidence = found["evidence"]
    whose = evidence.get("policy", evidence.get("stage", ""))
    return found["name"], whose, str(evidence.get("scorer", evidence.get("source", "")))
