"""Findings: named statements that follow from numbers, with evidence and a remedy.

A check is one function from the result document to findings, and one row of `CHECKS`. The bounds
stand beside the checks, by name, and every finding carries the numbers that it rests on.
"""

from dataclasses import asdict
from typing import Any

from accord.evaluation.findings import (
    data,
    drift,
    policies,
    preference,
    reward,
    rollouts,
    routing,
    stability,
    start,
    updates,
)
from accord.evaluation.findings.finding import Check, Document

CHECKS: tuple[Check, ...] = (
    policies.comparisons,
    start.reference,
    start.ratio,
    start.stale,
    start.format_only,
    stability.skipped,
    stability.divergence,
    stability.spikes,
    stability.torn,
    stability.saturation,
    stability.standstill,
    routing.collapse,
    routing.dead,
    preference.movement,
    preference.margins,
    preference.chosen,
    rollouts.movement,
    rollouts.overoptimised,
    rollouts.judge_left_behind,
    rollouts.collapse,
    rollouts.spread,
    rollouts.length,
    rollouts.truncation,
    rollouts.endless,
    updates.divergence,
    updates.distance,
    updates.constraint,
    updates.ratios,
    updates.sampler,
    updates.entropy,
    updates.critic,
    reward.accuracy,
    reward.calibration,
    reward.length,
    data.overfitting,
    policies.ending,
    policies.length,
    policies.diversity,
    policies.uniqueness,
    policies.fluency,
    policies.endless,
    policies.copies,
    data.rows,
    drift.scripts,
    drift.forgetting,
    drift.leakage,
)


def findings(document: Document) -> list[dict[str, Any]]:
    """Every finding of a result document as plain dicts, the gravest first."""
    rank = {"problem": 0, "warning": 1, "info": 2}
    found = [finding for check in CHECKS for finding in check(document)]
    return [asdict(finding) for finding in sorted(found, key=lambda f: rank[f.severity])]
