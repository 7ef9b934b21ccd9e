"""A sentence for every comparison of a study: by how much, how sure, and due to what."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, product
from typing import Any, Literal, get_args

from accord.errors import AccordError
from accord.evaluation.findings.finding import plain, signed
from accord.evaluation.study.crossed import Crossed, crossed
from accord.evaluation.study.factors import Contrast, factors
from accord.evaluation.study.holm import LEVEL, holm
from accord.evaluation.study.table import Scores

Family = Literal["policies", "methods", "variants", "confounded"]
FAMILIES: tuple[Family, ...] = get_args(Family)

ALONE = "; the interval, which is for this comparison alone, does exclude 0"
"""Said where interval and verdict would seem to disagree."""

Between = Callable[[str, str], Mapping[tuple[str, str], Contrast]]
"""Policy and scorer to the contrast of every two variants."""


@dataclass(frozen=True)
class Claim:
    """One comparison and what may be said of it.

    Args:
        family: `policies`: policy − reference within a variant; `methods`: two policies that
            both are not the reference; `variants`: a policy between two variants; `confounded`:
            the same where both training and evaluation changed.
        after: What the other is subtracted from.
        before: What is subtracted.
        context: The variant of a comparison of policies, the policy of one of variants.
        scorer: What was measured.
        result: Difference, interval and p-value.
        p_holm: After Holm's correction over the family.
        comparisons: Members of the family.
        contrast: Between variants, what differs.
        primary: Whether its scorer was named beforehand as one that the study is about.
    """

    family: Family
    after: str
    before: str
    context: str
    scorer: str
    result: Crossed
    p_holm: float = 1.0
    comparisons: int = 1
    contrast: Contrast | None = None
    primary: bool = True

    @property
    def distinguishable(self) -> bool:
        """Whether the difference is told from 0 after correction."""
        return self.p_holm <= LEVEL

    @property
    def unadjusted(self) -> bool:
        """Whether its interval excludes 0 but the correction for all comparisons does not."""
        return self.result.interval.excludes_zero and not self.distinguishable

    @property
    def causal(self) -> bool:
        """Whether it is the effect of the one key, or the one side, in which variants differ."""
        side = self.contrast.side if self.contrast else ""
        return self.distinguishable and bool(side) and not self._one_run_each(side)

    def _one_run_each(self, side: str) -> bool:
        return side == "training" and self.result.seeds == 1

    @property
    def sentence(self) -> str:
        """The claim in words, with its numbers."""
        about = f"{self.context}: " if self.context else ""
        about += f"{self.after} − {self.before} in {self.scorer}"
        if self.distinguishable:
            text = f"{about} = {estimate(self.result)}, {self._evidence()}"
        else:
            numbers = f"{estimate(self.result)}, {self._evidence()}"
            text = f"{about}: not distinguishable ({numbers}{ALONE if self.unadjusted else ''})"
        if self.contrast:
            text += f"; {self.contrast.sentence}"
            if self._one_run_each(self.contrast.side):
                text += "; of one run each: the effect is not told from the luck of a run"
        return text

    def _evidence(self) -> str:
        seeds = "1 seed" if self.result.seeds == 1 else f"{self.result.seeds} seeds"
        text = f"{seeds} × {self.result.interval.n} prompts, {_p(self.p_holm)}"
        if self.comparisons > 1:
            text += f" after Holm over {self.comparisons} comparisons"
        return text

    def to_json(self) -> dict[str, Any]:
        """The claim as plain values."""
        return {
            "family": self.family,
            "after": self.after,
            "before": self.before,
            "context": self.context,
            "scorer": self.scorer,
            "difference": self.result.interval.mean,
            "ci95": [self.result.interval.low, self.result.interval.high],
            "seeds": self.result.seeds,
            "n": self.result.interval.n,
            "p": self.result.p,
            "p_holm": self.p_holm,
            "comparisons": self.comparisons,
            "primary": self.primary,
            "distinguishable": self.distinguishable,
            "unadjusted": self.unadjusted,
            "causal": self.causal,
            "keys": list(self.contrast.keys) if self.contrast else [],
            "sentence": self.sentence,
        }


def claims(scores: Scores, resamples: int, seed: int, primary: Collection[str] = ()) -> list[Claim]:
    """Every comparison that a study allows, each family corrected by Holm.

    Where no key that differs between two variants reaches what is compared, their runs are the
    same: they are not compared, and what else is compared with them stands once, under the first.
    Comparisons in which training and evaluation changed together are corrected apart.

    Args:
        scores: Of `table`.
        resamples: Bootstrap replications.
        seed: Of the bootstrap; all comparisons draw the same prompts and seeds.
        primary: Scorers that the study is about, named before it ran: comparisons in the others
            are corrected apart. None: all are.
    """
    between = cache(lambda policy, scorer: factors(scores.settings, policy, scorer))
    found = [
        *_of_policies(scores, between, resamples, seed),
        *_of_variants(scores, between, resamples, seed),
    ]
    adjusted: dict[int, Claim] = {}
    found = [replace(claim, primary=not primary or claim.scorer in primary) for claim in found]
    for family, first in product(FAMILIES, (True, False)):
        members = [i for i, c in enumerate(found) if c.family == family and c.primary == first]
        p_values = holm([found[i].result.p for i in members])
        for i, p in zip(members, p_values, strict=True):
            adjusted[i] = replace(found[i], p_holm=p, comparisons=len(members))
    return [adjusted[i] for i in range(len(found))]


def estimate(result: Crossed) -> str:
    """A mean and its interval, such as `+0.42 [0.31, 0.53]`, to two figures of the half width."""
    interval = result.interval
    half = (interval.high - interval.low) / 2
    digits = min(6, max(2, 1 - math.floor(math.log10(half)))) if half > 0 else 2
    low, high = plain(interval.low, digits), plain(interval.high, digits)
    return f"{signed(interval.mean, digits)} [{low}, {high}]"


def _of_policies(scores: Scores, between: Between, resamples: int, seed: int) -> list[Claim]:
    found = []
    for variant, policies in scores.values.items():
        reference = scores.references[variant]
        context = variant if len(scores.values) > 1 else ""
        others = [policy for policy in policies if policy != reference]
        for before, after in [*((reference, p) for p in others), *combinations(others, 2)]:
            family: Family = "policies" if before == reference else "methods"
            for scorer in scores.scorers:
                if variant not in _distinct(scores, between, (before, after), scorer):
                    continue
                difference = policies[after][scorer] - policies[before][scorer]
                result = crossed(difference, resamples, seed)
                found.append(Claim(family, after, before, context, scorer, result))
    return found


def _of_variants(scores: Scores, between: Between, resamples: int, seed: int) -> list[Claim]:
    found = []
    every = dict.fromkeys(policy for policies in scores.values.values() for policy in policies)
    for policy, scorer in product(every, scores.scorers):
        variants = _distinct(scores, between, (policy,), scorer)
        for before, after in combinations(variants, 2):
            contrast = between(policy, scorer)[before, after]
            if contrast.verdict == "nothing":  # the same runs under other seeds
                continue
            seeds = _shared(scores, before, after)
            ours, theirs = (scores.of(v, policy, scorer, seeds) for v in (after, before))
            result = crossed(ours - theirs, resamples, seed)
            family: Family = "confounded" if contrast.verdict == "confounded" else "variants"
            found.append(Claim(family, after, before, policy, scorer, result, contrast=contrast))
    return found


def _distinct(scores: Scores, between: Between, policies: Sequence[str], scorer: str) -> list[str]:
    """Variants that have these policies, without those whose runs are an earlier one's."""
    kept: list[str] = []
    for variant in scores.values:
        same = (
            earlier
            for earlier in kept
            if scores.seeds[earlier] == scores.seeds[variant]
            and all(between(p, scorer)[earlier, variant].verdict == "nothing" for p in policies)
        )
        if all(p in scores.values[variant] for p in policies) and next(same, None) is None:
            kept.append(variant)
    return kept


def _shared(scores: Scores, before: str, after: str) -> tuple[int, ...]:
    seeds = scores.shared_seeds(before, after)
    if not seeds:
        raise AccordError(
            f"'{before}' and '{after}' share no seed, so their runs cannot be paired.",
            "seeds",
            "run every variant with the same seeds",
        )
    return seeds


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {plain(value, 3)}"


def by_family(found: Sequence[Claim]) -> Mapping[str, int]:
    """How many comparisons are corrected together at most, in each family."""
    most: dict[str, int] = {}
    for claim in found:
        most[claim.family] = max(claim.comparisons, most.get(claim.family, 0))
    return most
