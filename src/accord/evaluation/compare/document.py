"""The comparison of two runs, `compare.json`: every number that the page and the screen show.

Plain values. Keys: `a`, `b` (what they are), `said` (the conclusions, in sentences), `settings`,
`stages_only`, `seeds`, `circumstances`, `protocol`, `not_compared`, `means`, `claims`,
`statistics`, `findings`, `stages`, `curves`, `heldout`, `data`, `samples`, `bootstrap`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from accord.evaluation.compare import training
from accord.evaluation.compare.scores import Scored, scored
from accord.evaluation.compare.sentences import sentences
from accord.evaluation.compare.settings import (
    Settings,
    circumstances,
    differences,
    seeds,
    settings_of,
)
from accord.evaluation.compare.side import Side, both, either, pair
from accord.evaluation.study.crossed import RESAMPLES

SCHEMA = 1
SHOWN = 8
"""Prompts whose completions are kept side by side."""
DRAWN = ("loss", "eval_loss", "rewards/margins", "reward", "objective/kl")
"""Curves that are kept, to be drawn over each other."""


def compare_document(a: Side, b: Side, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Everything that two runs say when they are laid side by side; differences are B − A.

    Args:
        a: The run that is subtracted.
        b: The other.
        resamples: Bootstrap replications of an interval.
        seed: Of the bootstrap.
    """
    settings = settings_of(a, b)
    scores = scored(a, b, settings, resamples, seed)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "a": _described(a),
        "b": _described(b),
        "settings": differences(settings, both(a.policies, b.policies)),
        "stages_only": dict(settings.only),
        "seeds": seeds(a, b),
        "circumstances": circumstances(a, b),
        **_scores(a, b, scores),
        "statistics": list(_statistics(a, b)),
        "findings": training.findings(a, b),
        "stages": training.stages(a, b),
        "curves": _curves(a, b),
        "heldout": training.heldout(a, b),
        "data": training.data(a, b),
        "samples": _samples(a, b),
        "bootstrap": {"resamples": resamples, "seed": seed},
    }
    return {**document, "said": sentences(document, _nothing(settings))}


def _nothing(settings: Settings) -> bool:
    return settings.contrast().verdict == "nothing"


def _described(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "title": side.document.get("title", ""),
        "stages": list(side.stages),
        "policies": list(side.policies),
    }


def _scores(a: Side, b: Side, scores: Scored) -> dict[str, Any]:
    return {
        "evaluated": bool(a.policies and b.policies),
        "policies_only": {
            "A": [p for p in a.policies if p not in b.policies],
            "B": [p for p in b.policies if p not in a.policies],
        },
        "prompts": scores.shared,
        "protocol": scores.protocol,
        "not_compared": {name: why for name, why in scores.scorers.items() if why},
        "means": scores.means,
        "claims": [claim.to_json() for claim in scores.claims],
    }


def _statistics(a: Side, b: Side) -> Iterator[dict[str, Any]]:
    """KL from the own reference and corpus figures of every shared policy, beside each other."""
    for policy in both(a.policies, b.policies):
        one, other = a.policies[policy], b.policies[policy]
        yield {"policy": policy, "what": "kl", **pair(one["kl"]["mean"], other["kl"]["mean"])}
        for what in either(one["statistics"], other["statistics"]):
            figures = (side["statistics"].get(what) for side in (one, other))
            yield {"policy": policy, "what": what, **pair(*figures)}


def _two(one: Any, other: Any) -> dict[str, Any]:
    return {"a": one, "b": other}


def _curves(a: Side, b: Side) -> dict[str, Any]:
    """Stage and metric to both curves, where both stages drew one and are not the same."""
    one, other = (side.document.get("curves", {}) for side in (a, b))
    found = {}
    for stage in both(one, other):
        if a.stages.get(stage) and a.model(stage) == b.model(stage):
            continue
        shared = [m for m in DRAWN if one[stage].get(m) and other[stage].get(m)]
        found |= {stage: {m: _two(one[stage][m], other[stage][m]) for m in shared}}
    return found


def _samples(a: Side, b: Side) -> list[dict[str, Any]]:
    """The first prompts that both runs answered, with every shared policy's completions."""
    theirs = {sample["id"]: sample["policies"] for sample in b.document.get("samples", [])}
    shared = [s for s in a.document.get("samples", []) if s["id"] in theirs][:SHOWN]
    return [
        {
            **{key: sample[key] for key in ("id", "prompt", "continues")},
            "policies": {
                policy: _two(
                    _written(sample["policies"][policy]),
                    _written(theirs[sample["id"]][policy]),
                )
                for policy in both(sample["policies"], theirs[sample["id"]])
            },
        }
        for sample in shared
    ]


def _written(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {key: answer[key] for key in ("completion", "ended")}
