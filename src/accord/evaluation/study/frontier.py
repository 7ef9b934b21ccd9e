"""A study's scores against what they cost in KL, and what its policies wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accord.evaluation.study.crossed import crossed
from accord.evaluation.study.factors import factors
from accord.evaluation.study.matched import method_name
from accord.evaluation.study.table import Cell, Scores

SHOWN = 6
"""Prompts whose completions are shown."""


def frontier(
    cells: Sequence[Cell],
    scores: Scores,
    averages: Mapping[str, Any],
    resamples: int,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Policy to its points, one a variant, in order of KL from the reference.

    A point is `{variants, alike, method, kl, scores}`: `method` the policy, or one name for all
    best-of-n by the same reward; `kl` in nats a completion, `{mean, ci95, per_seed}`,
    its interval over seeds or, from one seed, over prompts, and `bound` where it is an upper bound
    (best of n); `scores` as in `averages`; `alike` the first variant that was evaluated in the same
    way, so that one line joins points of one `alike` only. Variants with the same runs are one
    point. Where no KL was measured there is none.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    alike = evaluated_alike(scores)
    for variant, policies in scores.values.items():
        runs = sorted((c for c in cells if c.variant == variant), key=lambda c: c.seed)
        for policy in policies:
            measured = [c.evaluation.get("policies", {}).get(policy, {}).get("kl") for c in runs]
            if not all(measured):
                continue
            kl = over_seeds([m["mean"] for m in measured], resamples, seed)
            low, high = kl["ci95"] or measured[0].get("ci95") or [kl["mean"]] * 2
            kl["ci95"] = [max(0.0, low), high]
            kl["bound"] = any(m.get("bound", False) for m in measured)
            point = {"variants": [variant], "alike": alike[variant], "kl": kl}
            point["method"] = method_name(policy, runs[0].evaluation)
            point["scores"] = averages[variant][policy]
            _add(found.setdefault(policy, []), point)
    return {policy: sorted(points, key=_at) for policy, points in found.items()}


def evaluated_alike(scores: Scores) -> dict[str, str]:
    """Variant to the first one whose settings sample and judge in the same way."""
    contrasts = factors(scores.settings)
    found: dict[str, str] = {}
    for variant in scores.values:
        same = (v for v in found if found[v] == v and not contrasts[v, variant].evaluation)
        found[variant] = next(same, variant)
    return found


def over_seeds(values: Sequence[float], resamples: int, seed: int) -> dict[str, Any]:
    """Mean of one value a seed, its 95 % interval (none from one seed), and the values."""
    result = crossed(np.array(values, dtype=np.float64)[:, None], resamples, seed)
    interval = [result.interval.low, result.interval.high] if len(values) > 1 else None
    return {"mean": result.interval.mean, "ci95": interval, "per_seed": list(values)}


def samples(cells: Sequence[Cell], scores: Scores) -> dict[str, Any]:
    """What policies wrote to the first prompts, from each variant's first seed.

    `rows` are `{id, prompt, continues, texts}`; a text is `{policy, variants, completion, ended,
    scores}`, and what several variants wrote alike stands once.
    """
    shown = [prompt for prompt, _ in scores.prompts[:SHOWN]]
    first = {v: next(c for c in cells if (c.variant, c.seed) == (v, s[0]))
             for v, s in scores.seeds.items()}  # fmt: skip
    by_id = {v: {s["id"]: s for s in cell.evaluation["samples"]} for v, cell in first.items()}
    return {
        "seeds": {variant: seeds[0] for variant, seeds in scores.seeds.items()},
        "rows": [_row({v: rows[prompt] for v, rows in by_id.items()}) for prompt in shown],
    }


def _at(point: Mapping[str, Any]) -> float:
    return point["kl"]["mean"]


def _add(points: list[dict[str, Any]], point: dict[str, Any]) -> None:
    """Add a point, or its variant to the point of the same runs."""
    for other in points:
        if {**other, "variants": point["variants"]} == point:
            other["variants"] += point["variants"]
            return
    points.append(point)


def _row(by_variant: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    one = next(iter(by_variant.values()))
    texts: list[dict[str, Any]] = []
    policies = dict.fromkeys(p for sample in by_variant.values() for p in sample["policies"])
    for policy in policies:
        for variant, sample in by_variant.items():
            if policy not in sample["policies"]:
                continue
            written = {"policy": policy, **sample["policies"][policy]}
            same = (t for t in texts if {**t, **written} == t)
            text = next(same, None)
            if text:
                text["variants"].append(variant)
            else:
                texts.append({**written, "variants": [variant]})
    return {**{key: one.get(key, False) for key in ("id", "prompt", "continues")}, "texts": texts}
