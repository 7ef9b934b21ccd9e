"""Which conclusions a study's design allows, whatever its numbers turn out to be."""

from collections.abc import Iterable, Mapping
from typing import Any

from accord.evaluation.study.claims import Claim
from accord.evaluation.study.factors import Contrast

Contrasts = Mapping[tuple[str, str], Contrast]


def conclusions(contrasts: Contrasts) -> dict[str, list[str]]:
    """What can and what cannot be concluded, as sentences.

    Two variants that change training and evaluation at once are refused as evidence of an effect
    of training. Where a third variant has the training of the one and the evaluation of the other,
    it tells the two apart, and is named.

    Args:
        contrasts: Of `factors`.
    """
    can, cannot = [], []
    for contrast in contrasts.values():
        pair = f"{contrast.after} − {contrast.before}"
        if contrast.verdict == "isolated":
            can.append(f"{pair} {contrast.sentence}.")
        elif contrast.verdict == "together":
            can.append(f"{pair} shows the effect of {contrast.side} as a whole.")
            cannot.append(f"{pair} is {contrast.sentence}.")
        elif contrast.verdict == "confounded":
            cannot.append(f"{pair} is {contrast.sentence}; {_remedy(contrast, contrasts)}.")
        else:
            cannot.append(f"{pair}: the two are the same recipe; {contrast.sentence}.")
    return {"can": can, "cannot": cannot}


def separated_by(contrast: Contrast, contrasts: Contrasts) -> list[tuple[str, str, str]]:
    """Variants between a confounded two: (name, what changes up to it, what changes after it)."""
    sides: dict[tuple[str, str], str] = {}
    for (one, other), between in contrasts.items():
        sides[one, other] = sides[other, one] = between.side
    found = []
    for name in dict.fromkeys(variant for pair in contrasts for variant in pair):
        up_to = sides.get((contrast.before, name), "")
        beyond = sides.get((name, contrast.after), "")
        if up_to and beyond:  # two sides that differ, or the pair were not confounded
            found.append((name, up_to, beyond))
    return found


def _remedy(contrast: Contrast, contrasts: Contrasts) -> str:
    between = separated_by(contrast, contrasts)
    if not between:
        return (
            "a variant with the training of the one and the evaluation of the other would "
            "tell them apart"
        )
    told = [
        f"{name} tells them apart ({up_to} from {contrast.before}, {beyond} to {contrast.after})"
        for name, up_to, beyond in between
    ]
    return " and ".join(told)


def judged_anew(contrasts: Contrasts, claims: Iterable[Claim]) -> list[str]:
    """Scorers whose judge is made by a key of training, so that they cannot show its effect."""
    sentences = {
        f"{claim.after} − {claim.before} in {claim.scorer}: the judge changes with the policies; "
        f"{claim.contrast.sentence}.": None
        for claim in claims
        if claim.contrast
        and claim.family == "confounded"
        and contrasts[claim.before, claim.after].verdict != "confounded"
    }
    return list(sentences)


def factors_json(contrasts: Contrasts, claims: Iterable[Claim]) -> dict[str, Any]:
    """The contrasts and what they allow, as plain values."""
    told = conclusions(contrasts)
    return {
        "contrasts": [contrast.to_json() for contrast in contrasts.values()],
        "can": told["can"],
        "cannot": [*told["cannot"], *judged_anew(contrasts, claims)],
    }
