"""The result document, `report.json`: all numbers of a run, read from its stage folders.

Plain dicts. The report draws what stands here and computes nothing. Keys: `headline`, `findings`,
`policies`, `comparisons`, `histograms`, `samples`, `protocol` (from the evaluation); `stages`,
`curves`, `rows`, `heldout`, `timings`, `tokenizer`, `environment`, `recipe` (from the stages). A
part whose stage is absent is empty.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.evaluation.findings import findings
from accord.evaluation.headline import headline

SCHEMA = 1
POINTS = 2000
"""Points kept of a curve; longer ones are thinned evenly, their last point kept."""
NO_METRIC = ("step",)
SKIPPED = "skipped_rows"
FROM_EVALUATION = ("policies", "comparisons", "histograms", "samples", "protocol")
EMPTY: Mapping[str, type] = {"comparisons": list, "samples": list}


def assemble(
    stages: Mapping[str, Path],
    title: str,
    recipe: Mapping[str, Any] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Join what the stages of a run left in their folders.

    Args:
        stages: Stage name to folder, in the order they ran; folders may lack any part.
        title: Heading of the report.
        recipe: The resolved recipe.
        command: What reproduces the run.
    """
    read = {name: read_stage(folder) for name, folder in stages.items()}
    facts = {name: parts["stage"] for name, parts in read.items() if parts["stage"]}
    # the last evaluation is the one that knows the most policies
    evaluations = [parts["evaluation"] for parts in read.values() if parts["evaluation"]]
    evaluation = evaluations[-1] if evaluations else {}
    document: dict[str, Any] = {"schema": SCHEMA, "title": title, "command": command}
    document |= {key: evaluation.get(key, EMPTY.get(key, dict)()) for key in FROM_EVALUATION}
    document |= {
        "stages": {name: _facts(stage) for name, stage in facts.items()},
        "curves": {name: parts["curves"] for name, parts in read.items() if parts["curves"]},
        "rows": {name: parts["rows"] for name, parts in read.items() if parts["rows"]},
        "heldout": {name: parts["heldout"] for name, parts in read.items() if parts["heldout"]},
        "timings": {name: s["seconds"] for name, s in facts.items() if "seconds" in s},
        "tokenizer": next((p["tokenizer"] for p in read.values() if p["tokenizer"]), []),
        "environment": _environment(facts),
        "recipe": dict(recipe or {}),
    }
    document["findings"] = findings(document)
    document["headline"] = headline(document)
    return document


def read_stage(folder: Path) -> dict[str, Any]:
    """The parts of one stage folder; a file that is not there is an empty dict."""
    home = folder / "accord"
    return {
        "stage": _json(home / "stage.json"),
        "rows": _json(home / "rows.json"),
        "heldout": _json(home / "heldout.json"),
        "tokenizer": _json(home / "tokenizer_report.json"),
        "evaluation": _json(home / "evaluation.json"),
        "curves": curves(home / "metrics.jsonl"),
    }


def curves(path: Path) -> dict[str, list[list[float]]]:
    """Metric to its [step, value] points; a step logged again after a resume counts once.

    A last line that a kill cut short is left out.
    """
    if not path.exists():
        return {}
    found: dict[str, dict[int, float]] = {}
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        record = json.loads(line)
        for metric, value in numbers(record).items():
            found.setdefault(metric, {})[record["step"]] = value
    return {metric: _thinned(sorted(points.items())) for metric, points in found.items()}


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """What a line of the run log adds to the curves; of skipped rows their number."""
    found = {
        metric: float(value)
        for metric, value in record.items()
        if metric not in NO_METRIC and isinstance(value, int | float) and math.isfinite(value)
    }
    if record.get(SKIPPED):
        found[SKIPPED] = float(len(record[SKIPPED]))
    return found


def _facts(stage: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("kind", "config", "inputs", "fingerprint", "seconds")
    return {key: stage[key] for key in kept if key in stage}


def _environment(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Machine, versions and revision of the last stage that ran."""
    for stage in reversed(list(facts.values())):
        if stage.get("environment") or stage.get("versions"):
            return {
                **stage.get("environment", {}),
                "versions": stage.get("versions", {}),
                "git_revision": stage.get("git_revision", ""),
            }
    return {}


def _thinned(points: list[tuple[int, float]]) -> list[list[float]]:
    stride = -(-len(points) // POINTS)
    kept = points[::-1][::stride][::-1]
    return [[step, value] for step, value in kept]


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
