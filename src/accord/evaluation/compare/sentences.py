"""What may be said of two runs, from their comparison: computed elsewhere, worded here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accord.evaluation.study.crossed import reach

Document = Mapping[str, Any]
LISTED = 6
"""Names that a sentence lists before it counts the others."""


def sentences(document: Document, nothing: bool) -> list[str]:
    """The conclusions, in the order in which they are to be read.

    Args:
        document: The comparison.
        nothing: No setting that differs reaches anything.
    """
    return [
        *_settings(document, nothing),
        *_circumstances(document),
        *_comparable(document),
        *_differences(document),
        *_findings(document),
    ]


def _settings(document: Document, nothing: bool) -> Iterator[str]:
    rows = document["settings"]
    for side in ("training", "evaluation"):
        keys = [f"{row['stage']}.{row['key']}" for row in rows if side in row["reaches"]]
        if keys:
            yield f"{count(len(keys), 'setting')} of {side} {_s(keys)}: {listed(keys)}."
    for name in ("A", "B"):
        stages = [stage for stage, side in document["stages_only"].items() if side == name]
        if stages:
            yield f"Only {name} has {listed(stages)}."
    if nothing:
        yield "No setting that could change a result differs."
    for row in document["seeds"]:
        yield f"The seed of {listed(row['stages'])} differs ({row['a']} → {row['b']})."


def _s(keys: Sequence[str]) -> str:
    return "differs" if len(keys) == 1 else "differ"


def _circumstances(document: Document) -> Iterator[str]:
    rows = document["circumstances"]
    if rows:
        told = [f"{row['what']} ({row['a']} → {row['b']})" for row in rows]
        yield f"Beside the settings {listed(told)}: a difference may be due to that too."


def _comparable(document: Document) -> Iterator[str]:
    if not document["evaluated"]:
        yield "At least one of the two was not evaluated: there are no scores to compare."
        return
    if document["protocol"]:
        parts = [f"{row['part']} ({row['a']} → {row['b']})" for row in document["protocol"]]
        yield (
            f"The evaluations differ in {listed(parts)}: scores of the two are not comparable, and "
            "a difference of their means cannot be called an effect of training. The means stand "
            "side by side, none is subtracted."
        )
        yield from _same_model(document)
        return
    for scorer, why in document["not_compared"].items():
        yield f"{scorer} is not compared: {why}."


def _same_model(document: Document) -> Iterator[str]:
    """What the evaluation alone does to the scores of a model that both runs have."""
    rows = [row for row in document["means"] if row["same_model"]]
    told = [
        f"{row['scorer']} {value(row['a']['mean'])} → {value(row['b']['mean'])}"
        for row in rows
        if row["policy"] == rows[0]["policy"] and row["a"]["mean"] != row["b"]["mean"]
    ]
    if told:
        yield (
            f"{rows[0]['policy']} is the same model in both, and still its means move "
            f"({listed(told)}): that much the evaluation does alone."
        )


def _differences(document: Document) -> Iterator[str]:
    claims = document["claims"]
    if not claims:
        return
    told = [claim for claim in claims if claim["distinguishable"]]
    yield (
        f"{len(told)} of {count(len(claims), 'paired difference')} over "
        f"{count(document['prompts'], 'prompt')} can be told from 0. A difference between single "
        f"runs is not an effect: {reach(1, document['prompts'])}"
    )


def _findings(document: Document) -> Iterator[str]:
    for name in ("A", "B"):
        grave = [f for f in document["findings"][name.lower()] if f["severity"] != "info"]
        if grave:
            names = [f"{finding['name']}{_whose(finding)}" for finding in grave]
            yield f"Found in {name} alone: {listed(names)}."


def _whose(finding: Mapping[str, Any]) -> str:
    evidence = finding["evidence"]
    whose = evidence.get("policy", evidence.get("stage"))
    return f" ({whose})" if whose else ""


def count(number: int, noun: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Names with commas, the last of many counted."""
    if len(names) > LISTED:
        return f"{', '.join(names[:LISTED])} and {len(names) - LISTED} more"
    return ", ".join(names)


def value(it: Any) -> str:
    """A setting or a figure as a reader writes it; a dash for none."""
    if it is None:
        return "–"
    if isinstance(it, float):
        return f"{it:.4g}".replace("-", "−")
    return str(it)


def change(difference: float | None) -> str:
    """B − A with its sign; a dash where there is none."""
    return ("+" if (difference or 0) > 0 else "") + value(difference)
