"""The result document of a study, `study.json`: every number a report of it draws.

Plain values. Keys: `variants`, `seeds`, `prompts`, `policies`, `scorers`, `references`,
`scorer` (shown first), `primary`, `per_prompt`, `averages`, `ranks`, `deltas`, `claims`,
`headline`, `summary`, `factors`, `limits`, `bootstrap`; of what stages logged, wrote and cost
`training`, `heldout`, `findings`, `frontier`, `matched`, `samples`. Lists over prompts are in the
order of `prompts`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from accord.errors import AccordError, did_you_mean
from accord.evaluation.statistics import Floats
from accord.evaluation.study.claims import Claim, by_family, claims
from accord.evaluation.study.conclusions import factors_json
from accord.evaluation.study.crossed import RESAMPLES, crossed, reach
from accord.evaluation.study.factors import factors
from accord.evaluation.study.frontier import frontier, samples
from accord.evaluation.study.gathered import gathered
from accord.evaluation.study.holm import LEVEL
from accord.evaluation.study.matched import matched
from accord.evaluation.study.summary import headline, summary
from accord.evaluation.study.table import Cell, Scores, table
from accord.evaluation.study.training import heldout, training

SCHEMA = 1
TIE = 1e-9
"""Means nearer than this share a rank: they differ by rounding."""


def study_document(
    cells: Iterable[Cell],
    title: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
    primary: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything a study's runs say when taken together.

    Args:
        cells: The finished runs.
        title: Heading of the report.
        resamples: Bootstrap replications of an interval.
        seed: Of the bootstrap.
        primary: Scorers that the study is about (`claims`).

    Raises:
        AccordError: If the runs cannot be compared (`table`), or share no seed; or a primary
            scorer is none of theirs.
    """
    cells = list(cells)
    scores = table(cells)
    for name in primary:
        if name not in scores.scorers:
            what = f"no evaluation of the study has the scorer '{name}'"
            raise AccordError(what, "primary", did_you_mean(name, scores.scorers))
    found = claims(scores, resamples, seed, primary)
    counts = summary(found)
    averages = _each(scores, lambda values_SP: _average(values_SP, resamples, seed))
    every = list(dict.fromkeys(p for policies in scores.values.values() for p in policies))
    return {
        "schema": SCHEMA,
        "title": title,
        "variants": list(scores.values),
        "seeds": {variant: list(seeds) for variant, seeds in scores.seeds.items()},
        "prompts": [{"id": prompt, "prompt": text} for prompt, text in scores.prompts],
        "policies": every,
        "scorers": scores.scorers,
        "scorer": primary[0] if primary else _main_scorer(cells, scores),
        "primary": list(primary),
        "references": dict(scores.references),
        "per_prompt": _each(scores, lambda values_SP: values_SP.mean(axis=0).tolist()),
        "averages": averages,
        "ranks": _ranks(scores),
        "deltas": _deltas(scores),
        "claims": [claim.to_json() for claim in found],
        "headline": headline(counts),
        "summary": counts,
        "factors": factors_json(factors(scores.settings), found),
        "limits": _limits(scores, found, resamples),
        "training": training(cells),
        "heldout": heldout(cells),
        "findings": gathered(cells),
        "frontier": frontier(cells, scores, averages, resamples, seed),
        "matched": matched(cells, scores, resamples, seed),
        "samples": samples(cells, scores),
        "bootstrap": {"resamples": resamples, "seed": seed, "level": LEVEL},
    }


def _main_scorer(cells: Iterable[Cell], scores: Scores) -> str:
    """What figures show first: a reward that the recipe names before what every recipe can have."""
    named = [name for cell in cells for name in cell.evaluation["protocol"].get("rewards", {})]
    return next((name for name in named if name in scores.scorers), next(iter(scores.scorers), ""))


def ranks(values_KP: Floats) -> Floats:
    """Rank of each row in each column: 1 for the highest, ties sharing the mean of their ranks.

    Args:
        values_KP: [policies, prompts].
    """
    apart_KKP = values_KP[None] - values_KP[:, None]  # [i, j]: by how much j exceeds i
    higher_KP = (apart_KKP > TIE).sum(axis=1)
    level_KP = (np.abs(apart_KKP) <= TIE).sum(axis=1)  # itself among them
    return higher_KP + (level_KP + 1) / 2


def _each(scores: Scores, figure: Any) -> dict[str, Any]:
    """A figure of every variant, policy and scorer."""
    return {
        variant: {
            policy: {scorer: figure(by_scorer[scorer]) for scorer in scores.scorers}
            for policy, by_scorer in policies.items()
        }
        for variant, policies in scores.values.items()
    }


def _average(values_SP: Floats, resamples: int, seed: int) -> dict[str, object]:
    """The mean with its interval; that it is not 0 is no claim, so without a p-value."""
    result = crossed(values_SP, resamples, seed)
    return {
        **result.interval.to_json(),
        "seeds": result.seeds,
        "per_seed": values_SP.mean(axis=1).tolist(),
    }


def _means(policies: Mapping[str, Mapping[str, Floats]], scorer: str) -> Floats:
    """Means over seeds, [policies, prompts]."""
    return np.stack([by_scorer[scorer].mean(axis=0) for by_scorer in policies.values()])


def _ranks(scores: Scores) -> dict[str, Any]:
    """For every variant and scorer the rank of each policy on each prompt, and overall."""
    return {
        variant: {scorer: _ranking(policies, scorer) for scorer in scores.scorers}
        for variant, policies in scores.values.items()
    }


def _ranking(policies: Mapping[str, Mapping[str, Floats]], scorer: str) -> dict[str, Any]:
    means_KP = _means(policies, scorer)
    per_prompt = ranks(means_KP).tolist()
    overall = ranks(means_KP.mean(axis=1, keepdims=True))[:, 0].tolist()
    return {
        "per_prompt": dict(zip(policies, per_prompt, strict=True)),
        "overall": dict(zip(policies, overall, strict=True)),
    }


def _deltas(scores: Scores) -> dict[str, Any]:
    """For every variant and scorer the heat-map of policy − reference: a row a policy."""
    return {
        variant: {
            scorer: _heat_map(policies, scores.references[variant], scorer)
            for scorer in scores.scorers
        }
        for variant, policies in scores.values.items()
    }


def _heat_map(
    policies: Mapping[str, Mapping[str, Floats]], reference: str, scorer: str
) -> dict[str, Any]:
    rows = {
        name: (by_scorer[scorer] - policies[reference][scorer]).mean(axis=0).tolist()
        for name, by_scorer in policies.items()
        if name != reference
    }
    return {"policies": list(rows), "matrix": list(rows.values())}


def _limits(scores: Scores, found: Sequence[Claim], resamples: int) -> list[str]:
    """What the intervals and the corrections cannot say."""
    counts = sorted({len(seeds) for seeds in scores.seeds.values()})
    limits = [reach(count, len(scores.prompts)) for count in counts]
    for family, count in by_family(found).items():
        if count / (1 + resamples) > LEVEL:
            limits.append(
                f"{resamples} resamples are too few for {count} comparisons ({family}): after "
                "Holm none can be told from 0. Raise the resamples."
            )
    return limits
