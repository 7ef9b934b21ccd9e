"""The findings of a study's runs, those that say the same of the same thing taken together."""

from collections.abc import Iterable, Mapping
from typing import Any

from accord.evaluation.study.table import Cell

SEVERITIES = ("problem", "warning", "info")
"""The gravest first."""
SAID_BETTER = ("difference", "not_distinguishable")
"""Findings of one run alone that a study's claims replace."""

Key = tuple[str, str]
"""A finding's name, and the policy or stage that it is about."""


def gathered(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """Every finding once, with the seeds of each variant in which it stands, the gravest first.

    The sentence, its evidence and the remedy are those of `example`, the gravest of its runs. A
    variant is counted in `of` where the run has the stage or policy that the finding is about.
    """
    runs = [cell for cell in cells if cell.run]
    found: dict[Key, list[tuple[Cell, Mapping[str, Any]]]] = {}
    for cell in runs:
        once: dict[Key, Mapping[str, Any]] = {}
        for finding in cell.run["findings"]:
            if finding["name"] not in SAID_BETTER:
                once.setdefault((finding["name"], subject(finding)), finding)  # the gravest first
        for key, finding in once.items():
            found.setdefault(key, []).append((cell, finding))
    told = [_told(key, seen, runs) for key, seen in found.items()]
    return sorted(told, key=lambda f: (SEVERITIES.index(f["severity"]), -f["runs"]))


def subject(finding: Mapping[str, Any]) -> str:
    """The policy or stage that a finding is about; empty where it is about the run."""
    return finding["evidence"].get("policy") or finding["evidence"].get("stage") or ""


def _told(key: Key, seen: list[tuple[Cell, Mapping[str, Any]]], runs: list[Cell]) -> dict[str, Any]:
    cell, example = min(seen, key=lambda pair: SEVERITIES.index(pair[1]["severity"]))
    variants: dict[str, dict[str, Any]] = {}
    for run, _ in seen:
        variants.setdefault(run.variant, {"seeds": []})["seeds"].append(run.seed)
    for variant, facts in variants.items():
        facts["seeds"].sort()
        facts["of"] = sum(run.variant == variant for run in runs)
    return {
        **example,
        "subject": key[1],
        "example": {"variant": cell.variant, "seed": cell.seed},
        "variants": variants,
        "runs": len(seen),
        "of": sum(_has(run, key[1]) for run in runs),
    }


def _has(run: Cell, name: str) -> bool:
    return not name or name in run.run.get("stages", {}) or name in run.run.get("policies", {})
