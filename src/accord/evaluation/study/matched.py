"""A study's methods at the same distance from the reference: scores read off between their points.

A method is a policy of every variant (DPO at five strengths), or all best-of-n of one reward. Its
points under one seed, and the reference at 0 nats, are joined by straight lines; a method's score
at a KL is read off them, never past its last point. A score at a KL is so, for each prompt, a
weighted mean of scores that were measured, and gets the interval that every score of a study gets.

Axes: S seeds, P prompts, V points of a method, 0 nats first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from accord.evaluation.statistics import Floats
from accord.evaluation.study.crossed import crossed
from accord.evaluation.study.table import Cell, Scores

LEAST = 3
"""Variants with a KL that make a frontier."""
GRID = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0)
"""Nats at which methods are compared."""
BEST_OF = "best of n"


@dataclass(frozen=True)
class Method:
    """A method's points under the seeds that all of its variants share.

    Args:
        kl_SV: Nats from the reference; 0 first.
        scores: Scorer to [seeds, points, prompts].
        points: Variant and policy of each point after the first.
        seeds: The rows.
    """

    kl_SV: Floats
    scores: Mapping[str, Floats]
    points: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]

    def at(self, kl: float, scorer: str) -> Floats | None:
        """Scores [seeds, prompts] at a KL; none where a seed's points do not reach so far."""
        if kl > self.kl_SV.max(axis=1).min():
            return None
        return np.stack(
            [
                weights(kl_V, kl) @ score_VP
                for kl_V, score_VP in zip(self.kl_SV, self.scores[scorer], strict=True)
            ]
        )


def weights(kl_V: Floats, kl: float) -> Floats:
    """Weights [points] by which linear interpolation at `kl` averages the points' scores.

    Points at the same KL share their weight alike.
    """
    places, inverse, counts = np.unique(kl_V, return_inverse=True, return_counts=True)
    above = int(np.clip(np.searchsorted(places, kl), 1, len(places) - 1))
    share = (kl - places[above - 1]) / (places[above] - places[above - 1])
    at_places = np.zeros(len(places))
    at_places[above - 1], at_places[above] = 1 - share, share
    return (at_places / counts)[inverse]


def matched(cells: Sequence[Cell], scores: Scores, resamples: int, seed: int) -> dict[str, Any]:
    """Scores of a study's methods at the same KL; empty below three variants with a KL.

    Returns:
        `{kl, methods, scores, differences}`: the nats; each method's points, `{variant, policy}`;
        scorer to method to a list over `kl`, `{mean, ci95, seeds, n}` or none past its last point;
        scorer to a list of `{methods, at}`, whose `at` is the same of first less second with its p.
    """
    found = {name: m for name, m in methods(cells, scores).items() if m.kl_SV.max() > 0}
    varied = {variant for m in found.values() for variant, _ in m.points}
    if len(varied) < LEAST:
        return {}
    reached = max(float(m.kl_SV.max(axis=1).min()) for m in found.values())
    grid = [kl for kl in GRID if kl <= reached]

    def told(values_SP: Floats | None, with_p: bool) -> dict[str, Any] | None:
        if values_SP is None:
            return None
        facts = crossed(values_SP, resamples, seed).to_json()
        return facts if with_p else {k: v for k, v in facts.items() if k != "p"}

    return {
        "kl": grid,
        "methods": {
            name: [{"variant": variant, "policy": policy} for variant, policy in m.points]
            for name, m in found.items()
        },
        "scores": {
            scorer: {
                name: [told(m.at(kl, scorer), False) for kl in grid] for name, m in found.items()
            }
            for scorer in scores.scorers
        },
        "differences": {
            scorer: [
                {
                    "methods": [one, other],
                    "at": [told(_less(found[one], found[other], kl, scorer), True) for kl in grid],
                }
                for one, other in combinations(found, 2)
            ]
            for scorer in scores.scorers
        },
    }


def _less(one: Method, other: Method, kl: float, scorer: str) -> Floats | None:
    """First less second, [seeds that both have, prompts]."""
    mine, theirs = one.at(kl, scorer), other.at(kl, scorer)
    shared = [seed for seed in one.seeds if seed in other.seeds]
    if mine is None or theirs is None or not shared:
        return None
    return (
        mine[[one.seeds.index(seed) for seed in shared]]
        - theirs[[other.seeds.index(seed) for seed in shared]]
    )


def methods(cells: Sequence[Cell], scores: Scores) -> dict[str, Method]:
    """Each method's points, in the order of the study; the reference is none."""
    by_cell = {(cell.variant, cell.seed): cell.evaluation for cell in cells}
    points: dict[str, list[tuple[str, str]]] = {}
    for variant, policies in scores.values.items():
        runs = [by_cell[variant, seed] for seed in scores.seeds[variant]]
        for policy in policies:
            measured = all("kl" in run.get("policies", {}).get(policy, {}) for run in runs)
            if measured and policy != scores.references[variant]:
                points.setdefault(method_name(policy, runs[0]), []).append((variant, policy))
    found = {name: _method(own, by_cell, scores) for name, own in points.items()}
    return {name: method for name, method in found.items() if method is not None}


def method_name(policy: str, evaluation: Mapping[str, Any]) -> str:
    """The policy, or one name for all best-of-n by the same reward."""
    best = evaluation["protocol"].get("best_of", {})
    if policy not in best:
        return policy
    rewards = list(dict.fromkeys(json.dumps(b["reward"], sort_keys=True) for b in best.values()))
    number = rewards.index(json.dumps(best[policy]["reward"], sort_keys=True))
    return BEST_OF if not number else f"{BEST_OF} ({number + 1})"


def _method(
    points: Sequence[tuple[str, str]],
    by_cell: Mapping[tuple[str, int], Mapping[str, Any]],
    scores: Scores,
) -> Method | None:
    """The points under the seeds that all their variants have; none where they share no seed."""
    variants = list(dict.fromkeys(variant for variant, _ in points))
    seeds = [s for s in scores.seeds[variants[0]] if all(s in scores.seeds[v] for v in variants)]
    if not seeds:
        return None
    start = (variants[0], scores.references[variants[0]])
    kl_SV = [
        [0.0, *(by_cell[v, seed]["policies"][p]["kl"]["mean"] for v, p in points)] for seed in seeds
    ]
    found = {
        scorer: np.stack([scores.of(v, p, scorer, seeds) for v, p in (start, *points)], axis=1)
        for scorer in scores.scorers
    }
    return Method(np.array(kl_SV), found, tuple(points), tuple(seeds))
