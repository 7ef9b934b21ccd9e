"""Scores of two runs: their means, and paired differences where the protocol was the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from accord.evaluation.compare.settings import A, B, Settings
from accord.evaluation.compare.side import Side, both, either
from accord.evaluation.statistics import Floats
from accord.evaluation.study.claims import Claim
from accord.evaluation.study.crossed import crossed
from accord.evaluation.study.holm import holm

PARTS = ("reference", "samples_per_prompt")
SUMMARIES = ("mean", "ci95", "n")


@dataclass(frozen=True)
class Scored:
    """What is said of the scores of two runs.

    Args:
        protocol: Parts in which the evaluations differ: `part`, `a`, `b`.
        scorers: Scorer to why its scores are not to be subtracted; empty: they are.
        means: A row a policy and scorer that both have, with both means and what is said of them.
        claims: The paired differences B − A, corrected together.
        shared: Prompts that both evaluated.
    """

    protocol: list[dict[str, Any]]
    scorers: Mapping[str, str]
    means: list[dict[str, Any]]
    claims: list[Claim]
    shared: int


def scored(a: Side, b: Side, settings: Settings, resamples: int, seed: int) -> Scored:
    """Both runs' scores, and B − A over the prompts where the two were measured alike.

    A score is subtracted only where prompts, sampling and reference are the same, and the scorer
    is too: a reward model trained anew, or fluency under another reference, is another judge.

    Args:
        a: The run that is subtracted.
        b: The other.
        settings: Of `settings_of`.
        resamples: Bootstrap replications.
        seed: Of the bootstrap.
    """
    shared = sorted({*_prompts(a)} & {*_prompts(b)})
    protocol = _protocol(a, b, len(shared))
    refused = "; ".join(_part(row) for row in protocol)
    scorers = {
        name: f"evaluated differently: {refused}" if refused else _judge(a, b, name, settings)
        for name in _scorers(a, b)
    }
    found = list(_claims(a, b, settings, scorers, (shared, resamples, seed)))
    p_values = holm([claim.result.p for claim in found])
    claims = [
        replace(claim, p_holm=p, comparisons=len(found))
        for claim, p in zip(found, p_values, strict=True)
    ]
    return Scored(protocol, scorers, list(_means(a, b, scorers, claims)), claims, len(shared))


def _protocol(a: Side, b: Side, shared: int) -> list[dict[str, Any]]:
    """Parts of the protocol that decide what a score means, where they differ."""
    one, other = a.protocol, b.protocol
    if not one or not other:
        return []
    rows = [(part, one.get(part), other.get(part)) for part in PARTS]
    sampling = one.get("sampling", {}), other.get("sampling", {})
    rows += [(f"sampling.{k}", *(side.get(k) for side in sampling)) for k in either(*sampling)]
    found = [{"part": part, "a": x, "b": y} for part, x, y in rows if x != y]
    counts = [len(_prompts(side)) for side in (a, b)]
    if not shared == counts[0] == counts[1]:
        found.append({"part": "prompts", "a": counts[0], "b": counts[1], "shared": shared})
    return found


def _part(row: Mapping[str, Any]) -> str:
    text = f"{row['part']} ({row['a']} against {row['b']}"
    return text + (f", {row['shared']} shared)" if "shared" in row else ")")


def _judge(a: Side, b: Side, scorer: str, settings: Settings) -> str:
    """Why a scorer is not the same on both sides; empty where it is."""
    one, other = (side.protocol.get("rewards", {}).get(scorer, {}) for side in (a, b))
    model = one.get("model") or (a.protocol.get("reference") if scorer == "fluency" else None)
    if one != other:
        return f"'{scorer}' is defined otherwise"
    if model and a.model(model) != b.model(model):
        return f"its judge, {model}, is not the same model in both runs"
    if scorer == "length" and _tokenizers(a, b, settings):
        return "the tokenizers differ, and it counts tokens"
    return ""


def _tokenizers(a: Side, b: Side, settings: Settings) -> bool:
    kinds = {name: stage.get("kind") for side in (a, b) for name, stage in side.stages.items()}
    changed = {key.split(".")[1] for key in settings.contrast().keys}
    return any(kinds.get(stage) == "tokenizer" for stage in changed)


def _claims(
    a: Side,
    b: Side,
    settings: Settings,
    scorers: Mapping[str, str],
    how: tuple[list[str], int, int],
) -> Iterator[Claim]:
    """B − A of every policy that is not the same model in both, for scorers that are the same."""
    shared, resamples, seed = how
    for policy in both(a.policies, b.policies):
        if a.model(policy) == b.model(policy) or not shared:
            continue
        for scorer in (name for name, why in scorers.items() if not why):
            difference_P = _values(b, policy, scorer, shared) - _values(a, policy, scorer, shared)
            if not np.isfinite(difference_P).all():
                continue
            contrast = settings.contrast(policy, scorer)
            family = "confounded" if contrast.verdict == "confounded" else "variants"
            result = crossed(difference_P[None], resamples, seed)
            yield Claim(family, B, A, policy, scorer, result, contrast=contrast)


def _means(
    a: Side, b: Side, scorers: Mapping[str, str], claims: list[Claim]
) -> Iterator[dict[str, Any]]:
    place = {(claim.context, claim.scorer): at for at, claim in enumerate(claims)}
    for policy in both(a.policies, b.policies):
        same = a.model(policy) == b.model(policy)
        for scorer in scorers:
            one, other = (s.policies[policy]["scores"].get(scorer) for s in (a, b))
            if one is None or other is None:
                continue
            yield {
                "policy": policy,
                "scorer": scorer,
                "a": {key: one[key] for key in SUMMARIES},
                "b": {key: other[key] for key in SUMMARIES},
                "same_model": same,
                "not_compared": scorers[scorer],
                "claim": place.get((policy, scorer)),
            }


def _scorers(a: Side, b: Side) -> list[str]:
    return [s for s in a.protocol.get("scorers", []) if s in b.protocol.get("scorers", [])]


def _prompts(side: Side) -> dict[str, Mapping[str, Any]]:
    return {sample["id"]: sample["policies"] for sample in side.document.get("samples", [])}


def _values(side: Side, policy: str, scorer: str, prompts: list[str]) -> Floats:
    """Scores on prompts, averaged over samples; nan where one is missing."""
    found = _prompts(side)
    scores = (found[p].get(policy, {}).get("scores", {}).get(scorer) for p in prompts)
    return np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
