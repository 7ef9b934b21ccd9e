"""What came of a study's comparisons, in counts and in a sentence."""

from collections.abc import Mapping, Sequence

from accord.evaluation.study.claims import FAMILIES, Claim

Counts = Mapping[str, Mapping[str, int]]


def summary(found: Sequence[Claim]) -> dict[str, dict[str, int]]:
    """Family to its number of comparisons, and of those `distinguishable`, `unadjusted`, `causal`.

    `unadjusted` are those whose own interval excludes 0 and that the correction does not claim.
    Where scorers were named as primary, these are the comparisons in them; those in the others,
    corrected apart, are counted under `secondary <family>`.
    """
    names = [(prefix, family) for prefix in ("", "secondary ") for family in FAMILIES]
    members = {
        prefix + family: [c for c in found if c.family == family and c.primary == (not prefix)]
        for prefix, family in names
    }
    return {name: _counts(among) for name, among in members.items() if among}


def _counts(among: Sequence[Claim]) -> dict[str, int]:
    return {
        "comparisons": len(among),
        "distinguishable": sum(claim.distinguishable for claim in among),
        "unadjusted": sum(claim.unadjusted for claim in among),
        "causal": sum(claim.causal for claim in among),
    }


def headline(counts: Counts) -> str:
    """What the comparisons come to: between variants where there are several, else of policies."""
    parts = []
    if "variants" in counts:
        parts.append(f"{_told(counts['variants'])} between variants told apart from chance")
    if "confounded" in counts:
        several = "none" if counts["confounded"]["comparisons"] > 1 else "it is not"
        parts.append(
            f"{_plural(counts['confounded']['comparisons'], 'further one')} changed training and "
            f"evaluation at once, {several} evidence of an effect of training"
        )
    for family, about in (("policies", "with the reference"), ("methods", "between policies")):
        if not parts and family in counts:
            parts.append(f"{_told(counts[family])} {about} told apart from chance")
    return "; ".join(parts) + "." if parts else "Nothing was compared."


def _told(counts: Mapping[str, int]) -> str:
    told, every = counts["distinguishable"], counts["comparisons"]
    return f"{told} of {_plural(every, 'comparison')}"


def _plural(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
